//! Trees as real control groups. Each test runs in a process of its own with one thread. Those of limits need a host
//! with controllers of cgroup v2.

mod limits;

use std::fs;
use std::path::PathBuf;

use erluv_proto::ipc::Step;

use super::{Trees, UseCgroup, foresee};
use erluv_proto::ids::WorkerId;

use crate::sandbox::CgroupLimits;
use crate::settings::SandboxNeed;
use crate::sys::testing::{alone_as_root, killed_main};
use crate::workers::Report;
use crate::workers::bench::{Bench, NODE, alive, exists, mark, order, sandbox, shell};

/// The folder of this main, of what is said about it.
fn folder(trees_about: &str) -> PathBuf {
    PathBuf::from(trees_about.strip_prefix("workers are control groups below ").unwrap())
}

#[test]
fn groups_are_made_for_main_node_and_worker_and_go_with_them() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let own = folder(bench.workers.about());
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let place = own.join("n0/w2");
        let inside = fs::read_to_string(place.join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), started.pid().to_string());
        bench.workers.kill_node(NODE, std::time::Instant::now());
        bench.end(started.id());
        assert!(!exists(&place) && exists(&own.join("n0")));
        bench.workers.close();
        assert!(!exists(&own));
    });
}

#[test]
fn an_end_is_told_before_its_group_is_removed() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let place = folder(bench.workers.about()).join("n0/w2");
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let now = std::time::Instant::now();
        bench.workers.kill_node(NODE, now);
        let mut told = false;
        while !told {
            bench.workers.reaped(now, |report| told |= matches!(report, Report::Exited(..)));
            bench.workers.due(std::time::Instant::now(), |report| told |= matches!(report, Report::Exited(..)));
        }
        assert!(bench.workers.is_empty(NODE) && bench.workers.is_untidy() && exists(&place), "w{}", started.id().0);
        bench.workers.tidy();
        assert!(!bench.workers.is_untidy() && !exists(&place));
        bench.workers.close();
    });
}

#[test]
fn a_clean_end_leaves_nothing_even_where_workers_live() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Required), mark(46));
        let own = folder(bench.workers.about());
        bench.start(shell(&format!("setsid -f sleep {mark}; exec sleep {mark}")));
        bench.until("both", |_| (alive(&mark).len() == 2).then_some(()));
        bench.workers.close();
        assert!(!exists(&own));
        assert_eq!(alive(&mark), []);
    });
}

#[test]
fn groups_within_a_worker_s_group_go_with_it() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let own = folder(bench.workers.about());
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        fs::create_dir_all(own.join("n0/w2/a/b")).unwrap();
        bench.workers.kill_node(NODE, std::time::Instant::now());
        bench.end(started.id());
        assert!(!exists(&own.join("n0/w2")));
        bench.workers.close();
    });
}

/// How many descriptors of control groups this main has open.
fn open_groups(bench: &Bench) -> usize {
    let own = folder(bench.workers.about());
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    open.filter(|path| path.starts_with(own.join("n0")) && *path != own.join("n0")).count()
}

#[test]
fn a_group_that_waits_for_its_next_worker_is_open_and_few_are() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let place = folder(bench.workers.about()).join("n0/w2");
        let run = |bench: &mut Bench| {
            let started = bench.start(order(&["/bin/true"]));
            bench.end(started.id());
        };
        run(&mut bench);
        let first = open_groups(&bench);
        run(&mut bench);
        assert_eq!((first, open_groups(&bench), exists(&place)), (2, 2, true));
        let many = (0..40).map(|_| bench.start(order(&["/bin/sleep", "0.2"]))).collect::<Vec<_>>();
        for started in many {
            bench.end(started.id());
        }
        assert_eq!(open_groups(&bench), 32);
        // Those that are not needed for it are closed in time.
        for _ in 0..100 {
            run(&mut bench);
        }
        assert_eq!(open_groups(&bench), 2);
        bench.workers.kill_node(NODE, std::time::Instant::now());
        assert_eq!(open_groups(&bench), 0);
        bench.workers.close();
    });
}

#[test]
fn what_lives_on_in_a_group_that_was_used_before_is_seen_and_killed() {
    alone_as_root(|| {
        let (mut bench, mark) = (Bench::new(UseCgroup::Required), mark(48));
        for _ in 0..3 {
            let started = bench.start(order(&["/bin/true"]));
            bench.end(started.id());
        }
        let started = bench.start(shell(&format!("setsid -f sleep {mark}")));
        bench.end(started.id());
        assert_eq!(alive(&mark), []);
        // It was killed, so it is not for the next.
        assert_eq!(open_groups(&bench), 0);
        bench.workers.close();
    });
}

#[test]
fn waiting_groups_that_somebody_has_removed_are_made_anew() {
    alone_as_root(|| {
        for (waiting, wanted) in [(2, 1), (2, 2), (1, 1)] {
            let mut bench = Bench::new(UseCgroup::Required);
            let own = folder(bench.workers.about());
            let first = (0..waiting).map(|_| bench.start(order(&["/bin/sleep", "0.2"]))).collect::<Vec<_>>();
            for started in first {
                bench.end(started.id());
            }
            for number in 0..waiting {
                fs::remove_dir(own.join(format!("n0/w{}", 2 + number))).unwrap();
            }
            let sleeps = (0..wanted).map(|_| order(&["/bin/sleep", "1000"])).collect();
            let workers = bench.launch_together(sleeps).into_iter().flatten().collect::<Vec<_>>();
            assert_eq!(workers.len(), wanted, "{:?}", bench.reports);
            let inside = |worker: &WorkerId| {
                let processes = own.join(format!("n0/w{}/cgroup.procs", worker.0));
                !fs::read_to_string(processes).unwrap().trim().is_empty()
            };
            bench.until("processes in the groups", |_| workers.iter().all(inside).then_some(()));
            bench.workers.kill_node(NODE, std::time::Instant::now());
            for worker in workers {
                bench.end(worker);
            }
            bench.workers.close();
        }
    });
}

