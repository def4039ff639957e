//! Streams: byte for byte, in order, bounded in both directions.

mod common;

use common::{each_otp, pair};
use erluv_tests::otp::Otp;
use erluv_tests::proc;
use nix::sys::signal::Signal;

/// Collects what a worker writes: `Read(P, M)` gives the reason of its end and the bytes.
const READ: &str = "Read = fun(P, M) -> (fun F(L) -> receive {stdout, P, D} -> F([D | L]);
    {'DOWN', M, _, P, R} -> {R, iolist_to_binary(lists:reverse(L))} end end)([]) end";

#[test]
fn four_mebibytes_through_cat_come_back_byte_for_byte() {
    each_otp(|node, _| {
        node.eval_ok(READ);
        // Made by the runtime alone, with no loop for the shell to evaluate; no two pieces are the same.
        node.eval_ok("Data = binary:part(term_to_binary(lists:seq(1, 900000)), 0, 4194304)");
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"/bin/cat\"], [stdin, stdout]])");
        // By calls: each is answered when the worker has taken it, so nothing overflows.
        node.eval_ok(
            "[ok = gen_server:call(P, {stdin, binary:part(Data, I * 65536, 65536)}, 30000) || I <- lists:seq(0, 63)], P ! {stdin, eof}",
        );
        assert_eq!(node.eval_ok("{normal, Back} = Read(P, M), Back =:= Data"), "true");
    });
}

#[test]
fn a_consumer_that_acknowledges_nothing_blocks_the_worker_and_costs_nobody_memory() {
    each_otp(|node, erluv| {
        let before = (proc::rss_kib(erluv.main_pid()), proc::rss_kib(erluv.child_pid()));
        node.eval_ok("Binaries = erlang:memory(binary)");
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"/usr/bin/yes\"], [stdout, {window, 65536}]])");
        node.eval_ok(
            "Got = fun(Enough) -> (fun F(N) when N >= Enough -> N; F(N) -> receive {stdout, P, D} -> F(N + byte_size(D)) after 20000 -> N end end)(0) end",
        );
        assert_eq!(node.eval_ok("Got(65536)"), "65536");
        let os_pid: i32 = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
        proc::wait_until("the worker sleeps in its write", || proc::state(os_pid) == 'S');
        assert_eq!(node.eval_ok("receive {stdout, P, _} -> more after 300 -> blocked end"), "blocked");
        let after = (proc::rss_kib(erluv.main_pid()), proc::rss_kib(erluv.child_pid()));
        assert!(after.0 < before.0 + 1024 && after.1 < before.1 + 1024, "{before:?} -> {after:?} KiB");
        assert_eq!(node.eval_ok("erlang:memory(binary) - Binaries < 1048576"), "true");
        node.eval_ok("P ! {ack, stdout, 65536}");
        assert_eq!(node.eval_ok("Got(65536)"), "65536");
        assert_eq!(node.eval_ok("exit(P, kill), receive {'DOWN', M, _, _, R} -> R end"), "{signaled,sigkill}");
    });
}

