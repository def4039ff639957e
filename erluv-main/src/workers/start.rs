//! How workers come to be: counted when they are wanted, launched together, each told of by itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{Failure, LaunchFailed, Step};

use super::{Report, Worker, Workers, end};
use crate::audit::{Asked, Subject};
use crate::launch::{self, Answer, Ends};
use crate::order::Order;
use crate::sys::Process;
use crate::worker::{Event, State};

/// What a launch is for, besides its order.
#[derive(Debug)]
pub(crate) struct Purpose {
    /// Who asked, for the audit log.
    pub(crate) asked: Asked,
    /// From SIGTERM to SIGKILL, where main itself ends the worker.
    pub(crate) grace: Duration,
}

/// A worker that is counted, and about to be launched.
#[derive(Debug)]
pub(crate) struct Wanted {
    worker: WorkerId,
    order: Order,
    purpose: Purpose,
}

/// What comes of an order at once.
#[derive(Debug)]
pub(crate) enum LaunchOutcome {
    /// It is forked. When its pipe ([`Workers::error_pipe`]) is readable, [`Workers::exec_answered`] is to be called, which
    /// closes the pipe.
    Pending { worker: WorkerId },
    /// Main has waited for its exec: it runs, or a step of it has failed and it is about to end.
    Answered { worker: WorkerId, report: Option<Report> },
    /// No process was made.
    Failed(Report),
}

impl Workers {
    /// A worker that is wanted: it counts as running from here on, and is to be launched before anything else is said of
    /// its node's workers.
    pub(crate) fn want(&mut self, order: Order, purpose: Purpose) -> Wanted {
        let worker = self.name_nobody();
        let of_node = self.by_node.entry(order.node).or_default();
        of_node.ids.insert(worker);
        of_node.running.add(user_of(&order), order.sandbox.profile.name.as_str());
        Wanted { worker, order, purpose }
    }

    /// Launches workers, together where that can be: what came of each, in their order. The node is told nothing of one
    /// before its program runs (S-33).
    pub(crate) fn launch(&mut self, wanted: Vec<Wanted>, now: Instant) -> Vec<LaunchOutcome> {
        let forked = self.fork(&wanted);
        wanted.into_iter().zip(forked).map(|(wanted, forked)| self.launched(wanted, forked, now)).collect()
    }

    fn launched(
        &mut self,
        wanted: Wanted,
        forked: Result<launch::Forked, launch::Unlaunched>,
        now: Instant,
    ) -> LaunchOutcome {
        let Wanted { worker, order, purpose: Purpose { asked, grace } } = wanted;
        let subject = asked.worker(worker, &order);
        match forked {
            Ok(launch::Forked { process, init, answer, ends }) => {
                let entry = Worker::new(order, subject, (process, init, ends), grace, now);
                self.by_pid.insert(entry.leader, worker);
                self.young.add(entry.leader);
                self.inits.extend(entry.init.as_ref().map(|init| (init.pid, worker)));
                self.timers.extend(entry.timer.map(|at| (at, worker)));
                self.table.insert(worker, Box::new(entry));
                self.await_exec(worker, answer, now)
            }
            Err((step, errno)) => {
                self.uncount(order.node, worker, user_of(&order), order.sandbox.profile.name.as_str());
                subject.failed(step, errno);
                let failure = Failure::Step(step, errno);
                LaunchOutcome::Failed(Report::Failed(
                    order.node,
                    LaunchFailed { request: order.request, worker, failure },
                ))
            }
        }
    }

    /// Takes down how the exec of a new worker went, or the pipe that will say it.
    fn await_exec(&mut self, worker: WorkerId, answer: Answer, now: Instant) -> LaunchOutcome {
        let failed = match answer {
            Answer::Known(failed) => failed,
            Answer::Pipe(pipe) => {
                if let Some(entry) = self.table.get_mut(&worker) {
                    entry.error = Some(pipe);
                }
                return LaunchOutcome::Pending { worker };
            }
        };
        let event = if failed.is_some() { Event::ExecFailed } else { Event::ExecSucceeded };
        if let Some(entry) = self.table.get_mut(&worker) {
            entry.failure = failed;
        }
        let mut report = None;
        self.happens(worker, event, now, &mut |told| report = Some(told));
        LaunchOutcome::Answered { worker, report }
    }

