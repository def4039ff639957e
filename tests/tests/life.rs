//! The whole life of a worker, as a node without any library asks for it and is told of it.

mod common;

use common::{each_otp, meet};
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::proc;

/// `Read(P, M)` gives the reason of a worker's end and the pieces of its stdout.
const READ: &str = "Read = fun(P, M) -> (fun F(L) -> receive {stdout, P, D} -> F([D | L]);
    {'DOWN', M, _, P, R} -> {R, lists:reverse(L)} end end)([]) end";

/// The reason of the end of a worker that is monitored as `M`, which is forgotten with it.
fn end_of(node: &Node, worker: &str) -> String {
    node.eval_ok(&format!("receive {{'DOWN', M, _, {worker}, Reason}} -> f(M), f(Reason), Reason end"))
}

#[test]
fn lines_come_whole_long_ones_in_pieces_and_the_last_one_as_it_is() {
    each_otp(|node, _| {
        node.eval_ok(READ);
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, ["printf a; sleep 0.1; printf 'b\nc\n1234567890\nend'",
                [stdout, {lines, 8}]])"#,
        );
        assert_eq!(
            node.eval_ok("Read(P, M)"),
            r#"{normal,[<<"ab\n">>,<<"c\n">>,<<"12345678">>,<<"90\n">>,<<"end">>]}"#
        );
        // A hundred thousand of them, with a window that is shorter than the buffer.
        node.eval_ok(
            r#"{Q, MQ} = spawn_monitor(E, erluv, run, ["seq 1 100000", [stdout, {lines, 65536}, {window, 5000}]])"#,
        );
        assert_eq!(
            node.eval_ok(
                "(fun F(N) -> receive {stdout, Q, D} -> Q ! {ack, stdout, byte_size(D)},
                    D = <<(integer_to_binary(N))/binary, $\\n>>, F(N + 1);
                    {'DOWN', MQ, _, Q, R} -> {R, N} end end)(1)"
            ),
            "{normal,100001}"
        );
    });
}

#[test]
fn a_worker_that_runs_for_too_long_ends_with_timeout() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, [["/bin/sleep", "1000"], [{timeout, 200}, {report, true}]])"#,
        );
        assert_eq!(end_of(node, "P"), "timeout");
        node.eval_ok("Map = receive {report, P, Got} -> Got end");
        assert_eq!(
            node.eval_ok("[maps:get(K, Map) || K <- [signal, timeout, stopped, core]]"),
            "[sigterm,true,timeout,false]"
        );
        assert_eq!(node.eval_ok("maps:is_key(code, Map)"), "false");
        // One that is in time is not touched.
        node.eval_ok(r#"{Q, M} = spawn_monitor(E, erluv, run, [["/bin/true"], [{timeout, 60000}]])"#);
        assert_eq!(end_of(node, "Q"), "normal");
    });
}

#[test]
fn a_report_tells_what_a_worker_did_before_its_end() {
    each_otp(|node, _| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(
            r#"P = spawn_link(E, erluv, run, ["cat; echo err >&2; exit 3",
                #{stdin => true, stdout => true, stderr => true, report => true}])"#,
        );
        node.eval_ok("P ! {stdin, <<\"12345\">>}, P ! {stdin, eof}");
        // In the order of the mailbox: the report before the end.
        node.eval_ok("{report, P, Map} = receive X when element(1, X) =:= report; element(1, X) =:= 'EXIT' -> X end");
        assert_eq!(
            node.eval_ok("[maps:get(K, Map) || K <- [code, stdin, stdout, stderr, stopped, oom, core, timeout]]"),
            "[3,5,5,4,false,false,false,false]"
        );
        assert_eq!(
            node.eval_ok("lists:all(fun(K) -> is_integer(maps:get(K, Map)) end, [user_time, system_time, wall_time])"),
            "true"
        );
        assert_eq!(node.eval_ok("maps:get(max_memory, Map) > 100000"), "true");
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "{exited,3}");
        for (how, stopped) in [("gen_server:call(Q, stop)", "stop"), ("exit(Q, kill)", "kill")] {
            node.eval_ok(r#"{ok, Q, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [report]})"#);
            node.eval_ok(how);
            assert_eq!(node.eval_ok("receive {report, Q, MQ} -> f(Q), f(MQ), maps:get(stopped, MQ) end"), stopped);
        }
    });
}

