//! Workers that outlive the connection over which they were asked for: who keeps them while there is none, and how they
//! come back.
//!
//! Nothing of the old connection stays with them: no link, no monitor, no owner, no caller that waits. Their output is
//! not read, so they wait at their pipes; what was read and has not arrived comes first when they are adopted.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::Instant;

use erluv_proto::dist::{self, Control as Message, send};
use erluv_proto::etf::{Term, put_atom};
use erluv_proto::ids::{NodeName, WorkerId};
use erluv_proto::ipc::{Exited, Stop, ToMain};
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::life::{self, Effect, Event, State};
use super::timers::{Alarm, Timers};
use super::worker::{End, Stopped, Worker};
use super::{Manager, Outlet, flow, own, owners, put_error};
use crate::control::Control;
use crate::dispatcher::request::{Caller, SERVER, Target};
use crate::streams::input::Input;
use crate::streams::{Which, token};

/// Kept workers, while there is no connection.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The node that they were asked for by.
    node: Option<NodeName>,
    workers: HashMap<WorkerId, Box<Worker>>,
    timers: Timers,
}

impl Kept {
    /// Whether all of them have ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.workers.values().all(|worker| worker.end.is_some())
    }

    /// Main: a worker has ended. Its end waits for who adopts it.
    pub(crate) fn exited(&mut self, exited: &Exited) {
        if let Some(worker) = self.workers.get_mut(&exited.worker) {
            worker.end = Some(Box::new(End::of(exited)));
            worker.close(Which::Stdin);
            (worker.state, _) = life::step(worker.state, Event::Ended { streams: worker.streams_open() });
        }
    }

    /// A worker reads its stdin: what was sent to it before goes on to it.
    pub(crate) fn ready(&mut self, id: WorkerId, which: Which) {
        if which == Which::Stdin
            && let Some(input) = self.workers.get_mut(&id).and_then(|worker| worker.stdin.as_mut())
        {
            input.drain();
        }
    }

    /// When [`Kept::due`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Stops those that have run, or were kept, for long enough.
    pub(crate) fn due(&mut self, now: Instant, main: &mut Control) {
        while let Some((id, alarm)) = self.timers.due(now) {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            match alarm {
                Alarm::Late if worker.stopped.is_none() => happens(worker, Event::TimeOver, main),
                Alarm::Late | Alarm::Drain => {}
                Alarm::Kept => happens(worker, Event::KeepOver, main),
            }
            if worker.state == State::Gone {
                self.workers.remove(&id);
            }
        }
    }

    /// Hands them to the manager of a new connection; those of another node are stopped.
    pub(super) fn take(&mut self, node: &NodeName, main: &mut Control) -> HashMap<WorkerId, Box<Worker>> {
        let mut workers = std::mem::take(&mut self.workers);
        if self.node.as_ref() != Some(node) {
            workers.values_mut().for_each(|worker| happens(worker, Event::KeepOver, main));
            workers.clear();
        }
        workers
    }
}

/// What becomes of a worker that nobody is told of.
fn happens(worker: &mut Worker, event: Event, main: &mut Control) {
    let (state, effect) = life::step(worker.state, event);
    worker.state = state;
    let why = match effect {
        None | Some(Effect::Forget | Effect::TellEnd | Effect::WatchDrain) => return,
        Some(Effect::StopLate) => Stopped::Timeout,
        Some(Effect::StopUntold) => Stopped::Nodedown,
    };
    worker.stopped.get_or_insert(why);
    main.send(&ToMain::Stop(Stop { worker: worker.id, grace: worker.kill_timeout }));
}

impl Manager {
    /// The connection is lost: workers are stopped, or kept where they were started so. `unsent` are the frames that
    /// have not gone to the node whole.
    pub(crate) fn lost(self, unsent: &[u8], main: &mut Control, registry: &Registry, now: Instant) -> Kept {
        let mut unsent = unsent_output(unsent);
        let mut workers = self.workers;
        workers.retain(|id, worker| {
            happens(worker, Event::Lost { keep: worker.keep.is_some() }, main);
            if worker.state == State::Gone {
                return false;
            }
            let mut of = |which| unsent.remove(&(*id, which)).unwrap_or_default();
            forget_node(worker, &of(Which::Stdout), &of(Which::Stderr), registry);
            if worker.kept_until.is_none() {
                worker.kept_until = worker.keep.and_then(|keep| now.checked_add(keep));
            }
            true
        });
        let mut timers = Timers::default();
        for (id, worker) in &workers {
            timers.set(worker.late, *id, Alarm::Late);
            timers.set(worker.kept_until, *id, Alarm::Kept);
        }
        Kept { node: Some(self.peer), workers, timers }
    }

