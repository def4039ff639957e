//! Policy and profiles, as the configuration has them and as nodes meet them: what is checked before the start, what a
//! node may ask for, and what a reload changes.

mod common;

use std::process::Command;

use common::{meet, pair};
use erluv_tests::daemon::{Daemon, bin};
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{is_root, needs_root, proc};
use nix::sys::signal::Signal;

/// What comes of a request: the user's name, the profile's and the process id, or the refusal.
fn bind(node: &Node) {
    node.eval_ok(
        r#"Ask = fun(Opts) -> case gen_server:call({erluv, E}, {run, ["/bin/sleep", "60"], Opts}) of
            {ok, P, OsPid} -> I = gen_server:call(P, info), {maps:get(user, I), maps:get(profile, I), OsPid};
            {error, Why} -> Why end end"#,
    );
}

/// The process id of a worker that these options make.
fn worker(node: &Node, options: &str) -> i32 {
    node.eval_ok(&format!("element(3, Ask({options}))")).parse().unwrap()
}

#[test]
fn s56_a_node_chooses_among_the_profiles_of_the_policy() {
    let (node, erluv) = pair(
        Otp::all()[0],
        "[workers]\nprofiles = [\"default\", \"open\"]\n[profile.open]\nextends = \"default\"\numask = \"022\"\n\
         env = { PATH = true, GREETING = \"hello\" }\nlimits.nofile = 17",
    );
    bind(&node);
    assert_eq!(node.eval_ok("maps:get(profiles, gen_server:call({erluv, E}, info))"), r#"[<<"default">>,<<"open">>]"#);
    let (plain, open) = (worker(&node, "[]"), worker(&node, "[{profile, open}]"));
    assert_eq!((proc::field(plain, "Umask"), proc::field(open, "Umask")), ("0077".to_owned(), "0022".to_owned()));
    assert!(proc::environ(plain).is_empty(), "{:?}", proc::environ(plain));
    let env = proc::environ(open);
    assert!(env.contains(&"GREETING=hello".to_owned()) && env.iter().any(|text| text.starts_with("PATH=/")), "{env:?}");
    assert_eq!(proc::limit(open, "Max open files").1, "17");
    for profile in ["strict", "none", "'../x'"] {
        let refused = node.eval_ok(&format!("element(1, element(2, Ask([{{profile, {profile}}}])))"));
        assert_eq!(refused, "profiles", "{profile}");
    }
    erluv.wait_log("profiles");
}

#[test]
fn s68_what_a_node_may_ask_is_its_own_table_and_no_other_s() {
    needs_root!();
    let (one, two) = (Node::start(Otp::all()[0]), Node::start(Otp::all()[0]));
    let folder = Folder::new();
    let cookie = folder.file("two", 0o400, two.cookie().as_bytes());
    let text = format!(
        "[workers]\nmax_per_user = 1\n\
         [[node]]\nname = \"{}\"\nworkers.profiles = [\"default\", \"one\"]\n\
         [[node]]\nname = \"{}\"\nown_name = \"erluv_2@127.0.0.1\"\ncookie_file = {cookie:?}\nepmd_port = {}\n\
         workers.users = [\"1234:5678\"]\nworkers.shell = false\n[profile.one]\nnice = 3",
        one.name(),
        two.name(),
        two.epmd().port(),
    );
    let erluv = Daemon::of(&one).config(&text).start();
    meet(&one, &erluv);
    two.eval_ok("E = 'erluv_2@127.0.0.1'");
    two.wait_eval("net_adm:ping(E)", "pong");
    bind(&one);
    bind(&two);
    let shell = r#"element(1, element(2, element(2, gen_server:call({erluv, E}, {run, "true", []}))))"#;
    assert_eq!(two.eval_ok(shell), "shell");
    let theirs = worker(&two, "[]");
    assert_eq!((proc::uids(theirs), proc::gids(theirs)), (vec![1234; 4], vec![5678; 4]));
    assert_eq!(proc::groups(theirs), [5678]);
    // Ceilings are each node's own, and so are users and profiles.
    let ours = worker(&one, "[{profile, one}]");
    assert_eq!(proc::uids(ours), [1; 4]);
    let refused = |node: &Node, options: &str| node.eval_ok(&format!("element(1, element(2, Ask({options})))"));
    assert_eq!(refused(&two, "[]"), "max_per_user");
    assert_eq!(refused(&one, "[]"), "max_per_user");
    assert_eq!(refused(&two, "[{profile, one}]"), "profiles");
    assert_eq!(refused(&two, "[{user, daemon}]"), "users");
    assert_eq!(refused(&one, r#"[{user, "1234"}]"#), "users");
    // Neither learns of the other's.
    for node in [&one, &two] {
        assert_eq!(node.eval_ok("length(gen_server:call({erluv, E}, workers))"), "1");
    }
    erluv.wait_log("max_per_user");
}

#[test]
fn a_reload_takes_profiles_in_and_what_runs_keeps_what_it_has() {
    let (node, erluv) = pair(Otp::all()[0], "[profile.default]\numask = \"027\"");
    bind(&node);
    let before = worker(&node, "[]");
    let text = erluv.config_text();
    erluv.write_config(&text.replace("\"027\"", "\"022\"\nlimits.nofile = 19"));
    erluv.signal(Signal::SIGHUP);
    erluv.wait_log("configuration reloaded");
    let after = worker(&node, "[]");
    assert_eq!((proc::field(before, "Umask"), proc::field(after, "Umask")), ("0027".to_owned(), "0022".to_owned()));
    assert_eq!(proc::limit(after, "Max open files").1, "19");
    for (bad, told) in [
        ("umask = 22", "umask"),
        ("ambient = [\"chown\"]", "profile.default.ambient: has what is not in capabilities"),
        ("extends = \"none\"", "profile.default.extends: there is no profile"),
    ] {
        erluv.write_config(&text.replace("umask = \"027\"", bad));
        erluv.signal(Signal::SIGHUP);
        erluv.wait_log(&format!("not reloaded: {}", if told == "umask" { "" } else { told }));
    }
    assert_eq!(proc::field(worker(&node, "[]"), "Umask"), "0022");
    assert!(proc::exists(before));
}

#[test]
fn s44_starts_have_a_rate() {
    let (node, erluv) = pair(Otp::all()[0], "[workers]\nstarts_per_second = 2");
    node.eval_ok(r#"Ms = [element(2, spawn_monitor(E, erluv, run, [["/bin/true"], []])) || _ <- lists:seq(1, 300)]"#);
    node.eval_ok("Rs = [receive {'DOWN', M, _, _, R} -> R end || M <- Ms]");
    let refused = node.eval_ok("length([x || {refused, {starts_per_second, _}} <- Rs])").parse::<usize>().unwrap();
    let started = node.eval_ok("length([x || normal <- Rs])").parse::<usize>().unwrap();
    assert!(started >= 2 && refused > 0 && started + refused == 300, "{started} {refused}");
    erluv.wait_log("starts_per_second");
}

/// Runs erluv-main with a configuration of this text, `COOKIE` in it standing for a good cookie file.
fn run(text: &str, args: &[&str]) -> (i32, String, String) {
    let folder = Folder::new();
    let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests\n");
    let empty = folder.folder("empty", 0o755);
    let head = match is_root() {
        true => format!("chroot = {empty:?}\nuser = \"nobody\"\n"),
        false => String::new(),
    };
    let text = format!("{head}{}", text.replace("COOKIE", &format!("cookie_file = {cookie:?}")));
    let file = folder.file("erluv.conf", 0o600, text.as_bytes());
    let output = Command::new(bin("erluv-main")).arg("-f").arg(&file).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&file.display().to_string(), "FILE");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn s74_what_a_profile_needs_and_is_not_there_is_told_before_the_start() {
    let users = if is_root() { "users = [\"daemon\"]\n" } else { "" };
    let base =
        format!("node = \"a@127.0.0.1\"\nCOOKIE\n[workers]\n{users}profiles = [\"default\", \"x\"]\n[profile.x]\n");
    let (code, _, said) = run(&format!("{base}mounts.bind = [\"/none/such\"]"), &["-n"]);
    // Where no mount namespace can be made, that is what is missing.
    assert!(code == 78 && said.contains("profile.x") && said.trim_end().lines().count() == 1, "{code} {said}");
    // One that nobody may ask for is no matter.
    let (code, _, said) = run(&format!("{base}[profile.y.mounts]\nbind = [\"/none/such\"]"), &["-n"]);
    assert!(code == 0 && said.contains("configuration OK"), "{code} {said}");
}

#[test]
fn explain_prints_what_a_worker_gets_and_where_it_comes_from() {
    let users = if is_root() { "[workers]\nusers = [\"daemon\"]\n" } else { "" };
    let text = format!("COOKIE\n{users}[profile.default]\numask = \"027\"");
    let (code, out, said) = run(&text, &["-o", "workers.max=7", "explain"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let line = |key: &str| out.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{out}")).to_owned();
    assert!(line("umask = \"027\"").ends_with("# FILE") && line("max = 7").ends_with("# -o workers.max"));
    assert!(line("min_uid = 1").ends_with("# default") && line("[profile.default]").len() == 17);
    let (code, out, _) = run(&text, &["explain", "--profile", "strict"]);
    assert!(code == 0 && out.contains("# Profile strict, no worker can ask for it\n[profile.strict]"), "{out}");
    let (code, _, said) = run(&text, &["explain", "--profile", "none"]);
    assert!(code == 78 && said.contains("not one of: build, default, strict"), "{said}");
}