#[test]
fn erlexec_has_its_own_form() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"Run = fun(Cmd, Opts) -> {ok, P, Os} = gen_server:call({erluv, E}, {run, Cmd, [erlexec, monitor | Opts]}),
                (fun F(L) -> receive {S, Os, D} -> F([{S, D} | L]);
                    {'DOWN', Os, process, P, R} -> {R, lists:sort(L)} end end)([]) end"#,
        );
        assert_eq!(
            node.eval_ok(r#"Run("echo one; echo two >&2", [stdout, stderr])"#),
            r#"{normal,[{stderr,<<"two\n">>},{stdout,<<"one\n">>}]}"#
        );
        assert_eq!(node.eval_ok(r#"Run("exit 3", [])"#), "{{exit_status,768},[]}");
        assert_eq!(node.eval_ok(r#"Run("kill -KILL $$", [])"#), "{{exit_status,9},[]}");
        assert_eq!(node.eval_ok(r#"Run("true", [{success_exit_code, 7}])"#), "{{exit_status,7},[]}");
        node.eval_ok(r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [erlexec, monitor]})"#);
        assert_eq!(node.eval_ok("gen_server:call(P, stop_and_wait)"), "normal");
        assert_eq!(node.eval_ok("receive {'DOWN', Os, process, P, R} -> R end"), "normal");
        // Without erlexec's form the same number is an exit status.
        node.eval_ok(r#"{Q, M} = spawn_monitor(E, erluv, run, [["/bin/true"], [{success_exit_code, 7}]])"#);
        assert_eq!(end_of(node, "Q"), "{exited,7}");
    });
}

#[test]
fn a_call_may_ask_for_a_link_and_then_monitor_says_nothing() {
    each_otp(|node, _| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, "exit 4", [link, monitor]})"#);
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "{exited,4}");
        assert_eq!(node.eval_ok("receive {'DOWN', Os, _, _, _} -> told after 100 -> silent end"), "silent");
        // The link is one of both sides.
        node.eval_ok(
            r#"{ok, Q, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [link]}), M = monitor(process, Q)"#,
        );
        assert_eq!(node.eval_ok("lists:member(Q, element(2, process_info(self(), links)))"), "true");
        node.eval_ok("unlink(Q), exit(Q, shutdown)");
        assert_eq!(end_of(node, "Q"), "{signaled,sigterm}");
        assert_eq!(node.eval_ok("receive {'EXIT', Q, _} -> told after 100 -> silent end"), "silent");
    });
}

#[test]
fn another_process_may_be_the_owner_or_nobody() {
    each_otp(|node, _| {
        node.eval_ok("Me = self(), Owner = spawn(fun F() -> receive stop -> ok; X -> Me ! {got, X}, F() end end)");
        node.eval_ok(r#"{P, M} = spawn_monitor(E, erluv, run, ["echo hi; sleep 1000", [stdout, {owner, Owner}]])"#);
        assert_eq!(node.eval_ok("receive {got, {stdout, P, D}} -> f(D), D end"), r#"<<"hi\n">>"#);
        assert_eq!(node.eval_ok("maps:get(owner, gen_server:call(P, info)) =:= Owner"), "true");
        node.eval_ok("Owner ! stop");
        assert_eq!(end_of(node, "P"), "{signaled,sigterm}");
        // Nobody's worker waits in its pipe for who adopts it.
        node.eval_ok(
            r#"Starter = spawn(fun() -> {ok, W, _} = gen_server:call({erluv, E},
                {run, "echo first; read x; echo $x", [stdin, stdout, {owner, none}]}), Me ! {started, W} end)"#,
        );
        node.eval_ok("Q = receive {started, W} -> W end, M = monitor(process, Q)");
        assert_eq!(node.eval_ok("maps:get(owner, gen_server:call(Q, info))"), "none");
        assert_eq!(node.eval_ok("receive {stdout, Q, _} -> told after 100 -> silent end"), "silent");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {adopt, Q})"), "ok");
        assert_eq!(node.eval_ok("receive {stdout, Q, D} -> f(D), D end"), r#"<<"first\n">>"#);
        node.eval_ok(r#"Q ! {stdin, "second\n"}"#);
        assert_eq!(node.eval_ok("receive {stdout, Q, D} -> f(D), D end"), r#"<<"second\n">>"#);
        assert_eq!(end_of(node, "Q"), "normal");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {adopt, Q})"), "{error,noproc}");
    });
}

#[test]
fn workers_are_found_by_number_and_by_what_they_are() {
    each_otp(|node, _| {
        node.eval_ok(r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1001"]})"#);
        node.eval_ok(r#"{ok, Q, _} = gen_server:call({erluv, E}, {run, ["/bin/cat"], [stdin, {owner, none}]})"#);
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {find, Os}) =:= {ok, P}"), "true");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {find, 1})"), "{error,not_found}");
        node.eval_ok("Which = fun(Map) -> [maps:get(pid, W) || W <- gen_server:call({erluv, E}, {workers, Map})] end");
        for (filter, found) in [
            (r#"#{command => "sleep 100"}"#, "[P]"),
            ("#{owner => self(), state => running}", "[P]"),
            ("#{owner => none}", "[Q]"),
            ("#{state => kept}", "[]"),
            (r#"#{user => "nosuch"}"#, "[]"),
        ] {
            assert_eq!(node.eval_ok(&format!("Which({filter}) =:= {found}")), "true", "{filter}");
        }
        assert_eq!(node.eval_ok("length(Which(#{}))"), "2");
        node.eval_ok("exit(P, kill), exit(Q, kill)");
    });
}

#[test]
fn signals_by_call_are_answered_and_streams_can_be_closed() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, ["trap '' PIPE; echo one; cat; echo two || exit 6", [stdin, stdout]])"#,
        );
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> f(D), D end"), r#"<<"one\n">>"#);
        assert_eq!(node.eval_ok("gen_server:call(P, {signal, sigfoo})"), "{error,einval}");
        assert_eq!(node.eval_ok("gen_server:call(P, {signal, sigsegv})"), "{error,eperm}");
        assert_eq!(node.eval_ok("gen_server:call(P, {signal, sigcont})"), "ok");
        assert_eq!(node.eval_ok("gen_server:call(P, {winsz, 24, 80})"), "{error,enotty}");
        assert_eq!(node.eval_ok("gen_server:call(P, {pty_opts, [{echo, 0}]})"), "{error,enotty}");
        assert_eq!(
            node.eval_ok("gen_server:call(P, {pty_opts, [{echo, 0}, {nosuch, 1}]})"),
            "{error,{invalid_pty_value,[{nosuch,1}]}}"
        );
        assert_eq!(node.eval_ok("gen_server:call(P, {close, stdout})"), "ok");
        assert_eq!(node.eval_ok("P ! {close, stdin}, ok"), "ok");
        assert_eq!(end_of(node, "P"), "{exited,6}");
    });
}

