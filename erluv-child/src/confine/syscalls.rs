//! Linux: the filter of system calls, seccomp(2) in filter mode, the last layer of the confinement.
//!
//! What child lives by is allowed, with its arguments checked where they matter; what a C library may try on its own
//! account (a look at a file) is answered with EACCES, because a probe must not take all workers down; anything else,
//! and any other architecture's calls, end the process (`SIGSYS`).

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::ConfineError;

/// The calls that child lives by, whatever their arguments.
const CALLS: &[c_long] = &[
    // Streams, the connection, the control socket.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fstat,
    // The loop. epoll_create1(2) is not here: the poller is made before.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    // Time. timerfd_create(2) is not here: the clock is made before.
    libc::SYS_timerfd_settime,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory; mmap, mprotect are below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    // The seeds of hash tables.
    libc::SYS_getrandom,
    // Signals, and abort(3); tgkill is below.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What is answered with EACCES.
pub(super) const PROBES: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
];

/// Puts the filters in place, for good.
///
/// # Errors
/// [`ConfineError::System`] for failures other than that the kernel or we have no filter for this machine.
pub(super) fn filter(missing: &mut Vec<String>) -> Result<(), ConfineError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        missing.push(format!("seccomp: no filter for {}", std::env::consts::ARCH));
        return Ok(());
    };
    let probes = answer_probes(arch).map_err(ConfineError::of("seccomp"))?;
    let calls = allow_calls(arch, std::process::id()).map_err(ConfineError::of("seccomp"))?;
    // The kernel obeys the stricter of the two: this one allows what the other ends.
    for program in [&probes, &calls] {
        match seccompiler::apply_filter(program) {
            Ok(()) => {}
            Err(Error::Seccomp(error)) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
                missing.push("seccomp: the kernel has no filters (CONFIG_SECCOMP_FILTER)".to_owned());
                return Ok(());
            }
            Err(error) => return Err(ConfineError::System("seccomp", error.to_string())),
        }
    }
    Ok(())
}

/// The filter that answers [`PROBES`].
fn answer_probes(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let rules = PROBES.iter().map(|&call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
}

/// The filter that ends the process for all but [`CALLS`], [`PROBES`] and those with checked arguments.
fn allow_calls(arch: TargetArch, own_pid: u32) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        CALLS.iter().chain(PROBES).map(|&call| (call, Vec::new())).collect();
    rules.extend(checked(own_pid)?);
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

/// The calls whose arguments matter, each with the ways of calling it that are allowed.
fn checked(own_pid: u32) -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    // No memory is ever both written and executed: what is executable was so before.
    let no_exec = || none_of(2, libc::PROT_EXEC);
    let anonymous = all_of(3, libc::MAP_ANONYMOUS)?;
    // F_GETFD: what a debug build of the standard library asks before it closes a descriptor. F_SETPIPE_SZ: up to what
    // the system allows any user.
    let mut commands = Vec::new();
    for command in
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC, libc::F_SETPIPE_SZ]
    {
        commands.push(SeccompRule::new(vec![equal(1, command)?])?);
    }
    // The size and the settings of a worker's terminal (S-30); TIOCSTI above all is not among them.
    let mut terminal = Vec::new();
    // The last two are what newer C libraries ask in place of the two before.
    for request in [libc::TIOCSWINSZ, libc::TCGETS, libc::TCSETS, libc::TCGETS2, libc::TCSETS2] {
        terminal.push(SeccompRule::new(vec![SeccompCondition::new(1, Length::Dword, Op::Eq, request)?])?);
    }
    let own = SeccompCondition::new(0, Length::Dword, Op::Eq, u64::from(own_pid))?;
    // An address, or fast open, would make sending connect.
    let no_address = SeccompCondition::new(4, Length::Qword, Op::Eq, 0)?;
    Ok(vec![
        (libc::SYS_mmap, vec![SeccompRule::new(vec![no_exec()?, anonymous])?]),
        (libc::SYS_mprotect, vec![SeccompRule::new(vec![no_exec()?])?]),
        (libc::SYS_fcntl, commands),
        (libc::SYS_ioctl, terminal),
        (libc::SYS_sendto, vec![SeccompRule::new(vec![no_address])?]),
        (libc::SYS_sendmsg, vec![SeccompRule::new(vec![none_of(2, libc::MSG_FASTOPEN)?])?]),
        // Whether a socket has an error.
        (libc::SYS_getsockopt, vec![SeccompRule::new(vec![equal(1, libc::SOL_SOCKET)?])?]),
        // abort(3), and nobody else's.
        (libc::SYS_tgkill, vec![SeccompRule::new(vec![own, equal(2, libc::SIGABRT)?])?]),
    ])
}

/// The int at `place` is `value`.
fn equal(place: u8, value: c_int) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(place, Length::Dword, Op::Eq, u64::from(value.unsigned_abs()))
}

/// None of `bits` is set at `place`.
fn none_of(place: u8, bits: c_int) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(place, Length::Qword, Op::MaskedEq(u64::from(bits.unsigned_abs())), 0)
}

/// All of `bits` are set at `place`.
fn all_of(place: u8, bits: c_int) -> Result<SeccompCondition, BackendError> {
    let bits = u64::from(bits.unsigned_abs());
    SeccompCondition::new(place, Length::Qword, Op::MaskedEq(bits), bits)
}
