//! What erluv-child says, and what it is told of its workers.

use std::os::fd::AsRawFd;
use std::time::Duration;

use erluv_proto::ids::{RequestId, WorkerId};
use erluv_proto::ipc::{Failure, Launch, LaunchFailed, Ready, ToChild, ToMain};
use mio::Interest;
use mio::unix::SourceFd;

use super::{Serving, Shared};
use crate::audit::Asked;
use crate::half::Loss;
use crate::half::life::{Event, State};
use crate::settings::SandboxNeed;
use crate::sys::MOST_AT_ONCE;
use crate::tokens;
use crate::workers::{LaunchOutcome, Purpose, Report, Wanted};

/// Frames of one child that are heard before others have their turn.
const FRAMES_IN_A_TURN: usize = 256;

impl Serving {
    /// A worker of this node has something to report.
    pub(crate) fn report(&mut self, report: Report, shared: &mut Shared<'_>) {
        let (frame, descriptors) = match report {
            Report::Launched(_, launched, descriptors) => (ToChild::Launched(launched), descriptors),
            Report::Failed(_, failed) => (ToChild::LaunchFailed(failed), Vec::new()),
            Report::Exited(_, exited) => (ToChild::Exited(exited), Vec::new()),
        };
        // Where child is lost nobody waits for it.
        self.say(&frame, descriptors, shared);
    }

    /// The control socket has something to say: so many frames are heard in one turn, so that a child that never stops
    /// costs nobody else their turn. Workers that are wanted in a row are launched together.
    pub(crate) fn control_ready(&mut self, shared: &mut Shared<'_>) {
        self.unheard = true;
        let mut wanted = Vec::new();
        for _ in 0..FRAMES_IN_A_TURN {
            let Some(half) = &mut self.half else { break };
            match half.hear(self.state) {
                Ok(Some(frame)) => self.child_says(frame, &mut wanted, shared),
                Ok(None) => {
                    self.unheard = false;
                    break;
                }
                Err(loss) => {
                    self.launch(&mut wanted, shared);
                    if self.half.is_some() {
                        self.lose(loss, shared);
                    } else {
                        // It was lost by that.
                        log::error!("{}: child lost: {}", self.node.peer, super::describe(&loss));
                    }
                    break;
                }
            }
        }
        self.launch(&mut wanted, shared);
    }

    /// Child's log pipe has something to say.
    pub(crate) fn log_ready(&mut self) {
        if let Some(half) = &mut self.half {
            half.read_log();
        }
    }

    fn child_says(&mut self, frame: ToMain, wanted: &mut Vec<Wanted>, shared: &mut Shared<'_>) {
        if !matches!(frame, ToMain::Launch(_)) {
            self.launch(wanted, shared);
            if self.half.is_none() {
                // Lost by that: what it has said meanwhile is nobody's.
                return;
            }
        }
        match frame {
            ToMain::Ready(ready) => self.confined(ready, shared),
            ToMain::Launch(launch) => self.want(launch, wanted, shared),
            ToMain::Signal(signal) => {
                if !shared.workers.signal(self.index, signal.worker, signal.signal) {
                    log::debug!("{}: {}: signal {} not sent", self.node.peer, signal.worker, signal.signal);
                }
            }
            ToMain::Stop(stop) => {
                let grace = Duration::from_millis(u64::from(stop.grace));
                shared.workers.stop(self.index, stop.worker, grace, shared.now);
            }
            ToMain::Pong(_) => {}
            ToMain::Disconnected(reason) => {
                log::warn!("{}: disconnected: {}", self.node.peer, crate::log::clean(reason.as_bytes()));
                if let Some(held) = self.held.take() {
                    self.link.lost(&held.stream);
                }
                self.link.restart(shared.now, false);
            }
        }
    }

    /// Child has confined itself, as far as this system goes.
    fn confined(&mut self, ready: Ready, shared: &mut Shared<'_>) {
        let lacks = ready.missing.iter().map(|what| crate::log::clean(what.as_bytes())).collect::<Vec<_>>();
        if self.node.sandbox == SandboxNeed::Required && !lacks.is_empty() {
            let what = format!("its confinement lacks: {} (sandbox = \"required\")", lacks.join("; "));
            return self.lose(Loss::NotStarted(what), shared);
        }
        for what in lacks {
            log::warn!("{}: child's confinement lacks: {what}", self.node.peer);
        }
        self.was_ready = true;
        self.event(Event::Ready, shared);
    }

    /// Asks policy for a worker, and launches those before it where it is not one more of them.
    fn want(&mut self, launch: Launch, wanted: &mut Vec<Wanted>, shared: &mut Shared<'_>) {
        let (request, asked) = (launch.request, Asked::of(self.node.peer.as_str(), &launch));
        let order = if self.state == State::Serving {
            self.policy.order(self.index, launch, shared.workers.running_by(self.index), shared.now)
        } else {
            Err(Failure::Refused("stopping".to_owned(), "main is going away".to_owned()))
        };
        match order {
            Ok(order) => {
                wanted.push(shared.workers.want(order, Purpose { asked, grace: self.node.kill_timeout }));
                if wanted.len() >= MOST_AT_ONCE {
                    self.launch(wanted, shared);
                }
            }
            Err(failure) => {
                self.launch(wanted, shared);
                self.refuse(request, &asked, failure, shared);
            }
        }
    }

    /// Launches what is wanted, and leaves none.
    fn launch(&mut self, wanted: &mut Vec<Wanted>, shared: &mut Shared<'_>) {
        if wanted.is_empty() {
            return;
        }
        for outcome in shared.workers.launch(std::mem::take(wanted), shared.now) {
            match outcome {
                LaunchOutcome::Failed(report) | LaunchOutcome::Answered { report: Some(report), .. } => {
                    self.report(report, shared);
                }
                LaunchOutcome::Answered { report: None, .. } => {}
                LaunchOutcome::Pending { worker } => self.watch_exec(worker, shared),
            }
        }
        self.flush(shared);
        // Not one line of these waits for the next, whatever becomes of main by then.
        log::logger().flush();
    }

    /// What was said goes on its way.
    pub(super) fn flush(&mut self, shared: &mut Shared<'_>) {
        let (registry, token) = (shared.registry, tokens::control(self.index));
        if let Some(Err(loss)) = self.half.as_mut().map(|half| half.flush(registry, token)) {
            self.lose(loss, shared);
        }
    }

    fn watch_exec(&self, worker: WorkerId, shared: &mut Shared<'_>) {
        let Some(raw) = shared.workers.error_pipe(worker).map(|pipe| pipe.as_raw_fd()) else { return };
        if let Err(error) = shared.registry.register(&mut SourceFd(&raw), tokens::exec(worker), Interest::READABLE) {
            log::error!("{worker}: watching its exec: {error}");
            shared.workers.stop(self.index, worker, Duration::ZERO, shared.now);
        }
    }

    fn refuse(&mut self, request: RequestId, asked: &Asked, failure: Failure, shared: &mut Shared<'_>) {
        asked.refused(&failure);
        let failed = LaunchFailed { request, worker: shared.workers.name_nobody(), failure };
        self.report(Report::Failed(self.index, failed), shared);
    }
}
