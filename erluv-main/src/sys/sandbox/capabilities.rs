//! Capabilities on the way from main's privileges to a worker's, capabilities(7). A worker has none, unless its profile
//! names some: these stay with it and with what it executes (ambient). Sets are given as a bit for each number.

use std::sync::OnceLock;

use libc::c_int;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::sandbox::Profile;
use crate::sys::call::control;
use crate::sys::forked::Called;

/// prctl(2); the low bits are those of capabilities(7).
const PR_GET_SECUREBITS: c_int = 27;
const PR_SET_SECUREBITS: c_int = 28;

/// By its number in capabilities(7).
const CAP_SYS_CHROOT: u32 = 18;

/// No kernel has as many.
const MOST: u32 = 64;

fn has(set: u64, capability: u32) -> bool {
    1_u64.checked_shl(capability).is_some_and(|bit| set & bit != 0)
}

/// The bounding set of this process as it was when this was first asked, before the first worker. A process and those
/// that it forks can only take more out of it, but for those that make a user namespace: that one's is full.
pub(in crate::sys) fn bounding() -> u64 {
    static BOUNDING: OnceLock<u64> = OnceLock::new();
    let look = |capability| c_int::try_from(capability).map_err(|_| libc::EINVAL).and_then(read_bounding);
    // Behind the last one that this kernel has there is none; what cannot be looked up counts as there.
    let numbers = || (0..MOST).map_while(|capability| (look(capability) != Err(libc::EINVAL)).then_some(capability));
    let there = |capability: &u32| look(*capability) != Ok(0);
    let bit = |capability| 1_u64.checked_shl(capability).unwrap_or(0);
    *BOUNDING.get_or_init(|| numbers().filter(there).map(bit).fold(0, |set, bit| set | bit))
}

fn read_bounding(capability: c_int) -> Called<c_int> {
    control(libc::PR_CAPBSET_READ, capability, 0)
}

/// What a process on its way to its exec keeps of this one's permitted set, looked up once: nothing that it uses. To
/// trace a process or look into its memory one must be permitted what that one is, ptrace(2), and this holds where the
/// kernel has forgotten that its memory is closed: before mid-2026 it did so for a process on its way out
/// (CVE-2026-46333). The exec takes it away. Nothing where this one lacks it, or may not keep any over a change of ids.
pub(in crate::sys) fn shield() -> u64 {
    static SHIELD: OnceLock<u64> = OnceLock::new();
    let chroot = 1_u64.checked_shl(CAP_SYS_CHROOT).unwrap_or(0);
    let permitted = || read().map_or(0, |sets| sets.permitted.bits());
    let bits = || control(PR_GET_SECUREBITS, 0, 0).unwrap_or(libc::SECBIT_KEEP_CAPS_LOCKED);
    *SHIELD.get_or_init(|| if bits() & libc::SECBIT_KEEP_CAPS_LOCKED == 0 { permitted() & chroot } else { 0 })
}

/// Takes every other capability out of the bounding set, so that no program that is executed can bring one back (S-12).
/// For processes in a user namespace of their own, too.
pub(in crate::sys) fn bound(keep: u64) -> Called {
    bound_from(u64::MAX, keep)
}

/// As [`bound`], where the set is known to be no more than `had`.
pub(in crate::sys) fn bound_from(had: u64, keep: u64) -> Called {
    for capability in (0..MOST).filter(|capability| has(had, *capability) && !has(keep, *capability)) {
        let number = c_int::try_from(capability).map_err(|_| libc::EINVAL)?;
        match control(libc::PR_CAPBSET_DROP, number, 0) {
            Ok(_) => {}
            // Behind the last one that this kernel has.
            Err(libc::EINVAL) => return Ok(()),
            // Without CAP_SETPCAP: fine where there is nothing to drop.
            Err(errno) => match read_bounding(number) {
                Ok(0) => {}
                Ok(_) | Err(_) => return Err(errno),
            },
        }
    }
    Ok(())
}

/// Before the change of ids, which would clear what is permitted. Where the worker is root by its number, its programs
/// shall get no more than others by that number. `kept` stays permitted.
pub(in crate::sys) fn keep_over_drop(profile: &Profile, uid: libc::uid_t, kept: u64) -> Called {
    if uid == 0 && profile.bounding != 0 {
        control(PR_SET_SECUREBITS, libc::SECBIT_NOROOT | libc::SECBIT_NOROOT_LOCKED, 0)?;
    }
    if kept == 0 { Ok(()) } else { control(libc::PR_SET_KEEPCAPS, 1, 0).map(|_| ()) }
}

/// Nothing is effective, nothing but `keep` permitted and inheritable, and nothing else can be ambient then, as that set
/// has only what is in both; `shield` is permitted, too.
pub(in crate::sys) fn reduce(keep: u64, shield: u64) -> Called {
    if keep != 0 {
        control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    }
    set_capabilities(None, permitted(keep, shield)).map_err(Errno::raw_os_error)
}

/// What the programs shall have becomes ambient; whether that and nothing else is left is looked up. Effective it
/// becomes by the exec. `shield` is as in [`reduce`].
pub(in crate::sys) fn raise(ambient: u64, shield: u64) -> Called {
    for capability in (0..MOST).filter(|capability| has(ambient, *capability)) {
        let number = c_int::try_from(capability).map_err(|_| libc::EINVAL)?;
        control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number)?;
    }
    if read()? == permitted(ambient, shield) { Ok(()) } else { Err(libc::EPERM) }
}

/// Nothing effective.
fn permitted(keep: u64, shield: u64) -> CapabilitySets {
    let set = CapabilitySet::from_bits_retain;
    CapabilitySets { effective: set(0), permitted: set(keep | shield), inheritable: set(keep) }
}

/// What is effective in this process.
pub(super) fn own() -> Called<u64> {
    read().map(|sets| sets.effective.bits())
}

fn read() -> Called<CapabilitySets> {
    rustix::thread::capabilities(None).map_err(Errno::raw_os_error)
}
