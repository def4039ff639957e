//! Linux: clone3, pidfds, signals, and ids by system calls of their own (glibc's wrappers take locks, and change
//! the ids of all threads).

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use libc::{c_int, c_long};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal};
use rustix::thread::{Gid, Uid};

use super::call::{address, call, control, word};
use super::forked::{Called, borrowed, close, open};
use super::plan::Resource;
use super::{Born, EVERY_SIGNAL, Forked, Plan, Process, cvt};

pub(super) use super::call::exit;

/// Whether no_new_privs exists here.
pub(crate) const CAN_FORBID_NEW_PRIVILEGES: bool = true;

/// clone3(2): the new process is in this control group from its first instruction (Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2): handlers are gone in the new process, what is ignored stays so (Linux 5.5).
pub(super) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Real-time signals included.
const LAST_SIGNAL: c_int = 64;

/// The most descriptors that are closed one by one, where neither close_range(2) nor /proc is there.
const MOST_CLOSED: u64 = 1 << 20;

// 32-bit systems have a second set of calls for ids of 32 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_getgroups, SYS_getresgid, SYS_getresuid, SYS_setgroups};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{
    SYS_getgroups32 as SYS_getgroups, SYS_getresgid32 as SYS_getresgid, SYS_getresuid32 as SYS_getresuid,
    SYS_setgroups32 as SYS_setgroups,
};

/// Makes a process. In the new one, `join` is set where it has to move into the control group by itself.
pub(super) fn fork_into(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    super::pid_namespace::come_home()?;
    match clone3_cleared(cgroup, 0) {
        // Before Linux 5.3, or hidden by a container's seccomp filter.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => fork(cgroup),
        answer => answer,
    }
}

/// Makes the first process of a new process namespace, which needs CAP_SYS_ADMIN.
pub(super) fn fork_init(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    super::pid_namespace::come_home()?;
    clone3_cleared(cgroup, libc::CLONE_NEWPID)
}

/// By one call in place of one for each signal, but for those that this process ignores, where the kernel can do it.
fn clone3_cleared(cgroup: Option<BorrowedFd<'_>>, namespaces: c_int) -> io::Result<Forked> {
    let ignored = ignored();
    match clone3(cgroup, namespaces, CLONE_CLEAR_SIGHAND, ignored) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => clone3(cgroup, namespaces, 0, EVERY_SIGNAL),
        answer => answer,
    }
}

/// No pidfd: each would be a descriptor for as long as the process lives, copied and closed by every later fork, and
/// the number of a child is its own until it is reaped.
fn clone3(cgroup: Option<BorrowedFd<'_>>, namespaces: c_int, clear: u64, signals: u64) -> io::Result<Forked> {
    let mut args = clone_args(u64::try_from(namespaces).unwrap_or(0) | clear, cgroup);
    // SAFETY: without CLONE_VM and with no stack this is a fork; the arguments are whole.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match result {
        0 => Ok(Forked::Child(Born { join: None, signals, sealed: None })),
        1.. => {
            let pid = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
            Ok(Forked::Parent(Process { pid, pidfd: None }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// What clone3(2) is told of any new process: these flags, its group, and that its end is told by SIGCHLD.
pub(super) fn clone_args(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> libc::clone_args {
    let number = |value: c_int| u64::try_from(value).unwrap_or(0);
    libc::clone_args {
        flags: flags | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: number(libc::SIGCHLD),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |folder| number(folder.as_raw_fd())),
    }
}

pub(super) fn fork(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let procs = cgroup.map(|folder| open_at(folder, c"cgroup.procs")).transpose()?;
    // SAFETY: this process has one thread, so nothing that the child needs is held by another.
    match cvt(unsafe { libc::fork() })? {
        0 => {
            let join = procs.as_ref().map(|procs| procs.as_raw_fd());
            // Stays open until the child's own closing of all that it does not need.
            std::mem::forget(procs);
            Ok(Forked::Child(Born { join, signals: EVERY_SIGNAL, sealed: None }))
        }
        pid => Ok(Forked::Parent(Process { pid, pidfd: None })),
    }
}

fn open_at(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: the name ends with NUL.
    let fd = cvt(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) })?;
    // SAFETY: openat has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The pidfd (close-on-exec by itself) of a child that is not reaped yet, so the number is still its own.
pub(super) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid), 0) };
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW)).and_then(cvt)?;
    // SAFETY: pidfd_open has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn send_signal(process: &Process, signal: c_int) -> io::Result<()> {
    let Some(pidfd) = &process.pidfd else {
        // SAFETY: kill takes numbers; the process is a child that is not reaped yet.
        return cvt(unsafe { libc::kill(process.pid, signal) }).map(|_| ());
    };
    let (fd, signal) = (c_long::from(pidfd.as_raw_fd()), c_long::from(signal));
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes numbers and may have no siginfo.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The signals that this process ignores, those included that glibc keeps for itself: a bit for each, the first for
/// signal 1. Looked up before the first fork and kept: nothing in main ignores another after its start.
pub(super) fn ignored() -> u64 {
    static IGNORED: OnceLock<u64> = OnceLock::new();
    // Where one cannot be looked up it counts as ignored.
    *IGNORED
        .get_or_init(|| (1..=LAST_SIGNAL).filter(|signal| is_ignored(*signal)).map(bit).fold(0, |set, bit| set | bit))
}

