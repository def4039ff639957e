//! What this host has, found out by asking the kernel in ways that change nothing, or by a process that tries it and
//! is gone.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::{capabilities, filter, landlock, namespaces};
use crate::sandbox::calls;
use crate::sandbox::host::{Host, Kind};
use crate::sys::call::{address, call, control, word};
use crate::sys::forked::Called;
use crate::sys::{Forked, os, reap};
use erluv_proto::ipc::ExitStatus;

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
        Ok(Forked::Child { .. }) => os::exit(attempt().err().unwrap_or(0)),
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
    const GET_KEYRING_ID: usize = 0;
    const PROCESS_KEYRING: libc::c_int = -2;
    // SAFETY: this command takes numbers, and makes nothing where the last is 0.
    let id = unsafe { call(libc::SYS_keyctl, [GET_KEYRING_ID, word(PROCESS_KEYRING), 0]) };
    matches!(id, Ok(_) | Err(libc::ENOKEY))
}

/// mount_setattr(2), which came last of the calls that are used: without a size it is EINVAL.
fn has_mount_setattr() -> bool {
    let (nowhere, no_flags, nothing) = (word(-1), 0, 0);
    let path = address(c"");
    // SAFETY: the kernel looks at the size first, and reads nothing for none.
    let result = unsafe { call(libc::SYS_mount_setattr, [nowhere, path, no_flags, nothing, 0]) };
    result == Err(libc::EINVAL)
}
