//! Linux: clone3, pidfds, signals, and ids by system calls of their own (glibc's wrappers take locks, and change
//! the ids of all threads).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use libc::{c_int, c_long};

use super::forked::{Called, check, errno};
use super::{Born, EVERY_SIGNAL, Forked, Plan, Process, cvt};

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
use libc::{SYS_setgroups, SYS_setresgid, SYS_setresuid};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setgroups32 as SYS_setgroups, SYS_setresgid32 as SYS_setresgid, SYS_setresuid32 as SYS_setresuid};

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
    let (mut action, nothing): (Action, _) = ([0; 16], std::ptr::null::<usize>());
    let place = action.as_mut_ptr();
    // SAFETY: no new disposition is given; the place is as long as any processor's struct; the mask has 8 bytes.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, c_long::from(signal), nothing, place, 8_usize) };
    // The flag of the same number in the other word means a call too many, and no more.
    result != 0 || action.iter().take(2).any(|word| *word == libc::SIG_IGN)
}

/// The dispositions of these signals, those included that glibc keeps for itself and its sigaction(3) refuses.
pub(super) fn default_dispositions(signals: u64) -> Called {
    let default: Action = [0; 16];
    for signal in (1..=LAST_SIGNAL).filter(|signal| signals & bit(*signal) != 0) {
        let signal_number = c_long::from(signal);
        let nothing = std::ptr::null_mut::<usize>();
        // SAFETY: the struct is at least as long as any processor's; the old disposition is not asked for; the mask has
        // 8 bytes.
        let result =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal_number, default.as_ptr(), nothing, 8_usize) };
        if result != 0 && signal != libc::SIGKILL && signal != libc::SIGSTOP {
            return Err(errno());
        }
    }
    Ok(())
}

pub(super) fn empty_mask() -> Called {
    let empty = 0_u64;
    let how = c_long::from(libc::SIG_SETMASK);
    let nothing = std::ptr::null_mut::<u64>();
    // SAFETY: the set has the 8 bytes that it is said to have; the old mask is not asked for.
    called(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const empty, nothing, 8_usize) })
}

/// Closes every descriptor from `first` on (S-16).
pub(super) fn close_from(first: c_int) -> Called {
    let from = c_long::from(first);
    // SAFETY: close_range takes numbers; what it closes is used by nobody in this process any more.
    let result = unsafe { libc::syscall(libc::SYS_close_range, from, c_long::from(u32::MAX), 0) };
    if result == 0 { Ok(()) } else { close_listed(first).or_else(|_| close_each(first)) }
}

/// Closes what /proc/self/fd lists: for kernels or filters without close_range(2).
pub(super) fn close_listed(first: c_int) -> Called {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path ends with NUL.
    let folder = check(unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) })?;
    let mut entries = [0_u8; 1024];
    loop {
        let room = entries.len();
        // SAFETY: the buffer is writable for the length that is given.
        let got = unsafe { libc::syscall(libc::SYS_getdents64, c_long::from(folder), entries.as_mut_ptr(), room) };
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(length) => close_entries(entries.get(..length).unwrap_or_default(), first, folder),
            Err(_) => return Err(errno()),
        }
    }
    close_one(folder);
    Ok(())
}

/// Walks entries of getdents64(2): inode and offset of 8 bytes each, length of 2, type of 1, the name and its NUL.
fn close_entries(mut entries: &[u8], first: c_int, folder: c_int) {
    while let Some([low, high]) = entries.get(16..18) {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let name = entries.get(19..length).and_then(|name| name.split(|byte| *byte == 0).next());
        if let Some(fd) = name.and_then(decimal).filter(|fd| *fd >= first && *fd != folder) {
            close_one(fd);
        }
        match entries.get(length..) {
            Some(rest) if length > 0 => entries = rest,
            _ => return,
        }
    }
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
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is ours and of the type that getrlimit writes.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_max > MOST_CLOSED {
        return Err(libc::EMFILE);
    }
    for fd in first..c_int::try_from(limit.rlim_max).unwrap_or(c_int::MAX) {
        close_one(fd);
    }
    Ok(())
}

fn close_one(fd: c_int) {
    // SAFETY: close takes a number; nobody in this process uses that descriptor any more.
    let _ = unsafe { libc::close(fd) };
}

