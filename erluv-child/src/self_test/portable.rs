//! The systems that are not Linux: few attempts, by the calls of the standard library.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, setuid};

/// The names of all attempts.
pub(super) const NAMES: &[&str] = &["open-etc-passwd", "connect", "bind", "socket", "exec", "kill", "setuid"];

/// What pledge(2) and capsicum(4) end a process with.
pub(super) const ENDS: &[i32] = &[libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// An attempt.
pub(super) struct Prepared(&'static str);

/// Finds an attempt.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] for a name that there is not.
pub(super) fn prepare(name: &str) -> io::Result<Prepared> {
    NAMES.iter().find(|known| **known == name).map(|name| Prepared(name)).ok_or(io::ErrorKind::NotFound.into())
}

impl Prepared {
    /// Makes the attempt.
    ///
    /// # Errors
    /// What the call says.
    pub(super) fn make(&self) -> io::Result<()> {
        let here = (Ipv4Addr::LOCALHOST, 9);
        match self.0 {
            "open-etc-passwd" => File::open("/etc/passwd").map(drop),
            "connect" => TcpStream::connect(here).map(drop),
            "bind" => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
            "socket" => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
            "exec" => Command::new("/bin/sh").arg("-c").arg(":").status().map(drop),
            "kill" => Ok(kill(Pid::from_raw(1), None)?),
            _ => Ok(setuid(Uid::from_raw(0))?),
        }
    }
}