#[test]
fn all_who_stop_and_wait_are_told_the_reason() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{ok, P, _} = gen_server:call({erluv, E}, {run, "trap 'exit 9' TERM; while :; do sleep 0.05; done"})"#,
        );
        node.eval_ok("timer:sleep(200), Me = self()");
        node.eval_ok("[spawn(fun() -> Me ! {told, gen_server:call(P, stop_and_wait)} end) || _ <- [1, 2, 3]]");
        assert_eq!(
            node.eval_ok("[receive {told, R} -> R end || _ <- [1, 2, 3]]"),
            "[{exited,9},{exited,9},{exited,9}]"
        );
    });
}

/// Cuts the connection and waits for the next one.
fn reconnect(node: &Node, erluv: &Daemon) {
    node.eval_ok("true = erlang:disconnect_node(E)");
    meet(node, erluv);
}

/// Waits until the only worker has this state.
fn wait_state(node: &Node, state: &str) {
    node.wait_eval("[maps:get(state, W) || W <- gen_server:call({erluv, E}, workers)]", &format!("[{state}]"));
}

#[test]
fn a_kept_worker_outlives_the_connection_and_goes_on_without_a_lost_byte() {
    each_otp(|node, erluv| {
        // Numbers of eight digits; nothing is acknowledged before the loss but the first 16 of them.
        node.eval_ok(
            r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, "i=0; while [ $i -lt 2000 ]; do printf '%08d' $i; i=$((i+1)); done; read x; exit 5",
                [stdin, stdout, {window, 4096}, {on_nodedown, {keep, 60}}]})"#,
        );
        node.eval_ok(
            "Take = fun F(N, Acc) when byte_size(Acc) >= N -> Acc; F(N, Acc) -> receive {stdout, P, D} -> F(N, <<Acc/binary, D/binary>>) end end",
        );
        node.eval_ok("First = Take(4096, <<>>), P ! {ack, stdout, 128}, M0 = monitor(process, P)");
        assert_eq!(node.eval_ok("gen_server:call(P, info), byte_size(First)"), "4096");
        reconnect(node, erluv);
        assert_eq!(node.eval_ok("receive {'DOWN', M0, _, _, R0} -> R0 end"), "noconnection");
        wait_state(node, "kept");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {find, Os}) =:= {ok, P}"), "true");
        assert_eq!(node.eval_ok("maps:get(owner, gen_server:call({erluv, E}, {info, P}))"), "none");
        // What came after the acknowledgement and before the loss is thrown away: it comes again.
        node.eval_ok("(fun F() -> receive {stdout, P, _} -> F() after 0 -> ok end end)()");
        node.eval_ok("M = monitor(process, P), ok = gen_server:call({erluv, E}, {adopt, P})");
        node.eval_ok(
            "All = fun F(Acc) when byte_size(Acc) >= 16000 -> Acc;
                F(Acc) -> receive {stdout, P, D} -> P ! {ack, stdout, byte_size(D)}, F(<<Acc/binary, D/binary>>) end end",
        );
        assert_eq!(
            node.eval_ok(
                "All(binary:part(First, 0, 128)) =:= iolist_to_binary([io_lib:format(\"~8..0b\", [I]) || I <- lists:seq(0, 1999)])"
            ),
            "true"
        );
        assert_eq!(node.eval_ok("maps:get(state, gen_server:call(P, info))"), "running");
        node.eval_ok(r#"P ! {stdin, "x\n"}"#);
        assert_eq!(end_of(node, "P"), "{exited,5}");
    });
}

