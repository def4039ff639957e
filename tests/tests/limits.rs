//! What a profile limits besides the limits of the kernel: the time of a worker and the bytes that it writes.

use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

fn under(profile: &str) -> (Node, Daemon) {
    let node = Node::start(Otp::V27);
    let erluv = Daemon::of(&node).config(&format!("[profile.default]\n{profile}")).start();
    erluv.wait_connected(&node);
    node.eval_ok(&format!("E = '{}'", erluv.name()));
    (node, erluv)
}

/// Runs a command under a monitor with these further options; its exit reason and its report, where one was asked for.
fn run(node: &Node, command: &str, options: &str) -> (String, String) {
    node.eval_ok("f(P), f(R), f(How), f(Map), ok");
    node.eval_ok(&format!(
        "{{P, R}} = spawn_opt(E, erluv, run, [{command}, [{{report, true}} | {options}]], [monitor]), ok"
    ));
    let how = node.eval_ok("receive {'DOWN', R, process, P, How} -> How after 15000 -> late end");
    (how, node.eval_ok("receive {report, P, Map} -> Map after 0 -> none end"))
}

#[test]
fn a_worker_lives_no_longer_than_its_profile_grants() {
    let (node, erluv) = under("wall_time = '300ms'");
    let (how, report) = run(&node, r#"["/bin/sleep", "1000"]"#, "[]");
    assert_eq!(how, "timeout");
    for part in ["timeout => true", "stopped => timeout", "signal => sigterm"] {
        assert!(report.contains(part), "{report}");
    }
    assert!(erluv.wait_log("audit event=end ").contains(" timeout=yes "));
    let (how, report) = run(&node, r#"["/bin/true"]"#, "[]");
    assert!(how == "normal" && report.contains("timeout => false"), "{how}: {report}");
}

#[test]
fn a_worker_writes_no_more_than_its_profile_grants() {
    let (node, erluv) = under("output_limit = '100K'");
    let kib = 1024 * 100;
    for command in ["yes", "yes >&2", "trap '' TERM PIPE; yes; sleep 1000"] {
        let (how, report) = run(&node, &format!("{command:?}"), "[stdout, stderr, {kill_timeout, 100}]");
        assert_eq!(how, format!("{{output_limit,{kib}}}"), "{command}");
        assert!(report.contains("stopped => output_limit"), "{report}");
        let sum = "lists:sum([byte_size(B) || {T, _, B} <- element(2, process_info(self(), messages)), \
                   T =:= stdout orelse T =:= stderr])";
        let bytes: u64 = node.eval_ok(sum).parse().unwrap();
        assert!((kib..=kib + 65536).contains(&bytes), "{command}: {bytes}");
        node.eval_ok("(fun F() -> receive _ -> F() after 0 -> ok end end)()");
    }
    proc::wait_until("none runs on", || erluv.worker_pids().is_empty());
}

#[test]
fn a_worker_that_writes_all_that_its_profile_grants_is_left_alone() {
    let (node, _erluv) = under("output_limit = 1000");
    let (how, report) = run(&node, r#""head -c 600 /dev/zero; head -c 400 /dev/zero >&2""#, "[stdout, stderr]");
    assert_eq!(how, "normal", "{report}");
    let (how, _) = run(&node, r#""head -c 600 /dev/zero; head -c 401 /dev/zero >&2""#, "[stdout, stderr]");
    assert_eq!(how, "{output_limit,1000}");
}
