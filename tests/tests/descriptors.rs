//! What happens where a process of erluv's has no descriptors left: the start that finds no room is refused by name,
//! and nothing else is lost.

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;

use common::each_otp;
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::proc;

/// Lets a process open so many descriptors more, all below the highest that it has included. Its limit of before.
fn leave_room(pid: i32, more: usize) -> String {
    let before = proc::limit(pid, "Max open files").1;
    let open = proc::fds(pid);
    // A new descriptor has the lowest number that is free.
    let limit = (0..).filter(|number| !open.contains_key(number)).nth(more).unwrap();
    set_limit(pid, &format!("{limit}:{before}"));
    before
}

/// As the process's own user, which may do so without privileges.
fn set_limit(pid: i32, limit: &str) {
    let (user, group) = (proc::uids(pid)[0], proc::gids(pid)[0]);
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--nofile={limit}")]).uid(user).gid(group);
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A worker that echoes, as `C` in the node's shell.
fn start_cat(node: &Node) {
    node.eval_ok(r#"{ok, C, _} = gen_server:call({erluv, E}, {run, ["/bin/cat"], [stdin, stdout]})"#);
}

fn echo(node: &Node, text: &str) {
    node.eval_ok(&format!(r#"C ! {{stdin, <<"{text}">>}}"#));
    assert_eq!(
        node.eval_ok("receive {stdout, C, Echoed} -> Echoed after 10000 -> none end"),
        format!(r#"<<"{text}">>"#)
    );
    node.eval_ok("f(Echoed)");
}

/// What comes of a start with three pipes: `{ok, Pid, OsPid}` or an error.
const THREE: &str = r#"gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [stdin, stdout, stderr]})"#;

fn wait_workers(erluv: &Daemon, count: usize) {
    proc::wait_until("so many workers", || erluv.worker_pids().len() == count);
}

#[test]
fn s19_a_start_whose_pipes_find_no_room_in_child_is_refused_by_name_and_all_else_goes_on() {
    erluv_tests::needs_root!();
    each_otp(|node, erluv| {
        start_cat(node);
        let child = erluv.child_pid();
        // For one of three.
        let before = leave_room(child, 4);
        node.eval_ok(&format!("{{ok, P, _}} = {THREE}"));
        let refused = "{launch_failed,pipe,emfile}";
        assert_eq!(node.eval_ok(THREE), format!("{{error,{refused}}}"));
        wait_workers(erluv, 2);
        node.eval_ok(r#"{P1, M1} = spawn_monitor(E, erluv, run, [["/bin/sleep", "1000"], [stdin, stdout, stderr]])"#);
        assert_eq!(node.eval_ok("receive {'DOWN', M1, _, P1, R1} -> R1 after 10000 -> none end"), refused);
        wait_workers(erluv, 2);
        echo(node, "first");
        // The room for one was given back each time, and no descriptor is needed for no stream.
        node.eval_ok(r#"{ok, _, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [stdout]})"#);
        node.eval_ok(r#"{ok, _, _} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"]})"#);
        assert_eq!(node.eval_ok(THREE), format!("{{error,{refused}}}"));
        // The end of another makes room.
        node.eval_ok(
            "M = monitor(process, P), exit(P, kill), receive {'DOWN', M, _, _, _} -> ok after 10000 -> none end",
        );
        wait_workers(erluv, 3);
        node.eval_ok(&format!("{{ok, _, _}} = {THREE}"));
        wait_workers(erluv, 4);
        set_limit(child, &format!("{before}:{before}"));
        node.eval_ok(&format!("{{ok, _, _}} = {THREE}"));
        echo(node, "last");
        assert_eq!(erluv.child_pid(), child);
        assert!(erluv.log().contains("no descriptor is left: raise the limit of open files"));
    });
}

#[test]
fn of_many_starts_at_once_each_runs_or_is_refused_by_name_where_child_has_room_for_some() {
    erluv_tests::needs_root!();
    each_otp(|node, erluv| {
        start_cat(node);
        let child = erluv.child_pid();
        leave_room(child, 31);
        // Who asks lives on, or what it has started is ended.
        let many = format!(
            "Self = self(), Told = fun({{ok, _, _}}) -> ok; ({{error, Why}}) -> Why end,
            _ = [spawn(fun() -> Self ! {{told, Told({THREE})}}, receive never -> ok end end) || _ <- lists:seq(1, 100)],
            All = [receive {{told, What}} -> What after 20000 -> none end || _ <- lists:seq(1, 100)],
            [{{One, length([1 || Each <- All, Each =:= One])}} || One <- lists:usort(All)]"
        );
        let counts = node.eval_ok(&many);
        assert_eq!(counts, "[{ok,10},{{launch_failed,pipe,emfile},90}]");
        wait_workers(erluv, 11);
        assert_eq!(node.eval_ok("length(gen_server:call({erluv, E}, workers))"), "11");
        echo(node, "there");
        assert_eq!(erluv.child_pid(), child);
    });
}

#[test]
fn a_start_that_main_has_no_descriptors_for_is_refused_by_name_and_all_else_goes_on() {
    erluv_tests::needs_root!();
    each_otp(|node, erluv| {
        start_cat(node);
        let (main, child) = (erluv.main_pid(), erluv.child_pid());
        // As many as it takes: each of the steps before finds none left.
        let refused = (0..20).take_while(|room| {
            let before = leave_room(main, *room);
            let outcome = node.eval_ok(&format!(
                "case {THREE} of {{error, {{launch_failed, _, emfile}}}} -> refused; {{ok, _, _}} -> runs end"
            ));
            set_limit(main, &format!("{before}:{before}"));
            outcome == "refused"
        });
        assert!((3..20).contains(&refused.count()));
        wait_workers(erluv, 2);
        node.eval_ok(&format!("{{ok, P, _}} = {THREE}"));
        // Without a descriptor for its control group, its end is as certain.
        let before = leave_room(main, 0);
        node.eval_ok("M = monitor(process, P), exit(P, kill)");
        assert_eq!(node.eval_ok("receive {'DOWN', M, _, P, R} -> R after 10000 -> none end"), "{signaled,sigkill}");
        set_limit(main, &format!("{before}:{before}"));
        echo(node, "there");
        wait_workers(erluv, 2);
        assert_eq!((erluv.main_pid(), erluv.child_pid()), (main, child));
    });
}
