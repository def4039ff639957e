//! The validator: walks one term without recursion and without allocating, and says where it ends.

use super::{EtfError, tag};

/// How many containers may stand inside each other.
pub const MAX_DEPTH: usize = 64;

/// How many terms one term may be made of, itself included: what `eetf` makes of so many fits a few megabytes.
pub const MAX_TERMS: u32 = 100_000;

/// Words in a reference: 3 normally, 5 in alias references since OTP 27.
pub const MAX_WORDS: u16 = 5;

/// Characters in an atom.
pub const MAX_ATOM: usize = 255;

/// Which terms are let pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All that a node of OTP 25 or later may send.
    Wire,
    /// Only what `eetf` reads rightly: no records, no Latin-1 atoms outside ASCII.
    Eetf,
}

/// What is left to read of some bytes.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], EtfError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(EtfError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EtfError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EtfError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, EtfError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, EtfError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, EtfError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 32-bit length. Where it fits no `usize`, no bytes can follow that it counts.
    pub(crate) fn length(&mut self) -> Result<usize, EtfError> {
        usize::try_from(self.u32()?).map_err(|_| EtfError::Truncated)
    }
}

/// Walks over one term at the start of `input`; what follows it is returned.
pub(super) fn skip(input: &[u8], scope: Scope) -> Result<&[u8], EtfError> {
    let mut at = Cursor(input);
    match head(&mut at, scope)? {
        0 => Ok(at.0),
        inside => contents(at, inside, scope),
    }
}

/// Walks over the `inside` terms of a container, and all that is in them.
fn contents(mut at: Cursor<'_>, inside: u32, scope: Scope) -> Result<&[u8], EtfError> {
    // `left` counts what is still to come in the innermost container, `outer` the same for those around it.
    let mut outer = [0u32; MAX_DEPTH];
    let mut depth = 1usize;
    let mut left = inside;
    let mut seen = 1u32;
    loop {
        while left == 0 {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return Ok(at.0);
            }
            left = outer.get(depth).copied().unwrap_or(0);
        }
        left = left.saturating_sub(1);
        seen = seen.saturating_add(1);
        if seen > MAX_TERMS {
            return Err(EtfError::Terms);
        }
        let inside = head(&mut at, scope)?;
        if inside > 0 {
            // Place 0 is never used, so the container at depth MAX_DEPTH has no place to keep its own count: too deep.
            *outer.get_mut(depth).ok_or(EtfError::Depth)? = left;
            depth = depth.saturating_add(1);
            left = inside;
        }
    }
}

/// Walks over a term's own bytes and says how many terms follow inside it.
fn head(at: &mut Cursor<'_>, scope: Scope) -> Result<u32, EtfError> {
    let kind = at.byte()?;
    match kind {
        tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 | tag::SMALL_ATOM | tag::ATOM => atom_body(at, kind, scope)?,
        tag::NEW_PID | tag::PID => pid_body(at, kind, scope)?,
        tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => reference_body(at, kind, scope)?,
        tag::NEW_PORT | tag::PORT | tag::V4_PORT => {
            atom(at, scope)?;
            at.take(match kind {
                tag::NEW_PORT => 8,
                tag::V4_PORT => 12,
                _ => 5,
            })?;
        }
        tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG => integer_body(at, kind)?,
        tag::NEW_FLOAT => drop(at.take(8)?),
        tag::FLOAT => drop(at.take(31)?),
        tag::NIL => {}
        tag::STRING => {
            let length = at.u16()?;
            at.take(usize::from(length))?;
        }
        tag::BINARY => {
            let length = at.length()?;
            at.take(length)?;
        }
        tag::BIT_BINARY => {
            let length = at.length()?;
            let bits = at.byte()?;
            if bits > 8 || (bits == 0) != (length == 0) {
                return Err(EtfError::Bits(bits));
            }
            at.take(length)?;
        }
        tag::LARGE_BIG => {
            let length = at.length()?;
            at.byte()?;
            at.take(length)?;
        }
        tag::EXPORT => {
            atom(at, scope)?;
            atom(at, scope)?;
            expect(at, &[tag::SMALL_INTEGER])?;
            at.byte()?;
        }
        tag::SMALL_TUPLE => {
            let arity = at.byte()?;
            return counted(at, u64::from(arity));
        }
        tag::LARGE_TUPLE | tag::LIST | tag::MAP | tag::FUN | tag::NEW_FUN | tag::RECORD => {
            return container(at, kind, scope);
        }
        other => return Err(EtfError::Tag(other)),
    }
    Ok(0)
}

