//! Control messages, parsed (OTP document "Distribution Protocol", the protocol between connected nodes).
//!
//! A frame's body is 112, a control tuple and for some operations a payload, each with the version byte in front. Only
//! what an operation has is read: bytes behind that are ignored, as BEAM does. Variants that carry a trace token are
//! made the same as those without.

use thiserror::Error;

use crate::etf::{EtfError, Term};

/// The first byte of every body, while neither atom cache nor fragments are negotiated.
pub(super) const PASS_THROUGH: u8 = 112;

/// Why a frame is no control message. The connection stays good: BEAM sends whole frames, so the next one can be read.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ControlError {
    /// The body has another first byte, or none.
    #[error("control message: its first byte is not {PASS_THROUGH}")]
    Type,
    /// The control term is invalid.
    #[error("control message: {0}")]
    Control(EtfError),
    /// The control term is no tuple that begins with an operation.
    #[error("control message: not a tuple with an operation in front")]
    NotControl,
    /// A known operation with other elements than it has.
    #[error("control message: operation {0} with elements that it does not have")]
    Shape(i64),
    /// The payload is missing or invalid.
    #[error("control message: payload of operation {operation}: {error}")]
    Payload {
        /// The operation.
        operation: i64,
        /// What is wrong with its payload.
        error: EtfError,
    },
}

/// A control message and its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub control: Control<'a>,
    /// The message of a send, the list of arguments of a spawn request; `None` for all others.
    pub payload: Option<Term<'a>>,
}

/// A control message. `from` and `to` are pids unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// Link `from` with our `to`.
    Link {
        /// The other end.
        from: Term<'a>,
        /// Ours.
        to: Term<'a>,
    },
    /// A message for a pid.
    Send {
        /// The sender, where it is known.
        from: Option<Term<'a>>,
        /// Ours.
        to: Term<'a>,
    },
    /// A message for a registered name.
    RegSend {
        /// The sender.
        from: Term<'a>,
        /// The name.
        name: &'a str,
    },
    /// `from` has ended, and was linked with our `to`.
    Exit {
        /// Who ended.
        from: Term<'a>,
        /// Ours.
        to: Term<'a>,
        /// Why.
        reason: Term<'a>,
    },
    /// `from` called exit/2.
    Exit2 {
        /// Who called it.
        from: Term<'a>,
        /// Ours: a pid, or since OTP 28 a reference or a name.
        to: Term<'a>,
        /// The reason that it gave.
        reason: Term<'a>,
    },
    /// The unlink of nodes before OTP 23.
    Unlink {
        /// The other end.
        from: Term<'a>,
        /// Ours.
        to: Term<'a>,
    },
    /// Set a group leader: nothing to us.
    GroupLeader,
    /// Monitor one of ours.
    Monitor {
        /// Who monitors.
        from: Term<'a>,
        /// A pid or an atom.
        target: Term<'a>,
        /// Names the monitor.
        reference: Term<'a>,
    },
    /// Monitor it no more.
    Demonitor {
        /// Who monitored.
        from: Term<'a>,
        /// A pid or an atom.
        target: Term<'a>,
        /// Names the monitor.
        reference: Term<'a>,
    },
    /// What one of ours monitored has ended.
    MonitorExit {
        /// The pid or name that ended.
        from: Term<'a>,
        /// Ours.
        to: Term<'a>,
        /// The reference that we gave.
        reference: Term<'a>,
        /// Why it ended.
        reason: Term<'a>,
    },
    /// Start a process; the payload is the list of arguments.
    SpawnRequest {
        /// The reference that names the request.
        request: Term<'a>,
        /// Who asks.
        from: Term<'a>,
        /// Module.
        module: &'a str,
        /// Function.
        function: &'a str,
        /// Number of arguments.
        arity: i64,
        /// Link with `from` at once.
        link: bool,
        /// Let `from` monitor at once, by the reference `request`.
        monitor: bool,
    },
    /// The answer to a spawn request, which we never send.
    SpawnReply,
    /// A message for an alias.
    AliasSend {
        /// The sender.
        from: Term<'a>,
        /// The alias, a reference.
        alias: Term<'a>,
    },
    /// Unlink; must be acknowledged at once, with the same `id`.
    UnlinkId {
        /// An integer of up to 64 bits, to be echoed by its bytes.
        id: Term<'a>,
        /// The other end.
        from: Term<'a>,
        /// Ours.
        to: Term<'a>,
    },
    /// The acknowledgement of an unlink, which we never send.
    UnlinkIdAck,
    /// An operation that this erluv does not know: to be skipped.
    Unknown(i64),
}

