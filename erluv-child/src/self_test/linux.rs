//! Linux: the attempts are system calls by their number, so that no library stands between.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys::attempts::{self, ATTEMPTS, Attempt};

/// The names of all attempts.
pub(super) const NAMES: [&str; ATTEMPTS.len()] = {
    let mut names = [""; ATTEMPTS.len()];
    let (mut from, mut to) = (ATTEMPTS, names.as_mut_slice());
    while let ([attempt, others @ ..], [name, rest @ ..]) = (from, to) {
        *name = attempt.name;
        (from, to) = (others, rest);
    }
    names
};

/// What a filter ends a process with.
pub(super) const ENDS: &[i32] = &[libc::SIGSYS];

/// An attempt, and an unconnected TCP socket, as erluv-main hands connected ones in: it is made before the confinement.
pub(super) struct Prepared(&'static Attempt, OwnedFd);

/// Gets ready what an attempt needs.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] for a name that there is not; those of socket(2).
pub(super) fn prepare(name: &str) -> io::Result<Prepared> {
    let attempt = ATTEMPTS.iter().find(|attempt| attempt.name == name).ok_or(io::ErrorKind::NotFound)?;
    Ok(Prepared(attempt, socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?))
}

impl Prepared {
    /// Makes the attempt.
    ///
    /// # Errors
    /// What the call says.
    pub(super) fn make(&self) -> io::Result<()> {
        attempts::make(self.0, self.1.as_fd())
    }
}
