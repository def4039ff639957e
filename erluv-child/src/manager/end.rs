//! Links, monitors and exit signals, and how the end of a worker is told.

use erluv_proto::dist::send;
use erluv_proto::etf::{Term, put_atom, put_integer, put_tuple};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::Exited;

use super::life::{self, Effect, Event};
use super::timers::Alarm;
use super::worker::{End, Stopped, Worker};
use super::{DRAIN, Manager, Outlet, flow, own, owners, put_own_pid, terms};
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
        if reason.is_atom("normal") {
            return;
        }
        if !linked && reason.is_atom("kill") {
            return self.stop(id, Some(0), Stopped::Kill, outlet);
        }
        let owned = linked && worker.owner.as_deref() == Some(from.as_bytes());
        self.stop(id, None, if owned { Stopped::Owner } else { Stopped::Stop }, outlet);
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
            worker.end = Some(Box::new(End::of(exited)));
            if exited.timeout {
                // Main has ended it, by its profile: for the node the same as the time that a request names.
                worker.stopped = Some(Stopped::Timeout);
            }
            worker.close(Which::Stdin);
            let streams = worker.streams_open();
            self.answer_drained(exited.worker, outlet);
            self.event(exited.worker, Event::Ended { streams }, outlet);
            if streams {
                self.read_rest(exited.worker, outlet);
            }
        }
    }

    /// What a worker has written is there when its end is told: read, with the end of its streams, before the poller says
    /// so, which would take another turn, and another packet to the node.
    fn read_rest(&mut self, id: WorkerId, outlet: &mut Outlet<'_>) {
        for which in [Which::Stdout, Which::Stderr] {
            if let Some(output) = self.workers.get_mut(&id).and_then(|worker| worker.output(which)) {
                output.look();
                self.schedule(id, which, outlet);
            }
        }
    }

    /// An output stream has ended.
    pub(super) fn stream_ended(&mut self, id: WorkerId, which: Which, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // All others are closed, which the poller sees by itself.
        let keep = worker.keep.is_some();
        if let Some(output) = worker.output(which).filter(|_| keep) {
            flow::unwatch(output, id, outlet.registry);
        }
        worker.ended(which);
        if !worker.streams_open() {
            self.event(id, Event::StreamsClosed, outlet);
        }
    }

    /// Looks after what the clock says: streams that did not end in time, workers that ran or were kept for too long.
    pub(crate) fn due(&mut self, outlet: &mut Outlet<'_>) {
        while let Some((id, alarm)) = self.timers.due(outlet.now) {
            let Some(worker) = self.workers.get(&id) else { continue };
            match alarm {
                // Not held open but not yet wanted: its recipient takes its time.
                Alarm::Drain if worker.output_waits() && worker.stopped.is_none() => self.watch_drain(id, outlet),
                Alarm::Drain => self.event(id, Event::DrainOver, outlet),
                Alarm::Late if worker.stopped.is_some() => {}
                Alarm::Late => self.event(id, Event::TimeOver, outlet),
                Alarm::Kept => self.event(id, Event::KeepOver, outlet),
            }
        }
    }

    fn watch_drain(&mut self, id: WorkerId, outlet: &Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.drained = outlet.now.checked_add(DRAIN);
        self.timers.set(worker.drained, id, Alarm::Drain);
    }

    pub(super) fn event(&mut self, id: WorkerId, event: Event, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (state, effect) = life::step(worker.state, event);
        worker.state = state;
        match effect {
            None => {}
            Some(Effect::WatchDrain) => self.watch_drain(id, outlet),
            Some(Effect::StopLate) => self.stop(id, None, Stopped::Timeout, outlet),
            Some(Effect::StopUntold) => {
                self.stop(id, None, Stopped::Nodedown, outlet);
                self.forget(id);
            }
            Some(Effect::Forget) => {
                self.forget(id);
            }
            Some(Effect::TellEnd) => {
                if let Some(worker) = self.forget(id) {
                    self.tell_end(&worker, outlet);
                }
            }
        }
    }

    fn forget(&mut self, id: WorkerId) -> Option<Box<Worker>> {
        let worker = self.workers.remove(&id)?;
        if self.by_os_pid.get(&worker.os_pid) == Some(&id) {
            self.by_os_pid.remove(&worker.os_pid);
        }
        if worker.keep.is_some() {
            self.kept = self.kept.saturating_sub(1);
        }
        self.timers.unset(worker.drained, id, Alarm::Drain);
        self.timers.unset(worker.late, id, Alarm::Late);
        self.timers.unset(worker.kept_until, id, Alarm::Kept);
        Some(worker)
    }

    /// The report comes first, exit signals last: who gets one knows all else.
    fn tell_end(&mut self, worker: &Worker, outlet: &mut Outlet<'_>) {
        let Some(end) = worker.end.as_deref() else { return };
        let (hello, flags) = (&self.hello, self.flags);
        let (own, out) = (own(hello), &mut *outlet.node);
        let reason = |out: &mut Vec<u8>| terms::put_end(out, end.status, worker.stopped, worker.telling);
        if worker.telling.report
            && let Some(owner) = worker.owner.as_deref().and_then(|owner| Term::exactly(owner).ok())
        {
            send::put_send(out, own, worker.id.0, owner, |out| {
                put_tuple(out, 3);
                put_atom(out, "report");
                put_own_pid(out, hello, worker.id.0);
                terms::put_report(out, worker, end);
            });
        }
        if let Some(watcher) = worker.watcher.as_deref().and_then(|watcher| Term::exactly(watcher).ok()) {
            send::put_send(out, own, worker.id.0, watcher, |out| {
                put_tuple(out, 5);
                put_atom(out, "DOWN");
                put_integer(out, i64::from(worker.os_pid));
                put_atom(out, "process");
                put_own_pid(out, hello, worker.id.0);
                reason(out);
            });
        }
        for waiting in &worker.mourners {
            if let (Ok(from), Ok(tag)) = (Term::exactly(&waiting.from), Term::exactly(&waiting.tag)) {
                send::put_reply(out, own, SERVER, from, tag, flags, reason);
            }
        }
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
        if let Some(owner) = &worker.owner {
            self.disown(owner, worker.id, outlet);
        }
    }

    /// A worker has this owner no more.
    pub(super) fn disown(&mut self, owner: &[u8], id: WorkerId, outlet: &mut Outlet<'_>) {
        if let Some(monitor) = self.owners.remove(owner, id)
            && let Ok(owner) = Term::exactly(owner)
        {
            send::put_demonitor(outlet.node, own(&self.hello), SERVER, owner, owners::words(monitor));
        }
    }
}

fn noproc(out: &mut Vec<u8>) {
    put_atom(out, "noproc");
}
