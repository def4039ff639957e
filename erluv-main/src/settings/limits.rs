//! The resource limits of getrlimit(2), by the names that the configuration has for them.

use nix::sys::resource::{RLIM_INFINITY, Resource};
use serde::Deserialize;
use thiserror::Error;

use super::values::LimitPair;
use crate::order::Rlimit;

/// A limit of this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LimitName(i32);

/// Why a text is no limit's name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?}: no such limit on this system, write one of: {1}")]
pub(crate) struct LimitNameError(String, String);

/// The names and numbers of this system.
const LIMITS: &[(&str, i32)] = &[
    #[cfg(not(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd")))]
    ("as", Resource::RLIMIT_AS as i32),
    #[cfg(target_os = "freebsd")]
    ("as", Resource::RLIMIT_VMEM as i32),
    #[cfg(target_os = "netbsd")]
    ("as", nix::libc::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE as i32),
    ("cpu", Resource::RLIMIT_CPU as i32),
    ("data", Resource::RLIMIT_DATA as i32),
    ("fsize", Resource::RLIMIT_FSIZE as i32),
    ("memlock", Resource::RLIMIT_MEMLOCK as i32),
    ("nofile", Resource::RLIMIT_NOFILE as i32),
    ("nproc", Resource::RLIMIT_NPROC as i32),
    ("rss", Resource::RLIMIT_RSS as i32),
    ("stack", Resource::RLIMIT_STACK as i32),
    #[cfg(target_os = "linux")]
    ("locks", Resource::RLIMIT_LOCKS as i32),
    #[cfg(target_os = "linux")]
    ("msgqueue", Resource::RLIMIT_MSGQUEUE as i32),
    #[cfg(target_os = "linux")]
    ("nice", Resource::RLIMIT_NICE as i32),
    #[cfg(target_os = "linux")]
    ("rtprio", Resource::RLIMIT_RTPRIO as i32),
    #[cfg(target_os = "linux")]
    ("rttime", Resource::RLIMIT_RTTIME as i32),
    #[cfg(target_os = "linux")]
    ("sigpending", Resource::RLIMIT_SIGPENDING as i32),
];

/// No limit. rlim_t is signed on FreeBSD, and its infinity the largest number.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the type differs between systems")]
const INFINITY: u64 = RLIM_INFINITY as u64;

impl LimitName {
    /// The size of a core file.
    pub(super) const CORE: Self = Self(Resource::RLIMIT_CORE as i32);

    /// The name that the configuration has for it.
    pub(crate) fn name(self) -> &'static str {
        LIMITS.iter().find(|(_, number)| *number == self.0).map_or("", |(name, _)| name)
    }

    /// A limit of this system by its number.
    pub(crate) fn of(resource: i32) -> Option<Self> {
        LIMITS.iter().any(|(_, number)| *number == resource).then_some(Self(resource))
    }

    /// A value of a limit; `None` for unlimited.
    pub(crate) fn value(value: u64) -> Option<u64> {
        (value != INFINITY).then_some(value)
    }

    /// The limit for a process.
    pub(crate) fn rlimit(self, (soft, hard): LimitPair) -> Rlimit {
        Rlimit { resource: self.0, soft: soft.unwrap_or(INFINITY), hard: hard.unwrap_or(INFINITY) }
    }
}

impl TryFrom<String> for LimitName {
    type Error = LimitNameError;
    fn try_from(text: String) -> Result<Self, LimitNameError> {
        match LIMITS.iter().find(|(name, _)| *name == text) {
            Some((_, number)) => Ok(Self(*number)),
            None => {
                let names = LIMITS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                Err(LimitNameError(text, names))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_known_by_its_name_alone() {
        let nofile = LimitName::try_from("nofile".to_owned()).unwrap();
        assert_eq!(
            nofile.rlimit((Some(1), None)),
            Rlimit { resource: Resource::RLIMIT_NOFILE as i32, soft: 1, hard: INFINITY }
        );
        for bad in ["", "NOFILE", "7", "files"] {
            assert!(LimitName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_limit_has_a_number_of_its_own() {
        let mut numbers = LIMITS.iter().map(|(_, number)| *number).collect::<Vec<_>>();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), LIMITS.len());
    }
}
