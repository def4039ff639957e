//! How erluv-main begins, and what it says when it cannot: each error is one line that tells what to do, with the exit
//! code of sysexits(3); what may pass by itself is tried again.

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::meet;
use erluv_tests::daemon::{Daemon, bin};
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{is_root, needs_root, proc};

/// Runs `erluv-main -n -f FILE` on this text; `COOKIE` in it stands for a good cookie file.
fn check(text: &str) -> (i32, String) {
    let folder = Folder::new();
    let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests\n");
    let text = text.replace("COOKIE", &format!("cookie_file = {cookie:?}"));
    let file = folder.file("erluv.conf", 0o600, text.as_bytes());
    run(&["-n", "-f", file.to_str().unwrap()])
}

fn run(args: &[&str]) -> (i32, String) {
    said(Command::new(bin("erluv-main")).args(args).stdin(Stdio::null()).output().unwrap())
}

fn said(output: Output) -> (i32, String) {
    assert!(output.stdout.is_empty() || output.status.success());
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// As root the users of the halves have to be named, as not every system has `_erluv`.
fn users() -> &'static str {
    if is_root() { "user = \"nobody\"\n[workers]\nusers = [\"daemon\"]\n" } else { "" }
}

/// The error is one line, names what is wrong, and comes with 78.
fn refused(text: &str, parts: &[&str]) {
    let (code, error) = check(text);
    assert_eq!(code, 78, "{text}\n{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn a_good_configuration_is_said_to_be_one() {
    let (code, said) = check(&format!("node = \"a@127.0.0.1\"\nCOOKIE\n{}", users()));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("configuration OK"), "{said}");
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    refused(&format!("node = \"a@127.0.0.1\"\nCOOKIE\nchrot = \"/x\"\n{}", users()), &["erluv.conf", "chrot"]);
    refused("node = \"a@127.0.0.1\"\nCOOKIE\n[workers]\nmaximum = 3\n", &["erluv.conf", "maximum"]);
}

#[test]
fn a_bad_value_is_named_with_its_key() {
    refused(&format!("node = \"a@127.0.0.1\"\nCOOKIE\ndie_timeout = 30\n{}", users()), &["die_timeout"]);
    refused(&format!("node = \"nonsense\"\nCOOKIE\n{}", users()), &["node", "name@host"]);
    refused(&format!("node = \"a@127.0.0.1\"\nCOOKIE\nepmd_port = 70000\n{}", users()), &["epmd_port"]);
    refused("node = [\n", &["erluv.conf"]);
}

#[test]
fn no_node_is_said_to_be_missing() {
    refused(&format!("COOKIE\n{}", users()), &["node"]);
}

#[test]
fn s08_child_and_workers_have_different_users() {
    needs_root!();
    refused("node = \"a@127.0.0.1\"\nCOOKIE\nuser = \"nobody\"\n[workers]\nusers = [\"nobody\"]\n", &["nobody"]);
}

#[test]
fn s06_root_is_no_user_for_workers_or_child() {
    needs_root!();
    refused("node = \"a@127.0.0.1\"\nCOOKIE\nuser = \"root\"\n[workers]\nusers = [\"daemon\"]\n", &["root"]);
    refused("node = \"a@127.0.0.1\"\nCOOKIE\nuser = \"nobody\"\n[workers]\nusers = [\"root\"]\n", &["root"]);
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    needs_root!();
    refused(
        "node = \"a@127.0.0.1\"\nCOOKIE\nuser = \"nobody\"\n[workers]\nusers = [\"no-such-user\"]\n",
        &["no-such-user"],
    );
}