#[test]
fn a_worker_that_writes_on_while_nobody_lets_it_come_wakes_nobody() {
    let (node, erluv) = pair(Otp::V25, "");
    // One byte at a time: each is let come by the one before.
    node.eval_ok(
        "Take = fun(P) -> (fun F(20000) -> 20000; F(N) -> P ! {ack, stdout, 1},
            receive {stdout, P, <<\"x\">>} -> F(N + 1) after 20000 -> {hangs, N} end end)(1) end",
    );
    for rest in [1000, 0] {
        let before = proc::sleeps(erluv.child_pid());
        let drip = format!("i=0; while [ $i -lt 20000 ]; do printf x; i=$((i+1)); done; sleep {rest}");
        node.eval_ok(&format!(
            "f(P), f(M), f(R), {{P, M}} = spawn_monitor(E, erluv, run, [\"{drip}\", [stdout, {{window, 1}}]])"
        ));
        node.eval_ok("receive {stdout, P, <<\"x\">>} -> ok end");
        let os_pid: i32 = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
        let done = || if rest == 0 { !proc::exists(os_pid) } else { !proc::children(os_pid).is_empty() };
        proc::wait_until("it has written all", done);
        let slept = proc::sleeps(erluv.child_pid()) - before;
        assert!(slept < 200, "{slept} sleeps of child for 20,000 writes");
        assert_eq!(node.eval_ok("Take(P)"), "20000");
        let (last, reason) = if rest == 0 { ("ok", "normal") } else { ("exit(P, kill)", "{signaled,sigkill}") };
        node.eval_ok(last);
        let end = node.eval_ok("receive {stdout, P, _} -> more; {'DOWN', M, _, _, R} -> R after 10000 -> hangs end");
        assert_eq!(end, reason);
    }
}

#[test]
fn what_is_written_behind_a_quiet_spell_is_told_at_once() {
    let (node, _erluv) = pair(Otp::V25, "");
    // By turns nothing is let come while it writes, and all of it is taken before it writes again.
    node.eval_ok(
        "Take = fun(P) -> (fun F(Got) when byte_size(Got) >= 4 -> Got;
            F(Got) -> P ! {ack, stdout, 2}, receive {stdout, P, D} -> F(<<Got/binary, D/binary>>) after 10000 -> {hangs, Got} end
         end)(<<>>) end",
    );
    for (way, quietly) in [("stdin, stdout", ""), ("stdin, stdout, pty", "stty -echo; ")] {
        let echo =
            format!("{quietly}printf 1234; while read line; do printf 1; printf 2; printf 3; printf 4; done; printf 5");
        node.eval_ok(&format!(
            "f(P), f(M), f(R), {{P, M}} = spawn_monitor(E, erluv, run, [\"{echo}\", [{way}, {{window, 2}}]])"
        ));
        node.eval_ok("<<\"1234\">> = Take(P)");
        let all = node.eval_ok(
            "lists:usort([begin P ! {stdin, <<\"\\n\">>}, timer:sleep(I rem 7), Take(P) end || I <- lists:seq(1, 200)])",
        );
        assert_eq!(all, "[<<\"1234\">>]", "{way}");
        node.eval_ok("P ! {ack, stdout, 1}, P ! {stdin, eof}, receive {stdout, P, <<\"5\">>} -> ok end");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R after 10000 -> hangs end"), "normal", "{way}");
    }
}

#[test]
fn what_a_node_does_not_read_waits_in_the_workers_pipe_and_not_in_the_kernels_buffers() {
    let (node, erluv) = pair(Otp::V25, "");
    // It begins when it is told to, which is once the node stands still.
    let flood = "trap 'head -c 67108864 /dev/zero; exit' USR1; echo; while :; do sleep 0.1; done";
    node.eval_ok(&format!("{{P, M}} = spawn_monitor(E, erluv, run, [\"{flood}\", [stdout]])"));
    node.eval_ok("receive {stdout, P, <<\"\\n\">>} -> ok end");
    let os_pid = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))").parse().unwrap();
    proc::signal(node.pid(), Signal::SIGSTOP);
    proc::signal(os_pid, Signal::SIGUSR1);
    proc::wait_until("nothing more goes out", || {
        let before = proc::send_queue(erluv.child_pid());
        std::thread::sleep(std::time::Duration::from_millis(200));
        before > 0 && before == proc::send_queue(erluv.child_pid())
    });
    let waits = proc::send_queue(erluv.child_pid());
    proc::signal(node.pid(), Signal::SIGCONT);
    assert!(waits < 512 * 1024, "{waits} bytes");
    let sum = node.eval_ok(
        "(fun F(N) -> receive {stdout, P, D} -> F(N + byte_size(D)); {'DOWN', M, _, _, R} -> {R, N} end end)(0)",
    );
    assert_eq!(sum, "{normal,67108864}");
}

#[test]
fn a_window_that_is_acknowledged_lets_everything_through() {
    each_otp(|node, _| {
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"head\", \"-c\", \"3000001\", \"/dev/zero\"], [stdout, {window, 10000}]])");
        let sum = node.eval_ok(
            "(fun F(N) -> receive {stdout, P, D} -> P ! {ack, stdout, byte_size(D)}, F(N + byte_size(D)); {'DOWN', M, _, _, R} -> {R, N} end end)(0)",
        );
        assert_eq!(sum, "{normal,3000001}");
    });
}

