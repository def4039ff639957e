//! How workers end: the kill ladder, the reaping, the sweep of what they leave behind.

use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{Exited, Failure, LaunchFailed, Launched, Step, Usage};

use super::{Report, Worker, Workers, ask};
use crate::order::NodeIndex;
use crate::sys::Reaped;
use crate::tree::Removal;
use crate::worker::{Effect, Event, State, step};

/// From the first look at a tree to the second, if something lived in it; twice as long each time, up to the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long a tree is waited for that SIGKILL does not empty.
const PATIENCE: Duration = Duration::from_secs(10);

impl Workers {
    pub(super) fn leader_ended(
        &mut self,
        worker: WorkerId,
        ended: Reaped,
        now: Instant,
        report: &mut dyn FnMut(Report),
    ) {
        self.settle(worker, now, report);
        let Some(entry) = self.table.get_mut(&worker) else { return };
        let wall = now.saturating_duration_since(entry.started).as_micros();
        let usage = Usage { wall: u64::try_from(wall).unwrap_or(u64::MAX), ..ended.usage };
        entry.ended = Some(Box::new(Reaped { usage, ..ended }));
        // From here on its number is no one's, or another's (S-39).
        entry.process = None;
        entry.give_up = now.checked_add(PATIENCE);
        self.set_timer(worker, None);
        self.happens(worker, Event::LeaderEnded, now, report);
    }

    /// Timers whose time has come.
    pub(crate) fn due(&mut self, now: Instant, mut report: impl FnMut(Report)) {
        while let Some((_, worker)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.set_timer(worker, None);
            let Some(entry) = self.table.get(&worker) else { continue };
            match entry.state {
                State::Launching | State::Running => self.time_out(worker, now),
                State::Terminating => self.happens(worker, Event::GraceOver, now, &mut report),
                State::Sweeping | State::Clearing => self.sweep(worker, now, &mut report),
                State::Aborted | State::Failed | State::Killing | State::Gone => {}
            }
        }
    }

