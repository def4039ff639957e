//! Control messages, built. Each function appends one whole frame to `out`: four bytes of length, 112, 131 and the
//! control tuple, and where the operation has one, 131 and the payload.
//!
//! Closures append one term without its version byte. `own` pids are of our node and incarnation, named by their 64-bit
//! number.

use super::control::PASS_THROUGH;
use super::flags::ALTACT_SIG;
use crate::etf::{Term, VERSION, put_atom, put_integer, put_pid, put_reference, put_tuple, tag};

/// Our own node, of which all our pids and references are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own<'a> {
    /// The full node name.
    pub node: &'a str,
    /// Its incarnation.
    pub creation: u32,
}

impl Own<'_> {
    /// Appends the pid of that number.
    pub fn put_pid(self, out: &mut Vec<u8>, id: u64) {
        put_pid(out, self.node, id, self.creation);
    }

    /// Appends the reference of those words.
    pub fn put_reference(self, out: &mut Vec<u8>, words: [u32; 3]) {
        put_reference(out, self.node, self.creation, words);
    }
}

/// Appends a tick.
pub fn put_tick(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Begins a frame, whose length [`finish`] writes. What belongs between: 131, the control tuple, and 131, the payload.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let mark = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, PASS_THROUGH]);
    mark
}

/// Ends the frame that `mark` began: all behind it is its body.
pub fn finish(out: &mut [u8], mark: usize) {
    patch(out, mark);
}

/// Writes at `place` how many bytes stand behind the four there.
fn patch(out: &mut [u8], place: usize) {
    let length = out.len().saturating_sub(place).saturating_sub(4);
    if let Some(bytes) = out.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
        *bytes = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    }
}

/// Begins a frame and its control tuple: the operation is there, `elements` more must follow.
fn control(out: &mut Vec<u8>, operation: u8, elements: u8) -> usize {
    let mark = begin(out);
    out.push(VERSION);
    put_tuple(out, elements.saturating_add(1));
    put_integer(out, i64::from(operation));
    mark
}

fn put_raw(out: &mut Vec<u8>, term: Term<'_>) {
    out.extend_from_slice(term.as_bytes());
}

fn payload_and_finish(out: &mut Vec<u8>, mark: usize, payload: impl FnOnce(&mut Vec<u8>)) {
    out.push(VERSION);
    payload(out);
    finish(out, mark);
}

/// SEND_SENDER: a message from our pid `from` to the pid `to`.
pub fn put_send(out: &mut Vec<u8>, own: Own<'_>, from: u64, to: Term<'_>, payload: impl FnOnce(&mut Vec<u8>)) {
    let mark = control(out, 22, 2);
    own.put_pid(out, from);
    put_raw(out, to);
    payload_and_finish(out, mark, payload);
}

/// REG_SEND: a message from our pid `from` to the process registered as `name`.
pub fn put_reg_send(out: &mut Vec<u8>, own: Own<'_>, from: u64, name: &str, payload: impl FnOnce(&mut Vec<u8>)) {
    let mark = control(out, 6, 3);
    own.put_pid(out, from);
    put_atom(out, "");
    put_atom(out, name);
    payload_and_finish(out, mark, payload);
}

/// The answer to a `'$gen_call'` of `{from, tag}`: `{tag, Reply}` from our pid `from_id`, the tag byte for byte.
///
/// An alias in the tag, `[alias|Ref]` or `[[alias|Ref]|_]` as `gen:reply/2` knows them, is answered to: by
/// ALTACT_SIG_SEND where it is among the
/// `negotiated` flags, else by ALIAS_SEND. Without an alias it is a plain message to `from`.
pub fn put_reply(
    out: &mut Vec<u8>,
    own: Own<'_>,
    from_id: u64,
    from: Term<'_>,
    tag: Term<'_>,
    negotiated: u64,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let answer = |out: &mut Vec<u8>| {
        put_tuple(out, 2);
        put_raw(out, tag);
        payload(out);
    };
    let Some(alias) = alias_of(tag) else { return put_send(out, own, from_id, from, answer) };
    let mark = if negotiated & ALTACT_SIG == 0 {
        control(out, 33, 2)
    } else {
        let mark = control(out, 37, 3);
        put_integer(out, 4);
        mark
    };
    own.put_pid(out, from_id);
    put_raw(out, alias);
    payload_and_finish(out, mark, answer);
}

/// The reference of a tag that has an alias.
fn alias_of<'a>(tag: Term<'a>) -> Option<Term<'a>> {
    let direct = |term: Term<'a>| {
        let (first, reference) = term.cons()?;
        (first.is_atom("alias") && reference.is_reference()).then_some(reference)
    };
    direct(tag).or_else(|| tag.first().and_then(direct))
}

/// LINK: our pid `id` links with the pid `to`. Where that is no more, it answers with an exit signal.
pub fn put_link(out: &mut Vec<u8>, own: Own<'_>, id: u64, to: Term<'_>) {
    let mark = control(out, 1, 2);
    own.put_pid(out, id);
    put_raw(out, to);
    finish(out, mark);
}

/// PAYLOAD_EXIT: our linked pid `id` has ended. Never to a pid of an earlier connection: BEAM then closes this one.
pub fn put_exit(out: &mut Vec<u8>, own: Own<'_>, id: u64, to: Term<'_>, reason: impl FnOnce(&mut Vec<u8>)) {
    let mark = control(out, 24, 2);
    own.put_pid(out, id);
    put_raw(out, to);
    payload_and_finish(out, mark, reason);
}

