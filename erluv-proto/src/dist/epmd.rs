//! What erluv-main asks of EPMD: the port of a node (OTP document "Distribution Protocol", PORT_PLEASE2_REQ and
//! PORT2_RESP).
//!
//! EPMD is no anchor of trust: any local user can register any free name. The handshake proves who is behind the port.

use thiserror::Error;

use crate::etf::Cursor;

/// The longest answer that is read: 12 bytes, the name, as much again of extra.
pub const MAX_REPLY: usize = 12 + 2 + 255 + 2 + 1024;

/// What EPMD says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortReply {
    /// The node listens there.
    Port(u16),
    /// No node of that name.
    Unknown,
    /// The answer is not whole: read on. End-of-file here is an answer cut short.
    More,
}

/// Why bytes are no answer of an EPMD that erluv can use.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum EpmdError {
    /// Another program listens on EPMD's port.
    #[error("epmd: answer begins with byte {0}, not 119: is it epmd that listens on that port?")]
    Tag(u8),
    /// The node speaks another version of the handshake.
    #[error("epmd: the node speaks distribution versions {low} to {high}, not 6: run OTP 25 or later")]
    Version {
        /// The highest version.
        high: u16,
        /// The lowest version.
        low: u16,
    },
    /// Not TCP.
    #[error("epmd: the node is registered for protocol {0}, not TCP")]
    Protocol(u8),
    /// Port 0.
    #[error("epmd: the node is registered with port 0, where nothing can listen")]
    NoPort,
    /// Lengths beyond what EPMD can have.
    #[error("epmd: answer longer than {MAX_REPLY} bytes: is it epmd that listens on that port?")]
    Long,
}

/// PORT_PLEASE2_REQ, with its length. `alive` is the part of a node name before the `@`, 255 bytes at most.
pub fn port_request(alive: &str) -> Vec<u8> {
    let mut name = alive.as_bytes();
    name = name.get(..255).unwrap_or(name);
    let length = u16::try_from(name.len().saturating_add(1)).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.push(122);
    out.extend_from_slice(name);
    out
}

/// Reads the answer, of which `bytes` is all that has come so far.
///
/// # Errors
/// [`EpmdError`] as soon as the bytes show it.
pub fn read_port_reply(bytes: &[u8]) -> Result<PortReply, EpmdError> {
    if let Some(tag) = bytes.first().filter(|tag| **tag != 119) {
        return Err(EpmdError::Tag(*tag));
    }
    match bytes.get(1) {
        None => return Ok(PortReply::More),
        Some(0) => {}
        Some(_) => return Ok(PortReply::Unknown),
    }
    let Some(fixed) = bytes.first_chunk::<10>() else { return Ok(PortReply::More) };
    let [_, _, port @ .., _, protocol, h1, h0, l1, l0] = *fixed;
    let (high, low) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([l1, l0]));
    let port = u16::from_be_bytes(port);
    if protocol != 0 {
        return Err(EpmdError::Protocol(protocol));
    }
    if high < 6 || low > 6 {
        return Err(EpmdError::Version { high, low });
    }
    if port == 0 {
        return Err(EpmdError::NoPort);
    }
    match names(bytes.get(10..).unwrap_or_default()) {
        Some(true) => Ok(PortReply::Port(port)),
        Some(false) => Err(EpmdError::Long),
        None => Ok(PortReply::More),
    }
}

/// Name and extra: `None` while they are not whole, then whether their lengths are possible.
fn names(bytes: &[u8]) -> Option<bool> {
    let mut at = Cursor(bytes);
    for most in [255, 1024] {
        let length = at.u16().ok()?;
        if length > most {
            return Some(false);
        }
        at.take(usize::from(length)).ok()?;
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"\x77\x00\x1f\x90\x4d\x00\x00\x06\x00\x05\x00\x04shop\x00\x00";

    #[test]
    fn the_request_is_tag_and_name_behind_a_length() {
        assert_eq!(port_request("shop"), b"\x00\x05\x7ashop");
        assert_eq!(port_request(&"x".repeat(300)).len(), 258);
    }

    #[test]
    fn a_whole_answer_gives_the_port_and_less_asks_for_more() {
        assert_eq!(read_port_reply(REPLY), Ok(PortReply::Port(8080)));
        for end in 0..REPLY.len() {
            assert_eq!(read_port_reply(&REPLY[..end]), Ok(PortReply::More), "{end}");
        }
    }

    #[test]
    fn an_unknown_name_is_told() {
        assert_eq!(read_port_reply(&[119, 1]), Ok(PortReply::Unknown));
        assert_eq!(read_port_reply(&[119]), Ok(PortReply::More));
    }

    #[test]
    fn what_is_no_epmd_or_no_version_six_is_an_error() {
        let with = |place: usize, byte: u8| {
            let mut reply = REPLY.to_vec();
            reply[place] = byte;
            read_port_reply(&reply)
        };
        assert_eq!(read_port_reply(b"SSH-2.0"), Err(EpmdError::Tag(b'S')));
        assert_eq!(with(5, 1), Err(EpmdError::Protocol(1)));
        assert_eq!(with(7, 5), Err(EpmdError::Version { high: 5, low: 5 }));
        assert_eq!(with(9, 7), Err(EpmdError::Version { high: 6, low: 7 }));
        assert_eq!(read_port_reply(b"\x77\x00\x00\x00\x4d\x00\x00\x06\x00\x05"), Err(EpmdError::NoPort));
        assert_eq!(with(10, 1), Err(EpmdError::Long));
        assert_eq!(with(16, 0xff), Err(EpmdError::Long));
    }
}
