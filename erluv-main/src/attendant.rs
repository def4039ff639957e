//! What main itself says to the node while there is no child: the notice that it is lost, the wait for the order, and a
//! quick "no" to everything else, so that no caller hangs.
//!
//! This is the only place where main reads frames of the node. They go through the same validator as in child, nothing
//! in them is kept, and the only thing that they can bring about is a new child.

use erluv_proto::dist::{self, Control, Next, Own, frame, send};
use erluv_proto::etf::{Term, put_atom, put_integer, put_tuple};
use erluv_proto::ids::{Creation, NodeName};

use crate::half::Loss;

/// The number in the pid of the process `erluv`.
const SERVER: u64 = 1;

/// Processes that never were are numbered from here: main counts workers from 2 upward.
const PHANTOMS: u64 = 1 << 62;

/// The longest frame that is looked at; longer ones are read and dropped.
const MAX_FRAME: usize = 64 * 1024;

/// How child ended, where main has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    Signal(u8),
}

/// Talks with the node in child's place.
pub(crate) struct Attendant {
    own: NodeName,
    creation: Creation,
    flags: u64,
    input: Vec<u8>,
    skip: usize,
    phantoms: u64,
}

impl Attendant {
    /// For one connection, of which nothing has been read.
    pub(crate) fn new(own: NodeName, creation: Creation, flags: u64) -> Self {
        Self { own, creation, flags, input: Vec::new(), skip: 0, phantoms: PHANTOMS }
    }

    /// `{erluv, Node, {child_down, Reason}}` for the process registered as `erluv`.
    pub(crate) fn notice(&self, loss: &Loss, end: Option<End>, out: &mut Vec<u8>) {
        let own = self.own();
        send::put_reg_send(out, own, SERVER, "erluv", |out| {
            put_tuple(out, 3);
            put_atom(out, "erluv");
            put_atom(out, own.node);
            put_tuple(out, 2);
            put_atom(out, "child_down");
            put_loss(out, loss, end);
        });
    }

    /// Bytes that have to come before anything can be done: exactly so many are read, never more, so that what follows
    /// the order is left for the new child.
    pub(crate) fn wanted(&self) -> usize {
        if self.skip > 0 {
            return self.skip.min(MAX_FRAME);
        }
        match frame::next(&self.input, MAX_FRAME) {
            Next::More { wanted } => wanted.saturating_sub(self.input.len()),
            Next::Tick { .. } | Next::Frame { .. } | Next::Oversize { .. } => 0,
        }
    }

