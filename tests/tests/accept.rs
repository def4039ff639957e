//! The whole life of a worker through the OTP application: supervised over every kind of loss, unread, unreading, and
//! kept over the end of its node. What the node alone can see of it is in `erluv_accept_tests.erl`, whose functions
//! these tests use too.

mod common;

use std::path::{Path, PathBuf};

use common::{meet, pair};
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;
use nix::sys::signal::Signal;

/// A MiB in KiB: what one who does not read may cost anybody.
const MOST_KIB: u64 = 1024;

/// How much a worker that does not read is sent by eight writers, in bytes.
const FLOOD: u32 = 8 * 32 * 65536;

/// Runs a test on every OTP that is there, each with a node that runs the application and an erluv of its own.
fn each_otp(test: impl Fn(&Node, Daemon)) {
    for otp in Otp::all() {
        eprintln!("on {otp:?}");
        let (node, erluv) = pair(otp, "");
        compile(&node);
        start(&node);
        test(&node, erluv);
    }
}

/// The sources of the application, and what its suites share.
fn sources() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../erluv-proto/erlang");
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "erl");
    let application = std::fs::read_dir(top.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let suites = ["erluv_test.erl", "erluv_accept_tests.erl"].map(|name| top.join("test").join(name));
    application.filter(is_source).chain(suites).collect()
}

/// Has the node compile the application into its home, which its next life has too.
fn compile(node: &Node) {
    node.eval_ok("Home = os:getenv(\"HOME\")");
    let put = |path: &Path, name: &str| {
        let digits: String = std::fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let file = format!("filename:join(Home, \"{name}\")");
        node.eval_ok(&format!("ok = file:write_file({file}, binary:decode_hex(<<\"{digits}\">>))"));
    };
    for source in sources() {
        let name = source.file_name().unwrap().to_str().unwrap();
        put(&source, name);
        node.eval_ok(&format!("{{ok, _}} = compile:file(filename:join(Home, \"{name}\"), [{{outdir, Home}}])"));
        if name == "erluv.erl" {
            put(&source.with_file_name("erluv.app.src"), "erluv.app");
        }
    }
}

/// Starts the application and waits until it knows the daemon.
fn start(node: &Node) {
    node.eval_ok("true = code:add_patha(os:getenv(\"HOME\")), {ok, _} = application:ensure_all_started(erluv)");
    node.wait_eval("erluv:nodes() =:= [E]", "true");
}

/// The counts of starts of ten workers, as the node shows them, from the count of each.
fn starts(of: impl Fn(u32) -> u32) -> String {
    let all: Vec<String> = (1..=10).map(|number| format!("{{{number},{}}}", of(number))).collect();
    format!("[{}]", all.join(","))
}

#[test]
fn ten_supervised_workers_survive_a_kill_a_crash_and_a_restart_of_the_daemon() {
    each_otp(|node, mut erluv| {
        // One more restart than a kill, a crash and a restart take would end the supervisor.
        node.eval_ok("process_flag(trap_exit, true), {ok, S} = erluv_accept_tests:supervise(10, 1 + 10 + 10)");
        node.eval_ok("Back = fun(Old) -> erluv_accept_tests:back(S, Old) end");
        node.eval_ok("ok = Back(#{}), First = erluv_accept_tests:workers(S)");
        assert_eq!(node.eval_ok("erluv_accept_tests:starts()"), starts(|_| 1));

        let os_pid: i32 = node.eval_ok("element(2, maps:get(4, First))").parse().unwrap();
        proc::signal(os_pid, Signal::SIGKILL);
        node.eval_ok("ok = Back(maps:with([4], First)), Second = erluv_accept_tests:workers(S)");
        assert_eq!(node.eval_ok("erluv_accept_tests:starts()"), starts(|number| if number == 4 { 2 } else { 1 }));
        assert_eq!(node.eval_ok("maps:remove(4, First) =:= maps:remove(4, Second)"), "true");

        proc::signal(erluv.child_pid(), Signal::SIGKILL);
        node.eval_ok("ok = Back(Second), Third = erluv_accept_tests:workers(S)");
        assert_eq!(node.eval_ok("erluv_accept_tests:starts()"), starts(|number| if number == 4 { 3 } else { 2 }));

        assert_eq!(erluv.terminate(), 0);
        let again = Daemon::of(node).start();
        meet(node, &again);
        node.eval_ok("ok = Back(Third)");
        assert_eq!(node.eval_ok("erluv_accept_tests:starts()"), starts(|number| if number == 4 { 4 } else { 3 }));
        assert_eq!(node.eval_ok("is_process_alive(S)"), "true");
        let alive = node.eval_ok("lists:sort(erluv:which_children())");
        let mut workers = again.worker_pids();
        workers.sort_unstable();
        assert_eq!(alive, format!("{workers:?}").replace(' ', ""));
        assert_eq!(node.eval_ok("gen_server:stop(S)"), "ok");
        proc::wait_until("no worker is left", || again.worker_pids().is_empty());
    });
}