#[test]
fn s59_a_cookie_file_that_others_can_read_is_refused() {
    let folder = Folder::new();
    for (name, mode, content) in [
        ("open", 0o440, &b"a-cookie-of-these-tests"[..]),
        ("readable", 0o444, b"a-cookie-of-these-tests"),
        ("empty", 0o400, b""),
        ("two-lines", 0o400, b"a-cookie-of-these\ntests-and-more"),
    ] {
        let cookie = folder.file(name, mode, content);
        refused(&format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\n{}", users()), &[name]);
    }
    refused(&format!("node = \"a@127.0.0.1\"\ncookie_file = \"/no/such/cookie\"\n{}", users()), &["/no/such"]);
    let real = folder.file("real", 0o400, b"a-cookie-of-these-tests");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(real, &link).unwrap();
    refused(&format!("node = \"a@127.0.0.1\"\ncookie_file = {link:?}\n{}", users()), &["link"]);
}

#[test]
fn s60_a_cookie_that_can_be_guessed_is_refused() {
    let folder = Folder::new();
    for (name, content) in [("monster", &b"monster"[..]), ("short", b"15-characters!!")] {
        let cookie = folder.file(name, 0o400, content);
        refused(&format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\n{}", users()), &["weak_cookie"]);
        let text = format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\nweak_cookie = true\n{}", users());
        assert_eq!(check(&text).0, 0);
    }
}

#[test]
fn s65_a_node_elsewhere_wants_a_word_about_plain_text() {
    let far = "node = \"a@192.0.2.1\"\nname = \"erluv_1@192.0.2.2\"\nCOOKIE\n";
    refused(&format!("{far}{}", users()), &["plaintext"]);
    assert_eq!(check(&format!("{far}plaintext = true\n{}", users())).0, 0);
}

#[test]
fn s69_a_configuration_that_others_can_write_is_refused() {
    let folder = Folder::new();
    let file = folder.file("erluv.conf", 0o666, b"node = \"a@127.0.0.1\"\n");
    let (code, error) = run(&["-n", "-f", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("erluv.conf") && error.contains("chmod go-w"), "{error}");
}

#[test]
fn usage_errors_are_64_and_the_version_is_told() {
    assert_eq!(run(&["--no-such-option"]).0, 64);
    assert_eq!(run(&["-o", "nothing"]).0, 64);
    let output = Command::new(bin("erluv-main")).arg("-V").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_comes_later_wins_and_is_named_when_wrong() {
    let folder = Folder::new();
    let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests");
    let text = format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\ndie_timeout = \"1s\"\n{}", users());
    let file = folder.file("erluv.conf", 0o600, text.as_bytes());
    let with = |name: &str, value: &str, args: &[&str]| {
        let mut command = Command::new(bin("erluv-main"));
        said(command.args(["-n", "-f"]).arg(&file).args(args).env(name, value).output().unwrap())
    };
    let (code, error) = with("ERLUV_DIE_TIMEOUT", "never", &[]);
    assert!(code == 78 && error.contains("ERLUV_DIE_TIMEOUT"), "{error}");
    assert_eq!(with("ERLUV_DIE_TIMEOUT", "2s", &[]).0, 0);
    let (code, error) = with("ERLUV_DIE_TIMEOUT", "2s", &["-o", "die_timeout=soon"]);
    assert!(code == 78 && error.contains("die_timeout") && error.contains("-o"), "{error}");
    let (code, error) = with("ERLUV_DIE_TIMOUT", "2s", &[]);
    assert!(code == 78 && error.contains("ERLUV_DIE_TIMOUT"), "{error}");
    let (code, error) = with("ERLUV_COOKIE", "a-cookie-of-these-tests", &[]);
    assert!(code == 78 && error.contains("file") && !error.contains("a-cookie"), "{error}");
}

/// A copy of the programs that a test may spoil.
fn copy_of_programs(folder: &Folder, child: bool) -> std::path::PathBuf {
    let place = folder.folder("sbin", 0o755);
    std::fs::copy(bin("erluv-main"), place.join("erluv-main")).unwrap();
    if child {
        std::fs::copy(bin("erluv-child"), place.join("erluv-child")).unwrap();
    }
    place
}

#[test]
fn a_missing_child_is_said_to_be_missing() {
    let folder = Folder::new();
    let place = copy_of_programs(&folder, false);
    let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests");
    let text = format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\n{}", users());
    let file = folder.file("erluv.conf", 0o600, text.as_bytes());
    let output = Command::new(place.join("erluv-main")).args(["-n", "-f"]).arg(&file).output().unwrap();
    let (code, error) = said(output);
    assert!(code == 78 && error.contains("erluv-child") && error.contains("install"), "{error}");
}

#[test]
fn s35_a_child_that_others_could_have_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    needs_root!();
    let folder = Folder::new();
    let place = copy_of_programs(&folder, true);
    std::fs::set_permissions(place.join("erluv-child"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests");
    let text = format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\n{}", users());
    let file = folder.file("erluv.conf", 0o600, text.as_bytes());
    let output = Command::new(place.join("erluv-main")).args(["-n", "-f"]).arg(&file).output().unwrap();
    let (code, error) = said(output);
    assert!(code == 78 && error.contains("erluv-child") && error.contains("writable"), "{error}");
}

#[test]
fn a_child_that_cannot_be_confined_ends_main_at_once_and_says_why() {
    needs_root!();
    let folder = Folder::new();
    let full = folder.folder("full", 0o755);
    std::fs::write(full.join("something"), "").unwrap();
    let mut erluv = Daemon::alone().arg("-o").arg(&format!("chroot={}", full.display())).start();
    assert_eq!(erluv.wait(), 78);
    erluv.wait_log("does not get ready");
    assert!(erluv.log().contains("empty folder"), "{}", erluv.log());
}

#[test]
fn s34_child_refuses_to_be_run_by_hand() {
    let output = Command::new(bin("erluv-child")).stdin(Stdio::null()).output().unwrap();
    let (code, error) = said(output);
    assert!(code == 77 && error.contains("erluv-main"), "{code} {error}");
}

#[test]
fn s59_a_cookie_file_that_is_open_or_missing_ends_the_start_itself() {
    for cookie in ["/no/such/cookie", "/etc/passwd"] {
        let mut erluv = Daemon::alone().arg("--cookie-file").arg(cookie).start();
        assert_eq!(erluv.wait(), 78, "{cookie}");
        erluv.wait_log("cookie file");
    }
}

#[test]
fn a_wrong_cookie_is_told_and_tried_again() {
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).cookie("quite-another-cookie").start();
    erluv.wait_log("cookie");
    assert!(!erluv.log().contains("quite-another-cookie"));
    assert!(proc::exists(erluv.main_pid()));
}

#[test]
fn no_epmd_and_no_node_are_told_once_and_tried_again() {
    let node = Node::start(Otp::V25);
    let mut erluv = Daemon::of(&node).config("epmd_port = 1").start();
    erluv.wait_log("epmd");
    assert_eq!(erluv.terminate(), 0);
    let erluv = Daemon::of(&node).peer("nobody-there@127.0.0.1").start();
    erluv.wait_log("does not know the node");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(erluv.log().matches("does not know the node").count(), 1, "{}", erluv.log());
}

#[test]
fn a_fixed_port_needs_no_epmd() {
    let node = Node::start(Otp::V25);
    let port = node.eval_ok(
        "{port, Port, _} = erl_epmd:port_please(hd(string:lexemes(atom_to_list(node()), \"@\")), \"127.0.0.1\"), Port",
    );
    let erluv = Daemon::of(&node).arg("-o").arg("epmd_port=1").arg("-o").arg(&format!("node_port={port}")).start();
    meet(&node, &erluv);
}

#[test]
fn a_node_that_comes_late_is_served() {
    let node = Node::start(Otp::V25);
    node.stop();
    let erluv = Daemon::of(&node).start();
    erluv.wait_log("trying again");
    node.restart();
    meet(&node, &erluv);
}

#[test]
fn s17_it_starts_without_any_standard_descriptor() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).shell("exec \"$@\" <&- >&-").start();
    meet(&node, &erluv);
    for fd in 0..3 {
        assert!(Path::new(&format!("/proc/{}/fd/{fd}", erluv.main_pid())).exists(), "descriptor {fd}");
    }
}

#[test]
fn sighup_takes_a_changed_file_in_and_a_bad_one_changes_nothing() {
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).start();
    meet(&node, &erluv);
    let good = erluv.config_text();
    erluv.write_config("nonsense = 1\n");
    erluv.signal(nix::sys::signal::Signal::SIGHUP);
    erluv.wait_log("nonsense");
    assert_eq!(node.eval_ok(r#"element(1, gen_server:call({erluv, E}, {run, "true"}))"#), "ok");
    let shell = if good.contains("[workers]") {
        good.replace("[workers]", "[workers]\nshell = false")
    } else {
        format!("{good}\n[workers]\nshell = false\n")
    };
    erluv.write_config(&shell);
    erluv.signal(nix::sys::signal::Signal::SIGHUP);
    erluv.wait_log("configuration reloaded");
    assert!(node.eval_ok(r#"gen_server:call({erluv, E}, {run, "true"})"#).starts_with("{error,{refused,{shell"));
    erluv.signal(nix::sys::signal::Signal::SIGUSR1);
    erluv.wait_log("workers: 0");
}

#[test]
fn it_becomes_a_daemon_with_a_pid_file_and_goes_on_sigterm() {
    let node = Node::start(Otp::V25);
    let mut erluv = Daemon::of(&node).background().start();
    meet(&node, &erluv);
    assert!(proc::exists(erluv.main_pid()));
    assert_eq!(proc::ppid(erluv.main_pid()), 1);
    erluv.terminate_background();
}