/// As [`put_exit`], with the bytes of a pid of our node as they came: for a link to a pid that is not there. A pid of
/// another node's name would make BEAM close the connection.
pub fn put_exit_from(out: &mut Vec<u8>, from: Term<'_>, to: Term<'_>, reason: impl FnOnce(&mut Vec<u8>)) {
    let mark = control(out, 24, 2);
    put_raw(out, from);
    put_raw(out, to);
    payload_and_finish(out, mark, reason);
}

/// PAYLOAD_MONITOR_P_EXIT: `from`, the target of the monitor as it came, pid or atom, has ended or is not there.
pub fn put_monitor_exit(
    out: &mut Vec<u8>,
    from: Term<'_>,
    to: Term<'_>,
    reference: Term<'_>,
    reason: impl FnOnce(&mut Vec<u8>),
) {
    let mark = control(out, 28, 3);
    put_raw(out, from);
    put_raw(out, to);
    put_raw(out, reference);
    payload_and_finish(out, mark, reason);
}

/// As [`put_monitor_exit`], of our pid `id`.
pub fn put_monitor_exit_of(
    out: &mut Vec<u8>,
    own: Own<'_>,
    id: u64,
    to: Term<'_>,
    reference: Term<'_>,
    reason: impl FnOnce(&mut Vec<u8>),
) {
    let mark = control(out, 28, 3);
    own.put_pid(out, id);
    put_raw(out, to);
    put_raw(out, reference);
    payload_and_finish(out, mark, reason);
}

/// MONITOR_P: our pid `id` monitors `target`, a pid or an atom, under our reference of `words`.
pub fn put_monitor(out: &mut Vec<u8>, own: Own<'_>, id: u64, target: Term<'_>, words: [u32; 3]) {
    put_watch(out, 19, own, id, target, words);
}

/// DEMONITOR_P: takes [`put_monitor`] of the same arguments back.
pub fn put_demonitor(out: &mut Vec<u8>, own: Own<'_>, id: u64, target: Term<'_>, words: [u32; 3]) {
    put_watch(out, 20, own, id, target, words);
}

fn put_watch(out: &mut Vec<u8>, operation: u8, own: Own<'_>, id: u64, target: Term<'_>, words: [u32; 3]) {
    let mark = control(out, operation, 3);
    own.put_pid(out, id);
    put_raw(out, target);
    own.put_reference(out, words);
    finish(out, mark);
}

/// SPAWN_REPLY: `request` of `to` has become our pid `id`. Flags: 1 linked, 2 monitored. Goes out before any signal of
/// that pid.
pub fn put_spawn_reply(out: &mut Vec<u8>, own: Own<'_>, request: Term<'_>, to: Term<'_>, flags: u8, id: u64) {
    let mark = control(out, 31, 4);
    put_raw(out, request);
    put_raw(out, to);
    put_integer(out, i64::from(flags));
    own.put_pid(out, id);
    finish(out, mark);
}

/// SPAWN_REPLY: nothing came of `request`; `reason` is an atom.
pub fn put_spawn_error(out: &mut Vec<u8>, request: Term<'_>, to: Term<'_>, reason: &str) {
    let mark = control(out, 31, 4);
    put_raw(out, request);
    put_raw(out, to);
    put_integer(out, 0);
    put_atom(out, reason);
    finish(out, mark);
}

/// UNLINK_ID_ACK: `id` by its bytes, `from` our pid as it came, `to` who unlinked. Goes out before any other signal to
/// `to`.
pub fn put_unlink_ack(out: &mut Vec<u8>, id: Term<'_>, from: Term<'_>, to: Term<'_>) {
    let mark = control(out, 36, 3);
    put_raw(out, id);
    put_raw(out, from);
    put_raw(out, to);
    finish(out, mark);
}

/// Where the lengths of a data frame stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a frame without finish_data has no length"]
pub struct Mark {
    frame: usize,
    binary: usize,
}

/// Begins a message `{stream, Our, <<...>>}` from our pid `id` to the pid `to`. Append the bytes themselves, then call
/// [`finish_data`].
pub fn data_prefix(out: &mut Vec<u8>, own: Own<'_>, id: u64, to: Term<'_>, stream: &str) -> Mark {
    data_prefix_of(out, own, id, to, stream, None)
}

/// As [`data_prefix`], with an `os_pid` in the place of our pid.
pub fn data_prefix_of(
    out: &mut Vec<u8>,
    own: Own<'_>,
    id: u64,
    to: Term<'_>,
    stream: &str,
    os_pid: Option<u32>,
) -> Mark {
    let frame = control(out, 22, 2);
    own.put_pid(out, id);
    put_raw(out, to);
    out.push(VERSION);
    put_tuple(out, 3);
    put_atom(out, stream);
    match os_pid {
        None => own.put_pid(out, id),
        Some(os_pid) => put_integer(out, i64::from(os_pid)),
    }
    out.push(tag::BINARY);
    let binary = out.len();
    out.extend_from_slice(&[0; 4]);
    Mark { frame, binary }
}

/// Ends a data frame: all behind its prefix is the binary.
pub fn finish_data(out: &mut [u8], mark: Mark) {
    patch(out, mark.binary);
    patch(out, mark.frame);
}

#[cfg(test)]
mod tests;
