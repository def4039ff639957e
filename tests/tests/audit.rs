//! The audit log: the lines of a real erluv-main about what a real node asks.

use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

fn pair(config: &str) -> (Node, Daemon) {
    let node = Node::start(Otp::V27);
    let erluv = Daemon::of(&node).config(config).start();
    erluv.wait_connected(&node);
    node.eval_ok(&format!("E = '{}'", erluv.name()));
    node.eval_ok("Me = iolist_to_binary(pid_to_list(self()))");
    (node, erluv)
}

/// The value of a key of an audit line.
fn value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn a_start_and_its_end_are_a_line_each_joined_by_the_worker() {
    let (node, erluv) = pair("");
    let os_pid = node.eval_ok(r#"element(3, gen_server:call({erluv, E}, {run, ["/bin/sh", "-c", "exit 7"], []}))"#);
    let (start, end) = (erluv.wait_log("audit event=start "), erluv.wait_log("audit event=end "));
    for line in [&start, &end] {
        assert_eq!(value(line, "node"), Some(node.name()), "{line}");
        assert_eq!(value(line, "pid"), Some(os_pid.as_str()), "{line}");
        assert_eq!(value(line, "profile"), Some("default"), "{line}");
        assert_eq!(value(line, "user"), erluv_tests::is_root().then_some("daemon"), "{line}");
        assert_eq!(value(line, "worker"), value(&start, "worker"));
        assert_eq!(value(line, "asker"), value(&start, "asker"));
    }
    let asker = value(&start, "asker").unwrap();
    assert!(asker.starts_with('<') && asker.ends_with('>'), "{asker}");
    let command = value(&start, "command").unwrap();
    assert!(command.starts_with('/') && command.ends_with(r"sh,-c,exit\x207"), "{command}");
    assert_eq!((value(&end, "code"), value(&end, "oom"), value(&end, "timeout")), (Some("7"), Some("no"), Some("no")));
    for key in ["wall", "cpu", "memory"] {
        assert!(value(&end, key).is_some_and(|value| value.parse::<f64>().is_ok()), "{key}: {end}");
    }
}

#[test]
fn a_signal_and_a_step_that_failed_are_named() {
    let (node, erluv) = pair("");
    node.eval_ok(r#"{ok, P, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], []}), exit(P, kill)"#);
    assert_eq!(value(&erluv.wait_log("audit event=end "), "signal"), Some("SIGKILL"));
    node.eval_ok(r#"{error, _} = gen_server:call({erluv, E}, {run, ["/bin/true"], [{cd, "/no/such/folder"}]})"#);
    let failed = erluv.wait_log("audit event=failed ");
    assert_eq!((value(&failed, "step"), value(&failed, "errno")), (Some("chdir"), Some("ENOENT")), "{failed}");
}

#[test]
fn a_command_that_is_to_end_a_worker_stands_beside_its_own() {
    let (node, erluv) = pair("");
    let options = r#"[{kill, "kill -9 $CHILD_PID"}]"#;
    node.eval_ok(&format!(r#"{{ok, _, _}} = gen_server:call({{erluv, E}}, {{run, ["/bin/sleep", "9"], {options}}})"#));
    assert_eq!(value(&erluv.wait_log("audit event=start "), "kill"), Some(r"kill\x20-9\x20$CHILD_PID"));
}

#[test]
fn s55_a_node_cannot_forge_a_line_or_a_key() {
    let (node, erluv) = pair("[workers]\nshell = false");
    let forged = r#"x\naudit event=start user=root \e[2J\x{202e}\\x0a"#;
    node.eval_ok(&format!(r#"{{error, _}} = gen_server:call({{erluv, E}}, {{run, ["/bin/none", "{forged}"], []}})"#));
    node.eval_ok(&format!(r#"{{error, _}} = gen_server:call({{erluv, E}}, {{run, <<"{forged}"/utf8>>, []}})"#));
    for line in [erluv.wait_log("audit event=failed "), erluv.wait_log("audit event=refused ")] {
        assert!(line.contains(r"x\x0aaudit\x20event\x3dstart\x20user\x3droot\x20\x1b[2J\u{202e}\x5cx0a"), "{line}");
        assert_eq!(line.split(' ').filter(|field| field.starts_with("event=")).count(), 1, "{line}");
    }
    assert!(!erluv.log().contains("event=start"));
}

#[test]
fn a_hundred_starts_and_ends_are_two_hundred_lines() {
    let (node, erluv) = pair("");
    node.eval_ok(r#"[spawn(E, erluv, run, [["/bin/true"]]) || _ <- lists:seq(1, 100)]"#);
    let count = |event: &str| erluv.log().matches(&format!("audit event={event} ")).count();
    proc::wait_until("all have ended", || count("end") == 100);
    assert_eq!(count("start"), 100);
}