/// One of a set of signals.
fn bit(signal: c_int) -> u64 {
    u32::try_from(signal.saturating_sub(1)).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0)
}

/// At least as long as the kernel's struct, whose order of fields differs between processors: the handler is one of the
/// first two words, and all zero is SIG_DFL, no flags, empty mask.
type Action = [usize; 16];

fn is_ignored(signal: c_int) -> bool {
    let mut action: Action = [0; 16];
    let place = action.as_mut_ptr().expose_provenance();
    // SAFETY: no new disposition is given; the place is as long as any processor's struct; the mask has 8 bytes.
    let result = unsafe { call(libc::SYS_rt_sigaction, [word(signal), 0, place, 8]) };
    // The flag of the same number in the other word means a call too many, and no more.
    result.is_err() || action.iter().take(2).any(|word| *word == libc::SIG_IGN)
}

/// The dispositions of these signals, those included that glibc keeps for itself and its sigaction(3) refuses.
pub(super) fn default_dispositions(signals: u64) -> Called {
    let default: Action = [0; 16];
    for signal in (1..=LAST_SIGNAL).filter(|signal| signals & bit(*signal) != 0) {
        let default = address(&default);
        // SAFETY: the struct is at least as long as any processor's; the old disposition is not asked for; the mask has
        // 8 bytes.
        match unsafe { call(libc::SYS_rt_sigaction, [word(signal), default, 0, 8]) } {
            Err(errno) if signal != libc::SIGKILL && signal != libc::SIGSTOP => return Err(errno),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

pub(super) fn empty_mask() -> Called {
    let empty = 0_u64;
    let set = address(&empty);
    // SAFETY: the set has the 8 bytes that it is said to have; the old mask is not asked for.
    unsafe { call(libc::SYS_rt_sigprocmask, [word(libc::SIG_SETMASK), set, 0, 8]) }.map(|_| ())
}

/// Closes every descriptor from `first` on (S-16).
pub(super) fn close_from(first: c_int) -> Called {
    // SAFETY: close_range takes numbers; what it closes is used by nobody in this process any more.
    match unsafe { call(libc::SYS_close_range, [word(first), u32::MAX as usize, 0]) } {
        Ok(_) => Ok(()),
        Err(_) => close_listed(first).or_else(|_| close_each(first)),
    }
}

/// Closes what /proc/self/fd lists: for kernels or filters without close_range(2).
pub(super) fn close_listed(first: c_int) -> Called {
    let folder = open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC, 0)?;
    let mut room = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(borrowed(folder)?, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Errno::raw_os_error)?;
        let listed = decimal(entry.file_name().to_bytes());
        if let Some(fd) = listed.filter(|fd| *fd >= first && *fd != folder) {
            close_one(fd);
        }
    }
    close_one(folder);
    Ok(())
}

fn decimal(digits: &[u8]) -> Option<c_int> {
    let add = |sum: c_int, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| c_int::from(digit.saturating_sub(b'0')))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Closes all numbers up to the hard limit: the last resort. A limit over a million ends the launch.
pub(super) fn close_each(first: c_int) -> Called {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = limit.filter(|limit| *limit <= MOST_CLOSED).ok_or(libc::EMFILE)?;
    for fd in first..c_int::try_from(limit).unwrap_or(c_int::MAX) {
        close_one(fd);
    }
    Ok(())
}

/// Nobody in this process uses that descriptor any more, if it is one.
fn close_one(fd: c_int) {
    let _ = close(fd);
}

pub(super) fn set_limit(resource: Resource, limit: &libc::rlimit) -> Called {
    #[allow(clippy::useless_conversion, reason = "32-bit systems have limits of 32 bits, and an infinity of their own")]
    let number = |limit: libc::rlim_t| if limit == libc::RLIM_INFINITY { u64::MAX } else { u64::from(limit) };
    // The kernel's struct, on all processors.
    let limit = [number(limit.rlim_cur), number(limit.rlim_max)];
    let resource = usize::try_from(resource).map_err(|_| libc::EINVAL)?;
    // SAFETY: the limit is whole, and 0 is this process; the old one is not asked for.
    unsafe { call(libc::SYS_prlimit64, [0, resource, address(&limit), 0]) }.map(|_| ())
}

/// How many groups this process has; they come into the cells. `EINVAL` where there are more than those.
pub(super) fn groups(seen: &[Cell<libc::gid_t>]) -> Called<usize> {
    let place = seen.as_ptr().cast_mut().expose_provenance();
    // SAFETY: there is room for that many, and cells may be written through a shared reference.
    unsafe { call(SYS_getgroups, [seen.len(), place]) }
}

pub(super) fn set_groups(groups: &[libc::gid_t]) -> Called {
    // SAFETY: the groups are readable for their number.
    unsafe { call(SYS_setgroups, [groups.len(), address(groups)]) }.map(|_| ())
}

pub(super) fn set_gids(gid: libc::gid_t) -> Called {
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(Errno::raw_os_error)
}

pub(super) fn set_uids(uid: libc::uid_t) -> Called {
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(Errno::raw_os_error)
}

pub(super) fn has_uids(uid: libc::uid_t) -> bool {
    ids(SYS_getresuid) == Ok([uid; 3])
}

pub(super) fn has_gids(gid: libc::gid_t) -> bool {
    ids(SYS_getresgid) == Ok([gid; 3])
}

/// Real, effective, saved, by getresuid(2) or getresgid(2).
fn ids(number: c_long) -> Called<[u32; 3]> {
    let mut ids = [0; 3];
    let places = ids.each_mut().map(|id| std::ptr::from_mut(id).expose_provenance());
    // SAFETY: the three places are ours.
    unsafe { call(number, places) }.map(|_| ids)
}

/// No ptrace and no core from here to the exec, which sets it anew (S-36).
pub(super) fn forbid_tracing() -> Called {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Errno::raw_os_error)
}