/// What the start of a frame shows that is too long to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The control message. A reason that would be in the payload is [`Term::TOO_LARGE`].
    pub control: Control<'a>,
    /// Caller and tag, where the payload begins as `{'$gen_call', {From, Tag}, ...}`: for [`super::send::put_reply`].
    pub call: Option<(Term<'a>, Term<'a>)>,
}

/// A message `{Name, Binary}`, or a call of that, of whose binary only the start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// The control message.
    pub control: Control<'a>,
    /// Caller and tag, of a call.
    pub call: Option<(Term<'a>, Term<'a>)>,
    /// The name, an atom.
    pub name: &'a str,
    /// What has come of the binary; nothing but the rest of it is to come.
    pub data: &'a [u8],
}

/// Parses a frame's body.
///
/// # Errors
/// [`ControlError`]: log it and go on with the next frame.
pub fn parse(body: &[u8]) -> Result<Message<'_>, ControlError> {
    let (tuple, mut rest) = tuple(body)?;
    let operation = tuple.operation;
    let control = tuple.control()?;
    let mut payload = || Term::take_versioned(&mut rest).map_err(|error| ControlError::Payload { operation, error });
    match control {
        Parsed::Whole(control) => Ok(Message { control, payload: None }),
        Parsed::Message(control) => Ok(Message { control, payload: Some(payload()?) }),
        Parsed::Reason(with) => Ok(Message { control: with.reason(payload()?), payload: None }),
    }
}

/// Parses the start of a body that is too long to be held: the control message, and who waits for an answer. The
/// payload is not validated.
///
/// # Errors
/// [`ControlError`] where not even the control message is whole.
pub fn parse_head(body: &[u8]) -> Result<Head<'_>, ControlError> {
    let (tuple, rest) = tuple(body)?;
    match tuple.control()? {
        Parsed::Whole(control) => Ok(Head { control, call: None }),
        Parsed::Message(control) => Ok(Head { control, call: call(rest).map(|(caller, _)| caller) }),
        Parsed::Reason(with) => Ok(Head { control: with.reason(Term::TOO_LARGE), call: None }),
    }
}

/// Parses the start of a body of `length` bytes. `None`: it is nothing that could be taken as it comes.
pub fn parse_open(body: &[u8], length: usize) -> Option<Open<'_>> {
    let (tuple, payload) = tuple(body).ok()?;
    let Parsed::Message(control) = tuple.control().ok()? else { return None };
    let (call, message) = match call(payload) {
        Some((caller, message)) => (Some(caller), message),
        None => (None, payload.strip_prefix(&[131])?),
    };
    let mut rest = message.strip_prefix(&[104, 2])?;
    let name = Term::take(&mut rest).ok()?.atom()?;
    let (announced, data) = rest.strip_prefix(&[109])?.split_first_chunk::<4>()?;
    let announced = usize::try_from(u32::from_be_bytes(*announced)).ok()?;
    let to_come = length.checked_sub(body.len())?;
    (announced.checked_sub(data.len())? == to_come).then_some(Open { control, call, name, data })
}

/// `From` and `Tag` of a payload, only whose start is there, and what follows them:
/// `131, {3 elements, '$gen_call', {From, Tag}`.
fn call(payload: &[u8]) -> Option<((Term<'_>, Term<'_>), &[u8])> {
    let mut rest = payload.strip_prefix(&[131, 104, 3])?;
    Term::take(&mut rest).ok().filter(|first| first.is_atom("$gen_call"))?;
    let [from, tag] = Term::take(&mut rest).ok()?.tuple_of()?;
    from.is_pid().then_some(((from, tag), rest))
}

/// The most elements behind the operation that any operation has.
const MAX_ELEMENTS: usize = 6;

/// A control tuple, opened.
struct Tuple<'a> {
    operation: i64,
    elements: [Term<'a>; MAX_ELEMENTS],
    /// How many of them there are; more than [`MAX_ELEMENTS`] in operations that grew.
    length: usize,
}