/// The memory of main and child, in KiB.
fn memory(erluv: &Daemon) -> (u64, u64) {
    (proc::rss_kib(erluv.main_pid()), proc::rss_kib(erluv.child_pid()))
}

/// What should not happen has the time to happen.
fn a_moment() {
    std::thread::sleep(std::time::Duration::from_millis(500));
}

/// Fails when main or child has grown by as much as what nobody may cost.
fn assert_same(before: (u64, u64), after: (u64, u64)) {
    assert!(after.0 < before.0 + MOST_KIB && after.1 < before.1 + MOST_KIB, "{before:?} -> {after:?} KiB");
}

#[test]
fn a_reader_that_sleeps_costs_a_window_and_misses_nothing() {
    each_otp(|node, erluv| {
        // What is made once stands in the memory before.
        node.eval_ok("{ok, Once} = erluv:stream([\"head\", \"-c\", \"1000000\", \"/dev/zero\"])");
        node.eval_ok("(fun F() -> case erluv:read(Once) of {stdout, _} -> F(); {eof, normal} -> ok end end)()");
        for (command, read) in [
            (r#"["yes", "0123456"]"#, "erluv_accept_tests:repeated(S, <<\"0123456\\n\">>, 30000000)"),
            (r#"["seq", "1", "100000000"]"#, "erluv_accept_tests:numbers(S, 1, 1000001)"),
        ] {
            let before = memory(&erluv);
            node.eval_ok("f(Before), Before = erluv_accept_tests:memory()");
            node.eval_ok(&format!("f(S), {{ok, S}} = erluv:stream({command})"));
            node.wait_eval("erluv_accept_tests:held()", "368640");
            let os_pid = node.eval_ok("maps:get(os_pid, erluv:info(erluv_stream:pid(S)))").parse().unwrap();
            proc::wait_until("the worker sleeps in its write", || proc::state(os_pid) == 'S');
            a_moment();
            assert_eq!(node.eval_ok("erluv_accept_tests:held()"), "368640");
            let grown = node.eval_ok("erluv_accept_tests:memory() - Before");
            let after = memory(&erluv);
            eprintln!("{command}: the node has grown by {grown} bytes, erluv from {before:?} to {after:?} KiB");
            assert!(grown.parse::<i64>().unwrap() < 1 << 20, "{grown} bytes");
            assert_same(before, after);
            assert_eq!(node.eval_ok(read), "1000001", "{command}");
            assert_eq!(node.eval_ok("erluv:close(S)"), "ok");
        }
    });
}

#[test]
fn a_writer_waits_for_who_does_not_read_and_loses_nothing() {
    each_otp(|node, erluv| {
        // What is made once stands in the memory before.
        node.eval_ok(
            "{ok, Once, OnceOs} = erluv:run([\"cat\"], [stdin, {stdout, null}, monitor, {executable, \"/bin/cat\"}])",
        );
        node.eval_ok("ok = erluv:send(Once, binary:copy(<<0>>, 1000000)), ok = erluv:send(Once, eof)");
        node.eval_ok("receive {'DOWN', OnceOs, process, Once, normal} -> ok end");
        let before = memory(&erluv);
        node.eval_ok("{W, Flood} = erluv_accept_tests:flood(8, 32)");
        a_moment();
        let after = memory(&erluv);
        let queued = node.eval_ok("maps:get(queued, erluv:info(W))");
        eprintln!("{queued} bytes wait, erluv has grown from {before:?} to {after:?} KiB");
        // Each writer waits for its answer and has much left to write.
        assert_eq!(node.eval_ok("length(erluv_accept_tests:writing(Flood))"), "8");
        assert_same(before, after);
        node.eval_ok("ok = erluv:kill(W, sigusr1)");
        let written = ["written"; 8].join(",");
        assert_eq!(node.eval_ok("erluv_accept_tests:drained(W, Flood)"), format!("{{[{written}],{FLOOD}}}"));
    });
}

/// A worker that counts aloud to 2000 for some seconds, in the words of `erluv:run`, kept and with these options too.
fn count_aloud(node: &Node, options: &str) -> i32 {
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; [ $((i % 5)) != 0 ] || sleep 0.005; done; exit 5";
    node.eval_ok(&format!(
        "{{ok, P, Os}} = erluv:run(\"{script}\", [stdout, {{on_nodedown, {{keep, 60}}}}, \
             {{env, [\"PATH=/usr/bin:/bin\"]}}{options}])"
    ));
    node.eval_ok("Os").parse().unwrap()
}

/// Bytes that a process has written.
fn written(os_pid: i32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{os_pid}/io")).unwrap_or_default();
    let count = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.map_or(u64::MAX, |count| count.parse().unwrap())
}

/// Ends the node, waits until the worker has counted on, starts the node again and adopts the worker as `P`. Returns
/// how many bytes the worker had written when erluv knew that the node was gone.
fn next_life(node: &Node, erluv: &Daemon, os_pid: i32) -> u64 {
    node.kill();
    erluv.wait_log("disconnected");
    let then = written(os_pid);
    proc::wait_until("the worker has counted on", || {
        written(os_pid) > then.saturating_add(500) || !proc::exists(os_pid)
    });
    node.restart();
    meet(node, erluv);
    start(node);
    node.eval_ok("[#{pid := P, state := kept, os_pid := Os}] = erluv:workers()");
    assert_eq!(node.eval_ok("Os"), os_pid.to_string());
    // A monitor of the first life ended with it.
    node.eval_ok("M = monitor(process, P), ok = erluv:adopt(P)");
    then
}

/// All that the worker still says, and the reason of its end.
const REST: &str = "(fun F(L) -> receive {stdout, Os, D} -> P ! {ack, stdout, byte_size(D)}, F([L, D]);
    {'DOWN', M, process, P, R} -> {iolist_to_binary(L), R} after 25000 -> {iolist_to_binary(L), none} end end)([])";

#[test]
fn a_kept_worker_counts_on_over_two_lives_of_its_node_and_each_number_is_read_once() {
    each_otp(|node, erluv| {
        let os_pid = count_aloud(node, ", {window, 512}");
        // The first life deals with the numbers to 300; whatever else it gets is not dealt with when it ends.
        let dealt_with: usize = (1..=300).map(|number: u32| number.to_string().len() + 1).sum();
        node.eval_ok(&format!(
            "Deal = fun F(Got) -> receive {{stdout, Os, D}} ->
                 Before = min(Got, {dealt_with}), After = min(Got + byte_size(D), {dealt_with}),
                 Before =:= After orelse (P ! {{ack, stdout, After - Before}}),
                 case Got + byte_size(D) of
                     Enough when Enough >= {dealt_with} + 512 -> Enough;
                     Next -> F(Next)
                 end end end"
        ));
        assert_eq!(node.eval_ok("Deal(0)"), (dealt_with + 512).to_string());
        // The acknowledgements have arrived before this is answered.
        node.eval_ok("#{state := running} = erluv:info(P)");
        next_life(node, &erluv, os_pid);
        node.eval_ok(&format!("{{Rest, Reason}} = {REST}"));
        assert_eq!(node.eval_ok("Reason"), "{exit_status,1280}");
        assert_eq!(
            node.eval_ok("Rest =:= iolist_to_binary([[integer_to_list(I), $\\n] || I <- lists:seq(301, 2000)])"),
            "true",
            "{}",
            node.eval_ok("{byte_size(Rest), binary:part(Rest, 0, min(60, byte_size(Rest)))}")
        );
    });
}

#[test]
fn without_a_window_nothing_is_lost_of_what_was_written_after_the_loss_was_known() {
    each_otp(|node, erluv| {
        let os_pid = count_aloud(node, "");
        node.eval_ok(
            "Until = fun F(L) -> receive {stdout, Os, D} -> New = <<L/binary, D/binary>>,
                 case byte_size(New) > 1000 of true -> New; false -> F(New) end end end",
        );
        let read: usize = node.eval_ok("byte_size(Until(<<>>))").parse().unwrap();
        let then = usize::try_from(next_life(node, &erluv, os_pid)).unwrap();
        node.eval_ok(&format!("{{Rest, Reason}} = {REST}"));
        assert_eq!(node.eval_ok("Reason"), "{exit_status,1280}");
        node.eval_ok("All = iolist_to_binary([[integer_to_list(I), $\\n] || I <- lists:seq(1, 2000)])");
        // It is the end of all, whole and in order; it does not begin before what was read, nor after what was written
        // when the loss was known.
        node.eval_ok("From = byte_size(All) - byte_size(Rest)");
        assert_eq!(node.eval_ok("binary:part(All, From, byte_size(Rest)) =:= Rest"), "true");
        let from: usize = node.eval_ok("From").parse().unwrap();
        eprintln!("{read} bytes read, {then} written when the loss was known; the next life began at {from}");
        assert!(read <= from && from <= then, "{read} <= {from} <= {then}");
    });
}