#[test]
fn the_end_of_a_kept_worker_and_its_last_output_wait_for_who_adopts_it() {
    each_otp(|node, erluv| {
        node.eval_ok(
            r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, "read x; echo last; exit 7",
                [stdin, stdout, {report, true}, {on_nodedown, {keep, 60}}]})"#,
        );
        reconnect(node, erluv);
        wait_state(node, "kept");
        // Who has the pid may still write to it.
        node.eval_ok(r#"P ! {stdin, "go\n"}"#);
        let os_pid: i32 = node.eval_ok("Os").parse().unwrap();
        proc::wait_until("it has ended", || !proc::exists(os_pid));
        assert_eq!(node.eval_ok("receive {stdout, P, _} -> told after 300 -> silent end"), "silent");
        wait_state(node, "kept");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {adopt, P})"), "ok");
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> D end"), r#"<<"last\n">>"#);
        assert_eq!(node.eval_ok("receive {report, P, Map} -> maps:get(code, Map) end"), "7");
        assert_eq!(node.eval_ok("receive {'DOWN', Os, process, P, R} -> R end"), "{exited,7}");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, workers)"), "[]");
    });
}

#[test]
fn a_kept_worker_survives_the_end_of_its_node_but_not_its_time() {
    each_otp(|node, erluv| {
        let run = |seconds: u32| -> i32 {
            let run = format!(
                r#"{{ok, P, Os}} = gen_server:call({{erluv, E}}, {{run, ["/bin/sleep", "1000"], [{{on_nodedown, {{keep, {seconds}}}}}]}})"#
            );
            node.eval_ok(&format!("f(P), f(Os), ok, {run}"));
            node.eval_ok("Os").parse().unwrap()
        };
        let (long, short) = (run(600), run(1));
        node.kill();
        proc::wait_until("the time of one is over", || !proc::exists(short));
        node.restart();
        meet(node, erluv);
        assert!(proc::exists(long));
        wait_state(node, "kept");
        node.eval_ok("[W] = gen_server:call({erluv, E}, workers), P = maps:get(pid, W), M = monitor(process, P)");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {adopt, P})"), "ok");
        node.eval_ok("exit(P, shutdown)");
        assert_eq!(end_of(node, "P"), "{signaled,sigterm}");
        proc::wait_until("it is gone", || !proc::exists(long));
    });
}

#[test]
fn nobody_of_the_old_connection_is_told_of_a_kept_worker() {
    each_otp(|node, erluv| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(
            r#"P = spawn_link(E, erluv, run, ["while :; do echo x; sleep 0.01; done", [stdout, {on_nodedown, {keep, 60}}]])"#,
        );
        reconnect(node, erluv);
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> f(R), R end"), "noconnection");
        node.eval_ok("(fun F() -> receive {stdout, P, _} -> F() after 0 -> ok end end)()");
        node.eval_ok("exit(P, kill)");
        assert_eq!(node.eval_ok("receive X -> X after 500 -> silent end"), "silent");
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    });
}

#[test]
fn the_time_of_a_worker_runs_while_it_is_kept() {
    each_otp(|node, erluv| {
        node.eval_ok(
            r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [{timeout, 2000}, {on_nodedown, {keep, 60}}]})"#,
        );
        reconnect(node, erluv);
        wait_state(node, "kept");
        let os_pid: i32 = node.eval_ok("Os").parse().unwrap();
        proc::wait_until("it has ended", || !proc::exists(os_pid));
        node.eval_ok("M = monitor(process, P), ok = gen_server:call({erluv, E}, {adopt, P})");
        assert_eq!(end_of(node, "P"), "timeout");
    });
}

