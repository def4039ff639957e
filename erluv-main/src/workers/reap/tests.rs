//! Ends that are named, and ends that are not. Each test runs in a process of its own with one thread.

use std::fs;
use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;

use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::Report;
use crate::workers::bench::{Bench, NODE, Started, order};

fn start_three(bench: &mut Bench) -> Vec<Started> {
    (0..3).map(|_| bench.start(order(&["/bin/sleep", "1000"]))).collect()
}

/// Ends a child of ours without a word to the table of workers.
fn kill(started: &Started) {
    let pid = rustix::process::Pid::from_raw(started.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn wait_ended(started: &[Started]) {
    let is_zombie =
        |started: &Started| fs::read_to_string(format!("/proc/{}/stat", started.pid())).unwrap().contains(") Z ");
    while !started.iter().all(is_zombie) {
        std::thread::yield_now();
    }
}

/// The workers whose end was reported, in order of their ids.
fn ended(reports: &mut Vec<Report>) -> Vec<WorkerId> {
    let mut ended: Vec<_> = reports
        .drain(..)
        .map(|report| match report {
            Report::Exited(_, exited) => exited.worker,
            Report::Launched(..) | Report::Failed(..) => panic!("{report:?}"),
        })
        .collect();
    ended.sort();
    ended
}

fn ids(started: &[Started]) -> Vec<WorkerId> {
    started.iter().map(Started::id).collect()
}

#[test]
fn who_is_named_is_taken_up_at_once_and_the_others_by_a_look_that_is_due() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let (started, now) = (start_three(&mut bench), Instant::now());
        bench.workers.reaped(now, |report| panic!("{report:?}"));
        assert_eq!(bench.workers.next_look(now), None);
        started.iter().for_each(kill);
        wait_ended(&started);
        let mut reports = Vec::new();
        // Whoever is named may also have been stopped only, or be no child at all.
        let named = [started[2].pid(), i32::try_from(std::process::id()).unwrap()];
        let others = bench.workers.named(&named, now, |report| reports.push(report));
        assert_eq!((others, ended(&mut reports)), (Vec::new(), vec![started[2].id()]));
        assert_eq!(bench.workers.next_look(now), Some(now));
        let others = bench.workers.reaped(now, |report| reports.push(report));
        assert_eq!((others, ended(&mut reports)), (Vec::new(), ids(&started[..2])));
        assert_eq!(bench.workers.next_look(now), None);
        assert!(bench.workers.is_empty(NODE));
        bench.workers.close();
    });
}

#[test]
fn of_many_the_short_are_taken_up_when_any_end_is_heard_of() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        // Too many to look at all of them each time that one ends.
        let old = (0..210).map(|_| bench.start(order(&["/bin/sleep", "1000"]))).collect::<Vec<_>>();
        let (short, now) = (start_three(&mut bench), Instant::now());
        bench.workers.reaped(now, |report| panic!("{report:?}"));
        short.iter().chain(&old[..1]).for_each(kill);
        wait_ended(&short);
        wait_ended(&old[..1]);
        let mut reports = Vec::new();
        bench.workers.named(&[short[1].pid()], now, |report| reports.push(report));
        assert_eq!(ended(&mut reports), ids(&short));
        // Whoever is neither named nor short waits for a look that comes a little later.
        let due = bench.workers.next_look(now).unwrap();
        assert!(due > now);
        bench.workers.reaped(due, |report| reports.push(report));
        assert_eq!(ended(&mut reports), ids(&old[..1]));
        bench.workers.close();
    });
}

#[test]
fn all_that_were_told_to_end_are_taken_up_when_any_end_is_heard_of() {
    alone_as_root(|| {
        for grace in [Duration::ZERO, Duration::from_secs(3600)] {
            let mut bench = Bench::new(UseCgroup::Required);
            let (started, now) = (start_three(&mut bench), Instant::now());
            for worker in ids(&started) {
                // More than once: it is looked for once.
                bench.workers.stop(NODE, worker, grace, now);
                bench.workers.stop(NODE, worker, Duration::ZERO, now);
                assert_eq!(bench.workers.condemned.len(), started.iter().take_while(|one| one.id() <= worker).count());
            }
            wait_ended(&started);
            let mut reports = Vec::new();
            let others = bench.workers.named(&[], now, |report| reports.push(report));
            assert_eq!((others, ended(&mut reports)), (Vec::new(), ids(&started)));
            assert_eq!((bench.workers.condemned.len(), bench.workers.is_empty(NODE)), (0, true));
            bench.workers.close();
        }
    });
}

#[test]
fn whoever_lives_on_is_looked_at_again_behind_the_others() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        // As one that does not heed its SIGTERM.
        let deaf = bench.start(order(&["/bin/sleep", "1000"]));
        let (started, now) = (start_three(&mut bench), Instant::now());
        let hour = Duration::from_secs(3600);
        bench.workers.condemned.push_back(deaf.pid());
        started.iter().for_each(|started| bench.workers.stop(NODE, started.id(), hour, now));
        wait_ended(&started);
        let mut reports = Vec::new();
        bench.workers.named(&[], now, |report| reports.push(report));
        assert_eq!(ended(&mut reports), ids(&started));
        assert_eq!(bench.workers.condemned, [deaf.pid()]);
        // One that was taken up meanwhile is forgotten.
        kill(&deaf);
        wait_ended(std::slice::from_ref(&deaf));
        bench.workers.named(&[deaf.pid()], now, |report| reports.push(report));
        assert_eq!((ended(&mut reports), bench.workers.condemned.len()), (vec![deaf.id()], 0));
        bench.workers.close();
    });
}

#[test]
fn s39_without_control_groups_nobody_is_reaped_by_a_name_alone() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Never);
        let (started, now) = (start_three(&mut bench), Instant::now());
        started.iter().for_each(|started| bench.workers.stop(NODE, started.id(), Duration::ZERO, now));
        wait_ended(&started);
        let mut reports = Vec::new();
        let pids = started.iter().map(Started::pid).collect::<Vec<_>>();
        assert!(bench.workers.named(&pids, now, |report| reports.push(report)).is_empty());
        assert!(reports.is_empty() && bench.workers.condemned.is_empty());
        assert_eq!(bench.workers.next_look(now), Some(now));
        for started in &started {
            bench.end(started.id());
        }
        bench.workers.close();
    });
}