    /// What will say how the exec of a worker went.
    pub(crate) fn error_pipe(&self, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        self.table.get(&worker)?.error.as_ref().map(OwnedFd::as_fd)
    }

    fn fork(&mut self, wanted: &[Wanted]) -> Vec<Result<launch::Forked, launch::Unlaunched>> {
        let mut forked = self.fork_once(&wanted.iter().collect::<Vec<_>>());
        // What clone3(2) says of a control group that is gone.
        let gone = |forked: &_| matches!(forked, Err((Step::Fork, libc::ENOENT | libc::ENODEV)));
        // There are descriptors for one where there are not for many.
        let many = |forked: &_| wanted.len() > 1 && matches!(forked, Err((_, libc::EMFILE | libc::ENFILE)));
        let again = |forked: &_| gone(forked) || many(forked);
        if forked.iter().any(again) {
            self.trees.reopen();
            for (forked, wanted) in forked.iter_mut().zip(wanted).filter(|(forked, _)| again(forked)) {
                if let Some(again) = self.fork_once(&[wanted]).pop() {
                    *forked = again;
                }
            }
        }
        forked
    }

    fn fork_once(&mut self, wanted: &[&Wanted]) -> Vec<Result<launch::Forked, launch::Unlaunched>> {
        let null = match &self.null {
            Ok(null) => null,
            Err(error) => return wanted.iter().map(|_| Err((Step::Descriptors, errno_of(error)))).collect(),
        };
        let trees = &mut self.trees;
        let folders = wanted.iter().map(|Wanted { worker, order, .. }| {
            let closed = order.identity.as_ref().is_some_and(|identity| identity.uid != 0);
            let made = trees.make(order.node, *worker, &order.sandbox.profile, closed);
            made.map_err(|error| (Step::Cgroup, errno_of(&error)))
        });
        let folders = folders.collect::<Vec<_>>();
        let asked = wanted.iter().zip(&folders).filter_map(|(wanted, folder)| {
            let folder = folder.as_ref().ok()?.as_ref();
            Some((&wanted.order, folder.map(|folder| folder.as_fd())))
        });
        let mut forked = launch::launch_all(&asked.collect::<Vec<_>>(), null.as_fd()).into_iter();
        let joined = wanted.iter().zip(folders).map(|(wanted, folder)| {
            folder?;
            let forked = forked.next().unwrap_or(Err((Step::Fork, libc::EIO)));
            if forked.is_err() {
                // Nothing was ever in it, and it has no session: 0 leads none.
                self.trees.remove(wanted.order.node, wanted.worker, 0);
            }
            forked
        });
        joined.collect()
    }
}

impl Worker {
    /// One whose process, the init of its namespace and the node's ends of its streams are these.
    fn new(
        order: Order,
        subject: Subject,
        (process, init, ends): (Process, Option<Process>, Ends),
        grace: Duration,
        now: Instant,
    ) -> Self {
        Self {
            node: order.node,
            request: order.request,
            subject,
            user: order.identity.map(|identity| identity.name).unwrap_or_default(),
            state: State::Launching,
            leader: process.pid,
            process: Some(process),
            error: None,
            ends,
            ending: order.ending,
            killer: None,
            condemned: false,
            killer_error: None,
            init,
            oom: false,
            timeout: false,
            grace,
            failure: None,
            started: now,
            ended: None,
            grace_ends: None,
            timer: order.sandbox.profile.wall.and_then(|wall| now.checked_add(wall)),
            sandbox: order.sandbox,
            pause: end::FIRST_PAUSE,
            give_up: None,
        }
    }
}

/// The empty name where main has no privilege to change users.
fn user_of(order: &Order) -> &str {
    order.identity.as_ref().map_or("", |identity| &*identity.name)
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
