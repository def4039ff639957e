//! Workers as real processes. Each test that makes some runs in a process of its own with one thread.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{ExitStatus, Step};

use super::bench::{Bench, NODE, alive, descriptors, mark, order, shell};
use erluv_proto::ipc::SIGNALS;

use super::Report;
use crate::order::{Input, NodeIndex, Order, Output};
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;

const BOTH: [UseCgroup; 2] = [UseCgroup::Required, UseCgroup::Never];
const HOUR: Duration = Duration::from_secs(3600);

fn number(signal: i32) -> u8 {
    u8::try_from(signal).unwrap()
}

/// Waits until so many processes with this mark live.
fn count(bench: &mut Bench, mark: &str, wanted: usize) {
    bench.until("a number of processes", |_| (alive(mark).len() == wanted).then_some(()));
}

#[test]
fn a_worker_streams_both_ways_and_its_end_is_told_after_its_program() {
    alone_as_root(|| {
        for kind in BOTH {
            let mut bench = Bench::new(kind);
            let line = Order {
                stdin: Input::Pipe,
                stdout: Output::Pipe,
                stderr: Output::Pipe,
                ..shell("cat; echo no >&2; exit 3")
            };
            let mut started = bench.start(line);
            let launched = started.launched.clone();
            assert!(launched.stdin && launched.stdout && launched.stderr);
            assert_eq!((launched.request.0, launched.worker, launched.user.as_str()), (7, WorkerId(2), "nobody"));
            assert_eq!((bench.workers.running(NODE), started.pipes.len()), (1, 3));
            rustix::io::write(&started.pipes[0], b"hello\n").unwrap();
            drop(started.pipes.remove(0));
            assert_eq!(bench.read(&started.pipes[0]), "hello\n");
            assert_eq!(bench.read(&started.pipes[1]), "no\n");
            let end = bench.end(started.id());
            assert_eq!(end.status, ExitStatus::Code(3));
            assert!(end.usage.memory > 0 && end.usage.wall > 0);
            assert!(bench.workers.is_empty(NODE));
            bench.workers.close();
        }
    });
}

#[test]
fn a_worker_that_lives_costs_main_no_descriptor() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        // With the first, what all share is there: the group of the node.
        bench.start(order(&["/bin/sleep", "1000"]));
        let own = || descriptors(i32::try_from(std::process::id()).unwrap()).len();
        let before = own();
        for _ in 0..5 {
            bench.start(order(&["/bin/sleep", "1000"]));
        }
        assert_eq!(own(), before);
        bench.workers.close();
    });
}

#[test]
fn both_outputs_can_be_one() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let text = |stdout, stderr| Order { stdout, stderr, ..shell("echo out; echo err >&2") };
        for (stdout, stderr) in [(Output::Pipe, Output::Other), (Output::Other, Output::Pipe)] {
            let started = bench.start(text(stdout.clone(), stderr));
            assert_eq!((started.launched.stdout, started.pipes.len()), (stdout == Output::Pipe, 1));
            assert_eq!(bench.read(&started.pipes[0]), "out\nerr\n");
        }
        // A circle goes nowhere.
        let circle = bench.start(text(Output::Other, Output::Other));
        assert!(circle.pipes.is_empty());
        assert_eq!(bench.end(circle.id()).status, ExitStatus::Code(0));
        bench.workers.close();
    });
}

#[test]
fn s21_the_death_of_a_worker_ends_its_streams() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(Order { stdout: Output::Pipe, ..order(&["/bin/sleep", "1000"]) });
        assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGKILL)));
        assert_eq!(bench.read(&started.pipes[0]), "");
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
        bench.workers.close();
    });
}

#[test]
fn s33_a_failed_exec_is_told_with_its_step_and_nothing_else_is() {
    alone_as_root(|| {
        let folder = std::env::temp_dir().join(format!("erluv-s33-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = |name: &str, text: &str, mode| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let cases = [
            ("/nonexistent/program".to_owned(), libc::ENOENT),
            (file("plain", "#!/bin/sh\n", 0o644), libc::EACCES),
            (file("no_interpreter", "#!/nonexistent/shell\n", 0o755), libc::ENOENT),
            (file("no_format", "what?", 0o755), libc::ENOEXEC),
        ];
        for kind in BOTH {
            let mut bench = Bench::new(kind);
            for (path, errno) in &cases {
                assert_eq!(bench.refuse(order(&[path])), (Step::Exec, *errno), "{path}");
            }
            let next = bench.start(order(&["/bin/true"]));
            assert_eq!(next.id(), WorkerId(6), "an id is never used again");
            bench.workers.close();
        }
        fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn s38_workers_answer_to_their_own_node_only() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let other = NodeIndex(1);
        assert!(!bench.workers.signal(other, started.id(), number(libc::SIGTERM)));
        bench.workers.stop(other, started.id(), Duration::ZERO, Instant::now());
        bench.workers.kill_node(other, Instant::now());
        assert!(!bench.workers.signal(NODE, WorkerId(1), number(libc::SIGTERM)));
        assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGCONT)));
        bench.workers.kill_node(NODE, Instant::now());
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
        assert!(!bench.workers.signal(NODE, started.id(), number(libc::SIGTERM)), "it is gone");
        bench.workers.close();
    });
}

