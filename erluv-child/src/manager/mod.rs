//! The manager: requests of the node and reports of main -> what happens to workers, links, monitors and owners.
//!
//! It lives exactly as long as one connection: all that hangs off the connection is gone with it, so that nothing is
//! ever said to a pid of an earlier incarnation of the node. Workers that outlive it are handed from one to the next by
//! [`kept`].
//!
//! - [`life`]: the life of a worker, a pure function.
//! - [`worker`]: what is known of one.
//! - [`launch`]: from a request to a worker, or to a refusal.
//! - [`flow`]: its streams.
//! - [`passing`]: long input for it, as it comes.
//! - [`kept`]: how it outlives a connection.
//! - [`end`]: its links and monitors, and how its end is told.
//! - [`calls`]: calls and messages to a worker, calls to `erluv`.
//! - [`terminal`]: its terminal.
//! - [`owners`], [`timers`], [`terms`]: who owns workers; what the clock says; answers as terms.

mod calls;
mod end;
mod flow;
mod kept;
mod launch;
pub(crate) mod life;
mod owners;
mod passing;
mod terminal;
mod terms;
mod timers;
mod worker;

pub(crate) use kept::Kept;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use erluv_proto::dist::{Control as Message, Own, parse_head, send};
use erluv_proto::etf::{put_atom, put_pid, put_tuple};
use erluv_proto::ids::{NodeName, RequestId, WorkerId};
use erluv_proto::ipc::{Hello, Stop, ToMain};
use mio::Registry;

use crate::control::Control;
use crate::dispatcher::request::{Caller, Names, Request, SERVER};
use crate::streams::Which;
use launch::Pending;
use life::State;
use owners::Owners;
use timers::{Alarm, Timers};
use worker::{Stopped, Worker};

/// How long somebody who got away may hold the streams of an ended worker open before its end is told all the same.
const DRAIN: Duration = Duration::from_secs(2);

/// Where effects go: the connection's buffer, main's queue, the poller.
pub(crate) struct Outlet<'o> {
    /// Frames to the node.
    pub(crate) node: &'o mut Vec<u8>,
    /// Frames to main.
    pub(crate) main: &'o mut Control,
    pub(crate) registry: &'o Registry,
    pub(crate) now: Instant,
}

/// All that one connection has asked for.
pub(crate) struct Manager {
    hello: Rc<Hello>,
    peer: NodeName,
    /// What both sides can do, as the handshake found.
    flags: u64,
    /// Each in a place of its own: a table of so large things would have to leave as much room again.
    workers: HashMap<WorkerId, Box<Worker>>,
    /// The last one that was started under each process id: the system may give that of one that has ended to another.
    by_os_pid: HashMap<u32, WorkerId>,
    /// How many outlive the connection, or will once they are started.
    kept: usize,
    pending: HashMap<RequestId, Pending>,
    owners: Owners,
    names: worker::LastNames,
    /// Those that were started in this turn, whose output the poller does not know yet.
    fresh: Vec<WorkerId>,
    /// Streams that have something to read and may be read.
    runnable: VecDeque<(WorkerId, Which)>,
    run_of_pieces: flow::RunOfPieces,
    /// The input that is on its way.
    passing: Option<passing::Passing>,
    timers: Timers,
    next_request: u64,
    next_phantom: u64,
    stopping: bool,
}

impl Manager {
    /// A manager for a new connection, with the workers that outlived the last one. Its requests are numbered from
    /// `first_request`, above all earlier ones.
    pub(crate) fn new(
        hello: Rc<Hello>,
        peer: NodeName,
        flags: u64,
        first_request: u64,
        mut kept: Kept,
        main: &mut Control,
    ) -> Self {
        let workers = kept.take(&peer, main);
        let mut timers = Timers::default();
        for (id, worker) in &workers {
            timers.set(worker.late, *id, Alarm::Late);
            timers.set(worker.kept_until, *id, Alarm::Kept);
        }
        let by_os_pid = workers.iter().map(|(id, worker)| (worker.os_pid, *id)).collect();
        let kept = workers.len();
        Self {
            hello,
            peer,
            flags,
            workers,
            by_os_pid,
            kept,
            pending: HashMap::new(),
            owners: Owners::default(),
            names: worker::LastNames::default(),
            fresh: Vec::new(),
            runnable: VecDeque::new(),
            run_of_pieces: flow::RunOfPieces::default(),
            passing: None,
            timers,
            next_request: first_request,
            // Main counts its workers from 2 upward: the upper half of the numbers is for processes that never were.
            next_phantom: (1 << 63) | first_request,
            stopping: false,
        }
    }

