//! A validated term and the views into it.

use std::fmt;

use super::validate::{Cursor, Scope, skip};
use super::{EtfError, VERSION, tag};

/// Exactly one validated external term, without the version byte.
///
/// Equality is that of the bytes: two encodings of one Erlang term differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Term<'a>(&'a [u8]);

impl<'a> Term<'a> {
    /// The empty list.
    pub const NIL: Term<'static> = Term(&[tag::NIL]);

    /// The atom `too_large`: stands for a reason that was too long to be read.
    pub const TOO_LARGE: Term<'static> = Term(b"w\x09too_large");

    /// Validates one term at the start of `input` and splits it off.
    ///
    /// # Errors
    /// Any [`EtfError`] of the validator; `input` is then as before.
    pub fn take(input: &mut &'a [u8]) -> Result<Self, EtfError> {
        let rest = skip(input, Scope::Wire)?;
        let used = input.len().saturating_sub(rest.len());
        let (term, rest) = input.split_at_checked(used).ok_or(EtfError::Truncated)?;
        *input = rest;
        Ok(Self(term))
    }

    /// As [`Term::take`], of a term with the version byte in front.
    ///
    /// # Errors
    /// [`EtfError::Version`] too.
    pub fn take_versioned(input: &mut &'a [u8]) -> Result<Self, EtfError> {
        match input.split_first() {
            None => Err(EtfError::Truncated),
            Some((&VERSION, rest)) => {
                let mut rest = rest;
                let term = Self::take(&mut rest)?;
                *input = rest;
                Ok(term)
            }
            Some((&other, _)) => Err(EtfError::Version(other)),
        }
    }

    /// Validates that all of `input` is one term.
    ///
    /// # Errors
    /// [`EtfError::Trailing`] too.
    pub fn exactly(input: &'a [u8]) -> Result<Self, EtfError> {
        let mut rest = input;
        let term = Self::take(&mut rest)?;
        if rest.is_empty() { Ok(term) } else { Err(EtfError::Trailing(rest.len())) }
    }

    /// The bytes of the term, to be echoed.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The first byte: which kind of term this is.
    pub fn tag(self) -> u8 {
        self.0.first().copied().unwrap_or(tag::NIL)
    }

    /// The tag and what follows it.
    pub(super) fn open(self) -> (u8, Cursor<'a>) {
        match self.0.split_first() {
            Some((&kind, body)) => (kind, Cursor(body)),
            None => (tag::NIL, Cursor(&[])),
        }
    }