fn tuple(body: &[u8]) -> Result<(Tuple<'_>, &[u8]), ControlError> {
    let mut rest = body.strip_prefix(&[PASS_THROUGH]).ok_or(ControlError::Type)?;
    let term = Term::take_versioned(&mut rest).map_err(ControlError::Control)?;
    let mut all = term.tuple().ok_or(ControlError::NotControl)?;
    let operation = all.next().and_then(Term::integer).ok_or(ControlError::NotControl)?;
    let length = all.len();
    let mut elements = [Term::NIL; MAX_ELEMENTS];
    for (place, element) in elements.iter_mut().zip(all) {
        *place = element;
    }
    Ok((Tuple { operation, elements, length }, rest))
}

/// A control tuple, understood, by what its payload is.
enum Parsed<'a> {
    /// There is none.
    Whole(Control<'a>),
    /// A message, or arguments.
    Message(Control<'a>),
    /// The reason that the control message lacks.
    Reason(Reasonless<'a>),
}

/// A control message that waits for its reason.
enum Reasonless<'a> {
    Exit { from: Term<'a>, to: Term<'a> },
    Exit2 { from: Term<'a>, to: Term<'a> },
    MonitorExit { from: Term<'a>, to: Term<'a>, reference: Term<'a> },
}

impl<'a> Reasonless<'a> {
    fn reason(self, reason: Term<'a>) -> Control<'a> {
        match self {
            Self::Exit { from, to } => Control::Exit { from, to, reason },
            Self::Exit2 { from, to } => Control::Exit2 { from, to, reason },
            Self::MonitorExit { from, to, reference } => Control::MonitorExit { from, to, reference, reason },
        }
    }
}

impl<'a> Tuple<'a> {
    fn control(&self) -> Result<Parsed<'a>, ControlError> {
        // Of an operation that grew, only the known elements are looked at.
        let elements = self.elements.get(..self.length).unwrap_or(&self.elements);
        let understood = match self.operation {
            2 | 6 | 12 | 16 | 22 | 23 | 33 | 34 => message(self.operation, elements),
            1 | 4 | 35 => link(self.operation, elements),
            3 | 8 | 13 | 18 | 24..=27 => exit(self.operation, elements),
            19..=21 | 28 => monitor(self.operation, elements),
            29 | 30 => spawn(elements),
            37 => altact(elements),
            7 => Some(Parsed::Whole(Control::GroupLeader)),
            31 | 32 => Some(Parsed::Whole(Control::SpawnReply)),
            36 => Some(Parsed::Whole(Control::UnlinkIdAck)),
            other => Some(Parsed::Whole(Control::Unknown(other))),
        };
        understood.ok_or(ControlError::Shape(self.operation))
    }
}

/// SEND, REG_SEND, SEND_SENDER, ALIAS_SEND; 12, 16, 23 and 34 have a token behind.
fn message<'a>(operation: i64, elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    let control = match (operation, elements) {
        (2, [_unused, to]) | (12, [_unused, to, _]) => Control::Send { from: None, to: pid(to)? },
        (22, [from, to]) | (23, [from, to, _]) => Control::Send { from: Some(pid(from)?), to: pid(to)? },
        (6, [from, _unused, name]) | (16, [from, _unused, name, _]) => {
            Control::RegSend { from: pid(from)?, name: name.atom()? }
        }
        (33, [from, alias]) | (34, [from, alias, _]) => {
            Control::AliasSend { from: pid(from)?, alias: reference(alias)? }
        }
        _ => return None,
    };
    Some(Parsed::Message(control))
}

/// LINK, UNLINK, UNLINK_ID.
fn link<'a>(operation: i64, elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    let control = match (operation, elements) {
        (1, [from, to]) => Control::Link { from: pid(from)?, to: pid(to)? },
        (4, [from, to]) => Control::Unlink { from: pid(from)?, to: pid(to)? },
        // 97, 98 or 110: the number itself means nothing to us, and may need all 64 bits.
        (35, [id, from, to]) if matches!(id.tag(), 97 | 98 | 110) => {
            Control::UnlinkId { id: *id, from: pid(from)?, to: pid(to)? }
        }
        _ => return None,
    };
    Some(Parsed::Whole(control))
}

