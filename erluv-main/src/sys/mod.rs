//! The system calls that no safe crate offers in the way they are needed here: making a process, carrying it from the
//! fork to its exec, and learning of its end. The only `unsafe` of erluv-main stands in this module.
//!
//! - [`plan`]: what a process is to become, prepared whole before the fork.
//! - [`forked`]: what runs between fork and exec, in the forked process.
//! - `call`: how it calls the kernel, on Linux.
//! - [`sandbox`]: what a profile is there.
//! - [`pid_namespace`], [`init`]: what lets the kernel end a worker with all that it started.
//! - [`vfork`]: making a worker in main's own memory.
//! - [`half`]: making erluv-child.
//! - [`mod@detach`]: becoming a daemon.
//! - [`prepare`]: what main does to itself before anything else.
//! - `os`: what differs between systems (`linux.rs`, `bsd.rs`).

// The calls of this module have no safe counterpart, or only one that may allocate or lock.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod call;
mod detach;
mod forked;
mod half;
mod plan;
mod prepare;

#[cfg(target_os = "linux")]
mod init;
#[cfg(not(target_os = "linux"))]
#[path = "no_pid_namespace.rs"]
mod pid_namespace;
#[cfg(target_os = "linux")]
mod pid_namespace;
#[cfg(not(target_os = "linux"))]
#[path = "no_sandbox.rs"]
mod sandbox;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "no_vfork.rs"]
mod vfork;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vfork;
#[cfg(target_os = "linux")]
mod wipe;

#[cfg(not(target_os = "linux"))]
#[path = "bsd.rs"]
mod os;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod os;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod guard;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod half_tests;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod pid_namespace_tests;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod prepare_tests;
#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod testing;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
#[cfg(test)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vfork_tests;

use std::io;
use std::mem::MaybeUninit;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{BorrowedFd, RawFd};

use erluv_proto::ipc::{ExitStatus, Step, Usage};

use crate::sandbox::pass::Pass;

pub(crate) use detach::{Starter, detach};
#[cfg(target_os = "linux")]
pub(crate) use half::is_half;
pub(crate) use half::spawn_half;
pub(crate) use os::CAN_FORBID_NEW_PRIVILEGES;
pub(crate) use pid_namespace::{discard, number_within, spawn_init, spawn_within};
pub(crate) use plan::Plan;
pub(crate) use prepare::{PrepareError, own_limit, prepare_process};
pub(crate) use sandbox::{Prepared, can_unshare, host};
pub(crate) use vfork::spawner::end_spawners;
pub(crate) use vfork::{MOST_AT_ONCE, room, spawn_and_wait, suits};

/// A process that this process has made and not reaped yet: only such are ever signalled (S-38).
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number, valid until it is reaped.
    pub(crate) pid: i32,
    /// Its pidfd, close-on-exec, where it may be signalled after it was reaped: erluv-child's ([`half`]).
    #[cfg(target_os = "linux")]
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Process {
    /// Sends it one signal: by its pidfd where there is one, else by number. Only before it is reaped (S-39).
    ///
    /// # Errors
    /// `ESRCH` where it has been reaped, `EPERM`, `EINVAL` (pidfd_send_signal(2), kill(2)).
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        os::send_signal(self, signal)
    }
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) status: ExitStatus,
    /// What it used; `wall` is 0, for the caller to fill.
    pub(crate) usage: Usage,
}

/// What a fork is to each of the two that come back from it.
enum Forked {
    Parent(Process),
    Child(Born),
}

/// A process that is to be, and on Linux the control group that it begins in.
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(dead_code, reason = "see no_vfork.rs"))]
pub(crate) struct Wanted<'p> {
    pub(crate) plan: Plan<'p>,
    pub(crate) cgroup: Option<BorrowedFd<'p>>,
}

/// What came of a process that main has waited for.
#[derive(Debug)]
pub(crate) enum Made {
    /// Its program runs, or the step that failed is named; unless something has killed it on its way.
    #[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(dead_code, reason = "see no_vfork.rs"))]
    Answered(Process, Option<(Step, i32)>),
    /// It took too long and was killed. Its program never runs.
    #[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(dead_code, reason = "see no_vfork.rs"))]
    Late,
}

/// What the fork has left to the new process to do.
#[derive(Debug, Clone, Copy)]
struct Born {
    /// A descriptor of `cgroup.procs`, where it has to move there by itself.
    join: Option<RawFd>,
    /// The signals whose dispositions may not be the default: a bit for each, the first for signal 1.
    signals: u64,
    /// Where the filter of its profile is in force from the start, what lets it do what it has to do yet.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no filter is there"))]
    sealed: Option<Pass>,
}

/// As a set of signals.
const EVERY_SIGNAL: u64 = u64::MAX;

