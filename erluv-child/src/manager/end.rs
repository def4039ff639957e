//! Links, monitors and exit signals, and how the end of a worker is told.

use std::cmp::Reverse;

use erluv_proto::dist::send;
use erluv_proto::etf::{Term, put_atom};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::Exited;

use super::life::{self, Effect, Event};
use super::worker::Worker;
use super::{DRAIN, Manager, Outlet, own, owners, terms};
use crate::dispatcher::request::{SERVER, Target};
use crate::streams::Which;

/// Links and monitors of one worker: a node that sets up more is told that there is no such process.
const MOST_WATCHERS: usize = 100_000;

impl Manager {
    pub(super) fn link(&mut self, from: Term<'_>, to: Term<'_>, target: Target, outlet: &mut Outlet<'_>) {
        let known = match target {
            Target::Server => true,
            Target::Nobody => false,
            Target::Worker(id) => match self.workers.get_mut(&id).filter(|worker| worker.links.len() < MOST_WATCHERS) {
                Some(worker) => {
                    worker.links.insert(from.as_bytes().into());
                    true
                }
                None => false,
            },
        };
        if !known {
            send::put_exit_from(outlet.node, to, from, noproc);
        }
    }

    /// The acknowledgement goes out before any other signal to the same process, also for a process that is no more.
    pub(super) fn unlink(
        &mut self,
        id: Option<Term<'_>>,
        from: Term<'_>,
        to: Term<'_>,
        target: Target,
        outlet: &mut Outlet<'_>,
    ) {
        if let Target::Worker(worker) = target
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            worker.links.remove(from.as_bytes());
        }
        if let Some(id) = id {
            send::put_unlink_ack(outlet.node, id, to, from);
        }
    }

    /// `exit(Pid, kill)` ends at once; `normal` is for a process to ignore; any other reason is the kill ladder.
    pub(super) fn exit_signal(
        &mut self,
        from: Term<'_>,
        target: Target,
        reason: Term<'_>,
        linked: bool,
        outlet: &mut Outlet<'_>,
    ) {
        let Target::Worker(id) = target else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if linked && !worker.links.remove(from.as_bytes()) {
            // The link was taken back before its signal came.
            return;
        }
        if !reason.is_atom("normal") {
            let at_once = !linked && reason.is_atom("kill");
            self.stop(id, at_once.then_some(0), outlet);
        }
    }

    pub(super) fn monitor(
        &mut self,
        from: Term<'_>,
        watched: Term<'_>,
        target: Target,
        reference: Term<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let known = match target {
            // Ends with the connection alone, and that is told by the node itself.
            Target::Server => true,
            Target::Nobody => false,
            Target::Worker(id) => {
                match self.workers.get_mut(&id).filter(|worker| worker.monitors.len() < MOST_WATCHERS) {
                    Some(worker) => {
                        worker.monitors.insert(reference.as_bytes().into(), from.as_bytes().into());
                        true
                    }
                    None => false,
                }
            }
        };
        if !known {
            send::put_monitor_exit(outlet.node, watched, from, reference, noproc);
        }
    }

    pub(super) fn demonitor(&mut self, target: Target, reference: Term<'_>) {
        if let Target::Worker(id) = target
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.monitors.remove(reference.as_bytes());
        }
    }

    /// Main: a worker has ended.
    pub(crate) fn exited(&mut self, exited: &Exited, outlet: &mut Outlet<'_>) {
        if let Some(worker) = self.workers.get_mut(&exited.worker) {
            worker.status = Some(exited.status);
            worker.stdin = None;
            let streams = worker.streams_open();
            self.answer_drained(exited.worker, outlet);
            self.event(exited.worker, Event::Ended { streams }, outlet);
        }
    }

    /// An output stream has ended.
    pub(super) fn stream_ended(&mut self, id: WorkerId, which: Which, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.close(which);
        if !worker.streams_open() {
            self.event(id, Event::StreamsClosed, outlet);
        }
    }

    /// Looks after ended workers whose streams did not end in time.
    pub(crate) fn due(&mut self, outlet: &mut Outlet<'_>) {
        while let Some(Reverse((at, id))) = self.drains.peek().copied()
            && at <= outlet.now
        {
            self.drains.pop();
            let Some(worker) = self.workers.get(&id) else { continue };
            if worker.output_waits() && !worker.stopped {
                // Not held open but not yet wanted: its recipient takes its time.
                self.watch_drain(id, outlet);
            } else {
                self.event(id, Event::DrainOver, outlet);
            }
        }
    }

    fn watch_drain(&mut self, id: WorkerId, outlet: &Outlet<'_>) {
        if let Some(at) = outlet.now.checked_add(DRAIN) {
            self.drains.push(Reverse((at, id)));
        }
    }

    fn event(&mut self, id: WorkerId, event: Event, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (state, effect) = life::step(worker.state, event);
        worker.state = state;
        match effect {
            None => {}
            Some(Effect::WatchDrain) => self.watch_drain(id, outlet),
            Some(Effect::TellEnd) => {
                if let Some(worker) = self.workers.remove(&id) {
                    self.tell_end(&worker, outlet);
                }
            }
        }
    }

    fn tell_end(&mut self, worker: &Worker, outlet: &mut Outlet<'_>) {
        let (own, out) = (own(&self.hello), &mut *outlet.node);
        let Some(status) = worker.status else { return };
        let reason = |out: &mut Vec<u8>| terms::put_end(out, status);
        for link in &worker.links {
            if let Ok(to) = Term::exactly(link) {
                send::put_exit(out, own, worker.id.0, to, reason);
            }
        }
        for (reference, watcher) in &worker.monitors {
            if let (Ok(reference), Ok(to)) = (Term::exactly(reference), Term::exactly(watcher)) {
                send::put_monitor_exit_of(out, own, worker.id.0, to, reference, reason);
            }
        }
        if let Some(monitor) = self.owners.remove(&worker.owner, worker.id)
            && let Ok(owner) = Term::exactly(&worker.owner)
        {
            send::put_demonitor(out, own, SERVER, owner, owners::words(monitor));
        }
    }
}

fn noproc(out: &mut Vec<u8>) {
    put_atom(out, "noproc");
}
