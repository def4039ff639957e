//! What this host has, found out by asking the kernel in ways that change nothing, or by a process that tries it and
//! is gone.

use std::sync::{Mutex, OnceLock, PoisonError};

use erluv_proto::ipc::ExitStatus;
use libc::{c_int, c_long};

use super::{capabilities, filter, landlock, namespaces};
use crate::sandbox::calls;
use crate::sandbox::host::{Host, Kind};
use crate::sys::forked::{Called, errno};
use crate::sys::os::control;
use crate::sys::{Forked, os, reap};

/// Of capabilities(7).
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// Looked at once in the life of main.
pub(crate) fn host() -> Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    *HOST.get_or_init(|| Host {
        linux: true,
        resources: capabilities::own().is_ok_and(|own| own & CAP_SYS_RESOURCE != 0),
        keyring: has_keyrings(),
        mdwe: control(libc::PR_GET_MDWE, 0, 0).is_ok(),
        seccomp: calls::exists() && filter::has_filters(),
        landlock: landlock::version(),
        mounts: has_mount_setattr(),
    })
}

/// Whether main may make namespaces of a kind; each is tried once in the life of main.
pub(crate) fn can_unshare(kind: Kind, root: bool) -> bool {
    static KNOWN: Mutex<Vec<(Kind, bool, bool)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, can)) = known.iter().find(|(known, as_root, _)| (*known, *as_root) == (kind, root)) {
        return *can;
    }
    let can = namespaces::can_unshare(kind, root);
    known.push((kind, root, can));
    can
}

/// Runs `attempt` in a process of its own, whether it succeeds. Only async-signal-safe calls may be in it.
pub(super) fn succeeds(attempt: impl FnOnce() -> Called) -> bool {
    match os::fork_into(None) {
        // SAFETY: _exit takes a number and runs nothing of this process.
        Ok(Forked::Child { .. }) => unsafe { libc::_exit(attempt().err().unwrap_or(0)) },
        Ok(Forked::Parent(process)) => loop {
            match reap(Some(process.pid)) {
                Some(ended) => return ended.status == ExitStatus::Code(0),
                None => std::thread::yield_now(),
            }
        },
        Err(_) => false,
    }
}

/// keyctl(2), the number of a keyring that this process may not have.
fn has_keyrings() -> bool {
    const GET_KEYRING_ID: c_long = 0;
    const PROCESS_KEYRING: c_long = -2;
    // SAFETY: this command takes numbers, and makes nothing where the last is 0.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, PROCESS_KEYRING, 0_i64) };
    id >= 0 || errno() == libc::ENOKEY
}

/// mount_setattr(2), which came last of the calls that are used: without a size it is EINVAL.
fn has_mount_setattr() -> bool {
    let (nowhere, no_flags, nothing): (c_int, c_long, _) = (-1, 0, std::ptr::null::<u64>());
    let path = c"".as_ptr();
    // SAFETY: the kernel looks at the size first, and reads nothing for none.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, c_long::from(nowhere), path, no_flags, nothing, 0) };
    result == -1 && errno() == libc::EINVAL
}
