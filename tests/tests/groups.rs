//! Control groups of several erluv-main that share the group that they start in.

use erluv_tests::daemon::{Daemon, DaemonBuilder};
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{needs_root, proc, skip};
use nix::sys::signal::Signal;

/// Starts one under another name, joined with the node, and a worker of it: a leader and a descendant that has left its
/// session. `None` where it can make no control groups.
fn with_worker(builder: DaemonBuilder, node: &Node, name: &str, mark: &str) -> Option<Daemon> {
    let erluv = builder.name(&format!("{name}@127.0.0.1")).start();
    if erluv.wait_log("workers are").contains("which a worker can leave") {
        return None;
    }
    erluv.wait_connected(node);
    let run = format!(r#"{{run, "setsid -f sleep {mark}; exec sleep {mark}"}}"#);
    node.eval_ok(&format!("{{ok, _, _}} = gen_server:call({{erluv, '{}'}}, {run})", erluv.name()));
    proc::wait_until("both run", || live(mark) == 2);
    Some(erluv)
}

/// In a pid namespace of its own, where every process id of the others means nothing or another process.
fn elsewhere(builder: DaemonBuilder) -> DaemonBuilder {
    builder.shell(r#"exec unshare --pid --fork --kill-child --mount-proc "$@""#)
}

fn live(mark: &str) -> usize {
    proc::pids_running(&format!("sleep {mark}")).len()
}

/// The groups of workers below that of this main.
fn groups_of_workers(erluv: &Daemon) -> usize {
    let nodes = proc::leftover_cgroups(erluv.main_pid()).into_iter().map(|own| own.join("n0"));
    let groups = nodes.flat_map(|node| std::fs::read_dir(node).into_iter().flatten().flatten());
    groups.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
}

#[test]
fn the_groups_of_workers_that_were_killed_are_gone_once_main_has_nothing_else_to_do() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).start();
    if erluv.wait_log("workers are").contains("which a worker can leave") {
        skip!("no control groups");
    }
    erluv.wait_connected(&node);
    let run = format!(r#"gen_server:call({{erluv, '{}'}}, {{run, ["/bin/sleep", "1000"]}})"#, erluv.name());
    node.eval_ok(&format!("[_ | Pids] = [element(2, {run}) || _ <- lists:seq(1, 151)]"));
    assert_eq!(groups_of_workers(&erluv), 151);
    node.eval_ok("Refs = [monitor(process, Pid) || Pid <- Pids]");
    node.eval_ok("[exit(Pid, kill) || Pid <- Pids]");
    let ends = "lists:usort([receive {'DOWN', Ref, _, _, Why} -> Why after 10000 -> none end || Ref <- Refs])";
    assert_eq!(node.eval_ok(ends), "[{signaled,sigkill}]");
    proc::wait_until("the group of the one that lives is left alone", || groups_of_workers(&erluv) == 1);
    assert_eq!(erluv.worker_pids().len(), 1);
}

#[test]
fn the_workers_of_mains_in_other_pid_namespaces_are_left_alone() {
    needs_root!();
    let node = Node::start(Otp::V27);
    let Some(mut here) = with_worker(Daemon::of(&node), &node, "erluv_1", "7001") else { skip!("no control groups") };
    let Some(mut there) = with_worker(elsewhere(Daemon::of(&node)), &node, "erluv_2", "7002") else {
        skip!("no control groups in a pid namespace")
    };
    assert_eq!((live("7001"), live("7002")), (2, 2), "the one that started second has killed the first one's");
    let mut third = with_worker(Daemon::of(&node), &node, "erluv_3", "7003").expect("as the first");
    assert_eq!((live("7001"), live("7002"), live("7003")), (2, 2, 2), "one of the same pid namespace has killed");
    assert_eq!(third.terminate(), 0);
    assert_eq!((live("7001"), live("7002"), live("7003")), (2, 2, 0));
    assert_eq!(here.terminate(), 0);
    // unshare(1) keeps SIGTERM to itself.
    let inside = proc::children(there.main_pid());
    proc::signal(*inside.first().expect("it runs"), Signal::SIGTERM);
    assert_eq!(there.wait(), 0);
    proc::wait_until("nothing is left", || live("7001") + live("7002") == 0);
}

#[test]
fn s37_what_a_killed_main_leaves_is_gone_after_the_next_start() {
    needs_root!();
    let node = Node::start(Otp::V27);
    let Some(mut killed) = with_worker(Daemon::of(&node), &node, "erluv_1", "7011") else { skip!("no control groups") };
    let folder = killed.wait_log("workers are control groups below");
    let folder = folder.rsplit(' ').next().unwrap().to_owned();
    // Child would kill the workers when its main is gone: it is killed, too.
    let child = killed.child_pid();
    proc::signal(child, Signal::SIGSTOP);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    proc::signal(child, Signal::SIGKILL);
    let mut next = with_worker(Daemon::of(&node), &node, "erluv_2", "7012").expect("as the first");
    assert_eq!(live("7011"), 0);
    assert!(!std::path::Path::new(&folder).exists(), "{folder}");
    assert_eq!(next.terminate(), 0);
}