#[test]
fn the_end_is_told_though_the_last_window_was_never_acknowledged() {
    each_otp(|node, _| {
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [\"printf 1234567890\", [stdout, {window, 10}]])");
        assert_eq!(node.eval_ok("receive {stdout, P, D} -> D end"), "<<\"1234567890\">>");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R} -> R after 10000 -> hangs end"), "normal");
    });
}

#[test]
fn a_worker_that_does_not_read_costs_a_notice_or_a_wait_and_never_memory() {
    each_otp(|node, erluv| {
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"/bin/sleep\", \"1000\"], [stdin]])");
        let before = proc::rss_kib(erluv.child_pid());
        node.eval_ok("[P ! {stdin, binary:copy(<<0>>, 65536)} || _ <- lists:seq(1, 500)], ok");
        assert_eq!(node.eval_ok("receive {stdin_overflow, P} -> overflow end"), "overflow");
        let queued: u64 = node.eval_ok("maps:get(queued, gen_server:call(P, info))").parse().unwrap();
        assert!(queued <= 256 * 1024 + 65536, "{queued} bytes wait");
        assert!(proc::rss_kib(erluv.child_pid()) < before + 2048);
        assert!(node.eval("gen_server:call(P, {stdin, <<1>>}, 100)").unwrap_err().contains("timeout"));
        node.eval_ok("exit(P, kill), receive {'DOWN', M, _, _, _} -> ok end");
    });
}

#[test]
fn input_to_a_worker_that_closed_its_stdin_is_an_error_and_not_its_end() {
    each_otp(|node, _| {
        node.eval_ok(
            "{P, M} = spawn_monitor(E, erluv, run, [\"exec 0<&-; echo closed; sleep 1000\", [stdin, stdout]]), receive {stdout, P, _} -> ok end",
        );
        assert_eq!(node.eval_ok("gen_server:call(P, {stdin, <<1>>})"), "{error,stdin_closed}");
        assert_eq!(node.eval_ok("maps:get(state, gen_server:call(P, info))"), "running");
        node.eval_ok("{Q, _} = spawn_monitor(E, erluv, run, [[\"/bin/sleep\", \"1000\"]])");
        assert_eq!(node.eval_ok("gen_server:call(Q, {stdin, <<1>>})"), "{error,stdin_closed}");
        node.eval_ok("exit(P, kill), exit(Q, kill)");
    });
}

#[test]
fn input_may_be_any_iodata_and_ends_while_output_goes_on() {
    each_otp(|node, _| {
        node.eval_ok(READ);
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [\"wc -c; echo done\", [stdin, stdout]])");
        node.eval_ok("P ! {stdin, [<<\"abc\">>, \"de\", [$f, [[], \"\\n\"]] | <<\"tail\">>]}, P ! {stdin, \"\"}, P ! {stdin, eof}");
        assert_eq!(node.eval_ok("Read(P, M)"), "{normal,<<\"11\\ndone\\n\">>}");
    });
}

#[test]
fn long_input_of_every_form_comes_whole_and_in_its_order() {
    each_otp(|node, _| {
        node.eval_ok(READ);
        node.eval_ok("Data = binary:part(term_to_binary(lists:seq(1, 700000)), 0, 3000000)");
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"/bin/cat\"], [stdin, stdout]])");
        node.eval_ok("Part = fun(From, To) -> binary:part(Data, From, To - From) end");
        node.eval_ok("Call = fun(From, To) -> ok = gen_server:call(P, {stdin, Part(From, To)}, 30000) end");
        // Long and short ones, calls and messages, and a list, which cannot be taken as it comes.
        node.eval_ok("Call(0, 900000), P ! {stdin, Part(900000, 900001)}, P ! {stdin, Part(900001, 1400000)}");
        node.eval_ok("Call(1400000, 1400100), Call(1400100, 1900000)");
        node.eval_ok("ok = gen_server:call(P, {stdin, [Part(1900000, 2300000), Part(2300000, 2500000)]}, 30000)");
        node.eval_ok("Call(2500000, 3000000), P ! {stdin, eof}");
        assert_eq!(node.eval_ok("{normal, Back} = Read(P, M), Back =:= Data"), "true");
    });
}

