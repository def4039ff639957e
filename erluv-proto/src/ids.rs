//! Newtypes for what is named by number or by name, each parsed once, at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names a worker for its whole life: given by erluv-main, never reused while main lives, the number in the worker's
/// Erlang pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// Names a launch request of erluv-child until main has answered it. Opaque to main, which echoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// The incarnation of a node name: tells pids of this life from pids of an earlier one.
///
/// Always 4 or more: 0 stands for "any" and 1 to 3 are what nodes before OTP 23 used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Creation(u32);

impl Creation {
    /// A creation from random bits; any number is made valid.
    pub const fn from_random(bits: u32) -> Self {
        Self(if bits < 4 { bits.saturating_add(4) } else { bits })
    }

    /// The number on the wire.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Why a text is no node name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Not of the form `name@host`.
    #[error("{0:?}: not a node name, write name@host")]
    Shape(String),
    /// Over 255 bytes, the most that an atom may have on this protocol.
    #[error("node name of {0} bytes: 255 at most")]
    Long(usize),
}

/// A full node name, `name@host`: 3 to 255 bytes of visible ASCII with one `@`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Parses `name@host`.
    ///
    /// # Errors
    /// [`NameError`] where there is not exactly one `@` with something on both sides, where a byte is no visible ASCII,
    /// or where the name is too long.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > 255 {
            return Err(NameError::Long(text.len()));
        }
        let visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'\'');
        match text.split_once('@') {
            Some((name, host)) if visible && !name.is_empty() && !host.is_empty() && !host.contains('@') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NameError::Shape(text.to_owned())),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`, by which EPMD knows the node.
    pub fn alive(&self) -> &str {
        self.0.split_once('@').map_or("", |(alive, _)| alive)
    }

    /// The part after the `@`: a host name or an address.
    pub fn host(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

/// Why a text is no name of a profile.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?}: a profile name is a letter or digit, then up to 31 letters, digits, '-' or '_', all lower case")]
pub struct ProfileNameError(String);

/// The name of a sandbox profile: `[a-z0-9][a-z0-9_-]{0,31}`, so that it can stand in a path (S-75).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

impl ProfileName {
    /// Parses a profile's name.
    ///
    /// # Errors
    /// [`ProfileNameError`] for anything but the form above.
    pub fn parse(text: &str) -> Result<Self, ProfileNameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let head = bytes.next().is_some_and(plain);
        if head && text.len() <= 32 && bytes.all(|b| plain(b) || b == b'-' || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(ProfileNameError(text.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ProfileName {
    type Error = ProfileNameError;
    fn try_from(text: String) -> Result<Self, ProfileNameError> {
        Self::parse(&text)
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_has_one_at_and_two_sides() {
        let name = NodeName::parse("erluv_1@127.0.0.1").unwrap();
        assert_eq!((name.alive(), name.host()), ("erluv_1", "127.0.0.1"));
        for bad in ["", "a", "@", "a@", "@h", "a@b@c", "a b@h", "a\n@h", "../x@h", "ä@h"] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(NodeName::parse(&format!("{}@h", "x".repeat(254))).is_err());
    }

    #[test]
    fn s75_profile_names_cannot_leave_their_folder() {
        for good in ["default", "0", "a-b_c", &"x".repeat(32)] {
            assert!(ProfileName::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["", "-a", "_a", "A", "a/b", "..", "a.b", "a\0", "ä", &"x".repeat(33)] {
            assert!(ProfileName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_creation_is_never_one_of_the_old_ones() {
        for bits in [0, 1, 2, 3, 4, 77, u32::MAX] {
            assert!(Creation::from_random(bits).get() >= 4);
        }
    }
}
