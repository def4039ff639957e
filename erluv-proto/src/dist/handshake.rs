//! The handshake of version 6, as the side that connects (OTP document "Distribution Protocol"). erluv-main runs it,
//! before child sees the connection.
//!
//! ```text
//! we -> 'N' flags:64 creation:32 length:16 name     our name
//! we <- 's' status                                  ok, ok_simultaneous, alive, nok, not_allowed
//! we -> 's' true                                    after alive: the new connection is to replace the old one
//! we <- 'N' flags:64 challenge:32 creation:32 length:16 name
//! we -> 'r' challenge:32 digest:16
//! we <- 'a' digest:16
//! ```

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::{Cookie, flags};
use crate::etf::{Cursor, EtfError};
use crate::ids::{Creation, NodeName};

/// The longest frame that is taken, in bytes without its length.
pub const MAX_HANDSHAKE_FRAME: usize = 512;

/// Why there is no connection.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// Status `nok`: the node is connecting to a node of our name itself, or has that name.
    #[error(
        "handshake: the node answers nok: it has our name or is connecting to it, try again or choose another name"
    )]
    Nok,
    /// Status `alive`, and the connection that the node has is none of ours.
    #[error(
        "handshake: the node is connected with another erluv of our name: give each its own (name or prefix), or stop \
         the other"
    )]
    Taken,
    /// Status `not_allowed`.
    #[error("handshake: the node does not allow our name: add it to what net_kernel:allow/1 has there")]
    NotAllowed,
    /// The node at that address is another one.
    #[error("handshake: the node there is {got}, not {wanted}: correct the node name or the port")]
    WrongName {
        /// Whom we dialled.
        wanted: NodeName,
        /// Who it says it is, escaped.
        got: String,
    },
    /// The node is too old.
    #[error("handshake: the node lacks {0}: run OTP 25 or later there")]
    MissingFlags(String),
    /// The handshake of OTP 22 and before.
    #[error("handshake: the node speaks the handshake of OTP 22 or before: run OTP 25 or later there")]
    Old,
    /// The node's proof is wrong.
    #[error("handshake: the node does not know our cookie: make the cookie file the same on both sides")]
    BadDigest,
    /// The node closed the connection after our proof, as BEAM does where it is wrong.
    #[error("handshake: the node closed the connection on our proof: make the cookie file the same on both sides")]
    Refused,
    /// The node closed the connection before it was asked for proof.
    #[error("handshake: the node closed the connection while {0}: its log says why")]
    Closed(&'static str),
    /// Bytes that the protocol does not have there.
    #[error("handshake: malformed frame while {0}: is it an Erlang node that listens there?")]
    Malformed(&'static str),
    /// A frame over [`MAX_HANDSHAKE_FRAME`].
    #[error("handshake: frame of {0} bytes, {MAX_HANDSHAKE_FRAME} at most: is it an Erlang node that listens there?")]
    Long(usize),
}

/// What to do after a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Read the next frame.
    Wait,
    /// Send these bytes, which have their length in front, then read the next frame.
    Send(Vec<u8>),
    /// Connected: from the next byte on, frames have lengths of four bytes.
    Done {
        /// The flags that both sides have.
        flags: u64,
        /// The node's incarnation.
        creation: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Status { replaces: bool },
    Challenge,
    Ack { flags: u64, creation: u32 },
    Over,
}

impl State {
    const fn words(self) -> &'static str {
        match self {
            Self::Status { .. } => "waiting for its status",
            Self::Challenge => "waiting for its challenge",
            Self::Ack { .. } => "waiting for its proof",
            Self::Over => "the handshake is over",
        }
    }
}

/// One handshake. After an error, or `Done`, it takes no more.
#[derive(Debug)]
pub struct Handshake {
    peer: NodeName,
    challenge: u32,
    state: State,
}

impl Handshake {
    /// Begins: the first frame to send has its length in front. `challenge` must be random, and new for each handshake.
    /// `replaces`: a connection of our name that the node still has may be ours from before, and is to be closed.
    pub fn start(
        own: &NodeName,
        peer: &NodeName,
        creation: Creation,
        challenge: u32,
        replaces: bool,
    ) -> (Self, Vec<u8>) {
        // A node name has 255 bytes at most.
        let length = u16::try_from(own.as_str().len()).unwrap_or(u16::MAX);
        let first = framed(&[
            b"N",
            &flags::ERLUV.to_be_bytes(),
            &creation.get().to_be_bytes(),
            &length.to_be_bytes(),
            own.as_str().as_bytes(),
        ]);
        (Self { peer: peer.clone(), challenge, state: State::Status { replaces } }, first)
    }

