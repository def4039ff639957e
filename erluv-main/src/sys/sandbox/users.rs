//! The user namespace of a worker whose main is root. It is made after the drop, so that the worker's user owns it;
//! what ids are there only a process with main's privileges may say. That one is forked before the drop and waits.

use std::os::fd::IntoRawFd;

use libc::c_int;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::attributes::write_and_close;
use super::namespaces::{Maps, unshare_flags};
use super::own::Own;
use crate::sys::forked::{Called, close, read_word};
use crate::sys::{Forked, os};

/// The process that waits. It ends when this one ends.
pub(in crate::sys) struct Mapper {
    pid: libc::pid_t,
    /// One byte into it says that the namespace is there.
    go: c_int,
}

/// With main's privileges: forks the process that waits.
pub(super) fn start(wanted: bool, own: &Own, maps: &Maps) -> Called<Option<Mapper>> {
    if !wanted {
        return Ok(None);
    }
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).map_err(Errno::raw_os_error)?;
    let (wait, go) = (wait.into_raw_fd(), go.into_raw_fd());
    match os::fork_into(None) {
        Ok(Forked::Child { .. }) => {
            let written = close(go).and_then(|()| map_when_told(wait, own, maps));
            os::exit(written.err().unwrap_or(0))
        }
        Ok(Forked::Parent(process)) => close(wait).map(|()| Some(Mapper { pid: process.pid, go })),
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

fn map_when_told(wait: c_int, own: &Own, maps: &Maps) -> Called {
    read_word(wait)?;
    own.write(c"uid_map", &maps.uids)?;
    own.write(c"gid_map", &maps.gids)
}

/// As the worker's user: makes the namespace, in which this process then has all privileges, and has it mapped.
pub(super) fn finish(mapper: &Mapper) -> Called {
    unshare_flags(libc::CLONE_NEWUSER)?;
    write_and_close(mapper.go, b"!")?;
    loop {
        match waitpid(Pid::from_raw(mapper.pid), WaitOptions::empty()) {
            Ok(ended) => match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => return Ok(()),
                Some(errno) => return Err(errno),
                None => return Err(libc::EINTR),
            },
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.raw_os_error()),
        }
    }
}