    /// Takes bytes, no more than [`Attendant::wanted`]; answers go to `out`. True: the order is there, and answered.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if self.skip > 0 {
            self.skip = self.skip.saturating_sub(bytes.len());
            return false;
        }
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        match frame::next(&input, MAX_FRAME) {
            Next::More { .. } => {
                self.input = input;
                false
            }
            Next::Tick { .. } => {
                send::put_tick(out);
                false
            }
            Next::Oversize { length, .. } => {
                self.skip = length;
                false
            }
            Next::Frame { body, .. } => self.frame(body, out),
        }
    }

    fn frame(&mut self, body: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(message) = dist::parse(body) else { return false };
        match message.control {
            Control::RegSend { name, .. } => message.payload.is_some_and(|payload| self.call(name, payload, out)),
            Control::SpawnRequest { request, from, module, function, link, monitor, .. } => {
                if module == "erluv" && function == "run" {
                    self.refuse_spawn(request, from, link, monitor, out);
                } else {
                    send::put_spawn_error(out, request, from, "notsup");
                }
                false
            }
            Control::Monitor { from, target, reference } if !self.is_server(target) => {
                send::put_monitor_exit(out, target, from, reference, |out| put_atom(out, "noproc"));
                false
            }
            Control::Link { from, to } if !self.is_server(to) => {
                send::put_exit_from(out, to, from, |out| put_atom(out, "noproc"));
                false
            }
            Control::UnlinkId { id, from, to } => {
                send::put_unlink_ack(out, id, to, from);
                false
            }
            Control::Monitor { .. }
            | Control::Link { .. }
            | Control::Send { .. }
            | Control::Exit { .. }
            | Control::Exit2 { .. }
            | Control::Unlink { .. }
            | Control::GroupLeader
            | Control::Demonitor { .. }
            | Control::MonitorExit { .. }
            | Control::SpawnReply
            | Control::AliasSend { .. }
            | Control::UnlinkIdAck
            | Control::Unknown(_) => false,
        }
    }

    /// A `gen_server:call`. True: the order.
    fn call(&self, name: &str, payload: Term<'_>, out: &mut Vec<u8>) -> bool {
        let caller = payload.tuple_of::<3>().and_then(|[what, caller, question]| {
            let [from, tag] = caller.tuple_of::<2>()?;
            (what.is_atom("$gen_call") && from.pid().is_some()).then_some((from, tag, question))
        });
        let Some((from, tag, question)) = caller else { return false };
        let order = name == "erluv" && question.is_atom("respawn");
        match name {
            "net_kernel" => self.reply(from, tag, out, |out| put_atom(out, "yes")),
            "erluv" if order => self.reply(from, tag, out, |out| put_atom(out, "ok")),
            "erluv" => self.reply(from, tag, out, |out| {
                put_tuple(out, 2);
                put_atom(out, "error");
                put_atom(out, "child_down");
            }),
            _ => {}
        }
        order
    }

    fn reply(&self, from: Term<'_>, tag: Term<'_>, out: &mut Vec<u8>, answer: impl FnOnce(&mut Vec<u8>)) {
        send::put_reply(out, self.own(), SERVER, from, tag, self.flags, answer);
    }

    /// A process that ends at once, because there is no child.
    fn refuse_spawn(&mut self, request: Term<'_>, from: Term<'_>, link: bool, monitor: bool, out: &mut Vec<u8>) {
        self.phantoms = self.phantoms.saturating_add(1);
        let id = self.phantoms;
        let down = |out: &mut Vec<u8>| put_atom(out, "child_down");
        send::put_spawn_reply(out, self.own(), request, from, u8::from(link) | (u8::from(monitor) << 1), id);
        if link {
            send::put_exit(out, self.own(), id, from, down);
        }
        if monitor {
            send::put_monitor_exit_of(out, self.own(), id, from, request, down);
        }
    }

    fn is_server(&self, term: Term<'_>) -> bool {
        match term.pid() {
            Some(pid) => {
                pid.node == self.own.as_str()
                    && pid.creation == self.creation.get()
                    && pid.serial == 0
                    && u64::from(pid.id) == SERVER
            }
            None => term.is_atom("erluv") || term.is_atom("net_kernel"),
        }
    }

    fn own(&self) -> Own<'_> {
        Own { node: self.own.as_str(), creation: self.creation.get() }
    }
}

/// `{signaled, Number}`, `{exited, Code}`, `hung`, `protocol` or `not_started`.
fn put_loss(out: &mut Vec<u8>, loss: &Loss, end: Option<End>) {
    match (loss, end) {
        (Loss::Hung(_), _) => put_atom(out, "hung"),
        (Loss::Protocol(_), _) => put_atom(out, "protocol"),
        (Loss::NotStarted(_), _) => put_atom(out, "not_started"),
        (Loss::Ended, None) => put_atom(out, "ended"),
        (Loss::Ended, Some(End::Code(code))) => {
            put_tuple(out, 2);
            put_atom(out, "exited");
            put_integer(out, i64::from(code));
        }
        (Loss::Ended, Some(End::Signal(number))) => {
            put_tuple(out, 2);
            put_atom(out, "signaled");
            match nix::sys::signal::Signal::try_from(i32::from(number)) {
                Ok(signal) => put_atom(out, &signal.as_str().to_ascii_lowercase()),
                Err(_) => put_integer(out, i64::from(number)),
            }
        }
    }
}
