//! To and from the terms of the `eetf` crate, for what is small and seldom: requests, replies, reports.

use std::io::Read;

use eetf::{BitBinary, ByteList, InternalFun};

use super::put::put_counted;
use super::validate::{Scope, skip};
use super::{
    EtfError, Term, VERSION, put_atom, put_binary, put_integer, put_list, put_map, put_nil, put_pid, put_tuple, tag,
};

impl Term<'_> {
    /// The term as `eetf` has it. The validator's bounds hold, so this can neither overflow the stack nor allocate
    /// without measure.
    ///
    /// # Errors
    /// [`EtfError::Tag`] for a record, [`EtfError::Atom`] for a Latin-1 atom outside ASCII, [`EtfError::Eetf`] for what
    /// else `eetf` refuses: an infinite float, a malformed one of the old form, a big integer whose sign is neither 0
    /// nor 1.
    pub fn to_eetf(self) -> Result<eetf::Term, EtfError> {
        skip(self.as_bytes(), Scope::Eetf)?;
        eetf::Term::decode([VERSION].as_slice().chain(self.as_bytes())).map_err(|e| EtfError::Eetf(e.to_string()))
    }
}

/// Appends a term. Right where the encoder of `eetf` is not: lists of negative integers, long lists of bytes, lists
/// within funs.
///
/// What has no external form (a float that is no number, a reference of 65536 words) becomes the atom `undefined`, so
/// that the frame stays whole. The depth is the caller's: this is for terms of our own making and those of
/// [`Term::to_eetf`].
pub fn put_term(out: &mut Vec<u8>, term: &eetf::Term) {
    match term {
        eetf::Term::Atom(x) => put_atom(out, &x.name),
        eetf::Term::FixInteger(x) => put_integer(out, i64::from(x.value)),
        eetf::Term::Pid(x) => put_their_pid(out, x),
        eetf::Term::Binary(x) => put_binary(out, &x.bytes),
        eetf::Term::BitBinary(x) => put_bits(out, x),
        eetf::Term::ByteList(x) => put_bytes(out, x),
        eetf::Term::List(x) => put_elements(out, &x.elements, put_nil),
        eetf::Term::ImproperList(x) => put_elements(out, &x.elements, |out| put_term(out, &x.last)),
        eetf::Term::Tuple(x) => {
            match u8::try_from(x.elements.len()) {
                Ok(arity) => put_tuple(out, arity),
                Err(_) => put_counted(out, tag::LARGE_TUPLE, count(x.elements.len())),
            }
            x.elements.iter().for_each(|element| put_term(out, element));
        }
        eetf::Term::Map(x) => {
            put_map(out, count(x.map.len()));
            for (key, value) in &x.map {
                put_term(out, key);
                put_term(out, value);
            }
        }
        eetf::Term::Float(x) if !x.value.is_finite() => put_atom(out, "undefined"),
        eetf::Term::InternalFun(x) => put_fun(out, x),
        eetf::Term::BigInteger(_)
        | eetf::Term::Float(_)
        | eetf::Term::Port(_)
        | eetf::Term::Reference(_)
        | eetf::Term::ExternalFun(_) => put_by_eetf(out, term),
    }
}

/// A count for the wire. A vector of 2^32 terms would fill 200 GB, so the limit is never met.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn put_by_eetf(out: &mut Vec<u8>, term: &eetf::Term) {
    let before = out.len();
    if term.encode(&mut *out).is_ok() && out.get(before) == Some(&VERSION) {
        out.remove(before);
    } else {
        out.truncate(before);
        put_atom(out, "undefined");
    }
}

fn put_their_pid(out: &mut Vec<u8>, pid: &eetf::Pid) {
    let id = u64::from(pid.serial) << 32 | u64::from(pid.id);
    put_pid(out, &pid.node.name, id, pid.creation);
}

fn put_elements(out: &mut Vec<u8>, elements: &[eetf::Term], tail: impl FnOnce(&mut Vec<u8>)) {
    if !elements.is_empty() {
        put_list(out, count(elements.len()));
        elements.iter().for_each(|element| put_term(out, element));
    }
    tail(out);
}

fn put_bytes(out: &mut Vec<u8>, list: &ByteList) {
    match u16::try_from(list.bytes.len()) {
        Ok(0) => put_nil(out),
        Ok(length) => {
            out.push(tag::STRING);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&list.bytes);
        }
        Err(_) => {
            put_list(out, count(list.bytes.len()));
            list.bytes.iter().for_each(|byte| put_integer(out, i64::from(*byte)));
            put_nil(out);
        }
    }
}

/// `eetf` keeps the bits of the last byte low, the wire has them high.
fn put_bits(out: &mut Vec<u8>, string: &BitBinary) {
    let Some((last, whole)) = string.bytes.split_last().filter(|_| (1..8).contains(&string.tail_bits_size)) else {
        return put_binary(out, &string.bytes);
    };
    put_counted(out, tag::BIT_BINARY, count(string.bytes.len()));
    out.push(string.tail_bits_size);
    out.extend_from_slice(whole);
    out.push(last.checked_shl(8u32.saturating_sub(u32::from(string.tail_bits_size))).unwrap_or(0));
}

fn put_fun(out: &mut Vec<u8>, fun: &InternalFun) {
    match fun {
        InternalFun::Old { module, pid, free_vars, index, uniq } => {
            put_counted(out, tag::FUN, count(free_vars.len()));
            put_their_pid(out, pid);
            put_atom(out, &module.name);
            put_integer(out, i64::from(*index));
            put_integer(out, i64::from(*uniq));
            free_vars.iter().for_each(|term| put_term(out, term));
        }
        InternalFun::New { module, arity, pid, free_vars, index, uniq, old_index, old_uniq } => {
            out.push(tag::NEW_FUN);
            let size = out.len();
            out.extend_from_slice(&[0, 0, 0, 0, *arity]);
            out.extend_from_slice(uniq);
            out.extend_from_slice(&index.to_be_bytes());
            out.extend_from_slice(&count(free_vars.len()).to_be_bytes());
            put_atom(out, &module.name);
            put_integer(out, i64::from(*old_index));
            put_integer(out, i64::from(*old_uniq));
            put_their_pid(out, pid);
            free_vars.iter().for_each(|term| put_term(out, term));
            let length = count(out.len().saturating_sub(size));
            if let Some(place) = out.get_mut(size..).and_then(|rest| rest.first_chunk_mut()) {
                *place = length.to_be_bytes();
            }
        }
    }
}