    /// Takes one frame of the node, without its length.
    ///
    /// # Errors
    /// [`HandshakeError`]: close the connection.
    pub fn receive(&mut self, frame: &[u8], cookie: &Cookie) -> Result<Progress, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if frame.len() > MAX_HANDSHAKE_FRAME {
            return Err(HandshakeError::Long(frame.len()));
        }
        let (next, progress) = match state {
            State::Status { replaces } => status(frame, replaces)?,
            State::Challenge => self.challenge(frame, cookie)?,
            State::Ack { flags, creation } => {
                self.ack(frame, cookie)?;
                (State::Over, Progress::Done { flags, creation })
            }
            State::Over => return Err(HandshakeError::Malformed(state.words())),
        };
        self.state = next;
        Ok(progress)
    }

    /// What it means that the node closed the connection now.
    pub fn closed(&self) -> HandshakeError {
        match self.state {
            State::Ack { .. } => HandshakeError::Refused,
            State::Status { .. } | State::Challenge | State::Over => HandshakeError::Closed(self.state.words()),
        }
    }

    fn challenge(&self, frame: &[u8], cookie: &Cookie) -> Result<(State, Progress), HandshakeError> {
        if frame.first() == Some(&b'n') {
            return Err(HandshakeError::Old);
        }
        let theirs = Challenge::read(frame).map_err(|_| HandshakeError::Malformed(State::Challenge.words()))?;
        if theirs.name != self.peer.as_str().as_bytes() {
            let got = theirs.name.escape_ascii().to_string();
            return Err(HandshakeError::WrongName { wanted: self.peer.clone(), got });
        }
        let expanded = flags::expand(theirs.flags);
        let missing: Vec<_> = flags::missing(expanded).collect();
        if !missing.is_empty() {
            return Err(HandshakeError::MissingFlags(missing.join(", ")));
        }
        let reply = framed(&[b"r", &self.challenge.to_be_bytes(), &cookie.digest(theirs.challenge)]);
        let state = State::Ack { flags: flags::ERLUV & expanded, creation: theirs.creation };
        Ok((state, Progress::Send(reply)))
    }

    fn ack(&self, frame: &[u8], cookie: &Cookie) -> Result<(), HandshakeError> {
        match frame.split_first() {
            Some((b'a', digest)) if digest.len() == 16 => {
                let same = cookie.digest(self.challenge).as_slice().ct_eq(digest);
                if bool::from(same) { Ok(()) } else { Err(HandshakeError::BadDigest) }
            }
            _ => {
                let now = State::Ack { flags: 0, creation: 0 };
                Err(HandshakeError::Malformed(now.words()))
            }
        }
    }
}

/// Splits the frame at the start of `buffer` off: the frame without its length, and the bytes to consume; `None` while
/// it is not whole.
///
/// # Errors
/// [`HandshakeError::Long`] as soon as the length is known.
pub fn next(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, HandshakeError> {
    let mut at = Cursor(buffer);
    let Ok(length) = at.u16().map(usize::from) else { return Ok(None) };
    if length > MAX_HANDSHAKE_FRAME {
        return Err(HandshakeError::Long(length));
    }
    Ok(at.take(length).ok().map(|frame| (frame, length.saturating_add(2))))
}

fn status(frame: &[u8], replaces: bool) -> Result<(State, Progress), HandshakeError> {
    match frame {
        b"sok" | b"sok_simultaneous" => Ok((State::Challenge, Progress::Wait)),
        // The node still has a connection of our name: ours from before. It closes that one only after our proof.
        b"salive" if replaces => Ok((State::Challenge, Progress::Send(framed(&[b"strue"])))),
        // Two that each took the connection from the other would do so for ever.
        b"salive" => Err(HandshakeError::Taken),
        b"snok" => Err(HandshakeError::Nok),
        b"snot_allowed" => Err(HandshakeError::NotAllowed),
        // "named:" answers the flag NAME_ME, which we never set.
        _ => Err(HandshakeError::Malformed(State::Status { replaces }.words())),
    }
}

struct Challenge<'a> {
    flags: u64,
    challenge: u32,
    creation: u32,
    name: &'a [u8],
}

impl<'a> Challenge<'a> {
    /// Bytes behind the name are for later versions of the protocol: ignored.
    fn read(frame: &'a [u8]) -> Result<Self, EtfError> {
        let mut at = Cursor(frame);
        match at.byte()? {
            b'N' => {}
            other => return Err(EtfError::Tag(other)),
        }
        let flags = u64::from_be_bytes(at.array()?);
        let (challenge, creation) = (at.u32()?, at.u32()?);
        let length = at.u16()?;
        Ok(Self { flags, challenge, creation, name: at.take(usize::from(length))? })
    }
}

/// The parts behind a length of two bytes. Everything that we send fits [`MAX_HANDSHAKE_FRAME`].
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

#[cfg(test)]
mod tests;
