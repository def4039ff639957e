//! The lists of refused system calls, and the filter that is made of one: seccomp(2), a program for the kernel's BPF.
//!
//! A list names what is refused; all else is allowed, so that ordinary programs just work. Whatever the list: calls of
//! another architecture end the process (their numbers mean something else), and numbers that are not known here, those
//! of x32 among them, answer ENOSYS, as of a kernel that does not have them.

// With their paths, as the benchmark has this file in a place of its own.
#[path = "calls/lists.rs"]
mod lists;

#[cfg(test)]
#[path = "calls/tests.rs"]
mod tests;

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::bpf::{Answer, filter};
use super::pass::Pass;
use super::{CallList, Seccomp};
use lists::{DEFAULT, Refused, STRICT};

/// The highest number of a call that is known here (file_setattr(2), Linux 6.17). Numbers are the same on all
/// architectures from 424 on.
const HIGHEST: u32 = 469;

/// The flags of clone(2) and unshare(2) that make namespaces; CLONE_NEWTIME is unshare's alone.
const NEW_NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// personality(2): that of Linux, and the question which one it is.
const PERSONALITIES: [u32; 2] = [0, 0xffff_ffff];

/// What a process does on its way from main to its exec, and the default list refuses.
const OPEN: [c_long; 2] = [libc::SYS_clone3, libc::SYS_keyctl];

/// Whether there is a filter for this machine.
pub(crate) fn exists() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// The filter; `None` where nothing is to be refused. What needs one of the `ambient` capabilities is allowed to who
/// has it, but for what only the strict list refuses.
///
/// # Errors
/// Where there is none for this machine.
pub(crate) fn compile(
    seccomp: Seccomp,
    lock_personality: bool,
    ambient: u64,
) -> Result<Option<BpfProgram>, BackendError> {
    built(seccomp, lock_personality, ambient, None)
}

/// The same for a process that makes workers, each of which inherits it, and each on its way to its exec with it: with
/// the pass it allows them what they need for that. `None` also for the strict list, which refuses more of it.
///
/// # Errors
/// As those of [`compile`].
pub(crate) fn inherited(
    seccomp: Seccomp,
    lock_personality: bool,
    ambient: u64,
    pass: Pass,
) -> Result<Option<BpfProgram>, BackendError> {
    match seccomp.list {
        CallList::None | CallList::Default => built(seccomp, lock_personality, ambient, Some(pass)),
        CallList::Strict => Ok(None),
    }
}

fn built(
    seccomp: Seccomp,
    lock_personality: bool,
    ambient: u64,
    pass: Option<Pass>,
) -> Result<Option<BpfProgram>, BackendError> {
    if seccomp.list == CallList::None && !lock_personality {
        return Ok(None);
    }
    let refusal = match seccomp.kill {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
    };
    let mut answers = refused(seccomp.list, ambient, &refusal);
    if lock_personality {
        answers.insert(libc::SYS_personality, Answer::IfNoneOf(0, PERSONALITIES.to_vec(), refusal));
    }
    let numbered = answers.into_iter().filter_map(|(call, answer)| Some((u32::try_from(call).ok()?, answer)));
    let open = OPEN.map(|call| u32::try_from(call).unwrap_or(u32::MAX));
    let open = pass.map(|pass| (open.as_slice(), pass));
    filter(TargetArch::try_from(std::env::consts::ARCH)?, HIGHEST, &numbered.collect(), open).map(Some)
}

/// A filter that allows these calls and ends the process for all others.
///
/// # Errors
/// Where there is none for this machine.
pub(crate) fn only(calls: &[c_long]) -> Result<BpfProgram, BackendError> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

/// The calls of a list, each with what it gets.
fn refused(list: CallList, ambient: u64, refusal: &SeccompAction) -> BTreeMap<c_long, Answer> {
    let mut answers = BTreeMap::new();
    let lists: &[&[Refused]] = match list {
        CallList::None => &[],
        CallList::Default => &[DEFAULT],
        CallList::Strict => &[DEFAULT, STRICT],
    };
    for Refused { calls, unless } in lists.iter().copied().flatten() {
        if !unless.is_some_and(|capability| holds(ambient, capability)) {
            answers.extend(calls.iter().map(|call| (*call, Answer::Always(refusal.clone()))));
        }
    }
    if list >= CallList::Default {
        let feeding = [low_half(libc::TIOCSTI), low_half(libc::TIOCLINUX)].to_vec();
        answers.insert(libc::SYS_ioctl, Answer::IfOneOf(1, feeding, refusal.clone()));
        if !holds(ambient, lists::SYS_ADMIN) {
            answers.insert(libc::SYS_clone, Answer::IfAny(0, NEW_NAMESPACES.cast_unsigned(), refusal.clone()));
            // It hides its flags from a filter. A C library that is told that there is none uses clone(2).
            let none = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
            answers.insert(libc::SYS_clone3, Answer::Always(none));
        }
    }
    answers
}

fn holds(set: u64, capability: u32) -> bool {
    1_u64.checked_shl(capability).is_some_and(|bit| set & bit != 0)
}

/// The kernel looks at the low 32 bits of a request alone, and so does the filter (CVE-2019-7303, CVE-2023-28100).
fn low_half(request: libc::Ioctl) -> u32 {
    // It has as many with some C libraries, more with others.
    let [first, second, third, fourth, ..] = request.to_le_bytes();
    u32::from_le_bytes([first, second, third, fourth])
}
