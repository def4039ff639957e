//! Frames <-> bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The version of the protocol. Both halves are built together, so any other number is an error.
pub const VERSION: u8 = 1;

/// Bytes of the header in front of every body.
pub const HEADER: usize = 8;

/// The longest body of any kind: what fits a datagram of Linux' default socket buffer with room to spare.
const MAX_BODY: usize = 160 * 1024;

/// The longest datagram: a receive buffer of this size never cuts one.
pub const MAX_DATAGRAM: usize = HEADER + MAX_BODY;

/// The most descriptors that any frame carries.
pub const MAX_DESCRIPTORS: usize = 3;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_BODY>> =
    bincode::config::standard().with_limit::<MAX_BODY>();

/// Why bytes are no frame, or a frame cannot be sent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IpcError {
    /// Fewer bytes than the header has, or than it announces.
    #[error("frame: cut short")]
    Short,
    /// Bytes left over behind the body.
    #[error("frame: {0} bytes too many")]
    Trailing(usize),
    /// Another version of the protocol: the two programs are not of one build.
    #[error("frame: protocol version {0}, not {VERSION}: install erluv-main and erluv-child of one build")]
    Version(u8),
    /// A kind that this direction does not have.
    #[error("frame: unknown kind {0:#04x}")]
    Kind(u8),
    /// A body over the limit of its kind.
    #[error("frame of kind {kind:#04x}: {length} bytes, {limit} at most")]
    Long {
        /// The kind.
        kind: u8,
        /// Bytes in the body.
        length: usize,
        /// What the kind may have.
        limit: usize,
    },
    /// A body that does not decode.
    #[error("frame of kind {0:#04x}: malformed body")]
    Body(u8),
    /// Another number of descriptors than the frame's content asks for.
    #[error("frame of kind {kind:#04x}: {got} descriptors, not {wanted}")]
    Descriptors {
        /// The kind.
        kind: u8,
        /// How many came.
        got: usize,
        /// How many the content asks for.
        wanted: usize,
    },
}

/// One direction's frames.
pub trait Frame: Sized {
    /// The byte that names this frame's type.
    fn kind(&self) -> u8;
    /// The longest body of a kind, in bytes; `None` for a kind that the direction does not have.
    fn limit(kind: u8) -> Option<usize>;
    /// How many descriptors go with this very frame.
    fn descriptors(&self) -> usize;
    /// Appends the body.
    ///
    /// # Errors
    /// [`IpcError::Body`] where serde or bincode refuse, which no type of ours does.
    fn put_body(&self, out: &mut Vec<u8>) -> Result<(), IpcError>;
    /// Reads the body of a kind, all of it.
    ///
    /// # Errors
    /// [`IpcError::Kind`], [`IpcError::Body`] or [`IpcError::Trailing`].
    fn read_body(kind: u8, body: &[u8]) -> Result<Self, IpcError>;
}

/// Makes the datagram of a frame. Its descriptors are the caller's to attach, [`Frame::descriptors`] of them.
///
/// # Errors
/// [`IpcError::Long`] where the body is over the limit of its kind: nothing was sent, and the caller can say so to who
/// asked.
pub fn encode<F: Frame>(frame: &F) -> Result<Vec<u8>, IpcError> {
    let kind = frame.kind();
    let descriptors = u8::try_from(frame.descriptors()).map_err(|_| IpcError::Body(kind))?;
    let mut out = vec![VERSION, kind, descriptors, 0, 0, 0, 0, 0];
    frame.put_body(&mut out)?;
    let length = out.len().saturating_sub(HEADER);
    let limit = F::limit(kind).ok_or(IpcError::Kind(kind))?;
    if length > limit {
        return Err(IpcError::Long { kind, length, limit });
    }
    let prefix = u32::try_from(length).map_err(|_| IpcError::Long { kind, length, limit })?;
    if let Some(place) = out.get_mut(4..HEADER) {
        place.copy_from_slice(&prefix.to_le_bytes());
    }
    Ok(out)
}

/// Reads the frame of a datagram that came with `descriptors` descriptors.
///
/// # Errors
/// Any [`IpcError`]; the caller then drops the descriptors, and the peer is no longer to be trusted.
pub fn decode<F: Frame>(datagram: &[u8], descriptors: usize) -> Result<F, IpcError> {
    let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or(IpcError::Short)?;
    let [version, kind, announced, zero, length @ ..] = *header;
    if version != VERSION {
        return Err(IpcError::Version(version));
    }
    let limit = F::limit(kind).ok_or(IpcError::Kind(kind))?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(IpcError::Long { kind, length, limit });
    }
    match body.len().checked_sub(length) {
        None => return Err(IpcError::Short),
        Some(0) => {}
        Some(more) => return Err(IpcError::Trailing(more)),
    }
    if zero != 0 {
        return Err(IpcError::Body(kind));
    }
    let frame = F::read_body(kind, body)?;
    let wanted = frame.descriptors();
    if descriptors != wanted || usize::from(announced) != wanted {
        return Err(IpcError::Descriptors { kind, got: descriptors, wanted });
    }
    Ok(frame)
}

/// How many descriptors the header of a datagram says that it came with; 0 where there is no whole header.
#[must_use]
pub fn announced(datagram: &[u8]) -> usize {
    datagram.first_chunk::<HEADER>().map_or(0, |[_, _, announced, ..]| usize::from(*announced))
}

pub(super) fn put<T: Serialize>(kind: u8, value: &T, out: &mut Vec<u8>) -> Result<(), IpcError> {
    // bincode's limit does not hold when encoding: `encode` checks what came out.
    let config: Configuration<LittleEndian, Varint> = bincode::config::standard();
    bincode::serde::encode_into_std_write(value, out, config).map(|_| ()).map_err(|_| IpcError::Body(kind))
}

pub(super) fn get<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, IpcError> {
    let (value, used) = bincode::serde::decode_from_slice(body, CONFIG).map_err(|_| IpcError::Body(kind))?;
    match body.len().saturating_sub(used) {
        0 => Ok(value),
        more => Err(IpcError::Trailing(more)),
    }
}

/// Defines one direction: its enum, and the kind, the limit and the number of descriptors of each frame in it.
macro_rules! direction {
    ($(#[$about:meta])* $name:ident { $( $(#[$doc:meta])* $kind:literal $frame:ident($body:ty), at most $limit:literal bytes, $fds:expr; )* }) => {
        $(#[$about])*
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "there is never more than one at a time")]
        pub enum $name { $( $(#[$doc])* $frame($body), )* }

        impl crate::ipc::Frame for $name {
            fn kind(&self) -> u8 {
                match self { $( Self::$frame(_) => $kind, )* }
            }
            fn limit(kind: u8) -> Option<usize> {
                match kind { $( $kind => Some($limit), )* _ => None }
            }
            fn descriptors(&self) -> usize {
                match self { $( Self::$frame(body) => ($fds as fn(&$body) -> usize)(body), )* }
            }
            fn put_body(&self, out: &mut Vec<u8>) -> Result<(), crate::ipc::IpcError> {
                match self { $( Self::$frame(body) => crate::ipc::codec::put($kind, body, out), )* }
            }
            fn read_body(kind: u8, body: &[u8]) -> Result<Self, crate::ipc::IpcError> {
                match kind {
                    $( $kind => crate::ipc::codec::get(kind, body).map(Self::$frame), )*
                    _ => Err(crate::ipc::IpcError::Kind(kind)),
                }
            }
        }
    };
}
pub(super) use direction;
