//! Iodata: nested lists of bytes and binaries, flattened.

use thiserror::Error;

use super::validate::{Cursor, MAX_DEPTH};
use super::{Term, tag};

/// Why a term was not flattened.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum IodataError {
    /// Something in it is neither a byte, nor a binary, nor a list of such.
    #[error("not iodata: send binaries, or lists of bytes and binaries")]
    NotIodata,
    /// More bytes than the caller takes.
    #[error("iodata: longer than allowed here, send it in parts")]
    Long,
}

impl Term<'_> {
    /// Flattens iodata onto `out`, without recursion: a binary, or a list of bytes, binaries and such lists, whose tail
    /// may be a binary.
    ///
    /// # Errors
    /// [`IodataError::Long`] where more than `limit` bytes would be appended, [`IodataError::NotIodata`] for any other
    /// term; `out` is then as before.
    pub fn iodata(self, limit: usize, out: &mut Vec<u8>) -> Result<(), IodataError> {
        let before = out.len();
        let done = flatten(self.as_bytes(), before.saturating_add(limit), out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }
}

/// Where a term stands, which decides whether it may be a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Element,
    /// The whole, or the tail of a list.
    Tail,
}

fn flatten(term: &[u8], end: usize, out: &mut Vec<u8>) -> Result<(), IodataError> {
    let mut at = Cursor(term);
    // The elements still to come of each open list; behind its last element stands its tail.
    let mut open = [0usize; MAX_DEPTH];
    let mut depth = 0usize;
    let mut place = Place::Tail;
    loop {
        if let Some(elements) = piece(&mut at, place, end, out)? {
            *open.get_mut(depth).ok_or(IodataError::NotIodata)? = elements;
            depth = depth.saturating_add(1);
        }
        let Some(innermost) = depth.checked_sub(1) else { return Ok(()) };
        let left = open.get_mut(innermost).ok_or(IodataError::NotIodata)?;
        match left.checked_sub(1) {
            Some(fewer) => {
                *left = fewer;
                place = Place::Element;
            }
            // The list is closed before its tail is read: a tail that is a list again nests no deeper.
            None => {
                depth = innermost;
                place = Place::Tail;
            }
        }
    }
}

/// Reads one term's own bytes; the number of elements where it is a list.
fn piece(at: &mut Cursor<'_>, place: Place, end: usize, out: &mut Vec<u8>) -> Result<Option<usize>, IodataError> {
    let broken = |_| IodataError::NotIodata;
    let bytes = match at.byte().map_err(broken)? {
        tag::NIL => &[],
        tag::LIST => return at.length().map(Some).map_err(broken),
        tag::BINARY => {
            let length = at.length().map_err(broken)?;
            at.take(length).map_err(broken)?
        }
        tag::STRING => {
            let length = at.u16().map_err(broken)?;
            at.take(usize::from(length)).map_err(broken)?
        }
        tag::SMALL_INTEGER if place == Place::Element => at.take(1).map_err(broken)?,
        _ => return Err(IodataError::NotIodata),
    };
    if out.len().saturating_add(bytes.len()) > end {
        return Err(IodataError::Long);
    }
    out.extend_from_slice(bytes);
    Ok(None)
}
