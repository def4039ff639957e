//! Control messages -> requests.

use erluv_proto::dist::{Control, Message, Open};
use erluv_proto::etf::Term;
use erluv_proto::ids::WorkerId;

use super::run::{Asking, Run, RunError};
use super::server::ServerCall;
use super::worker::{self, ToWorker};

/// The number in the pid of the process `erluv` itself. Workers have higher ones.
pub(crate) const SERVER: u64 = 1;

/// Who we are on the wire, and whom we talk with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'n> {
    pub(crate) own: &'n str,
    pub(crate) creation: u32,
    pub(crate) peer: &'n str,
}

/// Whom a control message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The process `erluv` (or `net_kernel`, for pings): lives as long as the connection.
    Server,
    /// A worker, alive or not.
    Worker(WorkerId),
    /// A name that nobody has, or a pid of another incarnation or node.
    Nobody,
}

/// Who waits for the reply of a `gen_server:call`: both go back as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller<'a> {
    pub(crate) from: Term<'a>,
    pub(crate) tag: Term<'a>,
}

/// What a control message asks for.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    Spawn {
        request: Term<'a>,
        from: Term<'a>,
        link: bool,
        monitor: bool,
        // Boxed: many times as large as all others.
        run: Box<Result<Run<'a>, RunError<'a>>>,
    },
    /// A spawn of anything but `erluv:run/1,2`.
    SpawnOther {
        request: Term<'a>,
        from: Term<'a>,
    },
    Call(Caller<'a>, ServerCall<'a>),
    /// A call to a pid of another incarnation.
    CallToNobody(Caller<'a>),
    Message {
        to: WorkerId,
        from: Option<Term<'a>>,
        message: ToWorker<'a>,
    },
    Link {
        from: Term<'a>,
        to: Term<'a>,
        target: Target,
    },
    Unlink {
        id: Option<Term<'a>>,
        from: Term<'a>,
        to: Term<'a>,
        target: Target,
    },
    /// An exit signal: `kill` ends at once, `normal` does nothing, anything else is the kill ladder.
    Exit {
        from: Term<'a>,
        target: Target,
        reason: Term<'a>,
        linked: bool,
    },
    Monitor {
        from: Term<'a>,
        watched: Term<'a>,
        target: Target,
        reference: Term<'a>,
    },
    Demonitor {
        target: Target,
        reference: Term<'a>,
    },
    /// A process that we watch has ended: the owner of a worker.
    OwnerGone(Term<'a>),
    /// Nothing to do; what it was, for the log.
    Ignore(&'static str),
}

/// Input for a worker, of which only the start has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenInput<'a> {
    pub(crate) to: WorkerId,
    /// Who waits for an answer.
    pub(crate) caller: Option<Caller<'a>>,
    pub(crate) data: &'a [u8],
}

impl Names<'_> {
    /// Whom a pid or a registered name means. The whole pid is compared: after a restart of ours, messages to pids of
    /// the old incarnation are delivered to the new one.
    pub(crate) fn target(&self, term: Term<'_>) -> Target {
        if let Some(pid) = term.pid() {
            if pid.node != self.own || pid.creation != self.creation {
                return Target::Nobody;
            }
            return match u64::from(pid.serial) << 32 | u64::from(pid.id) {
                SERVER => Target::Server,
                id => Target::Worker(WorkerId(id)),
            };
        }
        match term.atom() {
            Some("erluv" | "net_kernel") => Target::Server,
            _ => Target::Nobody,
        }
    }

    /// Reads what a control message asks for.
    pub(crate) fn read<'a>(&self, message: &Message<'a>) -> Request<'a> {
        match message.control {
            Control::SpawnRequest { request, from, module, function, arity, link, monitor } => {
                let run = (module == "erluv" && function == "run")
                    .then(|| self.spawn(from, arity, message.payload))
                    .flatten();
                match run {
                    Some(run) => Request::Spawn { request, from, link, monitor, run: Box::new(run) },
                    None => Request::SpawnOther { request, from },
                }
            }
            Control::RegSend { name, .. } => match message.payload {
                Some(payload) if matches!(name, "erluv" | "net_kernel") => self.server_message(name, payload),
                _ => Request::Ignore("message to an unknown name"),
            },
            Control::Send { from, to } => match (self.target(to), message.payload) {
                (Target::Worker(to), Some(payload)) => worker::message(to, from, payload),
                (Target::Server, Some(payload)) => self.server_message("erluv", payload),
                (Target::Nobody, Some(payload)) => match call(payload) {
                    Some((caller, _question)) => Request::CallToNobody(caller),
                    None => Request::Ignore("message to nobody"),
                },
                (Target::Worker(_) | Target::Server | Target::Nobody, None) => {
                    Request::Ignore("message without a payload")
                }
            },
            Control::AliasSend { .. } => Request::Ignore("message to an alias: we have none"),
            Control::Link { from, to } => Request::Link { from, to, target: self.target(to) },
            Control::Unlink { from, to } => Request::Unlink { id: None, from, to, target: self.target(to) },
            Control::UnlinkId { id, from, to } => Request::Unlink { id: Some(id), from, to, target: self.target(to) },
            Control::Exit { from, to, reason } => Request::Exit { from, target: self.target(to), reason, linked: true },
            Control::Exit2 { from, to, reason } => {
                Request::Exit { from, target: self.target(to), reason, linked: false }
            }
            Control::Monitor { from, target: watched, reference } => {
                Request::Monitor { from, watched, target: self.target(watched), reference }
            }
            Control::Demonitor { target, reference, .. } => {
                Request::Demonitor { target: self.target(target), reference }
            }
            Control::MonitorExit { from, .. } => Request::OwnerGone(from),
            Control::GroupLeader => Request::Ignore("group leader"),
            Control::SpawnReply | Control::UnlinkIdAck => Request::Ignore("reply that nobody asked for"),
            Control::Unknown(_) => Request::Ignore("unknown operation"),
        }
    }

    /// Reads the start of a message; `None` where it is no input for a worker.
    pub(crate) fn read_open<'a>(&self, open: &Open<'a>) -> Option<OpenInput<'a>> {
        let Control::Send { to, .. } = open.control else { return None };
        let Target::Worker(to) = self.target(to) else { return None };
        let caller = open.call.map(|(from, tag)| Caller { from, tag });
        (open.name == "stdin").then_some(OpenInput { to, caller, data: open.data })
    }

    /// `erluv:run(Cmd)` or `erluv:run(Cmd, Options)`; `None` for another number of arguments.
    fn spawn<'a>(&self, from: Term<'a>, arity: i64, args: Option<Term<'a>>) -> Option<Result<Run<'a>, RunError<'a>>> {
        let args = args?;
        let asking = Asking { from, peer: self.peer };
        // A list of one or two small integers arrives as a string: no command, but a request all the same.
        if args.string().is_some_and(|string| !string.is_empty()) {
            return Some(Err(RunError::Command(args)));
        }
        let mut args = args.list()?;
        match (arity, args.next(), args.next(), args.next()) {
            (1, Some(command), None, None) => Some(Run::read(command, None, asking)),
            (2, Some(command), Some(options), None) => Some(Run::read(command, Some(options), asking)),
            _ => None,
        }
    }

    fn server_message<'a>(&self, name: &str, payload: Term<'a>) -> Request<'a> {
        match call(payload) {
            Some((caller, question)) => Request::Call(caller, self.server_call(name, caller, question)),
            None => Request::Ignore("message that is no call"),
        }
    }
}

/// `{'$gen_call', {From, Tag}, Question}`, what `gen_server:call` sends.
pub(crate) fn call(payload: Term<'_>) -> Option<(Caller<'_>, Term<'_>)> {
    let [what, caller, question] = payload.tuple_of::<3>()?;
    let [from, tag] = caller.tuple_of::<2>()?;
    (what.is_atom("$gen_call") && from.pid().is_some()).then_some((Caller { from, tag }, question))
}
