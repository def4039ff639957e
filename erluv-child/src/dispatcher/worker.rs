//! Messages and calls to a worker's pid.

use std::borrow::Cow;

use erluv_proto::etf::Term;
use erluv_proto::ids::WorkerId;

use super::request::{Caller, Request, call};
use super::{places, text};
use crate::streams::Which;

/// Input for a worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    Bytes(Cow<'a, [u8]>),
    Eof,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u16, pub(crate) u16);

/// A message to a worker's pid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ToWorker<'a> {
    Stdin(Input<'a>),
    Signal(u8),
    /// So many bytes of an output stream are dealt with.
    Ack(Which, u32),
    Close(Which),
    Size(Size),
    Call(Caller<'a>, WorkerCall<'a>),
}

/// A `gen_server:call` to a worker's pid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WorkerCall<'a> {
    Info,
    Stop,
    StopAndWait,
    /// `None`: there is no such signal.
    Signal(Option<u8>),
    Stdin(Input<'a>),
    Close(Which),
    Size(Size),
    /// Settings of its terminal, or those that are wrong.
    Settings(Result<Vec<(String, u32)>, Vec<Term<'a>>>),
    Unknown(Term<'a>),
}

/// What a message to a worker asks for.
pub(super) fn message<'a>(to: WorkerId, from: Option<Term<'a>>, payload: Term<'a>) -> Request<'a> {
    let message = if let Some((caller, question)) = call(payload) {
        Some(ToWorker::Call(caller, worker_call(question)))
    } else if let Some([what, value]) = payload.tuple_of::<2>() {
        match what.atom() {
            Some("stdin") => input(value).map(ToWorker::Stdin),
            Some("signal") => text::signal(value).map(ToWorker::Signal),
            Some("close") => stream(value).map(ToWorker::Close),
            _ => None,
        }
    } else if let Some([what, first, second]) = payload.tuple_of::<3>() {
        match what.atom() {
            Some("ack") => ack(first, second),
            Some("winsz") => size(first, second).map(ToWorker::Size),
            _ => None,
        }
    } else {
        None
    };
    match message {
        Some(message) => Request::Message { to, from, message },
        None => Request::Ignore("message that no worker understands"),
    }
}

fn stream(name: Term<'_>) -> Option<Which> {
    match name.atom()? {
        "stdin" => Some(Which::Stdin),
        "stdout" => Some(Which::Stdout),
        "stderr" => Some(Which::Stderr),
        _ => None,
    }
}

fn size(rows: Term<'_>, columns: Term<'_>) -> Option<Size> {
    places::dimensions(rows, columns).map(|(rows, columns)| Size(rows, columns))
}

/// `stdout | stderr` and the bytes of `{ack, Stream, Bytes}`.
fn ack<'a>(name: Term<'a>, bytes: Term<'a>) -> Option<ToWorker<'a>> {
    let which = stream(name).filter(|which| *which != Which::Stdin)?;
    Some(ToWorker::Ack(which, u32::try_from(bytes.integer()?).ok()?))
}

fn worker_call(question: Term<'_>) -> WorkerCall<'_> {
    match question.atom() {
        Some("info") => return WorkerCall::Info,
        Some("stop") => return WorkerCall::Stop,
        Some("stop_and_wait") => return WorkerCall::StopAndWait,
        _ => {}
    }
    let known = if let Some([what, value]) = question.tuple_of::<2>() {
        match what.atom() {
            Some("signal") => Some(WorkerCall::Signal(text::signal(value))),
            Some("stdin") => input(value).map(WorkerCall::Stdin),
            Some("close") => stream(value).map(WorkerCall::Close),
            Some("pty_opts") => Some(WorkerCall::Settings(places::settings(value))),
            _ => None,
        }
    } else if let Some([what, rows, columns]) = question.tuple_of::<3>()
        && what.is_atom("winsz")
    {
        size(rows, columns).map(WorkerCall::Size)
    } else {
        None
    };
    known.unwrap_or(WorkerCall::Unknown(question))
}

/// iodata or `eof`. A binary is passed on where it lies, anything else is flattened: never longer than its frame.
fn input(value: Term<'_>) -> Option<Input<'_>> {
    if value.is_atom("eof") {
        return Some(Input::Eof);
    }
    if let Some(bytes) = value.binary() {
        return Some(Input::Bytes(Cow::Borrowed(bytes)));
    }
    let mut bytes = Vec::new();
    value.iodata(value.as_bytes().len(), &mut bytes).ok()?;
    Some(Input::Bytes(Cow::Owned(bytes)))
}