/// SIGKILL at the death of main; the look at the parent closes the gap in which it may have died already (S-37). In
/// another process namespace the parent has no number: there the other end of the error pipe, which main alone has,
/// tells whether it lives.
pub(super) fn die_with(main: libc::pid_t, error: Option<RawFd>) -> Called {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Errno::raw_os_error)?;
    let parent = Pid::as_raw(rustix::process::getppid());
    let lives = match error {
        Some(error) if parent == 0 => has_reader(error)?,
        Some(_) | None => parent == main,
    };
    if lives { Ok(()) } else { Err(libc::ESRCH) }
}

/// Whether somebody has the read end of a pipe, poll(2).
fn has_reader(pipe: RawFd) -> Called<bool> {
    let pipe = borrowed(pipe)?;
    let mut ends = [PollFd::new(&pipe, PollFlags::empty())];
    let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&no_time)).map_err(Errno::raw_os_error)?;
    Ok(!ends.iter().any(|end| end.revents().contains(PollFlags::ERR)))
}

pub(super) fn forbid_new_privileges() -> Called {
    rustix::thread::set_no_new_privs(true).map_err(Errno::raw_os_error)
}

/// The kernel puts "(unreachable)" before a folder outside of the root (S-18). Not glibc's getcwd: that may allocate.
pub(super) fn is_folder_reachable() -> Called<bool> {
    let mut path = [0_u8; 4096];
    // SAFETY: the buffer is writable for the length that is given.
    unsafe { call(libc::SYS_getcwd, [path.as_mut_ptr().expose_provenance(), path.len()]) }?;
    Ok(path.first() == Some(&b'/'))
}

/// Whether the program file was set-uid, set-gid or had capabilities, so that an ordinary user's start has more rights.
pub(super) fn is_set_id() -> bool {
    // SAFETY: getauxval takes a number.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Orphaned descendants become main's children, so that none can hide from it.
pub(super) fn adopt_orphans() -> Called {
    control(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(|_| ())
}

pub(super) fn clear_environment() -> io::Result<()> {
    // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
    cvt(unsafe { libc::clearenv() }).map(|_| ())
}

/// Executes the program of a plan, the very file where it is pinned (S-24); comes back with the errno.
pub(super) fn execute(plan: &Plan<'_>) -> c_int {
    let (argv, env) = (plan.argv.as_ptr().expose_provenance(), plan.env.as_ptr().expose_provenance());
    let made = if plan.pinned.is_some() {
        // Where the descriptors were put in place.
        let fd = plan.descriptors.len().saturating_add(usize::from(plan.error.is_some()));
        let path = address(c"");
        // SAFETY: the path is empty and ends with NUL, both lists end with a null pointer; all live in the plan.
        unsafe { call(libc::SYS_execveat, [fd, path, argv, env, word(libc::AT_EMPTY_PATH)]) }
    } else {
        let path = address(plan.path);
        // SAFETY: the path ends with NUL, and both lists with a null pointer; all live in the plan.
        unsafe { call(libc::SYS_execve, [path, argv, env]) }
    };
    made.err().unwrap_or(libc::EIO)
}

/// Whether this process has one thread (S-22). Without a descriptor, as there may be none left: the folder's links are
/// two and one for each thread.
pub(super) fn is_single_threaded() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() == 3)
}
