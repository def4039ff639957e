//! What erluv-main keeps of root's capabilities: what /proc says of it while it works, and that all works with it.

mod common;

use common::{meet, pair};
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{needs_root, proc};
use nix::sys::signal::Signal;

/// The numbers of linux/capability.h. Control groups are off here: at the top of their file system they need one more.
const PLAIN: [u32; 8] = [0, 2, 5, 6, 7, 8, 18, 24];
const PLAIN_CONFIG: &str = "cgroup = false\n";
const SYS_NICE: u32 = 23;

fn set(of: &[u32]) -> String {
    format!("{:016x}", of.iter().fold(0_u64, |set, number| set | 1 << number))
}

#[test]
fn main_keeps_the_capabilities_that_it_needs_and_no_other() {
    needs_root!();
    // Not every root has all of them: in a container, say.
    let own = u64::from_str_radix(&proc::field(std::process::id().try_into().unwrap(), "CapEff"), 16).unwrap();
    let set = |of: &[u32]| format!("{:016x}", own & u64::from_str_radix(&set(of), 16).unwrap());
    let (_node, erluv) = pair(Otp::V25, PLAIN_CONFIG);
    // Inheritable as well, which erluv-child begins with.
    for field in ["CapPrm", "CapEff", "CapInh"] {
        assert_eq!(proc::field(erluv.main_pid(), field), set(&PLAIN), "{field}");
    }
    for field in ["CapBnd", "CapAmb"] {
        assert_eq!(proc::field(erluv.main_pid(), field), set(&[]), "{field}");
    }
    let (_node, erluv) = pair(Otp::V25, &format!("{PLAIN_CONFIG}[workers]\nnice_min = -5"));
    assert_eq!(proc::field(erluv.main_pid(), "CapEff"), set(&[PLAIN.as_slice(), &[SYS_NICE]].concat()));
    // What a profile gives is all that can come back by executing something.
    let (_node, erluv) = pair(Otp::V25, &format!("{PLAIN_CONFIG}[profile.default]\ncapabilities = [\"CAP_CHOWN\"]"));
    assert_eq!(proc::field(erluv.main_pid(), "CapBnd"), set(&PLAIN[..1]));
}

#[test]
fn a_file_that_needs_a_capability_that_was_given_up_is_not_taken_in() {
    needs_root!();
    let (node, erluv) = pair(Otp::V25, "[workers]\nmax = 1");
    let text = erluv.config_text();
    erluv.write_config(&text.replace("max = 1", "max = 8\nnice_min = -5"));
    erluv.signal(Signal::SIGHUP);
    erluv.wait_log("not reloaded: it needs CAP_SYS_NICE");
    let run = r#"element(1, gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]}))"#;
    assert_eq!((node.eval_ok(run), node.eval_ok(run)), ("ok".to_owned(), "error".to_owned()));
    erluv.write_config(&text.replace("max = 1", "max = 8"));
    erluv.signal(Signal::SIGHUP);
    erluv.wait_log("configuration reloaded");
    assert_eq!(node.eval_ok(run), "ok");
}

#[test]
fn a_worker_of_root_and_one_with_a_terminal_run_under_what_is_left() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let config = "[workers]\nusers = [\"root\", \"daemon\"]\nallow_root = true\nnice_min = -5";
    let erluv = Daemon::of(&node).config(config).start();
    meet(&node, &erluv);
    node.eval_ok(
        "Out = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, Opts]),
            (fun F(L) -> receive {stdout, P, D} -> F([L, D]); {'DOWN', M, _, _, R} -> {R, iolist_to_binary(L)} end end)([]) end",
    );
    assert_eq!(node.eval_ok(r#"Out(["/usr/bin/id", "-u"], [stdout])"#), r#"{normal,<<"0\n">>}"#);
    assert_eq!(node.eval_ok(r#"Out(["/usr/bin/id", "-u"], [stdout, {user, "daemon"}])"#), r#"{normal,<<"1\n">>}"#);
    assert_eq!(
        node.eval_ok(r#"Out(["/usr/bin/nice"], [stdout, {nice, -5}, {user, "daemon"}])"#),
        r#"{normal,<<"-5\n">>}"#
    );
    let owner = node.eval_ok(r#"Out("stat -c %U $(tty)", [stdin, stdout, pty, {user, "daemon"}])"#);
    assert_eq!(owner, r#"{normal,<<"daemon\r\n">>}"#);
    // Of root's capabilities a worker of root has none.
    let pid = node.eval_ok(r#"element(3, gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]}))"#);
    let worker = pid.parse().unwrap();
    assert_eq!(proc::uids(worker), [0, 0, 0, 0]);
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(proc::field(worker, field), set(&[]), "{field}");
    }
}

#[test]
fn a_main_without_capabilities_of_its_own_says_what_it_lacks() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).shell("exec setpriv --bounding-set -chown \"$@\"").start();
    meet(&node, &erluv);
    erluv.wait_log("main was started without CAP_CHOWN (a worker's terminal is its user's)");
    assert_eq!(
        node.eval_ok(r#"gen_server:call({erluv, E}, {run, ["/bin/true"], [stdin, stdout, pty]})"#),
        "{error,{launch_failed,terminal,eperm}}"
    );
}
