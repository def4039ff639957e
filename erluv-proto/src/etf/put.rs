//! Encoders that append to a buffer, with what the OTP document "External Term Format" says of each tag.

use super::{MAX_ATOM, tag};

/// Appends an atom. A name over 255 characters, which Erlang does not have, is cut there.
pub fn put_atom(out: &mut Vec<u8>, name: &str) {
    let name = match name.char_indices().nth(MAX_ATOM) {
        Some((end, _)) => name.get(..end).unwrap_or_default(),
        None => name,
    };
    match u8::try_from(name.len()) {
        Ok(length) => out.extend_from_slice(&[tag::SMALL_ATOM_UTF8, length]),
        Err(_) => {
            out.push(tag::ATOM_UTF8);
            // 255 characters of 4 bytes at most: it fits.
            out.extend_from_slice(&u16::try_from(name.len()).unwrap_or_default().to_be_bytes());
        }
    }
    out.extend_from_slice(name.as_bytes());
}

/// Appends an integer.
pub fn put_integer(out: &mut Vec<u8>, value: i64) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend_from_slice(&[tag::SMALL_INTEGER, byte]);
    } else if let Ok(word) = i32::try_from(value) {
        out.push(tag::INTEGER);
        out.extend_from_slice(&word.to_be_bytes());
    } else {
        put_big(out, value < 0, value.unsigned_abs());
    }
}

/// Appends an integer that is not negative.
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    match i64::try_from(value) {
        Ok(value) => put_integer(out, value),
        Err(_) => put_big(out, false, value),
    }
}

fn put_big(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    let bytes = magnitude.to_le_bytes();
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    out.extend_from_slice(&[tag::SMALL_BIG, u8::try_from(length).unwrap_or(8), u8::from(negative)]);
    out.extend_from_slice(bytes.get(..length).unwrap_or(&bytes));
}

/// Appends the head of a tuple; `arity` terms must follow.
pub fn put_tuple(out: &mut Vec<u8>, arity: u8) {
    out.extend_from_slice(&[tag::SMALL_TUPLE, arity]);
}

/// Appends the head of a list; `len` terms must follow, and then the tail: [`put_nil`] for a proper list.
pub fn put_list(out: &mut Vec<u8>, len: u32) {
    put_counted(out, tag::LIST, len);
}

/// Appends the empty list.
pub fn put_nil(out: &mut Vec<u8>) {
    out.push(tag::NIL);
}

/// Appends a binary, cut at the 4 GiB that the format has.
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    put_counted(out, tag::BINARY, length);
    out.extend_from_slice(usize::try_from(length).ok().and_then(|length| bytes.get(..length)).unwrap_or(bytes));
}

/// Appends the head of a map; `pairs` times a key and a value must follow, no key twice.
pub fn put_map(out: &mut Vec<u8>, pairs: u32) {
    put_counted(out, tag::MAP, pairs);
}

pub(super) fn put_counted(out: &mut Vec<u8>, kind: u8, count: u32) {
    out.push(kind);
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends a pid: the low word of `id` is its Id, the high word its Serial.
pub fn put_pid(out: &mut Vec<u8>, node: &str, id: u64, creation: u32) {
    let [a, b, c, d, low @ ..] = id.to_be_bytes();
    out.push(tag::NEW_PID);
    put_atom(out, node);
    out.extend_from_slice(&low);
    out.extend_from_slice(&[a, b, c, d]);
    out.extend_from_slice(&creation.to_be_bytes());
}

/// Appends a reference of three words, in the order of the wire. The first is the low one: BEAM wants it below 2^18.
pub fn put_reference(out: &mut Vec<u8>, node: &str, creation: u32, words: [u32; 3]) {
    out.extend_from_slice(&[tag::NEWER_REFERENCE, 0, 3]);
    put_atom(out, node);
    out.extend_from_slice(&creation.to_be_bytes());
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}