    /// The number after the last request.
    pub(crate) fn next_request(&self) -> u64 {
        self.next_request
    }

    /// Main is going away: no worker is started from now on.
    pub(crate) fn stop_launching(&mut self) {
        self.stopping = true;
    }

    /// Whether no worker is left whose end is to be told, and no request that is not answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.workers.values().all(|worker| worker.state == State::KeptEnded)
    }

    /// Carries out a request.
    pub(crate) fn request(&mut self, request: Request<'_>, outlet: &mut Outlet<'_>) {
        match request {
            Request::Spawn { request, from, link, monitor, run } => {
                self.spawn(request, from, link, monitor, *run, outlet);
            }
            Request::SpawnOther { request, from } => send::put_spawn_error(outlet.node, request, from, "notsup"),
            Request::Call(caller, call) => self.server_call(caller, call, outlet),
            Request::CallToNobody(caller) => self.nobody(caller, outlet),
            Request::Message { to, from, message } => self.message(to, from, message, outlet),
            Request::Link { from, to, target } => self.link(from, to, target, outlet),
            Request::Unlink { id, from, to, target } => self.unlink(id, from, to, target, outlet),
            Request::Exit { from, target, reason, linked } => self.exit_signal(from, target, reason, linked, outlet),
            Request::Monitor { from, watched, target, reference } => {
                self.monitor(from, watched, target, reference, outlet);
            }
            Request::Demonitor { target, reference } => self.demonitor(target, reference),
            Request::OwnerGone(owner) => {
                for worker in self.owners.gone(owner.as_bytes()) {
                    self.stop(worker, None, Stopped::Owner, outlet);
                }
            }
            Request::Ignore(what) => ::log::debug!("ignored: {what}"),
        }
    }

    /// A frame that is too long or beyond what the validator takes: who waits for an answer gets one.
    pub(crate) fn not_taken(&mut self, front: &[u8], why: &str, outlet: &mut Outlet<'_>) {
        let Ok(head) = parse_head(front) else { return };
        if let Some((from, tag)) = head.call {
            self.reply(Caller { from, tag }, outlet.node, |out| put_error(out, |out| put_atom(out, why)));
        } else if let Message::SpawnRequest { request, from, link, monitor, .. } = head.control {
            self.refuse_spawn(request, from, link, monitor, why, outlet);
        }
    }

    /// Ends a worker by the kill ladder: in the time that it was started with, or in `grace` milliseconds.
    fn stop(&mut self, id: WorkerId, grace: Option<u32>, why: Stopped, outlet: &mut Outlet<'_>) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.end.is_none()) {
            worker.stopped.get_or_insert(why);
            let grace = grace.unwrap_or(worker.kill_timeout);
            outlet.main.send(&ToMain::Stop(Stop { worker: id, grace }));
        }
    }

    /// When [`Manager::due`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn reply(&self, caller: Caller<'_>, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
        send::put_reply(out, own(&self.hello), SERVER, caller.from, caller.tag, self.flags, payload);
    }

    /// Who we are, for the dispatcher.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { own: self.hello.own.as_str(), creation: self.hello.creation.get(), peer: self.peer.as_str() }
    }
}

/// Our name and creation, for what goes out.
fn own(hello: &Hello) -> Own<'_> {
    Own { node: hello.own.as_str(), creation: hello.creation.get() }
}

fn put_own_pid(out: &mut Vec<u8>, hello: &Hello, id: u64) {
    put_pid(out, hello.own.as_str(), id, hello.creation.get());
}

/// `{error, Reason}`.
fn put_error(out: &mut Vec<u8>, reason: impl FnOnce(&mut Vec<u8>)) {
    put_tuple(out, 2);
    put_atom(out, "error");
    reason(out);
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
