//! OpenBSD, FreeBSD, NetBSD: what each of them has.
//!
//! | | files | calls | debuggers |
//! |---|---|---|---|
//! | OpenBSD | unveil(2) of nothing | pledge(2) `stdio recvfd tty` | none attaches to a process that changed its user |
//! | FreeBSD | Capsicum | Capsicum | procctl(2) `PROC_TRACE_CTL` |
//! | NetBSD | chroot alone | - | none attaches to a process that changed its user |

use std::path::Path;

use nix::unistd::{Gid, Uid};

use super::ConfineError;
use super::identity::Way;
#[cfg(any(target_os = "openbsd", target_os = "freebsd"))]
use crate::sys;

/// Linux alone has namespaces: elsewhere they are not missed.
pub(super) const WITHOUT_NAMESPACES: Option<&str> = None;

/// Linux alone has namespaces.
pub(super) fn way_in(_uid: Uid, _gid: Gid) -> Way {
    Way::Chroot
}

/// Linux alone has namespaces: false, nothing was made.
pub(super) fn become_alone_as_root(_folder: &Path, _missing: &mut Vec<String>) -> Result<bool, ConfineError> {
    Ok(false)
}

/// Linux alone has namespaces: what an ordinary user can do without them is nothing.
pub(super) fn become_alone_as_user(missing: &mut Vec<String>) -> Result<bool, ConfineError> {
    missing.push("chroot: erluv-main is not root".to_owned());
    Ok(false)
}

/// Linux alone has capabilities of this kind.
pub(super) fn empty_bounding_set() -> Result<(), ConfineError> {
    Ok(())
}

/// Linux alone has capabilities of this kind.
pub(super) fn give_up_capabilities(_bounding: bool) -> Result<(), ConfineError> {
    Ok(())
}

/// FreeBSD: no debugger attaches. The others have that from the change of user, or not at all.
///
/// # Errors
/// [`ConfineError::System`].
pub(super) fn forbid_new_privileges(_missing: &mut Vec<String>) -> Result<(), ConfineError> {
    #[cfg(target_os = "freebsd")]
    sys::forbid_tracing().map_err(ConfineError::of("procctl PROC_TRACE_CTL"))?;
    Ok(())
}

/// OpenBSD: no file is visible. FreeBSD's capability mode comes with [`seal`].
///
/// # Errors
/// [`ConfineError::System`].
pub(super) fn forbid_files(_missing: &mut Vec<String>) -> Result<(), ConfineError> {
    #[cfg(target_os = "openbsd")]
    sys::hide_files().map_err(ConfineError::of("unveil"))?;
    Ok(())
}

/// The last layer: pledge(2) or cap_enter(2).
///
/// # Errors
/// [`ConfineError::System`] for failures other than that the kernel has none of it.
#[cfg(any(target_os = "openbsd", target_os = "freebsd"))]
pub(super) fn seal(missing: &mut Vec<String>) -> Result<(), ConfineError> {
    match sys::keep_to_descriptors() {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            missing.push(format!("filter of system calls: {error}"));
            Ok(())
        }
        Err(error) => Err(ConfineError::System("pledge or cap_enter", error.to_string())),
    }
}

/// There is none here.
#[cfg(not(any(target_os = "openbsd", target_os = "freebsd")))]
pub(super) fn seal(missing: &mut Vec<String>) -> Result<(), ConfineError> {
    missing.push("filter of system calls: this system has none".to_owned());
    Ok(())
}