pub(super) fn set_groups(groups: &[libc::gid_t]) -> Called {
    // SAFETY: the groups are readable for their number.
    called(unsafe { libc::syscall(SYS_setgroups, groups.len(), groups.as_ptr()) })
}

pub(super) fn set_gids(gid: libc::gid_t) -> Called {
    let gid = c_long::from(gid);
    // SAFETY: setresgid takes numbers.
    called(unsafe { libc::syscall(SYS_setresgid, gid, gid, gid) })
}

pub(super) fn set_uids(uid: libc::uid_t) -> Called {
    let uid = c_long::from(uid);
    // SAFETY: setresuid takes numbers.
    called(unsafe { libc::syscall(SYS_setresuid, uid, uid, uid) })
}

pub(super) fn has_uids(uid: libc::uid_t) -> bool {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three places are ours.
    let result = unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
    result == 0 && [real, effective, saved] == [uid; 3]
}

pub(super) fn has_gids(gid: libc::gid_t) -> bool {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three places are ours.
    let result = unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
    result == 0 && [real, effective, saved] == [gid; 3]
}

/// No ptrace and no core from here to the exec, which sets it anew (S-36).
pub(super) fn forbid_tracing() -> Called {
    control(libc::PR_SET_DUMPABLE, 0, 0).map(|_| ())
}

/// SIGKILL at the death of main; the look at the parent closes the gap in which it may have died already (S-37). In
/// another process namespace the parent has no number: there the other end of the error pipe, which main alone has,
/// tells whether it lives.
pub(super) fn die_with(main: libc::pid_t, error: Option<RawFd>) -> Called {
    control(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0)?;
    // SAFETY: getppid takes nothing.
    let parent = unsafe { libc::getppid() };
    let lives = match error {
        Some(error) if parent == 0 => has_reader(error)?,
        Some(_) | None => parent == main,
    };
    if lives { Ok(()) } else { Err(libc::ESRCH) }
}

/// Whether somebody has the read end of a pipe, poll(2).
fn has_reader(pipe: RawFd) -> Called<bool> {
    let mut ends = libc::pollfd { fd: pipe, events: 0, revents: 0 };
    // SAFETY: the one entry is ours; no time means no wait.
    check(unsafe { libc::poll(&raw mut ends, 1, 0) })?;
    Ok(ends.revents & libc::POLLERR == 0)
}

pub(super) fn forbid_new_privileges() -> Called {
    control(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(|_| ())
}

/// The kernel puts "(unreachable)" before a folder outside of the root (S-18). Not glibc's getcwd: that may allocate.
pub(super) fn is_folder_reachable() -> Called<bool> {
    let mut path = [0_u8; 4096];
    // SAFETY: the buffer is writable for the length that is given.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    if length == -1 {
        return Err(errno());
    }
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
    let (argv, env) = (plan.argv.as_ptr(), plan.env.as_ptr());
    if plan.pinned.is_some() {
        // Where the descriptors were put in place.
        let fd = plan.descriptors.len().saturating_add(usize::from(plan.error.is_some()));
        let fd = c_long::try_from(fd).unwrap_or(-1);
        let (path, flags) = (c"".as_ptr(), c_long::from(libc::AT_EMPTY_PATH));
        // SAFETY: the path is empty and ends with NUL, both lists end with a null pointer; all live in the plan.
        unsafe { libc::syscall(libc::SYS_execveat, fd, path, argv, env, flags) };
    } else {
        // SAFETY: the path ends with NUL, and both lists with a null pointer; all live in the plan.
        unsafe { libc::execve(plan.path.as_ptr(), argv, env) };
    }
    errno()
}

/// Whether this process has one thread (S-22). Without a descriptor, as there may be none left: the folder's links are
/// two and one for each thread.
pub(super) fn is_single_threaded() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() == 3)
}

pub(super) fn control(option: c_int, argument: c_int, second: c_int) -> Called<c_int> {
    let (argument, second) = (c_long::from(argument), c_long::from(second));
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, argument, second, 0, 0) })
}

pub(super) fn called(result: c_long) -> Called {
    if result == -1 { Err(errno()) } else { Ok(()) }
}
