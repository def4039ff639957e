//! The options of a worker that erluv-main carries out, as Erlang sees them: where its streams go, how it is held, how
//! it ends, and what is refused by the policy's own word.

mod common;

use common::{each_otp, pair};
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

/// Binds `End` to a function that runs a command and gives the reason of its end, and `Out` to one that gives what it
/// wrote before that.
fn bind(node: &Node) {
    node.eval_ok(
        "End = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, Opts]),
            receive {'DOWN', M, _, P, R} -> R end end",
    );
    node.eval_ok(
        "Out = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, [stdout | Opts]]),
            F = fun F(L) -> receive {stdout, P, D} -> F([D | L]);
                {'DOWN', M, _, P, R} -> {R, iolist_to_binary(lists:reverse(L))} end end, F([]) end",
    );
}

#[test]
fn s28_streams_come_from_files_and_go_to_files() {
    each_otp(|node, _| {
        bind(node);
        node.eval_ok(r#"{normal, T} = Out("mktemp -d", []), Dir = binary_to_list(string:trim(T))"#);
        node.eval_ok(r#"In = fun(Name) -> element(2, Out(["cat", Name], [{cd, Dir}])) end"#);
        assert_eq!(
            node.eval_ok(r#"End("echo one; echo two >&2", [{cd, Dir}, {stdout, "f"}, {stderr, stdout}])"#),
            "normal"
        );
        assert_eq!(node.eval_ok(r#"In("f")"#), r#"<<"one\ntwo\n">>"#);
        assert_eq!(node.eval_ok(r#"End("echo three", [{stdout, Dir ++ "/f", [append]}])"#), "normal");
        assert_eq!(node.eval_ok(r#"Out(["cat"], [{cd, Dir}, {stdin, "f"}])"#), r#"{normal,<<"one\ntwo\nthree\n">>}"#);
        assert_eq!(node.eval_ok(r#"End("echo x", [{cd, Dir}, {stdout, "g", [{mode, 8#604}]}, {umask, 0}])"#), "normal");
        assert_eq!(node.eval_ok(r#"Out(["stat", "-c", "%a", "g"], [{cd, Dir}])"#), r#"{normal,<<"604\n">>}"#);
        assert_eq!(node.eval_ok(r#"End("ln -s f l", [{cd, Dir}])"#), "normal");
        assert_eq!(node.eval_ok(r#"End(["true"], [{cd, Dir}, {stdout, "l"}])"#), "{launch_failed,open,eloop}");
        assert_eq!(node.eval_ok(r#"End(["true"], [{stdin, Dir ++ "/none"}])"#), "{launch_failed,open,enoent}");
        assert_eq!(node.eval_ok(r#"End(["rm", "-r", Dir], [])"#), "normal");
    });
}

#[test]
fn a_worker_can_open_its_streams_by_their_names() {
    each_otp(|node, _| {
        bind(node);
        assert_eq!(
            node.eval_ok(
                r#"Out("echo one > /dev/stdout; echo two | tee /dev/stderr > /dev/null", [{stderr, stdout}])"#
            ),
            r#"{normal,<<"one\ntwo\n">>}"#
        );
        node.eval_ok(r#"{ok, P, _} = gen_server:call({erluv, E}, {run, "cat /dev/stdin", [stdin, stdout]})"#);
        node.eval_ok(r#"P ! {stdin, "three"}, P ! {stdin, eof}"#);
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> f(D), f(P), D end"), r#"<<"three">>"#);
    });
}

#[test]
fn a_worker_is_held_as_it_was_asked_for() {
    each_otp(|node, _| {
        bind(node);
        assert_eq!(node.eval_ok(r#"Out(["nice"], [{nice, 5}])"#), r#"{normal,<<"5\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out("umask", [{umask, 8#123}])"#), r#"{normal,<<"0123\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out("ulimit -n", [{limits, [{nofile, 17}]}])"#), r#"{normal,<<"17\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out(["any", "x"], [{executable, "/bin/echo"}])"#), r#"{normal,<<"x\n">>}"#);
        assert_eq!(node.eval_ok(r#"End(["true"], [{group, 0}])"#), "normal");
    });
}

#[test]
fn s56_what_the_policy_does_not_let_pass_is_refused_by_its_rule() {
    let (node, _erluv) = pair(Otp::all()[0], "[workers]\nprograms = ['/bin/true', '/usr/bin/true']");
    bind(&node);
    for (option, rule) in [
        ("{nice, -1}", "nice"),
        ("{group, 1}", "group"),
        ("{limits, [{core, 1}]}", "limits"),
        (r#"{executable, "/bin/sh"}"#, "programs"),
        (r#"{kill, "true"}"#, "programs"),
    ] {
        let refused = node.eval_ok(&format!(r#"element(1, element(2, End(["true"], [{option}])))"#));
        assert_eq!(refused, rule, "{option}");
    }
}

#[test]
fn s42_a_command_ends_a_worker_and_sigkill_where_it_does_not() {
    each_otp(|node, _| {
        let line = r#""trap '' TERM; trap 'exit 7' USR1; echo; while :; do sleep 0.01; done""#;
        for (command, end) in [("kill -USR1 $CHILD_PID", "{exited,7}"), ("true", "{signaled,sigkill}")] {
            node.eval_ok("f(P), f(M), f(R)");
            let options = format!(r#"[stdout, {{kill, "{command}"}}, {{kill_timeout, 2000}}]"#);
            node.eval_ok(&format!("{{P, M}} = spawn_monitor(E, erluv, run, [{line}, {options}])"));
            node.eval_ok("receive {stdout, P, _} -> ok end, exit(P, shutdown)");
            assert_eq!(node.eval_ok("receive {'DOWN', M, _, P, R} -> R end"), end, "{command}");
        }
    });
}

#[test]
fn s30_a_worker_on_a_terminal_has_it_for_its_own() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run,
                ["stty size; echo there >/dev/tty; read x; echo got $x", [stdin, stdout, pty, {winsz, {33, 77}}]])"#,
        );
        node.eval_ok(
            "Until = fun U(End, L) -> receive {stdout, P, D} -> T = <<L/binary, D/binary>>,
                case string:find(T, End) of nomatch -> U(End, T); _ -> T end end end",
        );
        assert_eq!(node.eval_ok(r#"Until("there\r\n", <<>>)"#), r#"<<"33 77\r\nthere\r\n">>"#);
        let os_pid: i32 = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
        assert!(proc::exists(os_pid));
        node.eval_ok(r#"P ! {stdin, "you\n"}"#);
        assert_eq!(node.eval_ok(r#"Until("you\r\n", <<>>)"#), r#"<<"got you\r\n">>"#);
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, P, R} -> R end"), "normal");
    });
}