/// The containers with a 32-bit count.
fn container(at: &mut Cursor<'_>, kind: u8, scope: Scope) -> Result<u32, EtfError> {
    if kind == tag::NEW_FUN {
        // Size, which nobody reads, arity, the 16 bytes of Uniq, Index.
        at.take(4 + 1 + 16 + 4)?;
    }
    let count = u64::from(at.u32()?);
    match kind {
        tag::LIST => counted(at, count.saturating_add(1)),
        tag::MAP => counted(at, count.saturating_mul(2)),
        tag::FUN => {
            pid(at, scope)?;
            atom(at, scope)?;
            integer(at)?;
            integer(at)?;
            counted(at, count)
        }
        tag::NEW_FUN => {
            atom(at, scope)?;
            integer(at)?;
            integer(at)?;
            pid(at, scope)?;
            counted(at, count)
        }
        // OTP 29: flags; then module, name, the names of the fields, their values.
        tag::RECORD if scope == Scope::Eetf => Err(EtfError::Tag(kind)),
        tag::RECORD => {
            at.byte()?;
            counted(at, count.saturating_mul(2).saturating_add(2))
        }
        _ => counted(at, count),
    }
}

/// A count of terms, each of one byte at least.
fn counted(at: &Cursor<'_>, count: u64) -> Result<u32, EtfError> {
    if usize::try_from(count).map_or(true, |count| count > at.0.len()) {
        return Err(EtfError::Truncated);
    }
    u32::try_from(count).ok().filter(|count| *count < MAX_TERMS).ok_or(EtfError::Terms)
}

fn expect(at: &mut Cursor<'_>, tags: &[u8]) -> Result<u8, EtfError> {
    let kind = at.byte()?;
    if tags.contains(&kind) { Ok(kind) } else { Err(EtfError::Tag(kind)) }
}

fn atom(at: &mut Cursor<'_>, scope: Scope) -> Result<(), EtfError> {
    let kind = expect(at, &[tag::SMALL_ATOM_UTF8, tag::ATOM_UTF8, tag::SMALL_ATOM, tag::ATOM])?;
    atom_body(at, kind, scope)
}

fn atom_body(at: &mut Cursor<'_>, kind: u8, scope: Scope) -> Result<(), EtfError> {
    let length = match kind {
        tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM => usize::from(at.byte()?),
        _ => usize::from(at.u16()?),
    };
    let name = at.take(length)?;
    let valid = match kind {
        tag::SMALL_ATOM | tag::ATOM => length <= MAX_ATOM && (scope == Scope::Wire || name.is_ascii()),
        _ => match std::str::from_utf8(name) {
            Ok(name) => length <= MAX_ATOM || name.chars().count() <= MAX_ATOM,
            Err(_) => false,
        },
    };
    if valid { Ok(()) } else { Err(EtfError::Atom) }
}

fn pid(at: &mut Cursor<'_>, scope: Scope) -> Result<(), EtfError> {
    let kind = expect(at, &[tag::NEW_PID, tag::PID])?;
    pid_body(at, kind, scope)
}

fn pid_body(at: &mut Cursor<'_>, kind: u8, scope: Scope) -> Result<(), EtfError> {
    atom(at, scope)?;
    at.take(if kind == tag::NEW_PID { 12 } else { 9 }).map(drop)
}

fn reference_body(at: &mut Cursor<'_>, kind: u8, scope: Scope) -> Result<(), EtfError> {
    let words = if kind == tag::REFERENCE { 1 } else { at.u16()? };
    if words == 0 || words > MAX_WORDS {
        return Err(EtfError::Words(words));
    }
    atom(at, scope)?;
    let creation = if kind == tag::NEWER_REFERENCE { 4 } else { 1 };
    at.take(usize::from(words).saturating_mul(4).saturating_add(creation)).map(drop)
}

fn integer(at: &mut Cursor<'_>) -> Result<(), EtfError> {
    let kind = expect(at, &[tag::SMALL_INTEGER, tag::INTEGER, tag::SMALL_BIG])?;
    integer_body(at, kind)
}

fn integer_body(at: &mut Cursor<'_>, kind: u8) -> Result<(), EtfError> {
    let length = match kind {
        tag::SMALL_INTEGER => 1,
        tag::INTEGER => 4,
        _ => usize::from(at.byte()?).saturating_add(1),
    };
    at.take(length).map(drop)
}