#[test]
fn s40_only_signals_of_the_table_are_sent() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        for signal in (0..=u8::MAX).filter(|signal| !SIGNALS.contains(&i32::from(*signal))) {
            assert!(!bench.workers.signal(NODE, started.id(), signal), "{signal}");
        }
        assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGUSR1)));
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(number(libc::SIGUSR1), false));
        bench.workers.close();
    });
}

/// A worker whose descendants do what they can to outlive it; each that sleeps has the mark.
fn family(mark: &str) -> Order {
    shell(&format!(
        "trap '' TERM HUP
         sleep {mark} &
         (sleep {mark} & exit 0)
         (sh -c \"trap '' TERM; sleep {mark}; true\" &)
         sh -c 'kill -STOP $$; true' {mark} &
         sh -c '(sleep {mark} & exit 0) & exit 0'
         bash -c 'set -m; sleep {mark} & exit 0'
         wait"
    ))
}

/// As many as [`family`] starts.
const FAMILY: usize = 6;

#[test]
fn s41_a_tree_dies_with_its_leader_whatever_it_does() {
    alone_as_root(|| {
        for kind in BOTH {
            let (mut bench, mark) = (Bench::new(kind), mark(41));
            // While another lives, nothing is killed for being the last.
            bench.start(order(&["/bin/sleep", "1000"]));
            let started = bench.start(family(&mark));
            count(&mut bench, &mark, FAMILY);
            assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGKILL)));
            assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
            assert_eq!(alive(&mark), [], "{kind:?}: the end was told while something lived");
            bench.workers.close();
        }
    });
}

#[test]
fn s41_a_new_session_is_no_way_out_of_a_control_group() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Required), mark(42));
        bench.start(order(&["/bin/sleep", "1000"]));
        let deep = format!("setsid sh -c 'setsid sleep {mark} & exec setsid -f sleep {mark}'");
        let started = bench.start(shell(&format!("{deep} & setsid -f sleep {mark}; exec sleep 1000")));
        count(&mut bench, &mark, 3);
        assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGTERM)));
        bench.end(started.id());
        assert_eq!(alive(&mark), []);
        bench.workers.close();
    });
}

#[test]
fn s41_without_control_groups_what_has_escaped_dies_with_the_last_worker() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Never), mark(43));
        let last = bench.start(order(&["/bin/sleep", "1000"]));
        let first = bench.start(shell(&format!("setsid -f sleep {mark}; exec sleep 1000")));
        // It runs, so it has left the session before.
        count(&mut bench, &mark, 1);
        assert!(bench.workers.signal(NODE, first.id(), number(libc::SIGTERM)));
        bench.end(first.id());
        assert_eq!(alive(&mark).len(), 1);
        bench.workers.kill_node(NODE, Instant::now());
        bench.end(last.id());
        count(&mut bench, &mark, 0);
        bench.until("the orphan's end", |bench| (!bench.others.is_empty()).then_some(()));
        bench.workers.close();
    });
}

#[test]
fn s39_the_group_is_killed_before_its_leader_is_reaped() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Never), mark(39));
        // Orphans go to init, as on systems that know no other way: no later look finds them.
        rustix::process::set_child_subreaper(None).unwrap();
        let started = bench.start(shell(&format!("sleep {mark} & (sleep {mark} & exit 0); wait")));
        count(&mut bench, &mark, 2);
        assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGKILL)));
        bench.end(started.id());
        assert_eq!(alive(&mark), []);
        bench.workers.close();
    });
}

#[test]
fn s41_a_stopped_worker_dies_by_the_ladder() {
    alone_as_root(|| {
        for kind in BOTH {
            let mut bench = Bench::new(kind);
            let started = bench.start(order(&["/bin/sleep", "1000"]));
            assert!(bench.workers.signal(NODE, started.id(), number(libc::SIGSTOP)));
            let stat = format!("/proc/{}/stat", started.pid());
            bench.until("a stopped worker", |_| fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
            bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
            assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(number(libc::SIGTERM), false));
            bench.workers.close();
        }
    });
}

