//! The manager: requests of the node and reports of main -> what happens to workers, links, monitors and owners.
//!
//! It lives exactly as long as one connection: all that hangs off the connection is gone with it, so that nothing is
//! ever said to a pid of an earlier incarnation of the node.
//!
//! - [`life`]: the life of a worker, a pure function.
//! - [`worker`]: what is known of one.
//! - [`launch`]: from a request to a worker, or to a refusal.
//! - [`flow`]: its streams.
//! - [`end`]: its links and monitors, and how its end is told.
//! - [`owners`], [`terms`]: who owns workers; answers as terms.

mod end;
mod flow;
mod launch;
pub(crate) mod life;
mod owners;
mod terms;
mod worker;

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use erluv_proto::dist::{Control as Message, Own, parse_head, send};
use erluv_proto::etf::{Term, put_atom, put_list, put_nil, put_pid, put_term, put_tuple};
use erluv_proto::ids::{NodeName, RequestId, WorkerId};
use erluv_proto::ipc::{Hello, Signal, Stop, ToMain};
use mio::Registry;

use crate::control::Control;
use crate::dispatcher::request::{Caller, Names, Request, SERVER, ServerCall, Target, ToWorker, WorkerCall};
use crate::streams::Which;
use launch::Pending;
use owners::Owners;
use worker::Worker;

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
    workers: HashMap<WorkerId, Worker>,
    pending: HashMap<RequestId, Pending>,
    owners: Owners,
    /// Streams that have something to read and may be read.
    runnable: VecDeque<(WorkerId, Which)>,
    /// When to look whether the streams of ended workers have ended too.
    drains: BinaryHeap<std::cmp::Reverse<(Instant, WorkerId)>>,
    next_request: u64,
    next_phantom: u64,
    stopping: bool,
}

impl Manager {
    /// A manager for a new connection. Its requests are numbered from `first_request`, above all earlier ones.
    pub(crate) fn new(hello: Rc<Hello>, peer: NodeName, flags: u64, first_request: u64) -> Self {
        Self {
            hello,
            peer,
            flags,
            workers: HashMap::new(),
            pending: HashMap::new(),
            owners: Owners::default(),
            runnable: VecDeque::new(),
            drains: BinaryHeap::new(),
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

    /// Whether no worker is left whose end is not told, and no request that is not answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.workers.is_empty() && self.pending.is_empty()
    }

    /// Carries out a request.
    pub(crate) fn request(&mut self, request: Request<'_>, outlet: &mut Outlet<'_>) {
        match request {
            Request::Spawn { request, from, link, monitor, run } => {
                self.spawn(request, from, link, monitor, run, outlet);
            }
            Request::SpawnOther { request, from } => send::put_spawn_error(outlet.node, request, from, "notsup"),
            Request::Call(caller, call) => self.server_call(caller, call, outlet),
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
                    self.stop(worker, None, outlet);
                }
            }
            Request::Ignore(what) => ::log::debug!("ignored: {what}"),
        }
    }

    fn server_call(&mut self, caller: Caller<'_>, call: ServerCall<'_>, outlet: &mut Outlet<'_>) {
        match call {
            ServerCall::Run(run) => self.run(caller, run, outlet),
            ServerCall::Info => {
                let info = terms::info(&self.hello, &self.peer, self.workers.len(), unix_now());
                self.reply(caller, outlet.node, |out| put_term(out, &info));
            }
            ServerCall::Workers => self.reply(caller, outlet.node, |out| {
                if !self.workers.is_empty() {
                    put_list(out, u32::try_from(self.workers.len()).unwrap_or(u32::MAX));
                }
                for worker in self.workers.values() {
                    put_term(out, &self.describe(worker));
                }
                put_nil(out);
            }),
            ServerCall::WorkerInfo(target) => {
                let info = match target {
                    Target::Worker(id) => self.workers.get(&id).map(|worker| self.describe(worker)),
                    Target::Server | Target::Nobody => None,
                };
                self.reply(caller, outlet.node, |out| match info {
                    Some(info) => put_term(out, &info),
                    None => put_error(out, |out| put_atom(out, "noproc")),
                });
            }
            // The order is obeyed already: this child serves.
            ServerCall::Respawn => self.reply(caller, outlet.node, |out| put_atom(out, "ok")),
            ServerCall::IsAuth => self.reply(caller, outlet.node, |out| put_atom(out, "yes")),
            ServerCall::Unknown(question) => self.reply(caller, outlet.node, |out| put_unknown(out, question)),
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

    fn message(&mut self, to: WorkerId, from: Option<Term<'_>>, message: ToWorker<'_>, outlet: &mut Outlet<'_>) {
        if !self.workers.contains_key(&to) {
            // As with any process that has ended: a message is lost, a call's own monitor tells its caller.
            return;
        }
        match message {
            ToWorker::Stdin(input) => self.input(to, from, input, outlet),
            ToWorker::Signal(signal) => signal_worker(to, signal, outlet.main),
            ToWorker::Ack(stream, bytes) => self.acknowledge(to, stream, bytes, outlet),
            ToWorker::Call(caller, WorkerCall::Stdin(input)) => self.input_call(to, caller, input, outlet),
            ToWorker::Call(caller, WorkerCall::Stop) => {
                self.stop(to, None, outlet);
                self.reply(caller, outlet.node, |out| put_atom(out, "ok"));
            }
            ToWorker::Call(caller, WorkerCall::Signal(signal)) => {
                signal_worker(to, signal, outlet.main);
                self.reply(caller, outlet.node, |out| put_atom(out, "ok"));
            }
            ToWorker::Call(caller, WorkerCall::Info) => {
                let info = self.workers.get(&to).map(|worker| self.describe(worker));
                if let Some(info) = info {
                    self.reply(caller, outlet.node, |out| put_term(out, &info));
                }
            }
            ToWorker::Call(caller, WorkerCall::Unknown(question)) => {
                self.reply(caller, outlet.node, |out| put_unknown(out, question));
            }
        }
    }

    /// Ends a worker by the kill ladder: in the time that it was started with, or at once.
    fn stop(&mut self, id: WorkerId, grace: Option<u32>, outlet: &mut Outlet<'_>) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.status.is_none()) {
            worker.stopped = true;
            let grace = grace.unwrap_or(worker.kill_timeout);
            outlet.main.send(&ToMain::Stop(Stop { worker: id, grace }));
        }
    }

    /// The connection is lost: every worker is stopped. What becomes of them interests nobody any more.
    pub(crate) fn stop_all(&mut self, main: &mut Control) {
        for (id, worker) in self.workers.drain() {
            if worker.status.is_none() {
                main.send(&ToMain::Stop(Stop { worker: id, grace: worker.kill_timeout }));
            }
        }
    }

    /// When [`Manager::due`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.drains.peek().map(|std::cmp::Reverse((at, _))| *at)
    }

    fn describe(&self, worker: &Worker) -> eetf::Term {
        let mut pid = Vec::new();
        put_pid(&mut pid, self.hello.own.as_str(), worker.id.0, self.hello.creation.get());
        terms::worker(worker, &pid)
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

/// `{error, {unknown_request, Request}}`.
fn put_unknown(out: &mut Vec<u8>, question: Term<'_>) {
    put_error(out, |out| {
        put_tuple(out, 2);
        put_atom(out, "unknown_request");
        out.extend_from_slice(question.as_bytes());
    });
}

fn signal_worker(worker: WorkerId, signal: u8, main: &mut Control) {
    main.send(&ToMain::Signal(Signal { worker, signal }));
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
