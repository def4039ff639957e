//! Workers that are made at the same time. Each test runs in a process of its own with one thread.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{ExitStatus, Failure, Program, Step};

use super::slot::{Maker, Slot};
use super::wary::forget_who_was_slow;
use super::{MOST_AT_ONCE, Start, forget_the_crowd, room};
use crate::audit::Asked;
use crate::order::{Order, Output, OutputFile};
use crate::sandbox::CallList;
use crate::sys::testing::{alone, alone_as_root};
use crate::sys::vfork_tests::{leased, of_slow};
use crate::sys::{Blocked, Born, Plan, reap};
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NODE, order, sandbox, shell};
use crate::workers::{LaunchOutcome, Purpose, Report};

/// What was told of a worker before its end.
fn first_told(bench: &Bench, worker: WorkerId) -> Option<Result<(), Failure>> {
    bench.reports.iter().find_map(|report| match report {
        Report::Launched(_, launched, _) if launched.worker == worker => Some(Ok(())),
        Report::Failed(_, failed) if failed.worker == worker => Some(Err(failed.failure.clone())),
        Report::Launched(..) | Report::Failed(..) | Report::Exited(..) => None,
    })
}

#[test]
fn of_those_that_are_wanted_together_each_is_told_its_own_error() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let filtered = sandbox(|profile| profile.seccomp.list = CallList::Default);
        let mut at_once = 0;
        let step = |step, errno| Err(Failure::Step(step, errno));
        for round in 0..32 {
            forget_the_crowd();
            forget_who_was_slow();
            let to = |path: &str| {
                let file = OutputFile { path: CString::new(path).unwrap(), append: false, mode: 0o600 };
                Order { stdout: Output::File(file), ..of_slow(order(&["/bin/true"])) }
            };
            let nowhere = || Order { cwd: c"/no/such/folder".to_owned(), ..order(&["/bin/true"]) };
            let within = |order| Order { sandbox: Rc::clone(&filtered), ..order };
            let kinds = || {
                [
                    (order(&["/bin/true"]), Ok(())),
                    (order(&["/no/such/program"]), step(Step::Exec, libc::ENOENT)),
                    (within(order(&["/etc/passwd"])), step(Step::Exec, libc::EACCES)),
                    (nowhere(), step(Step::Chdir, libc::ENOENT)),
                    (within(of_slow(shell("exit 0"))), Ok(())),
                    (to("/no-room-for-it"), step(Step::Redirect, libc::EACCES)),
                    (within(to("/dev")), step(Step::Redirect, libc::EISDIR)),
                    (of_slow(shell("exit 0")), Ok(())),
                ]
            };
            let all = std::iter::repeat_with(kinds).flatten().skip(round);
            let wanted = all.take(MOST_AT_ONCE).collect::<Vec<_>>();
            assert_eq!(room(), MOST_AT_ONCE);
            let (orders, expected): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
            let workers = bench.launch_together(orders);
            let known = bench.reports.len();
            at_once = at_once.max(known);
            for (worker, expected) in workers.into_iter().flatten().zip(expected) {
                let told = bench.until("what came of it", |bench| first_told(bench, worker));
                assert_eq!(told, expected, "round {round}");
            }
            bench.until("nobody", |bench| bench.workers.is_empty(NODE).then_some(()));
            bench.reports.clear();
        }
        // Where others have the processors some are made by fork, and only later it is known what came of them.
        assert_eq!(at_once, MOST_AT_ONCE);
        bench.workers.close();
    });
}

#[test]
fn one_that_does_not_come_to_its_exec_keeps_back_none_that_are_wanted_with_it() {
    alone_as_root(|| {
        let (program, lease) = leased("together");
        let mut bench = Bench::new(UseCgroup::Auto);
        forget_the_crowd();
        let slow = || of_slow(order(&[program.to_str().unwrap()]));
        let others = || order(&["/bin/true"]);
        let began = Instant::now();
        let wanted = std::iter::repeat_with(|| [others(), slow()]).flatten().take(MOST_AT_ONCE).collect();
        let workers = bench.launch_together(wanted).into_iter().flatten().collect::<Vec<_>>();
        // All of them together cost main what one does.
        println!("main stood still for {} ms", began.elapsed().as_millis());
        for (place, worker) in workers.iter().enumerate() {
            if place % 2 == 0 {
                assert_eq!(bench.until("its start", |bench| first_told(bench, *worker)), Ok(()));
            }
        }
        assert!(workers.iter().skip(1).step_by(2).all(|worker| first_told(&bench, *worker).is_none()));
        drop(lease);
        for worker in workers {
            assert_eq!(bench.end(worker).status, ExitStatus::Code(0));
        }
        assert_eq!(bench.reports.len(), 2 * MOST_AT_ONCE, "a start and an end of each: {:?}", bench.reports);
        fs::remove_file(program).unwrap();
        bench.workers.close();
    });
}

#[test]
fn a_worker_counts_from_when_it_is_wanted_until_nothing_has_come_of_it() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let asked = || Asked::of("node@127.0.0.1", &crate::audit::tests::launch(Program::Direct(Vec::new())));
        let purpose = || Purpose { asked: asked(), grace: Duration::ZERO };
        let wanted =
            vec![bench.workers.want(order(&["/bin/true"]), purpose()), bench.workers.want(order(&[]), purpose())];
        let of_nobody = |bench: &mut Bench| bench.workers.running_by(NODE).by_user.get("nobody").copied();
        assert_eq!((bench.workers.running(NODE), of_nobody(&mut bench)), (2, Some(2)));
        let outcomes = bench.workers.launch(wanted, Instant::now());
        assert!(matches!(outcomes[1], LaunchOutcome::Failed(Report::Failed(..))), "{outcomes:?}");
        assert_eq!((bench.workers.running(NODE), of_nobody(&mut bench)), (1, Some(1)));
        bench.until("nobody", |bench| bench.workers.is_empty(NODE).then_some(()));
        assert_eq!(of_nobody(&mut bench), Some(0));
        bench.workers.close();
    });
}

#[test]
fn a_process_that_is_made_after_it_was_called_off_does_nothing() {
    alone(|| {
        let order = order(&["/no/such/program"]);
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let plan = Plan::worker(&order, vec![null.as_fd(); 3], None).unwrap();
        let start = Start { plan: &plan, born: Born { join: None, signals: 0, sealed: None } };
        let (_, slot) = Slot::all().next().unwrap();
        for called_off in [true, false] {
            let blocked = Blocked::all().unwrap();
            slot.lay_out(&start, None, Maker::Main);
            if called_off {
                slot.call_off();
            }
            // SAFETY: it was laid out for this, and the start is here until the process is gone.
            unsafe { slot.make([0; 2]) };
            assert!(slot.is_out_by(Instant::now() + Duration::from_millis(900)));
            drop(blocked);
            crate::sys::guard::allow_allocation();
            // Whatever fails first without root.
            assert_eq!(plan.told.get().is_none(), called_off);
            let pid = slot.made().unwrap();
            let ended = loop {
                match reap(Some(pid)) {
                    Some(ended) => break ended,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(ended.status, ExitStatus::Code(71));
        }
    });
}