#[test]
fn long_input_that_its_worker_does_not_read_is_an_error_once_it_cannot() {
    each_otp(|node, _| {
        node.eval_ok("Long = binary:copy(<<7>>, 900000)");
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [\"exec <&-; sleep 1000\", [stdin]])");
        node.eval_ok("(fun F() -> case gen_server:call(P, {stdin, <<1>>}) of ok -> F(); E1 -> E1 end end)()");
        assert_eq!(node.eval_ok("gen_server:call(P, {stdin, Long})"), "{error,stdin_closed}");
        node.eval_ok("{Q, N} = spawn_monitor(E, erluv, run, [[\"/bin/sleep\", \"1000\"], [stdin]])");
        node.eval_ok(
            "Self = self(), spawn(fun() -> Self ! {answer, catch gen_server:call(Q, {stdin, Long}, 30000)} end)",
        );
        assert_eq!(node.eval_ok("receive {answer, A} -> A after 300 -> waits end"), "waits");
        node.eval_ok("exit(Q, kill)");
        assert_eq!(node.eval_ok("receive {answer, B} -> B end"), "{error,stdin_closed}");
        assert_eq!(node.eval_ok("receive {'DOWN', N, _, _, R} -> R end"), "{signaled,sigkill}");
        assert_eq!(node.eval_ok("exit(P, kill), receive {'DOWN', M, _, _, S} -> S end"), "{signaled,sigkill}");
    });
}

#[test]
fn a_frame_over_the_limit_is_refused_and_the_connection_goes_on() {
    each_otp(|node, erluv| {
        node.eval_ok("{P, M} = spawn_monitor(E, erluv, run, [[\"/bin/cat\"], [stdin, stdout]])");
        node.eval_ok("Big = binary:copy(<<7>>, 3000000)");
        assert_eq!(node.eval_ok("gen_server:call(P, {stdin, Big}, 20000)"), "{error,too_large}");
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, {run, [Big]}, 20000)"), "{error,too_large}");
        assert!(
            node.eval_ok("{Q, MQ} = spawn_monitor(E, erluv, run, [[Big]]), receive {'DOWN', MQ, _, Q, R} -> R end")
                .starts_with("{refused,{too_large")
        );
        assert!(proc::rss_kib(erluv.child_pid()) < 64 * 1024);
        assert_eq!(node.eval_ok("P ! {stdin, <<\"x\">>}, receive {stdout, P, D} -> D end"), "<<\"x\">>");
        node.eval_ok("exit(P, kill)");
    });
}

#[test]
fn many_workers_write_at_once_and_none_is_lost_or_mixed() {
    let (node, _erluv) = pair(Otp::V25, "");
    node.eval_ok(READ);
    let all = node.eval_ok(
        "Me = self(),
         [spawn(fun() -> {P, M} = spawn_monitor(E, erluv, run, [\"i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done\", [stdout]]),
             Me ! {done, Read(P, M)} end) || _ <- lists:seq(1, 100)],
         Expected = iolist_to_binary([[\"line \", integer_to_list(I), $\\n] || I <- lists:seq(0, 199)]),
         [receive {done, R} -> {normal, Expected} =:= R end || _ <- lists:seq(1, 100)]",
    );
    assert!(!all.contains("false"), "{all}");
}

#[test]
fn s54_a_flood_does_not_starve_an_echo() {
    let (node, erluv) = pair(Otp::V25, "");
    node.eval_ok("[spawn(fun() -> {P, _} = spawn_monitor(E, erluv, run, [[\"/usr/bin/yes\"], [stdout, {window, 262144}]]),
        (fun F() -> receive {stdout, P, D} -> P ! {ack, stdout, byte_size(D)}, F() end end)() end) || _ <- lists:seq(1, 4)]");
    node.eval_ok("C = spawn(E, erluv, run, [[\"/bin/cat\"], [stdin, stdout]])");
    node.eval_ok(
        "[begin C ! {stdin, <<I:32>>}, receive {stdout, C, <<I:32>>} -> ok end end || I <- lists:seq(1, 500)]",
    );
    assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    assert!(proc::rss_kib(erluv.child_pid()) < 32 * 1024);
}
