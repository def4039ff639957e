//! Workers as Erlang sees them, from a node without any library, on every OTP: distribution.md's protocol and design's
//! promises about spawn, link, monitor, exit, messages and calls.

mod common;

use common::each_otp;
use erluv_tests::proc;

#[test]
fn a_worker_is_spawned_written_to_read_from_and_ends() {
    each_otp(|node, _| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(r#"P = spawn_link(E, erluv, run, [["/bin/cat", "-n"], [stdin, stdout]])"#);
        node.eval_ok(r#"P ! {stdin, <<"hello\n">>}"#);
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> D end"), r#"<<"     1\thello\n">>"#);
        node.eval_ok("P ! {stdin, eof}");
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "normal");
    });
}

#[test]
fn all_output_comes_before_the_end() {
    each_otp(|node, _| {
        node.eval_ok(r#"{P, M} = spawn_monitor(E, erluv, run, ["echo one; echo two >&2; exit 3", [stdout, stderr]])"#);
        node.eval_ok(
            "F = fun F(L) -> receive {S, P, D} -> F([{S, D} | L]); {'DOWN', M, _, P, R} -> {R, lists:sort(L)} end end",
        );
        assert_eq!(node.eval_ok("F([])"), r#"{{exited,3},[{stderr,<<"two\n">>},{stdout,<<"one\n">>}]}"#);
    });
}

#[test]
fn the_end_of_a_worker_is_its_exit_reason() {
    each_otp(|node, _| {
        node.eval_ok(
            "End = fun(Cmd) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd]), receive {'DOWN', M, _, P, R} -> R end end",
        );
        for (command, reason) in [
            (r#"["/bin/true"]"#, "normal"),
            (r#"["true"]"#, "normal"),
            (r#""exit 255""#, "{exited,255}"),
            (r#"<<"kill -TERM $$">>"#, "{signaled,sigterm}"),
            (r#""kill -USR1 $$""#, "{signaled,sigusr1}"),
            (r#"["/no/such"]"#, "{launch_failed,exec,enoent}"),
            (r#"["no-such-program"]"#, "{launch_failed,exec,enoent}"),
            (r#"["/etc/passwd"]"#, "{launch_failed,exec,eacces}"),
            ("[]", "{badcommand,[]}"),
        ] {
            assert_eq!(node.eval_ok(&format!("End({command})")), reason, "{command}");
        }
    });
}

#[test]
fn a_bad_option_is_refused_by_name_at_once() {
    each_otp(|node, _| {
        let refused = node.eval_ok(
            r#"{P1, M1} = spawn_monitor(E, erluv, run, [["/bin/true"], [stdin, {stdot, x}]]),
            receive {'DOWN', M1, _, P1, R1} -> R1 end"#,
        );
        assert_eq!(refused, "{badopt,{stdot,x}}");
        let called = node.eval_ok(r#"gen_server:call({erluv, E}, {run, ["/bin/true"], #{window => -5}})"#);
        assert_eq!(called, "{error,{badopt,{window,-5}}}");
    });
}

#[test]
fn a_call_starts_a_worker_and_tells_both_its_pids() {
    each_otp(|node, _| {
        node.eval_ok(r#"{ok, P, Os} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]})"#);
        let os_pid: i32 = node.eval_ok("Os").parse().unwrap();
        assert_eq!(proc::cmdline(os_pid), ["/bin/sleep", "1000"]);
        assert_eq!(node.eval_ok("maps:get(os_pid, gen_server:call(P, info)) =:= Os"), "true");
        assert_eq!(node.eval_ok("[maps:get(pid, W) || W <- gen_server:call({erluv, E}, workers)] =:= [P]"), "true");
        assert_eq!(node.eval_ok("maps:get(owner, gen_server:call({erluv, E}, {info, P})) =:= self()"), "true");
        assert_eq!(node.eval_ok("gen_server:call(P, stop)"), "ok");
        node.eval_ok("M = monitor(process, P), receive {'DOWN', M, _, _, _} -> ok end");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {info, P})"), "{error,noproc}");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, workers)"), "[]");
        proc::wait_until("the process is gone", || !proc::exists(os_pid));
    });
}

#[test]
fn info_tells_what_erluv_is_and_no_cookie() {
    each_otp(|node, erluv| {
        node.eval_ok("I = gen_server:call({erluv, E}, info)");
        assert_eq!(node.eval_ok("maps:get(node, I) =:= E"), "true");
        assert_eq!(node.eval_ok("maps:get(serves, I) =:= node()"), "true");
        assert_eq!(node.eval_ok("maps:is_key(cookie, I)"), "false");
        assert_eq!(node.eval_ok("maps:get(worker_users, I)"), erluv.worker_users());
        assert_eq!(
            node.eval_ok("lists:all(fun(K) -> maps:is_key(K, I) end, [version, limits, uptime, started, running])"),
            "true"
        );
        assert_eq!(
            node.eval_ok("gen_server:call({erluv, E}, {set, cookie, x})"),
            "{error,{unknown_request,{set,cookie,x}}}"
        );
    });
}

#[test]
fn exit_kill_kills_at_once() {
    each_otp(|node, _| {
        node.eval_ok(r#"{P, M} = spawn_monitor(E, erluv, run, ["trap '' TERM; sleep 1000 & wait; wait", []])"#);
        let os_pid: i32 = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
        node.eval_ok("exit(P, kill)");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R end"), "{signaled,sigkill}");
        proc::wait_until("the process is gone", || !proc::exists(os_pid));
    });
}

#[test]
fn s41_exit_shutdown_ends_a_worker_that_ignores_sigterm_with_all_that_it_started() {
    each_otp(|node, _| {
        // A grandchild in a session of its own, whose parent has gone: only its tree still knows it.
        node.eval_ok(r#"Cmd = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' &); while :; do sleep 1000; done""#);
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [Cmd, [stdout, {kill_timeout, 200}]])");
        let grandchild: i32 = node
            .eval_ok("receive {stdout, P, D} -> list_to_integer(string:trim(binary_to_list(D))) end")
            .parse()
            .unwrap();
        let os_pid: i32 = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
        assert!(proc::exists(grandchild) && proc::exists(os_pid));
        node.eval_ok("exit(P, shutdown)");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R end"), "{signaled,sigkill}");
        proc::wait_until("the grandchild is gone", || !proc::exists(grandchild) && !proc::exists(os_pid));
    });
}

#[test]
fn what_a_worker_leaves_behind_ends_with_it() {
    each_otp(|node, _| {
        node.eval_ok(
            r#"{P, M} = spawn_monitor(E, erluv, run, ["(setsid sleep 1000 >/dev/null & echo $!)", [stdout]])"#,
        );
        let left: i32 = node
            .eval_ok("receive {stdout, P, D} -> list_to_integer(string:trim(binary_to_list(D))) end")
            .parse()
            .unwrap();
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R end"), "normal");
        proc::wait_until("what it left is gone", || !proc::exists(left));
    });
}

#[test]
fn exit_normal_is_ignored_and_unlink_holds() {
    each_otp(|node, _| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(r#"P = spawn_link(E, erluv, run, [["/bin/sleep", "1000"]])"#);
        node.eval_ok("exit(P, normal)");
        assert_eq!(node.eval_ok("maps:get(state, gen_server:call(P, info))"), "running");
        node.eval_ok("unlink(P), exit(P, kill), M = monitor(process, P), receive {'DOWN', M, _, _, _} -> ok end");
        assert_eq!(node.eval_ok("receive {'EXIT', P, _} -> linked after 100 -> unlinked end"), "unlinked");
    });
}

#[test]
fn links_and_monitors_of_other_processes_are_kept() {
    each_otp(|node, _| {
        node.eval_ok(r#"{ok, P, _} = gen_server:call({erluv, E}, {run, "read x; exit 7", [stdin]})"#);
        node.eval_ok("Me = self(), Other = spawn(fun() -> process_flag(trap_exit, true), link(P), Me ! linked, receive X -> Me ! {other, X} end end)");
        node.eval_ok("receive linked -> ok end, M1 = monitor(process, P), M2 = monitor(process, P), demonitor(M1)");
        node.eval_ok(r#"P ! {stdin, "go\n"}"#);
        assert_eq!(node.eval_ok("receive {other, {'EXIT', P, R}} -> R end"), "{exited,7}");
        assert_eq!(node.eval_ok("receive {'DOWN', M2, process, P, R2} -> R2 end"), "{exited,7}");
        assert_eq!(node.eval_ok("receive {'DOWN', M1, _, _, _} -> told after 100 -> taken_back end"), "taken_back");
        // A process that ends takes the worker that it is linked with along.
        node.eval_ok(
            r#"{ok, Q, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]}), MQ = monitor(process, Q)"#,
        );
        node.eval_ok("spawn(fun() -> link(Q), exit(boom) end)");
        assert_eq!(node.eval_ok("receive {'DOWN', MQ, _, _, RQ} -> RQ end"), "{signaled,sigterm}");
    });
}

#[test]
fn s43_the_end_of_its_owner_ends_a_worker_whatever_the_reason() {
    each_otp(|node, _| {
        for end in ["normal", "shutdown", "kill"] {
            node.eval_ok("f(Owner), f(P), f(M), f(W), Me = self()");
            node.eval_ok(
                r#"Owner = spawn(fun() -> {ok, W, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]}),
                    Me ! {started, W}, receive X -> exit(X) end end)"#,
            );
            node.eval_ok("P = receive {started, W} -> W end, M = monitor(process, P)");
            if end == "kill" {
                node.eval_ok("exit(Owner, kill)");
            } else {
                node.eval_ok(&format!("Owner ! {end}"));
            }
            assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> f(R), R end"), "{signaled,sigterm}", "{end}");
        }
    });
}

#[test]
fn s57_processes_that_are_not_there_are_noproc_and_nobody_hangs() {
    each_otp(|node, _| {
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(r#"{ok, P, _} = gen_server:call({erluv, E}, {run, ["/bin/true"]}), M = monitor(process, P), receive {'DOWN', M, _, _, _} -> ok end"#);
        assert_eq!(node.eval_ok("M1 = monitor(process, P), receive {'DOWN', M1, _, _, R1} -> R1 end"), "noproc");
        assert_eq!(node.eval_ok("link(P), receive {'EXIT', P, R2} -> R2 end"), "noproc");
        assert_eq!(
            node.eval_ok("M3 = monitor(process, {nosuch, E}), receive {'DOWN', M3, _, _, R3} -> R3 end"),
            "noproc"
        );
        // A call without a monitor of its own, as somebody makes it who monitors the worker already.
        node.eval_ok("P ! {'$gen_call', {self(), one}, info}");
        assert_eq!(node.eval_ok("receive {one, Answer} -> Answer end"), "{error,noproc}");
        assert!(node.eval("gen_server:call({nosuch, E}, x)").unwrap_err().contains("noproc"));
        assert_eq!(node.eval_ok("P ! hello, exit(P, kill), unlink(P), ok"), "ok");
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    });
}

#[test]
fn s67_nothing_but_erluv_run_is_spawned() {
    each_otp(|node, _| {
        assert_eq!(node.eval_ok("rpc:call(E, erlang, node, [])"), "{badrpc,notsup}");
        assert!(node.eval("erpc:call(E, erlang, node, [])").unwrap_err().contains("notsup"));
        assert!(node.eval("spawn(E, os, cmd, [\"true\"])").map_or_else(|e| e.contains("notsup"), |_| true));
        assert!(node.eval("gen_server:call({rex, E}, x)").unwrap_err().contains("noproc"));
        assert_eq!(
            node.eval_ok("spawn_request(E, os, cmd, [\"true\"], [{reply_tag, t}]), receive {t, _, error, W} -> W end"),
            "notsup"
        );
        assert_eq!(node.eval_ok("nodes()"), "[]");
        assert_eq!(node.eval_ok("nodes(hidden) =:= [E]"), "true");
    });
}

#[test]
fn signals_by_name_and_number() {
    each_otp(|node, _| {
        node.eval_ok(r#"{P, M} = spawn_monitor(E, erluv, run, ["trap 'echo usr1' USR1; trap 'echo hup; exit 4' HUP; echo ready; while :; do sleep 0.05; done", [stdout]])"#);
        assert_eq!(node.eval_ok("receive {stdout, P, D0} -> D0 end"), r#"<<"ready\n">>"#);
        node.eval_ok("P ! {signal, sigusr1}");
        assert_eq!(node.eval_ok("receive {stdout, P, D1} -> D1 end"), r#"<<"usr1\n">>"#);
        assert_eq!(node.eval_ok("gen_server:call(P, {signal, 1})"), "ok");
        assert_eq!(node.eval_ok("receive {stdout, P, D2} -> D2 end"), r#"<<"hup\n">>"#);
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R end"), "{exited,4}");
    });
}

#[test]
fn options_reach_the_worker() {
    each_otp(|node, _| {
        node.eval_ok(
            "Out = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, Opts]),
                (fun F(L) -> receive {stdout, P, D} -> F([L, D]); {'DOWN', M, _, _, R} -> {R, iolist_to_binary(L)} end end)([]) end",
        );
        assert_eq!(node.eval_ok(r#"Out(["/usr/bin/env"], [stdout])"#), r#"{normal,<<>>}"#);
        assert_eq!(
            node.eval_ok(r#"Out(["/usr/bin/env"], [stdout, {env, [{"A", "1"}, "B=2"]}])"#),
            r#"{normal,<<"A=1\nB=2\n">>}"#
        );
        assert_eq!(node.eval_ok(r#"Out(["/bin/pwd"], [stdout])"#), r#"{normal,<<"/\n">>}"#);
        assert_eq!(
            node.eval_ok(r#"Out(["/bin/pwd"], #{stdout => true, cd => <<"/usr">>})"#),
            r#"{normal,<<"/usr\n">>}"#
        );
        assert_eq!(
            node.eval_ok(r#"Out("echo a; echo b >&2; echo c", [stdout, {stderr, stdout}])"#),
            r#"{normal,<<"a\nb\nc\n">>}"#
        );
        assert_eq!(node.eval_ok(r#"Out("echo a >&2", [stdout, {stderr, null}])"#), "{normal,<<>>}");
        // A string is sent in UTF-8, a binary as it is.
        let sent = r#"Out(["/bin/echo", [8364, $x], <<16#e9>>], [stdout])"#;
        assert_eq!(node.eval_ok(&format!("{sent} =:= {{normal, <<226, 130, 172, $x, 32, 16#e9, 10>>}}")), "true");
        assert_eq!(node.eval_ok(r#"Out(["/bin/true"], [{cd, "/no/such"}])"#), "{{launch_failed,chdir,enoent},<<>>}");
        node.eval_ok("Me = self(), To = spawn(fun() -> receive X -> Me ! {got, X} end end)");
        node.eval_ok(r#"{Q, _} = spawn_monitor(E, erluv, run, ["echo hi", [{stdout, To}]])"#);
        assert_eq!(node.eval_ok("receive {got, {stdout, Q, D}} -> D end"), r#"<<"hi\n">>"#);
    });
}

#[test]
fn a_caller_that_traces_does_not_break_the_connection() {
    each_otp(|node, _| {
        node.eval_ok("seq_trace:set_token(label, 17), seq_trace:set_token(send, true)");
        node.eval_ok(r#"P = spawn(E, erluv, run, [["/bin/cat"], [stdin, stdout]])"#);
        node.eval_ok(r#"P ! {stdin, <<"x">>}"#);
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> D end"), r#"<<"x">>"#);
        assert_eq!(node.eval_ok("is_map(gen_server:call({erluv, E}, info))"), "true");
        node.eval_ok("exit(P, kill), seq_trace:set_token([])");
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    });
}

#[test]
fn replies_come_to_every_kind_of_caller() {
    each_otp(|node, _| {
        assert_eq!(node.eval_ok("R = gen_server:send_request({erluv, E}, info), {reply, I} = gen_server:receive_response(R, 5000), is_map(I)"), "true");
        assert_eq!(node.eval_ok("is_map(gen_statem:call({erluv, E}, info))"), "true");
        // A caller that gave up does not find the late answer in its mailbox.
        node.eval_ok(r#"{ok, P, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [stdin]})"#);
        node.eval_ok("P ! {stdin, binary:copy(<<0>>, 500000)}");
        assert!(node.eval("gen_server:call(P, {stdin, <<1>>}, 50)").unwrap_err().contains("timeout"));
        node.eval_ok("exit(P, kill), M = monitor(process, P), receive {'DOWN', M, _, _, _} -> ok end");
        assert_eq!(node.eval_ok("receive X -> X after 100 -> empty end"), "empty");
    });
}