/// Makes a process that becomes what the plan says, on Linux within a control group from its first instruction.
///
/// Comes back once the fork is done. How the way to the exec went is read from the other end of the plan's error pipe:
/// end of file once the program runs, or five bytes: the step ([`erluv_proto::ipc::Step`]) and the errno, little
/// endian.
///
/// # Errors
/// Those of clone3(2) or fork(2).
pub(crate) fn spawn(plan: &Plan<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Process> {
    debug_assert!(os::is_single_threaded(), "another thread may hold a lock that the forked process waits for");
    let blocked = Blocked::all()?;
    match os::fork_into(cgroup)? {
        Forked::Child(born) => forked::become_planned(plan, born),
        Forked::Parent(process) => {
            drop(blocked);
            Ok(process)
        }
    }
}

/// Whether a process can be made in a control group: makes one that leaves at once.
///
/// # Errors
/// Those of clone3(2), which are also those of writing to `cgroup.procs`.
#[cfg(target_os = "linux")]
pub(crate) fn try_fork_into(cgroup: BorrowedFd<'_>) -> io::Result<()> {
    match os::fork_into(Some(cgroup))? {
        Forked::Child(born) => os::exit(forked::join_group(born.join).err().unwrap_or(0)),
        Forked::Parent(process) => loop {
            match reap(Some(process.pid)).map(|reaped| reaped.status) {
                Some(ExitStatus::Code(0)) => return Ok(()),
                Some(ExitStatus::Code(errno)) => return Err(io::Error::from_raw_os_error(i32::from(errno))),
                Some(ExitStatus::Signal(..)) => return Err(io::Error::from_raw_os_error(libc::EINTR)),
                None => std::thread::yield_now(),
            }
        },
    }
}

/// All signals blocked, so that no handler of ours runs in the forked process; the mask of before comes back by drop.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> io::Result<Self> {
        let mut all = MaybeUninit::uninit();
        // SAFETY: sigfillset writes a whole set to where it is told, which is ours.
        cvt(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
        let mut before = MaybeUninit::uninit();
        // SAFETY: the first set was filled above, the second place is ours to be written.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: pthread_sigmask has succeeded, so it has written the mask of before.
        Ok(Self(unsafe { before.assume_init() }))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is one that the same call gave; no old mask is asked for.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
        debug_assert_eq!(result, 0, "a mask that was in force is valid");
    }
}

/// Reaps one child that has ended: any, or that of a number. `None` where there is none (now).
pub(crate) fn reap(pid: Option<i32>) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::uninit();
    // SAFETY: both places are ours and of the types that wait4 writes.
    let pid = unsafe { libc::wait4(pid.unwrap_or(-1), &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if pid <= 0 {
        return None;
    }
    // SAFETY: wait4 has returned a process, so it has written the usage.
    let usage = unsafe { usage.assume_init() };
    half::forget_half(pid);
    vfork::forget(pid);
    Some(Reaped { pid, status: exit_status(status), usage: used(&usage) })
}

/// Which child has ended, without reaping it: until it is reaped its number and its group are no one else's (S-39).
pub(crate) fn peek() -> Option<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the place is ours and of the type that waitid writes.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        return None;
    }
    // SAFETY: all bytes zero are a valid siginfo_t, and waitid leaves one, too.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the fields of SIGCHLD or leaves zeros, so the pid can be read.
    let pid = unsafe { info.si_pid() };
    (pid > 0).then_some(pid)
}

/// As [`signal_group`], SIGKILL.
pub(crate) fn kill_group(leader: i32) {
    signal_group(leader, libc::SIGKILL);
}

/// A signal to the process group of a leader that is not reaped yet. No such group is no error: it never came to
/// setsid.
pub(crate) fn signal_group(leader: i32, signal: i32) {
    if leader > 1 {
        // SAFETY: kill takes numbers only; the group is that of an unreaped child of ours, so it is no one else's.
        let _ = unsafe { libc::kill(leader.saturating_neg(), signal) };
    }
}

/// Whether a process group has members. Sends nothing, so it may be asked when the leader has been reaped.
pub(crate) fn group_exists(leader: i32) -> bool {
    // SAFETY: kill takes numbers only, and signal 0 is none.
    leader > 1 && unsafe { libc::kill(leader.saturating_neg(), 0) } == 0
}

/// SIGKILL to a child of this process that it did not fork itself (an orphan) and has not reaped yet.
pub(crate) fn kill_orphan(pid: i32) {
    if pid > 1 {
        // SAFETY: kill takes numbers only; an unreaped child keeps its number.
        let _ = unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

fn exit_status(status: i32) -> ExitStatus {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(byte(libc::WTERMSIG(status)), libc::WCOREDUMP(status))
    } else {
        ExitStatus::Code(byte(libc::WEXITSTATUS(status)))
    }
}

fn used(usage: &libc::rusage) -> Usage {
    let micros = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    let memory = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Usage { user: micros(usage.ru_utime), system: micros(usage.ru_stime), memory, wall: 0 }
}

/// The error of a call that answers -1.
fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same, as an errno. Not in main's memory, where that is another's.
fn check(result: libc::c_int) -> Result<libc::c_int, libc::c_int> {
    if result == -1 { Err(errno()) } else { Ok(result) }
}

/// The errno of the call just made. Reads a thread-local and allocates nothing.
fn errno() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