#[test]
fn s42_sigterm_then_grace_then_sigkill() {
    alone_as_root(|| {
        for kind in BOTH {
            let (mut bench, start) = (Bench::new(kind), Instant::now());
            let ready =
                Order { stdout: Output::Pipe, ..shell("trap 'echo term' TERM; echo; while :; do sleep 0.01; done") };
            let started = bench.start(ready);
            bench.until("the trap", |_| rustix::io::read(&started.pipes[0], &mut [0; 16]).ok());
            bench.workers.stop(NODE, started.id(), HOUR, start);
            bench.until("SIGTERM", |_| rustix::io::read(&started.pipes[0], &mut [0; 16]).ok());
            assert_eq!(bench.workers.next_deadline(), Some(start + HOUR));
            // A later end is no longer grace; an earlier one is a shorter.
            bench.workers.stop(NODE, started.id(), 2 * HOUR, start);
            assert_eq!(bench.workers.next_deadline(), Some(start + HOUR));
            bench.workers.stop(NODE, started.id(), HOUR / 2, start);
            assert_eq!(bench.workers.next_deadline(), Some(start + HOUR / 2));
            bench.turn_at(start + HOUR / 2 - Duration::from_nanos(1));
            assert!(bench.reports.is_empty() && bench.workers.running(NODE) == 1);
            bench.turn_at(start + HOUR / 2);
            assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
            assert_eq!(bench.workers.next_deadline(), None);
            bench.workers.close();
        }
    });
}

#[test]
fn s42_a_worker_that_obeys_sigterm_ends_as_it_likes() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let ready = Order { stdout: Output::Pipe, ..shell("trap 'exit 5' TERM; echo; while :; do sleep 0.01; done") };
        let started = bench.start(ready);
        bench.until("the trap", |_| rustix::io::read(&started.pipes[0], &mut [0; 16]).ok());
        bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(5));
        let at_once = bench.start(shell("trap '' TERM; while :; do sleep 0.01; done"));
        bench.workers.stop(NODE, at_once.id(), Duration::ZERO, Instant::now());
        assert_eq!(bench.end(at_once.id()).status, ExitStatus::Signal(9, false));
        bench.workers.close();
    });
}

#[test]
fn kill_node_catches_workers_between_fork_and_exec() {
    alone_as_root(|| {
        for kind in BOTH {
            let (mut bench, mark) = (Bench::new(kind), mark(44));
            // With a priority it is made by fork, and nobody waits for its exec.
            let nice = || Order { nice: Some(1), ..order(&["/bin/sleep", &mark]) };
            let ids: BTreeSet<_> = (0..20).filter_map(|_| bench.launch(nice())).collect();
            bench.workers.kill_node(NODE, Instant::now());
            bench.until("an empty table", |bench| bench.workers.is_empty(NODE).then_some(()));
            assert_eq!(alive(&mark), []);
            let told = bench.reports.iter().map(|report| match report {
                Report::Failed(_, failed) => failed.worker,
                Report::Launched(..) | Report::Exited(..) => panic!("{report:?}"),
            });
            assert_eq!((told.collect::<BTreeSet<_>>(), ids.len()), (ids, 20));
            bench.workers.close();
        }
    });
}

#[test]
fn stop_node_ends_every_worker_and_leaves_other_nodes_alone() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Auto), mark(45));
        let other = NodeIndex(1);
        let theirs = bench.start(Order { node: other, ..order(&["/bin/sleep", &mark]) });
        for _ in 0..10 {
            bench.start(order(&["/bin/sleep", &mark]));
        }
        assert_eq!((bench.workers.running(NODE), bench.workers.running(other)), (10, 1));
        bench.workers.stop_node(NODE, HOUR, Instant::now());
        bench.until("an empty node", |bench| bench.workers.is_empty(NODE).then_some(()));
        assert_eq!((bench.workers.running(other), alive(&mark)), (1, vec![theirs.pid()]));
        bench.workers.kill_node(other, Instant::now());
        bench.end(theirs.id());
        bench.workers.close();
    });
}

#[test]
fn the_kill_file_ends_all_workers_of_a_node_without_main() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let kill = bench.workers.kill_file(NODE).unwrap();
        let started = bench.start(shell("setsid -f sleep 1000; sleep 1000"));
        rustix::io::write(&kill, b"1").unwrap();
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
        bench.workers.close();
        assert!(Bench::new(UseCgroup::Never).workers.kill_file(NODE).is_none());
    });
}

#[test]
fn children_that_are_no_workers_are_given_back() {
    alone_as_root(|| {
        for kind in BOTH {
            let mut bench = Bench::new(kind);
            let half = crate::sys::spawn_half(c"/bin/true", &[c"/bin/true".to_owned()], &[]).unwrap();
            assert!(crate::sys::is_half(half.pid));
            let ended = bench.until("the half's end", |bench| bench.others.pop());
            assert_eq!((ended.pid, ended.status), (half.pid, ExitStatus::Code(0)));
            assert!(!crate::sys::is_half(half.pid));
            bench.workers.close();
        }
    });
}