    /// A worker has lived for as long as its profile grants.
    fn time_out(&mut self, worker: WorkerId, now: Instant) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        entry.timeout = true;
        let grace = entry.grace;
        self.end_it(worker, grace, now);
    }

    /// Asks a worker to end, one that has nothing to tell before it does.
    pub(super) fn end_it(&mut self, worker: WorkerId, grace: Duration, now: Instant) {
        let event = if grace.is_zero() { Event::KillAsked } else { Event::StopAsked };
        if let Some(entry) = self.table.get_mut(&worker) {
            entry.grace_ends = now.checked_add(grace);
        }
        // No step for these events tells the node anything: that comes with the end of the leader.
        self.happens(worker, event, now, &mut |_| debug_assert!(false, "a request alone is no news"));
    }

    /// One event in the life of a worker, with all that it brings about.
    pub(super) fn happens(&mut self, worker: WorkerId, event: Event, now: Instant, report: &mut dyn FnMut(Report)) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        let (state, effects) = step(entry.state, event);
        entry.state = state;
        for effect in effects {
            self.effect(worker, *effect, now, report);
        }
    }

    fn effect(&mut self, worker: WorkerId, effect: Effect, now: Instant, report: &mut dyn FnMut(Report)) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        match effect {
            Effect::TellLaunched => {
                entry.subject.started(entry.leader);
                report(entry.launched(worker));
            }
            Effect::TellFailed => {
                let (step, errno) = entry.failure.unwrap_or((Step::Exec, libc::EIO));
                report(entry.failed(worker, step, errno));
            }
            Effect::TellAborted => report(entry.failed(worker, Step::Exec, libc::ECANCELED)),
            Effect::TellExited => {
                if let Some(Reaped { status, usage, .. }) = entry.ended.as_deref().copied() {
                    let exited = Exited { worker, status, usage, oom: entry.oom, timeout: entry.timeout };
                    entry.subject.ended(entry.leader, &exited);
                    report(Report::Exited(entry.node, exited));
                }
            }
            Effect::Terminate => {
                // That of its profile's time: what counts from here on is the grace.
                self.set_timer(worker, None);
                self.ask_to_end(worker);
                self.condemn(worker);
            }
            Effect::StartGrace => {
                let end = [entry.grace_ends, entry.timer].into_iter().flatten().min();
                self.set_timer(worker, end);
            }
            Effect::Kill => {
                ask::kill_killer(entry.killer.as_ref());
                ask::kill_init(entry.init.as_ref());
                self.trees.kill(entry.node, worker, entry.process.as_ref());
                self.condemn(worker);
            }
            Effect::Sweep => self.sweep(worker, now, report),
            Effect::SweepLater => {
                let at = now.checked_add(entry.pause);
                entry.pause = entry.pause.saturating_mul(2).min(LONGEST_PAUSE);
                self.set_timer(worker, at);
            }
            Effect::Abandon => {
                log::error!("{worker}: something that it started does not die: left to the next start of erluv-main");
            }
            Effect::Forget => self.forget(worker),
        }
    }

    /// With an init its whole namespace has ended: if that was waited for, the wait is over.
    pub(super) fn sweep_again(&mut self, worker: WorkerId, now: Instant, report: &mut dyn FnMut(Report)) {
        let state = self.table.get(&worker).map(|entry| entry.state);
        if matches!(state, Some(State::Sweeping | State::Clearing)) {
            self.set_timer(worker, None);
            self.sweep(worker, now, report);
        }
    }

    fn sweep(&mut self, worker: WorkerId, now: Instant, report: &mut dyn FnMut(Report)) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        entry.oom |= self.trees.was_out_of_memory(entry.node, worker);
        // Whoever was to be ended has ended.
        let (killer, init) = (ask::kill_killer(entry.killer.as_ref()), ask::kill_init(entry.init.as_ref()));
        let removal = match killer || init {
            true => Removal::Busy,
            false => self.trees.remove(entry.node, worker, entry.leader),
        };
        let event = match removal {
            Removal::Removed => Event::TreeEmpty,
            Removal::Busy if entry.give_up.is_none_or(|at| now < at) => Event::TreeBusy,
            Removal::Busy => Event::SweepOver,
        };
        self.happens(worker, event, now, report);
    }

    fn forget(&mut self, worker: WorkerId) {
        self.set_timer(worker, None);
        if let Some(entry) = self.table.remove(&worker) {
            self.uncount(entry.node, worker, &entry.user, entry.sandbox.profile.name.as_str());
            if self.table.is_empty() {
                self.trees.all_ended();
            }
        }
    }

    /// A worker of this user and profile is none any more.
    pub(super) fn uncount(&mut self, node: NodeIndex, worker: WorkerId, user: &str, profile: &str) {
        if let Some(of_node) = self.by_node.get_mut(&node) {
            of_node.ids.remove(&worker);
            of_node.running.remove(user, profile);
        }
    }

    /// At most one timer for each worker.
    fn set_timer(&mut self, worker: WorkerId, at: Option<Instant>) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        if let Some(before) = std::mem::replace(&mut entry.timer, at) {
            self.timers.remove(&(before, worker));
        }
        if let Some(at) = at {
            self.timers.insert((at, worker));
        }
    }
}

impl Worker {
    fn launched(&mut self, worker: WorkerId) -> Report {
        let ends = std::mem::take(&mut self.ends);
        let launched = Launched {
            request: self.request,
            worker,
            os_pid: u32::try_from(self.leader).unwrap_or(0),
            user: self.user.as_ref().to_owned(),
            profile: self.sandbox.profile.name.to_string(),
            output_limit: self.sandbox.profile.output,
            stdin: ends.stdin.is_some(),
            stdout: ends.stdout.is_some(),
            stderr: ends.stderr.is_some(),
        };
        Report::Launched(self.node, launched, ends.into_list())
    }

    fn failed(&mut self, worker: WorkerId, step: Step, errno: i32) -> Report {
        self.subject.failed(step, errno);
        // Nobody will ever use them.
        self.ends = super::Ends::default();
        Report::Failed(self.node, LaunchFailed { request: self.request, worker, failure: Failure::Step(step, errno) })
    }
}
