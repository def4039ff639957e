//! The lists of refused system calls, and the filter that is made of one: seccomp(2), a program for the kernel's BPF.
//!
//! A list names what is refused; all else is allowed, so that ordinary programs just work. Whatever the list: calls of
//! another architecture end the process (their numbers mean something else), and numbers that are not known here, those
//! of x32 among them, answer ENOSYS, as of a kernel that does not have them.

mod lists;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::{CallList, Seccomp};
use lists::{DEFAULT, Refused, STRICT};

/// The highest number of a call that is known here (file_setattr(2), Linux 6.17). Numbers are the same on all
/// architectures from 424 on.
const HIGHEST: u32 = 469;

/// clone3(2) hides its flags from a filter. A C library that is told that there is none uses clone(2).
const CLONE3: u32 = 435;

/// The flags of clone(2) and unshare(2) that make namespaces; CLONE_NEWTIME is unshare's alone.
const NEW_NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// personality(2), asked for what it is.
const ASK_PERSONALITY: u64 = 0xffff_ffff;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;

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
    if seccomp.list == CallList::None && !lock_personality {
        return Ok(None);
    }
    let mut rules = refused(seccomp.list, ambient)?;
    if lock_personality {
        let other = |value| SeccompCondition::new(0, Length::Dword, Op::Ne, value);
        rules.insert(libc::SYS_personality, vec![SeccompRule::new(vec![other(0)?, other(ASK_PERSONALITY)?])?]);
    }
    let answer = match seccomp.kill {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
    };
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let listed: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()?;
    let mut program = unknown_numbers();
    if seccomp.list >= CallList::Default && !holds(ambient, lists::SYS_ADMIN) {
        program.extend(no_such_call_if(libc::BPF_JEQ, CLONE3));
    }
    program.extend(listed);
    Ok(Some(program))
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

/// The calls of a list, each with the ways of calling it that are refused; none means all.
fn refused(list: CallList, ambient: u64) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    let lists: &[&[Refused]] = match list {
        CallList::None => &[],
        CallList::Default => &[DEFAULT],
        CallList::Strict => &[DEFAULT, STRICT],
    };
    for Refused { calls, unless } in lists.iter().copied().flatten() {
        if !unless.is_some_and(|capability| holds(ambient, capability)) {
            rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    if list >= CallList::Default {
        rules.insert(libc::SYS_ioctl, vec![ioctl(libc::TIOCSTI)?, ioctl(libc::TIOCLINUX)?]);
        if !holds(ambient, lists::SYS_ADMIN) {
            let flag = |flag: c_int| {
                let bit = u64::from(flag.unsigned_abs());
                SeccompRule::new(vec![SeccompCondition::new(0, Length::Dword, Op::MaskedEq(bit), bit)?])
            };
            rules.insert(libc::SYS_clone, NEW_NAMESPACES.into_iter().map(flag).collect::<Result<_, _>>()?);
        }
    }
    Ok(rules)
}

fn holds(set: u64, capability: u32) -> bool {
    1_u64.checked_shl(capability).is_some_and(|bit| set & bit != 0)
}

/// The kernel looks at the low 32 bits of a request alone, and so does this (CVE-2019-7303, CVE-2023-28100).
fn ioctl(request: libc::Ioctl) -> Result<SeccompRule, BackendError> {
    let low = request & libc::Ioctl::from(u32::MAX);
    SeccompRule::new(vec![SeccompCondition::new(1, Length::Dword, Op::Eq, low)?])
}

/// Before the rest, which looks at the architecture: another one's numbers are refused this way or that.
fn unknown_numbers() -> BpfProgram {
    let load = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER);
    let mut program = vec![load];
    program.extend(no_such_call_if(libc::BPF_JGT, HIGHEST));
    program
}

/// ENOSYS where the loaded number compares so with `number`, else on with the next instruction.
fn no_such_call_if(compare: u32, number: u32) -> [sock_filter; 2] {
    let answer = u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()));
    [instruction(libc::BPF_JMP | compare | libc::BPF_K, 1, number), instruction(libc::BPF_RET | libc::BPF_K, 0, answer)]
}

/// One instruction; a comparison that fails jumps over so many.
fn instruction(code: u32, otherwise: u8, operand: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: otherwise, k: operand }
}
