//! How erluv-child starts: by erluv-main, in one way, or not at all (S-34). Runs with the privileges of erluv-main.
//!
//! `erluv-child [--user NAME --group GROUP --chroot DIR] --worker-limit N`, an empty environment, and the descriptors 0
//! to 2 = `/dev/null`, 3 = control socket, 4 = write end of the log pipe. Nothing outside of this process is touched
//! here. The one thing that anybody may have it do is `--self-test` ([`crate::self_test`]).

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    process::ExitCode,
};

use rustix::net::{AddressFamily, SocketType};
use thiserror::Error;

use crate::sys::{self, FdKind, Inherited};

/// What erluv-main calls this program in `argv[0]`; a person who runs it by its path does not.
const MARKER: &str = "erluv-child";

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// What to become; `None` where erluv-main is not root and so can separate nothing.
    pub(crate) separation: Option<Separation>,
    /// The most workers at one time: decides how many descriptors are needed.
    pub(crate) worker_limit: u32,
}

/// What a child of root becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Separation {
    /// The user's name.
    pub(crate) user: String,
    /// The one group: a name, or a number in decimal.
    pub(crate) group: String,
    /// The empty folder that becomes `/`.
    pub(crate) chroot: PathBuf,
}

/// What erluv-main hands over.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The control socket, connected with erluv-main.
    pub(crate) control: OwnedFd,
    /// The write end of the log pipe.
    pub(crate) log: OwnedFd,
}

/// Why erluv-child does not start.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum StartError {
    /// Somebody else than erluv-main has executed it.
    #[error("started by erluv-main only: run erluv-main ({0})")]
    NotByMain(&'static str),
    /// Erluv-main did, with a command line that is not this program's.
    #[error("{0}: install erluv-main and erluv-child of one build")]
    Usage(String),
}

impl StartError {
    /// The status to exit with, of sysexits(3): 77 (no permission) or 64 (usage).
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::NotByMain(_) => 77,
            Self::Usage(_) => 64,
        }
    }

    /// Says why on stderr, in one line, and gives the status to exit with.
    pub(crate) fn report(&self) -> ExitCode {
        // Nobody is left to tell when stderr fails.
        let _ = writeln!(io::stderr(), "erluv-child: {self}");
        ExitCode::from(self.status())
    }
}

/// Takes the descriptors and the command line (`argv`, the program's name included) that erluv-main gives. Once in a
/// process.
///
/// # Errors
/// [`StartError::NotByMain`] before the arguments are looked at, then [`StartError::Usage`].
pub(crate) fn start(argv: impl IntoIterator<Item = OsString>) -> Result<(Start, Descriptors), StartError> {
    let control = take(Inherited::Control, "descriptor 3 is not its socket", is_from_parent)?;
    let log = take(Inherited::Log, "descriptor 4 is not its log pipe", |fd| {
        sys::fd_kind(fd.as_fd()).is_ok_and(|kind| kind == FdKind::Fifo)
    })?;
    let mut argv = argv.into_iter();
    if argv.next().as_deref() != Some(OsStr::new(MARKER)) {
        return Err(StartError::NotByMain("not by its way of naming it"));
    }
    let start = parse(argv, nix::unistd::geteuid().is_root())?;
    Ok((start, Descriptors { control, log }))
}

fn take(which: Inherited, why: &'static str, fits: impl Fn(&OwnedFd) -> bool) -> Result<OwnedFd, StartError> {
    sys::take_inherited(which).ok().filter(fits).ok_or(StartError::NotByMain(why))
}

/// Whether `fd` is a Unix-domain `SOCK_SEQPACKET` socket that our parent made, as our own user.
fn is_from_parent(fd: &OwnedFd) -> bool {
    let unix = rustix::net::getsockname(fd).is_ok_and(|name| name.address_family() == AddressFamily::UNIX);
    let packets = rustix::net::sockopt::socket_type(fd).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    unix && packets && made_by_parent(fd)
}

/// The credentials of a socketpair are those of who made it, unix(7).
#[cfg(target_os = "linux")]
fn made_by_parent(fd: &OwnedFd) -> bool {
    let parent = rustix::process::getppid();
    rustix::net::sockopt::socket_peercred(fd)
        .is_ok_and(|peer| Some(peer.pid) == parent && peer.uid == rustix::process::getuid())
}

/// The BSDs keep no credentials for a socketpair: its type has to do.
#[cfg(not(target_os = "linux"))]
fn made_by_parent(_fd: &OwnedFd) -> bool {
    true
}

/// The arguments behind the program's name; `root` is whether that is who runs it.
///
/// # Errors
/// [`StartError::Usage`].
pub(crate) fn parse(args: impl Iterator<Item = OsString>, root: bool) -> Result<Start, StartError> {
    let (mut user, mut group, mut chroot, mut limit) = (None, None, None, None);
    let mut args = args;
    while let Some(option) = args.next() {
        let place = match option.as_bytes() {
            b"--user" => &mut user,
            b"--group" => &mut group,
            b"--chroot" => &mut chroot,
            b"--worker-limit" => &mut limit,
            _ => return Err(StartError::Usage(format!("{option:?}: unknown option"))),
        };
        let value = args.next().ok_or_else(|| StartError::Usage(format!("{option:?}: without its value")))?;
        if place.replace(value).is_some() {
            return Err(StartError::Usage(format!("{option:?}: given twice")));
        }
    }
    let separation = match (user, group, chroot) {
        (Some(user), Some(group), Some(chroot)) if root => {
            Some(Separation { user: text("--user", user)?, group: text("--group", group)?, chroot: chroot.into() })
        }
        (None, None, None) if !root => None,
        (Some(_), _, _) | (_, Some(_), _) | (_, _, Some(_)) if !root => {
            return Err(StartError::Usage("--user, --group, --chroot: only root can".to_owned()));
        }
        _ => return Err(StartError::Usage("--user, --group, --chroot: root must give all three".to_owned())),
    };
    let limit = text("--worker-limit", limit.unwrap_or_default())?;
    let digits = !limit.is_empty() && limit.bytes().all(|b| b.is_ascii_digit());
    let worker_limit = limit.parse().ok().filter(|_| digits);
    let worker_limit =
        worker_limit.ok_or_else(|| StartError::Usage(format!("--worker-limit {limit:?}: not a number")))?;
    Ok(Start { separation, worker_limit })
}

/// An argument that must be text.
fn text(option: &str, value: OsString) -> Result<String, StartError> {
    value.into_string().map_err(|value| StartError::Usage(format!("{option} {value:?}: not UTF-8")))
}

#[cfg(test)]
pub(crate) mod tests;
