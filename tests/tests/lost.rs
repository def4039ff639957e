//! What happens when something is lost: the child, main, the node, the way between them.

mod common;

use common::{each_otp, meet, pair};
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A worker with a grandchild that nobody but its tree knows; binds `P` and gives both process ids.
fn worker_with_grandchild(node: &Node) -> (i32, i32) {
    node.eval_ok("f(P), f(D), process_flag(trap_exit, true)");
    node.eval_ok(
        r#"P = spawn_link(E, erluv, run, ["(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000", [stdout]])"#,
    );
    let grandchild = node.eval_ok("receive {stdout, P, D} -> list_to_integer(string:trim(binary_to_list(D))) end");
    let os_pid = node.eval_ok("maps:get(os_pid, gen_server:call(P, info))");
    (os_pid.parse().unwrap(), grandchild.parse().unwrap())
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_dead_child_takes_its_workers_along_and_is_respawned_by_order() {
    each_otp(|node, erluv| {
        node.eval_ok("register(erluv, self())");
        for _ in 0..2 {
            let child = erluv.child_pid();
            let (os_pid, grandchild) = worker_with_grandchild(node);
            send(child, Signal::SIGKILL);
            assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> f(R), R end"), "noconnection");
            let notice = node.eval_ok("receive {erluv, E, {child_down, W}} -> f(W), W end");
            assert_eq!(notice, "{signaled,sigkill}");
            proc::wait_until("its workers are gone", || !proc::exists(os_pid) && !proc::exists(grandchild));
            // Nobody hangs while there is no child.
            assert_eq!(node.eval_ok(r#"gen_server:call({erluv, E}, {run, ["/bin/true"]})"#), "{error,child_down}");
            assert_eq!(node.eval_ok("gen_server:call({erluv, E}, info)"), "{error,child_down}");
            let spawned = node.eval_ok(r#"{Q, M} = spawn_monitor(E, erluv, run, [["/bin/true"]]), receive {'DOWN', M, _, Q, R} -> f(Q), f(M), f(R), R end"#);
            assert_eq!(spawned, "child_down");
            assert_eq!(node.eval_ok("rpc:call(E, erlang, node, [])"), "{badrpc,notsup}");
            assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
            assert_eq!(node.eval_ok("gen_server:call({erluv, E}, respawn)"), "ok");
            assert_eq!(node.eval_ok(r#"element(1, gen_server:call({erluv, E}, {run, ["/bin/true"]}, 20000))"#), "ok");
            assert_ne!(erluv.child_pid(), child);
        }
    });
}

#[test]
fn pids_of_an_earlier_child_are_noproc() {
    each_otp(|node, erluv| {
        node.eval_ok("process_flag(trap_exit, true), register(erluv, self())");
        node.eval_ok(r#"Old = spawn_link(E, erluv, run, [["/bin/sleep", "1000"], [stdin]])"#);
        send(erluv.child_pid(), Signal::SIGKILL);
        node.eval_ok("receive {erluv, E, {child_down, _}} -> ok end, ok = gen_server:call({erluv, E}, respawn)");
        node.eval_ok("receive {erluv, E, up} -> ok end");
        node.eval_ok(r#"New = spawn(E, erluv, run, [["/bin/sleep", "1000"], [stdin]])"#);
        // Everything that names the old pid must miss the new worker, whatever its number.
        node.eval_ok("exit(Old, kill), Old ! {signal, sigkill}, Old ! {stdin, eof}, unlink(Old)");
        assert_eq!(node.eval_ok("M = monitor(process, Old), receive {'DOWN', M, _, _, R} -> R end"), "noproc");
        assert_eq!(node.eval_ok("maps:get(state, gen_server:call(New, info))"), "running");
        node.eval_ok("exit(New, kill)");
    });
}

#[test]
fn a_child_that_hangs_is_a_child_that_is_lost() {
    let (node, erluv) = pair(Otp::V25, "heartbeat = \"100ms\"\nhang_timeout = \"500ms\"");
    node.eval_ok("register(erluv, self())");
    let (os_pid, grandchild) = worker_with_grandchild(&node);
    send(erluv.child_pid(), Signal::SIGSTOP);
    assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "noconnection");
    assert_eq!(node.eval_ok("receive {erluv, E, {child_down, W}} -> W end"), "hung");
    proc::wait_until("its workers are gone", || !proc::exists(os_pid) && !proc::exists(grandchild));
}

#[test]
fn s46_main_dies_when_nobody_orders_a_respawn() {
    let node = Node::start(Otp::V25);
    let mut erluv = Daemon::of(&node).config("die_timeout = \"500ms\"").start();
    meet(&node, &erluv);
    let (os_pid, grandchild) = worker_with_grandchild(&node);
    send(erluv.child_pid(), Signal::SIGSEGV);
    assert_eq!(erluv.wait(), 75);
    assert!(!proc::exists(os_pid) && !proc::exists(grandchild));
    erluv.wait_log("die_timeout");
}

#[test]
fn s37_s45_nothing_is_left_of_a_main_that_is_killed() {
    let node = Node::start(Otp::V25);
    let mut erluv = Daemon::of(&node).start();
    meet(&node, &erluv);
    let (os_pid, grandchild) = worker_with_grandchild(&node);
    // Child, and whoever makes workers for main.
    let children = proc::children(erluv.main_pid());
    erluv.kill9();
    // Without control groups a grandchild in a session of its own gets away: said so at start.
    let grandchild = Some(grandchild).filter(|_| erluv_tests::is_root());
    proc::wait_until("child and workers are gone", || {
        !children.iter().copied().any(proc::exists) && !proc::exists(os_pid) && !grandchild.is_some_and(proc::exists)
    });
    assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "noconnection");
    // The next one serves, and clears away what the first could not.
    let again = Daemon::of(&node).start();
    meet(&node, &again);
    assert!(proc::leftover_cgroups(erluv.main_pid()).is_empty());
}

#[test]
fn s45_s78_told_to_go_it_ends_its_workers_and_says_so() {
    each_otp(|node, _| {
        let mut erluv = Daemon::of(node).name("erluv_2@127.0.0.1").start();
        node.eval_ok("f(E)");
        meet(node, &erluv);
        let (os_pid, grandchild) = worker_with_grandchild(node);
        assert_eq!(erluv.terminate(), 0);
        assert!(!proc::exists(os_pid) && !proc::exists(grandchild));
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "{signaled,sigterm}");
        assert!(proc::leftover_cgroups(erluv.main_pid()).is_empty());
        node.eval_ok("f(E), E = 'erluv_1@127.0.0.1'");
    });
}

#[test]
fn a_node_that_is_lost_costs_its_workers_and_is_served_again() {
    each_otp(|node, erluv| {
        let (os_pid, grandchild) = worker_with_grandchild(node);
        let child = erluv.child_pid();
        node.kill();
        proc::wait_until("its workers are gone", || !proc::exists(os_pid) && !proc::exists(grandchild));
        node.restart();
        meet(node, erluv);
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, workers)"), "[]");
        assert_eq!(node.eval_ok(r#"element(1, gen_server:call({erluv, E}, {run, ["/bin/true"]}))"#), "ok");
        assert_eq!(erluv.child_pid(), child, "the child lives on across connections");
    });
}

#[test]
fn links_and_monitors_do_not_outlive_their_connection() {
    each_otp(|node, erluv| {
        node.eval_ok("process_flag(trap_exit, true)");
        node.eval_ok(r#"P = spawn_link(E, erluv, run, ["trap '' TERM; sleep 0.5", [{kill_timeout, 5000}]])"#);
        node.eval_ok("M = monitor(process, P), true = erlang:disconnect_node(E)");
        assert_eq!(node.eval_ok("receive {'EXIT', P, R} -> R end"), "noconnection");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, _, R2} -> R2 end"), "noconnection");
        meet(node, erluv);
        // The end of the old worker comes after the reconnect, and must not be told over the new connection.
        assert_eq!(node.eval_ok("receive {'EXIT', P, _} -> told after 1000 -> silent end"), "silent");
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    });
}

#[test]
fn a_quiet_connection_outlives_many_tick_times() {
    let node = Node::start(Otp::V25);
    node.eval_ok("net_kernel:set_net_ticktime(4, 0)");
    let erluv = Daemon::of(&node).start();
    meet(&node, &erluv);
    node.eval_ok("monitor_node(E, true)");
    assert_eq!(node.eval_ok("receive {nodedown, E} -> down after 8000 -> up end"), "up");
}

#[test]
fn several_can_serve_one_node() {
    let (node, _one) = pair(Otp::V25, "");
    let two = Daemon::of(&node).name("erluv_2@127.0.0.1").start();
    node.eval_ok("f(E)");
    meet(&node, &two);
    assert_eq!(node.eval_ok("length(nodes(hidden))"), "2");
}

#[test]
fn a_second_of_the_same_name_waits_until_the_first_is_gone() {
    for otp in Otp::all() {
        let (node, first) = pair(otp, "");
        let second = Daemon::of(&node).start();
        second.wait_log("the node is connected with another erluv of our name");
        // The first has lost nothing.
        node.eval_ok("{ok, P, _} = gen_server:call({erluv, E}, {run, [\"/bin/sleep\", \"1000\"], [{owner, none}]})");
        node.eval_ok("monitor_node(E, true)");
        assert_eq!(node.eval_ok("receive {nodedown, E} -> down after 2000 -> up end"), "up");
        assert_eq!(first.worker_pids().len(), 1);
        first.signal(nix::sys::signal::Signal::SIGKILL);
        assert_eq!(node.eval_ok("receive {nodedown, E} -> down end"), "down");
        second.wait_connected(&node);
        assert_eq!(node.eval_ok("gen_server:call({erluv, E}, workers)"), "[]");
    }
}
