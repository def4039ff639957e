//! A terminal for a worker: made, owned and set up by main before the fork, so that the worker finds it whole. The side
//! that the worker does not see is main's for as long as it takes to hand it to erluv-child.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use erluv_proto::terminal;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Gid, Uid, fchown};

use crate::order::{Identity, Terminal};

/// Both sides of a terminal, close-on-exec.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What is written here the worker reads, and the other way round. Not blocking.
    pub(crate) master: OwnedFd,
    /// The worker's terminal.
    pub(crate) slave: OwnedFd,
}

/// Makes a terminal of this size and with these settings that belongs to the user alone (S-30): group and others cannot
/// write to it, as elsewhere write(1) could.
///
/// # Errors
/// Those of posix_openpt(3), tcsetattr(3) and fchown(2); `ENOSPC` where the system has as many as it may.
pub(crate) fn open(wanted: &Terminal, identity: Option<&Identity>) -> io::Result<Pair> {
    let size = Winsize { ws_row: wanted.rows, ws_col: wanted.columns, ws_xpixel: 0, ws_ypixel: 0 };
    #[allow(clippy::disallowed_methods, reason = "no system has a close-on-exec openpty; see the next lines")]
    let OpenptyResult { master, slave } = openpty(&size, None)?;
    // Main has one thread, so nothing was executed since (S-14).
    for side in [&master, &slave] {
        fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    crate::launch::unblock(&master)?;
    fchmod(&slave, Mode::S_IRUSR | Mode::S_IWUSR)?;
    if let Some(identity) = identity {
        fchown(&slave, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?;
    }
    let mut settings = libc::termios::from(tcgetattr(&slave)?);
    let echo = ("echo".to_owned(), u32::from(wanted.echo));
    for (name, value) in [&echo].into_iter().chain(&wanted.settings) {
        if !terminal::apply(&mut settings, name, *value) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
    }
    tcsetattr(slave.as_fd(), SetArg::TCSANOW, &Termios::from(settings))?;
    Ok(Pair { master, slave })
}