#[test]
fn what_a_dead_main_left_is_killed_at_the_next_start() {
    alone_as_root(|| {
        let mark = mark(47);
        let about = killed_main(|| {
            let mut bench = Bench::new(UseCgroup::Required);
            // Not the leader, which dies with main, but what it has started.
            bench.start(shell(&format!("setsid -f sleep {mark}; sleep 1000")));
            bench.until("the orphan", |_| (alive(&mark).len() == 1).then_some(()));
            bench.workers.about().to_owned()
        });
        let left = folder(&about);
        let mut bench = Bench::new(UseCgroup::Required);
        // The main of another test may have started meanwhile, and be about to do it.
        bench.until("nothing left", |_| (alive(&mark).is_empty() && !exists(&left)).then_some(()));
        bench.workers.close();
    });
}

#[test]
fn a_worker_that_freezes_is_stopped_and_continued_whole_and_a_stopped_one_still_ends() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let place = folder(bench.workers.about()).join("n0/w2");
        let frozen = || fs::read_to_string(place.join("cgroup.events")).unwrap().contains("frozen 1");
        let mut order = shell("setsid -f sleep 1000; exec sleep 1000");
        order.sandbox = sandbox(|profile| profile.cgroup.freeze = true);
        let started = bench.start(order);
        let signal = |bench: &mut Bench, signal: i32| {
            assert!(bench.workers.signal(NODE, started.id(), u8::try_from(signal).unwrap()));
        };
        signal(&mut bench, libc::SIGSTOP);
        bench.until("all of it stopped", |_| frozen().then_some(()));
        signal(&mut bench, libc::SIGCONT);
        bench.until("all of it running", |_| (!frozen()).then_some(()));
        signal(&mut bench, libc::SIGSTOP);
        bench.until("all of it stopped again", |_| frozen().then_some(()));
        let (now, grace) = (std::time::Instant::now(), std::time::Duration::from_secs(100));
        bench.workers.stop(NODE, started.id(), grace, now);
        let ended = bench.end(started.id());
        assert_eq!(ended.status, erluv_proto::ipc::ExitStatus::Signal(15, false));
        // The next worker of this node is not made in a group that is stopped.
        assert!(!exists(&place));
        bench.workers.close();
    });
}

#[test]
fn without_control_groups_it_is_said_why() {
    alone_as_root(|| {
        let trees = Trees::open(UseCgroup::Never).unwrap();
        assert_eq!(
            trees.about(),
            "workers are process groups and sessions, which a worker can leave: control groups are switched off"
        );
        // As a user who may not make groups where this process is.
        let nobody = nix::unistd::Uid::from_raw(crate::workers::bench::NOBODY);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        assert!(Trees::open(UseCgroup::Auto).unwrap().about().contains("Permission denied"));
        let error = Trees::open(UseCgroup::Required).unwrap_err().to_string();
        assert!(error.contains("start main where it may make groups"), "{error}");
    });
}

#[test]
fn what_a_living_main_has_stays_when_another_starts() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let other = Trees::open(UseCgroup::Required).unwrap();
        assert_ne!(folder(other.about()), folder(bench.workers.about()));
        assert!(exists(&folder(bench.workers.about()).join("n0/w2")));
        other.close();
        bench.turn_at(std::time::Instant::now());
        assert!(bench.reports.is_empty(), "{:?}", bench.reports);
        bench.workers.kill_node(NODE, std::time::Instant::now());
        bench.end(started.id());
        bench.workers.close();
    });
}

#[test]
fn a_controller_is_handed_down_to_the_groups_of_workers() {
    alone_as_root(|| {
        let mut hierarchy = super::cgroup::Hierarchy::open().unwrap();
        hierarchy.node(NODE).unwrap();
        let offered = super::cgroup::offered().unwrap();
        // No profile has a limit for it, and many a host without other controllers has it.
        hierarchy.hand_down("hugetlb");
        let own = hierarchy.path().to_owned();
        let later = crate::order::NodeIndex(1);
        hierarchy.node(later).unwrap();
        for node in ["n0", "n1"] {
            let given = fs::read_to_string(own.join(node).join("cgroup.subtree_control")).unwrap();
            assert_eq!(given.trim() == "hugetlb", offered.contains("hugetlb"), "{node}: {given}");
        }
        hierarchy.close();
    });
}

#[test]
fn a_limit_that_nothing_here_keeps_is_named_and_refused_unless_the_profile_can_do_without() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Never);
        let limits = CgroupLimits { memory_max: Some(1 << 26), ..CgroupLimits::default() };
        let why = ["cgroup memory_max: control groups are switched off"];
        assert_eq!(foresee(UseCgroup::Never, &limits), why);
        assert_eq!(foresee(UseCgroup::Never, &CgroupLimits::default()), [""; 0]);
        let lacks = bench.workers.provide(&limits);
        assert!(matches!(lacks.as_slice(), [one] if one.contains("memory_max") && one.contains("switched off")));
        let limited = |need| {
            let mut limited = order(&["/bin/true"]);
            limited.sandbox = sandbox(|profile| (profile.cgroup, profile.need) = (limits.clone(), need));
            limited
        };
        assert_eq!(bench.refuse(limited(SandboxNeed::Required)), (Step::Cgroup, libc::EOPNOTSUPP));
        let started = bench.start(limited(SandboxNeed::BestEffort));
        bench.end(started.id());
        bench.workers.close();
    });
}
