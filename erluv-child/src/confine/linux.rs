//! Linux: capabilities, no_new_privs, Landlock, in `namespaces` the namespaces and in `syscalls` seccomp.

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError, Scope,
};
use nix::sys::prctl;

pub(crate) use super::namespaces::{PROBE, probe};
pub(super) use super::namespaces::{WITHOUT_NAMESPACES, become_alone_as_root, become_alone_as_user, way_in};
use super::{ConfineError, syscalls};

/// The newest Landlock that erluv knows; of an older one everything that it has is used.
const LANDLOCK: ABI = ABI::V10;

/// Takes all capabilities out of the bounding set, while we may.
///
/// # Errors
/// [`ConfineError::System`], without CAP_SETPCAP for one.
pub(super) fn empty_bounding_set() -> Result<(), ConfineError> {
    caps::clear(None, CapSet::Bounding).map_err(ConfineError::of("prctl PR_CAPBSET_DROP"))
}

/// Gives up all capabilities. Where root has changed its user, or a user has its own user namespace, the bounding set
/// too must be empty by now; elsewhere an ordinary user cannot empty it, and needs not, as without new privileges
/// nothing is ever taken from it.
///
/// # Errors
/// [`ConfineError::Holds`], or [`ConfineError::System`] where they cannot be read.
pub(super) fn give_up_capabilities(bounding: bool) -> Result<(), ConfineError> {
    let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient];
    for set in sets {
        // The change of user clears neither the inheritable nor, for an ordinary user, any of them.
        caps::clear(None, set).map_err(ConfineError::of("capset"))?;
    }
    for set in sets.into_iter().chain(bounding.then_some(CapSet::Bounding)) {
        if !caps::read(None, set).map_err(ConfineError::of("capget"))?.is_empty() {
            return Err(ConfineError::Holds("capabilities are left"));
        }
    }
    Ok(())
}

/// No program gives privileges back, no core file is written, no debugger attaches (S-13, S-36).
///
/// # Errors
/// [`ConfineError::System`] or [`ConfineError::Holds`].
pub(super) fn forbid_new_privileges(_missing: &mut Vec<String>) -> Result<(), ConfineError> {
    prctl::set_dumpable(false).map_err(ConfineError::of("prctl PR_SET_DUMPABLE"))?;
    prctl::set_no_new_privs().map_err(ConfineError::of("prctl PR_SET_NO_NEW_PRIVS"))?;
    if prctl::get_no_new_privs() == Ok(true) && prctl::get_dumpable() == Ok(false) {
        Ok(())
    } else {
        Err(ConfineError::Holds("new privileges or core files are possible"))
    }
}

/// Landlock without a single rule: nothing that it knows of files, network and other processes is left. landlock(7).
///
/// # Errors
/// [`ConfineError::System`] for failures other than that the kernel has none of it.
pub(super) fn forbid_files(missing: &mut Vec<String>) -> Result<(), ConfineError> {
    let status = landlock_nothing().map_err(ConfineError::of("landlock_restrict_self"))?;
    missing.extend(landlock_lacks(status.landlock).iter().map(|&what| what.to_owned()));
    Ok(())
}

fn landlock_nothing() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()
}

/// What the kernel's Landlock does not know. What came with ABI 8 and later is not named: new kinds of socket calls,
/// all of which the filter refuses as well.
fn landlock_lacks(status: LandlockStatus) -> &'static [&'static str] {
    const FILES: &str = "landlock: the kernel has none (CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list)";
    const NET: &str = "landlock: the kernel does not know network rights (Linux 6.7)";
    const SCOPE: &str = "landlock: the kernel does not know scopes (Linux 6.12)";
    match status {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => &[FILES],
        LandlockStatus::Available { effective_abi, .. } if effective_abi < ABI::V4 => &[NET, SCOPE],
        LandlockStatus::Available { effective_abi, .. } if effective_abi < ABI::V6 => &[SCOPE],
        LandlockStatus::Available { .. } => &[],
    }
}

/// The last layer: the filter of system calls.
///
/// # Errors
/// [`ConfineError::System`] for failures other than that the kernel has no filters.
pub(super) fn seal(missing: &mut Vec<String>) -> Result<(), ConfineError> {
    syscalls::filter(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s74_what_landlock_lacks_is_named() {
        let lacks = |abi| landlock_lacks(LandlockStatus::Available { effective_abi: abi, kernel_abi: None }).len();
        assert_eq!([ABI::V1, ABI::V3, ABI::V4, ABI::V5, ABI::V6, ABI::V10].map(lacks), [2, 2, 1, 1, 0, 0]);
        assert_eq!(landlock_lacks(LandlockStatus::NotEnabled).len(), 1);
        assert_eq!(landlock_lacks(LandlockStatus::NotImplemented).len(), 1);
    }
}