    /// `{adopt, Pid}`: the caller becomes the owner.
    pub(super) fn adopt(&mut self, caller: Caller<'_>, target: Target, outlet: &mut Outlet<'_>) {
        let Target::Worker(id) = target else { return self.no_worker(caller, outlet) };
        let Some(worker) = self.workers.get_mut(&id) else { return self.no_worker(caller, outlet) };
        let was_kept = worker.is_kept();
        let owner: super::worker::Bytes = caller.from.as_bytes().into();
        let before = worker.owner.replace(owner.clone());
        let known = worker.links.contains(&owner) || worker.monitors.values().any(|watcher| *watcher == owner);
        if was_kept && !known && (worker.telling.monitor || worker.state == State::KeptEnded) {
            worker.watcher = Some(owner.clone());
        }
        self.timers.unset(worker.kept_until.take(), id, Alarm::Kept);
        let streams = worker.streams_open();
        self.reply(caller, outlet.node, |out| put_atom(out, "ok"));
        if let Some(before) = before {
            self.disown(&before, id, outlet);
        }
        if let Some(monitor) = self.owners.add(&owner, id) {
            send::put_monitor(outlet.node, own(&self.hello), SERVER, caller.from, owners::words(monitor));
        }
        self.event(id, Event::Adopted { streams }, outlet);
        if was_kept {
            self.watch_outputs(id, outlet);
        }
        for which in [Which::Stdout, Which::Stderr] {
            self.schedule(id, which, outlet);
        }
    }

    fn no_worker(&self, caller: Caller<'_>, outlet: &mut Outlet<'_>) {
        self.reply(caller, outlet.node, |out| put_error(out, |out| put_atom(out, "noproc")));
    }

    /// Has the poller tell of its output, and first of what is there already.
    pub(super) fn watch_outputs(&mut self, id: WorkerId, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        for (which, output) in worker.outputs() {
            let fd = output.fd().as_raw_fd();
            if let Err(error) = outlet.registry.register(&mut SourceFd(&fd), token(id, which), Interest::READABLE) {
                ::log::error!("{id}: watching its {which:?}: {error}");
                outlet.main.send(&ToMain::Stop(Stop { worker: id, grace: 0 }));
            }
        }
    }
}

/// Takes from a worker all that belongs to the connection.
fn forget_node(worker: &mut Worker, out: &[u8], err: &[u8], registry: &Registry) {
    worker.owner = None;
    worker.watcher = None;
    worker.links.clear();
    worker.monitors.clear();
    worker.waiting.clear();
    worker.mourners.clear();
    // Some of what these have read may have to be read again, though they had come to their end.
    let [past_out, past_err] = worker.past.take().map(|past| *past).unwrap_or_default();
    for (open, past) in [(&mut worker.stdout, past_out), (&mut worker.stderr, past_err)] {
        match (&open, past) {
            (Some(output), _) => flow::unwatch(output, worker.id, registry),
            (None, past) => *open = past,
        }
    }
    for (which, output) in worker.outputs() {
        output.rewind(if which == Which::Stderr { err } else { out });
    }
    if worker.stdin.as_ref().is_some_and(Input::is_closed) {
        worker.close(Which::Stdin);
    }
}

/// The output of workers in frames to the node, by worker and stream.
fn unsent_output(frames: &[u8]) -> HashMap<(WorkerId, Which), Vec<u8>> {
    let mut output: HashMap<_, Vec<u8>> = HashMap::new();
    let mut rest = frames;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((body, behind)) = behind.split_at_checked(length) else { break };
        rest = behind;
        if let Some((worker, which, data)) = output_of(body) {
            output.entry((worker, which)).or_default().extend_from_slice(data);
        }
    }
    output
}

/// Whose output a frame has, and what: the bytes of `{stdout | stderr, _, Binary}` from the worker's pid.
fn output_of(body: &[u8]) -> Option<(WorkerId, Which, &[u8])> {
    let message = dist::parse(body).ok()?;
    let Message::Send { from: Some(from), .. } = message.control else { return None };
    let [stream, _, data]: [Term<'_>; 3] = message.payload?.tuple_of()?;
    let which = match stream.atom()? {
        "stdout" => Which::Stdout,
        "stderr" => Which::Stderr,
        _ => return None,
    };
    Some((WorkerId(from.pid()?.number()), which, data.binary()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use erluv_proto::etf::{put_pid, put_tuple};

    #[test]
    fn output_in_frames_that_have_not_gone_is_found_again() {
        let own = dist::Own { node: "erluv@h", creation: 7 };
        let mut pid = Vec::new();
        put_pid(&mut pid, "a@h", 5, 1);
        let to = Term::exactly(&pid).unwrap();
        let mut frames = Vec::new();
        let mut data = |id, stream, os_pid, bytes: &[u8]| {
            let mark = send::data_prefix_of(&mut frames, own, id, to, stream, os_pid);
            frames.extend_from_slice(bytes);
            send::finish_data(&mut frames, mark);
            send::put_tick(&mut frames);
            send::put_send(&mut frames, own, id, to, |out| {
                put_tuple(out, 2);
                put_atom(out, "stdin_overflow");
                put_pid(out, own.node, id, own.creation);
            });
        };
        data(2, "stdout", None, b"ab");
        data(3, "stdout", Some(999), b"other");
        data(2, "stderr", None, b"err");
        data(2, "stdout", None, b"cd");
        let mut output = unsent_output(&frames);
        assert_eq!(output.remove(&(WorkerId(2), Which::Stdout)).unwrap(), b"abcd");
        assert_eq!(output.remove(&(WorkerId(2), Which::Stderr)).unwrap(), b"err");
        assert_eq!(output.remove(&(WorkerId(3), Which::Stdout)).unwrap(), b"other");
        assert!(output.is_empty());
    }
}