/// EXIT, EXIT2 and those with their reason as payload; 13, 18, 25 and 27 have a token.
fn exit<'a>(operation: i64, elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    let parsed = match (operation, elements) {
        (3, [from, to, reason]) | (13, [from, to, _, reason]) => {
            Parsed::Whole(Control::Exit { from: pid(from)?, to: pid(to)?, reason: *reason })
        }
        (8, [from, to, reason]) | (18, [from, to, _, reason]) => {
            Parsed::Whole(Control::Exit2 { from: pid(from)?, to: pid(to)?, reason: *reason })
        }
        (24, [from, to]) | (25, [from, to, _]) => Parsed::Reason(Reasonless::Exit { from: pid(from)?, to: pid(to)? }),
        (26, [from, to]) | (27, [from, to, _]) => Parsed::Reason(Reasonless::Exit2 { from: pid(from)?, to: pid(to)? }),
        _ => return None,
    };
    Some(parsed)
}

/// MONITOR_P, DEMONITOR_P, MONITOR_P_EXIT and the last one with its reason as payload.
fn monitor<'a>(operation: i64, elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    let parsed = match (operation, elements) {
        (19, [from, target, name]) => Parsed::Whole(Control::Monitor {
            from: pid(from)?,
            target: pid_or_atom(target)?,
            reference: reference(name)?,
        }),
        (20, [from, target, name]) => Parsed::Whole(Control::Demonitor {
            from: pid(from)?,
            target: pid_or_atom(target)?,
            reference: reference(name)?,
        }),
        (21, [from, to, name, reason]) => Parsed::Whole(Control::MonitorExit {
            from: pid_or_atom(from)?,
            to: pid(to)?,
            reference: reference(name)?,
            reason: *reason,
        }),
        (28, [from, to, name]) => Parsed::Reason(Reasonless::MonitorExit {
            from: pid_or_atom(from)?,
            to: pid(to)?,
            reference: reference(name)?,
        }),
        _ => return None,
    };
    Some(parsed)
}

/// SPAWN_REQUEST; 30 has a token behind. Options other than link and monitor are for the node itself.
fn spawn<'a>(elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    let [request, from, _leader, call, options] = elements.first_chunk::<5>()?;
    let [module, function, arity] = call.tuple_of()?;
    let (mut link, mut monitor) = (false, false);
    for option in options.list()? {
        let name = option.tuple().and_then(|mut pair| pair.next()).unwrap_or(option);
        link |= name.is_atom("link");
        monitor |= name.is_atom("monitor");
    }
    Some(Parsed::Message(Control::SpawnRequest {
        request: reference(request)?,
        from: pid(from)?,
        module: module.atom()?,
        function: function.atom()?,
        arity: arity.integer()?,
        link,
        monitor,
    }))
}

/// ALTACT_SIG_SEND, `{37, Flags, From, To}` and, by a flag, a token. May grow.
fn altact<'a>(elements: &[Term<'a>]) -> Option<Parsed<'a>> {
    const ALIAS: i64 = 4;
    const NAME: i64 = 8;
    const EXIT: i64 = 16;
    let [flags, from, to] = elements.first_chunk::<3>()?;
    let flags = flags.integer()?;
    if flags & EXIT != 0 {
        let addressed = pid_or_atom(to).or_else(|| reference(to))?;
        return Some(Parsed::Reason(Reasonless::Exit2 { from: pid(from)?, to: addressed }));
    }
    let control = if flags & ALIAS != 0 {
        Control::AliasSend { from: pid(from)?, alias: reference(to)? }
    } else if flags & NAME != 0 {
        Control::RegSend { from: pid(from)?, name: to.atom()? }
    } else {
        Control::Send { from: pid(from), to: pid(to)? }
    };
    Some(Parsed::Message(control))
}

fn pid<'a>(term: &Term<'a>) -> Option<Term<'a>> {
    Some(*term).filter(|term| term.is_pid())
}

fn reference<'a>(term: &Term<'a>) -> Option<Term<'a>> {
    Some(*term).filter(|term| term.is_reference())
}

fn pid_or_atom<'a>(term: &Term<'a>) -> Option<Term<'a>> {
    Some(*term).filter(|term| term.is_pid() || term.atom().is_some())
}

#[cfg(test)]
mod tests;