#[test]
fn s30_a_terminal_is_written_to_read_from_sized_and_set() {
    each_otp(|node, _| {
        node.eval_ok(
            "Until = fun F(P, Acc, Want) -> case binary:match(Acc, Want) of nomatch -> receive {stdout, P, D} ->
                F(P, <<Acc/binary, D/binary>>, Want) after 10000 -> {missing, Acc} end; _ -> ok end end",
        );
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, ["tty -s && echo terminal; stty size; read x; stty size; stty -a; cat; exit 3",
                [stdin, stdout, {stderr, stdout}, pty, {winsz, {24, 81}}, {env, [{"PATH", "/usr/bin:/bin"}]}]])"#,
        );
        assert_eq!(node.eval_ok(r#"Until(P, <<>>, <<"terminal\r\n24 81\r\n">>)"#), "ok");
        assert_eq!(node.eval_ok("gen_server:call(P, {winsz, 30, 90})"), "ok");
        assert_eq!(node.eval_ok("gen_server:call(P, {pty_opts, [{vintr, 1}, {echoe, false}]})"), "ok");
        node.eval_ok(r#"P ! {stdin, "x\n"}"#);
        assert_eq!(node.eval_ok(r#"Until(P, <<>>, <<"30 90\r\n">>)"#), "ok");
        // Nothing is echoed, and the end of input is the character for it.
        node.eval_ok(r#"P ! {stdin, "typed\n"}, P ! {stdin, eof}"#);
        let all = node.eval_ok(
            "(fun F(Acc) -> receive {stdout, P, D} -> F(<<Acc/binary, D/binary>>); {'DOWN', M, _, P, R} -> {R, Acc} end end)(<<>>)",
        );
        assert!(all.starts_with("{{exited,3},") && all.matches("typed").count() == 1, "{all}");
        node.eval_ok("f(M)");
        // The other end of a terminal that hangs up is an end like any other.
        node.eval_ok(r#"{Q, M} = spawn_monitor(E, erluv, run, [["/bin/cat"], [stdin, stdout, pty, pty_echo]])"#);
        node.eval_ok(r#"Q ! {stdin, "once\n"}"#);
        assert_eq!(node.eval_ok(r#"Until(Q, <<>>, <<"once\r\nonce\r\n">>)"#), "ok");
        node.eval_ok("exit(Q, kill)");
        assert_eq!(end_of(node, "Q"), "{signaled,sigkill}");
    });
}

#[test]
fn files_priority_mask_limits_and_arguments_reach_the_worker() {
    each_otp(|node, _| {
        node.eval_ok(
            "Out = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, [stdout, {env, [{\"PATH\", \"/usr/bin:/bin\"}]} | Opts]]),
                (fun F(L) -> receive {stdout, P, D} -> F([L, D]); {'DOWN', M, _, _, R} -> {R, iolist_to_binary(L)} end end)([]) end",
        );
        assert_eq!(node.eval_ok(r#"Out("umask", [{umask, 8#027}])"#), r#"{normal,<<"0027\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out("nice", [{nice, 5}])"#), r#"{normal,<<"5\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out("ulimit -n", [{limits, [{nofile, 33}]}])"#), r#"{normal,<<"33\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out(["/bin/sh", "-c", "echo $0"], [{arg0, "me"}])"#), r#"{normal,<<"me\n">>}"#);
        assert_eq!(node.eval_ok(r#"Out(["/bin/cat"], [{stdin, "/no/such"}])"#), "{{launch_failed,open,enoent},<<>>}");
        assert_eq!(node.eval_ok(r#"element(1, element(1, Out("true", [{group, 5}])))"#), "refused");
        assert_eq!(node.eval_ok(r#"element(1, element(1, Out("true", [{nice, -5}])))"#), "refused");
        assert_eq!(
            node.eval_ok(r#"Out("echo ok", [setpgid, {kill, "kill -INT $CHILD_PID"}, kill_group])"#),
            r#"{normal,<<"ok\n">>}"#
        );
    });
}

#[test]
fn a_command_of_ones_own_ends_a_worker_in_place_of_sigterm() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, ["trap 'exit 8' USR1; echo up; while :; do sleep 0.05; done",
                [stdout, {kill, "kill -USR1 $CHILD_PID"}, {kill_timeout, 10000}]])"#,
        );
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> D end"), r#"<<"up\n">>"#);
        assert_eq!(node.eval_ok("gen_server:call(P, stop_and_wait)"), "{exited,8}");
        assert_eq!(end_of(node, "P"), "{exited,8}");
    });
}
