//! The init of a worker's process namespace: forked with main's privileges, it gives all of them up and then does
//! nothing. The kernel reaps what becomes its child, as it ignores SIGCHLD; when the worker has ended, main kills it.
//!
//! It runs as the worker's user and is out of its reach (S-35): no signal from within the namespace does anything to an
//! init, nobody may trace it, it executes nothing, and what could be a secret in its copy of main's memory is wiped.

use std::os::fd::{AsRawFd, RawFd};

use erluv_proto::ipc::Step;
use libc::{c_int, c_long};
use rustix::io::Errno;

use super::call::call;
use super::forked::{Called, close, join_group, lift, own_session, settle, tell, verify, write_all};
use super::plan::{Held, Ids, Plan, Ready, Role};
use super::sandbox::{capabilities, filter};
use super::wipe::Ranges;
use super::{Born, check, os};

/// The exit status of a process that cannot be an init.
const FAILED: c_int = 71;

/// Where its end of the pipe to the worker is.
const READY: RawFd = 1;

/// What it is called in lists of processes; at most 15 bytes.
const NAME: &std::ffi::CStr = c"erluv-init";

/// All that it calls once its filter is in force.
pub(super) const CALLS: [c_long; 6] = [
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_madvise,
    libc::SYS_close,
    libc::SYS_write,
    libc::SYS_exit_group,
];

/// Does not come back; `memory` is what is wiped.
pub(super) fn become_init(plan: &Plan<'_>, born: Born, memory: &Ranges) -> ! {
    #[cfg(test)]
    super::guard::forbid_allocation();
    // There is one for each worker that waits for an init.
    let mut error = plan.error.map_or(-1, |error| error.as_raw_fd());
    let shed = match (&plan.role, plan.ready) {
        (Role::Worker(held), Some(ready)) => shed(plan.ids.as_ref(), held, born, &mut error, ready),
        (Role::Worker(_) | Role::Half, _) => Err(libc::EINVAL),
    };
    // Nothing of it is used from here on, the plan among it.
    let bare = shed.and_then(|()| memory.wipe());
    if let Err(errno) = bare.and_then(|()| close(error)).and_then(|()| write_all(READY, b"!")) {
        tell(error, Step::Init, errno);
        os::exit(FAILED)
    }
    // The worker has the byte.
    let _ = close(READY);
    loop {
        // SAFETY: there is nothing to poll, no time and no mask: it waits for ever.
        let _: Called<usize> = unsafe { call(libc::SYS_ppoll, [0; 5]) };
    }
}

/// Gives up everything. The error pipe becomes descriptor 0, the one to the worker [`READY`], and nothing else is open.
fn shed(ids: Option<&Ids>, held: &Held<'_>, born: Born, error: &mut RawFd, ready: Ready<'_>) -> Called {
    join_group(born.join)?;
    let free = READY.saturating_add(1);
    *error = lift(*error, free)?;
    let ready = lift(ready.tell.as_raw_fd(), free)?;
    let mut next = 0;
    *error = settle(*error, &mut next)?;
    settle(ready, &mut next)?;
    os::close_from(next)?;
    os::default_dispositions(born.signals)?;
    ignore_ends()?;
    own_session()?;
    rustix::process::chdir(c"/").map_err(Errno::raw_os_error)?;
    rustix::thread::set_name(NAME).map_err(Errno::raw_os_error)?;
    if let Some(ids) = ids {
        capabilities::bound_from(held.bounding, 0)?;
        os::set_groups(&ids.groups)?;
        os::set_gids(ids.gid)?;
        os::set_uids(ids.uid)?;
    }
    capabilities::reduce(0, 0)?;
    if let Some(ids) = ids {
        verify(ids)?;
    }
    // The change of ids has taken back both of these.
    os::forbid_tracing()?;
    os::die_with(held.main, Some(*error))?;
    os::forbid_new_privileges()?;
    let Some(filter) = &held.sandbox.prepared.init else { return Err(libc::EINVAL) };
    filter::load_filter(Some(filter))
}

/// The kernel then reaps the orphans of the namespace by itself, sigaction(2).
fn ignore_ends() -> Called {
    // SAFETY: all bytes zero are a valid sigaction.
    let mut ignore = unsafe { std::mem::zeroed::<libc::sigaction>() };
    ignore.sa_sigaction = libc::SIG_IGN;
    // SAFETY: the struct is whole, and the old disposition is not asked for.
    check(unsafe { libc::sigaction(libc::SIGCHLD, &raw const ignore, std::ptr::null_mut()) }).map(|_| ())
}