    /// The name of an atom; `None` for a Latin-1 atom outside ASCII too, which no OTP since 25 sends.
    pub fn atom(self) -> Option<&'a str> {
        let (kind, body) = self.open();
        let name = match kind {
            tag::SMALL_ATOM_UTF8 => body.0.get(1..)?,
            tag::ATOM_UTF8 => body.0.get(2..)?,
            tag::SMALL_ATOM => body.0.get(1..).filter(|name| name.is_ascii())?,
            tag::ATOM => body.0.get(2..).filter(|name| name.is_ascii())?,
            _ => return None,
        };
        std::str::from_utf8(name).ok()
    }

    /// Whether this is the atom of that name.
    pub fn is_atom(self, name: &str) -> bool {
        self.atom() == Some(name)
    }

    /// An integer that fits 64 bits.
    pub fn integer(self) -> Option<i64> {
        let (kind, mut body) = self.open();
        match kind {
            tag::SMALL_INTEGER => body.byte().ok().map(i64::from),
            tag::INTEGER => body.array().ok().map(i32::from_be_bytes).map(i64::from),
            tag::SMALL_BIG => {
                body.byte().ok()?;
                let negative = body.byte().ok()? != 0;
                let mut magnitude = 0i128;
                for byte in body.0.iter().rev() {
                    magnitude = magnitude.checked_mul(256)?.checked_add(i128::from(*byte))?;
                }
                i64::try_from(if negative { magnitude.checked_neg()? } else { magnitude }).ok()
            }
            _ => None,
        }
    }

    /// The bytes of a binary.
    pub fn binary(self) -> Option<&'a [u8]> {
        match self.open() {
            (tag::BINARY, body) => body.0.get(4..),
            _ => None,
        }
    }

    /// The bytes of a list of bytes in its short form (STRING_EXT); those of the empty list are none.
    pub fn string(self) -> Option<&'a [u8]> {
        match self.open() {
            (tag::NIL, _) => Some(&[]),
            (tag::STRING, body) => body.0.get(2..),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub fn tuple(self) -> Option<Elements<'a>> {
        let (kind, mut body) = self.open();
        let left = match kind {
            tag::SMALL_TUPLE => usize::from(body.byte().ok()?),
            tag::LARGE_TUPLE => body.length().ok()?,
            _ => return None,
        };
        Some(Elements { rest: body.0, left })
    }

    /// The elements of a tuple that has exactly `N`.
    pub fn tuple_of<const N: usize>(self) -> Option<[Term<'a>; N]> {
        let elements = self.tuple().filter(|elements| elements.left == N)?;
        let mut all = [Term::NIL; N];
        for (place, element) in all.iter_mut().zip(elements) {
            *place = element;
        }
        Some(all)
    }

    /// The elements of a proper list that is not a STRING_EXT. Takes a walk over all of the list, to see its tail.
    ///
    /// A list whose tail is encoded as a list of its own, which no BEAM writes, counts as improper.
    pub fn list(self) -> Option<Elements<'a>> {
        if self == Term::NIL {
            return Some(Elements { rest: &[], left: 0 });
        }
        let elements = self.open_list()?;
        let mut walk = elements.clone();
        walk.by_ref().for_each(drop);
        (walk.rest == [tag::NIL]).then_some(elements)
    }

    /// The pairs of a map.
    pub fn map(self) -> Option<Pairs<'a>> {
        match self.open() {
            (tag::MAP, mut body) => {
                let left = body.length().ok()?.checked_mul(2)?;
                Some(Pairs(Elements { rest: body.0, left }))
            }
            _ => None,
        }
    }

    /// The first element of a list that is not a STRING_EXT, proper or not.
    pub fn first(self) -> Option<Term<'a>> {
        self.open_list()?.next()
    }

    /// The elements of a LIST_EXT; when they are through, what rests is the tail.
    pub(super) fn open_list(self) -> Option<Elements<'a>> {
        match self.open() {
            (tag::LIST, mut body) => Some(Elements { left: body.length().ok()?, rest: body.0 }),
            _ => None,
        }
    }

    /// First element and tail of a LIST_EXT of one element: of `[alias|Ref]`, `alias` and `Ref`.
    pub fn cons(self) -> Option<(Term<'a>, Term<'a>)> {
        let (kind, mut body) = self.open();
        if kind != tag::LIST || body.length().ok()? != 1 {
            return None;
        }
        let mut rest = body.0;
        Some((Term::take(&mut rest).ok()?, Term(rest)))
    }

    /// A pid.
    pub fn pid(self) -> Option<Pid<'a>> {
        let (kind, body) = self.open();
        if kind != tag::NEW_PID && kind != tag::PID {
            return None;
        }
        let mut rest = body.0;
        let node = Term::take(&mut rest).ok()?.atom()?;
        let mut at = Cursor(rest);
        let (id, serial) = (at.u32().ok()?, at.u32().ok()?);
        let creation = if kind == tag::NEW_PID { at.u32().ok()? } else { u32::from(at.byte().ok()?) };
        Some(Pid { node, id, serial, creation })
    }

    /// Whether this is a pid; cheaper than [`Term::pid`].
    pub fn is_pid(self) -> bool {
        matches!(self.tag(), tag::NEW_PID | tag::PID)
    }

    /// Whether this is a reference.
    pub fn is_reference(self) -> bool {
        matches!(self.tag(), tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE)
    }
}

/// The elements of a tuple or list, in order.
#[derive(Clone)]
pub struct Elements<'a> {
    pub(super) rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Term<'a>;

    fn next(&mut self) -> Option<Term<'a>> {
        self.left = self.left.checked_sub(1)?;
        let term = Term::take(&mut self.rest).ok();
        if term.is_none() {
            self.left = 0;
        }
        term
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The pairs of a map, in the order of their encoding.
#[derive(Clone)]
pub struct Pairs<'a>(Elements<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Term<'a>, Term<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let pairs = self.0.left / 2;
        (pairs, Some(pairs))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// An Erlang pid, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid<'a> {
    /// The node that it belongs to.
    pub node: &'a str,
    /// The low word of its number.
    pub id: u32,
    /// The high word of its number.
    pub serial: u32,
    /// Which incarnation of the node.
    pub creation: u32,
}

impl Pid<'_> {
    /// The number of one of our own pids: Serial above Id.
    pub fn number(&self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.id)
    }
}

impl fmt::Display for Pid<'_> {
    /// `<node.id.serial>`; what is unprintable in the name is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}.{}>", self.node.escape_debug(), self.id, self.serial)
    }
}
