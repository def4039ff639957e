//! The user namespace of a worker whose main is root. It is made after the drop, so that the worker's user owns it;
//! what ids are there only a process with main's privileges may say. That one is forked before the drop and waits.

use libc::c_int;

use super::attributes::write_and_close;
use super::landlock::close;
use super::namespaces::{Maps, unshare_flags};
use super::own::Own;
use crate::sys::forked::{Called, check, errno};
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
    let mut ends = [-1; 2];
    // SAFETY: the place has room for both ends.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [wait, go] = ends;
    match os::fork_into(None) {
        Ok(Forked::Child { .. }) => {
            let written = close(go).and_then(|()| map_when_told(wait, own, maps));
            // SAFETY: _exit takes a number and runs nothing of this process.
            unsafe { libc::_exit(written.err().unwrap_or(0)) }
        }
        Ok(Forked::Parent(process)) => close(wait).map(|()| Some(Mapper { pid: process.pid, go })),
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

fn map_when_told(wait: c_int, own: &Own, maps: &Maps) -> Called {
    let mut word = [0_u8];
    // SAFETY: the byte is ours to be written.
    match unsafe { libc::read(wait, word.as_mut_ptr().cast(), 1) } {
        1 => {}
        0 => return Err(libc::ESRCH),
        _ => return Err(errno()),
    }
    own.write(c"uid_map", &maps.uids)?;
    own.write(c"gid_map", &maps.gids)
}

/// As the worker's user: makes the namespace, in which this process then has all privileges, and has it mapped.
pub(super) fn finish(mapper: &Mapper) -> Called {
    unshare_flags(libc::CLONE_NEWUSER)?;
    write_and_close(mapper.go, b"!")?;
    let mut status = 0;
    loop {
        // SAFETY: the place is ours; the process is a child that is not reaped yet.
        match check(unsafe { libc::waitpid(mapper.pid, &raw mut status, 0) }) {
            Ok(_) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => return Ok(()),
            Ok(_) if libc::WIFEXITED(status) => return Err(libc::WEXITSTATUS(status)),
            Ok(_) => return Err(libc::EINTR),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
