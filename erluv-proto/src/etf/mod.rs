//! The Erlang external term format (OTP document "External Term Format", erl_ext_dist).
//!
//! Bytes from outside become a [`Term`] only by passing an iterative validator, which bounds depth, counts, references
//! and atoms and refuses compressed terms and atom cache references at every level. A [`Term`] borrows its bytes:
//! reading and echoing it allocates nothing. The `eetf` crate sees validated bytes only ([`Term::to_eetf`]), because it
//! panics or runs out of memory on hostile ones, and it writes through [`put_term`], because it encodes some lists
//! wrongly.

mod bridge;
mod iodata;
mod put;
mod show;
mod term;
mod validate;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

pub use bridge::put_term;
pub use iodata::IodataError;
pub use put::{
    put_atom, put_binary, put_integer, put_list, put_map, put_nil, put_pid, put_reference, put_tuple, put_unsigned,
};
pub use term::{Elements, Pairs, Pid, Term};
pub(crate) use validate::Cursor;
pub use validate::{MAX_ATOM, MAX_DEPTH, MAX_TERMS, MAX_WORDS};

use thiserror::Error;

/// The byte in front of every term that stands by itself.
pub const VERSION: u8 = 131;

/// Why bytes are no term that erluv takes.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum EtfError {
    /// The bytes end before the term does, or a count announces more elements than bytes are left.
    #[error("term: cut short")]
    Truncated,
    /// A tag that is unknown, or that has no place here: compressed terms, atom cache references, fragments, local
    /// terms.
    #[error("term: tag {0} is not taken here")]
    Tag(u8),
    /// Containers nested too deep.
    #[error("term: more than {MAX_DEPTH} levels deep, send a flatter one")]
    Depth,
    /// Too many terms in one.
    #[error("term: more than {MAX_TERMS} terms in it, send long lists of bytes as binaries")]
    Terms,
    /// A reference of no words, or of too many.
    #[error("term: reference of {0} words, 1 to {MAX_WORDS} are allowed")]
    Words(u16),
    /// An atom too long, or not of valid UTF-8.
    #[error("term: atom of more than {MAX_ATOM} characters or of invalid UTF-8")]
    Atom,
    /// A bit string whose last byte has an impossible number of bits.
    #[error("term: bit string with {0} bits in its last byte")]
    Bits(u8),
    /// Not the version byte.
    #[error("term: format version {0}, not {VERSION}")]
    Version(u8),
    /// Bytes left over behind the term.
    #[error("term: {0} bytes too many")]
    Trailing(usize),
    /// Valid, but the `eetf` crate cannot hold it.
    #[error("term: {0}")]
    Eetf(String),
}

/// The tags of the format, each by its name in the OTP document.
pub(crate) mod tag {
    pub(crate) const RECORD: u8 = 67;
    pub(crate) const NEW_FLOAT: u8 = 70;
    pub(crate) const BIT_BINARY: u8 = 77;
    pub(crate) const NEW_PID: u8 = 88;
    pub(crate) const NEW_PORT: u8 = 89;
    pub(crate) const NEWER_REFERENCE: u8 = 90;
    pub(crate) const SMALL_INTEGER: u8 = 97;
    pub(crate) const INTEGER: u8 = 98;
    pub(crate) const FLOAT: u8 = 99;
    pub(crate) const ATOM: u8 = 100;
    pub(crate) const REFERENCE: u8 = 101;
    pub(crate) const PORT: u8 = 102;
    pub(crate) const PID: u8 = 103;
    pub(crate) const SMALL_TUPLE: u8 = 104;
    pub(crate) const LARGE_TUPLE: u8 = 105;
    pub(crate) const NIL: u8 = 106;
    pub(crate) const STRING: u8 = 107;
    pub(crate) const LIST: u8 = 108;
    pub(crate) const BINARY: u8 = 109;
    pub(crate) const SMALL_BIG: u8 = 110;
    pub(crate) const LARGE_BIG: u8 = 111;
    pub(crate) const NEW_FUN: u8 = 112;
    pub(crate) const EXPORT: u8 = 113;
    pub(crate) const NEW_REFERENCE: u8 = 114;
    pub(crate) const SMALL_ATOM: u8 = 115;
    pub(crate) const MAP: u8 = 116;
    pub(crate) const FUN: u8 = 117;
    pub(crate) const ATOM_UTF8: u8 = 118;
    pub(crate) const SMALL_ATOM_UTF8: u8 = 119;
    pub(crate) const V4_PORT: u8 = 120;
}
