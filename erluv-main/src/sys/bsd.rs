//! OpenBSD, FreeBSD and NetBSD: fork(2), no control groups, no capabilities. What a system lacks is refused where it
//! was asked for, and said in the documentation where it cannot be asked for.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use libc::c_int;

use super::forked::Called;
use super::plan::Resource;
use super::{Born, EVERY_SIGNAL, Forked, Plan, Process, check, cvt, errno};

/// Whether no_new_privs exists here: FreeBSD 14 has it as a procctl(2).
pub(crate) const CAN_FORBID_NEW_PRIVILEGES: bool = cfg!(target_os = "freebsd");

/// Behind the last real-time signal that any of the three has; numbers that do not exist are passed over.
const LAST_SIGNAL: c_int = 128;

/// Makes a process. There are no control groups, so none is ever given.
pub(super) fn fork_into(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    debug_assert!(cgroup.is_none(), "no control groups on this system");
    // SAFETY: this process has one thread, so nothing that the child needs is held by another.
    match cvt(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child(Born { join: None, signals: EVERY_SIGNAL, sealed: None })),
        pid => Ok(Forked::Parent(Process { pid })),
    }
}

pub(super) fn send_signal(process: &Process, signal: c_int) -> io::Result<()> {
    // SAFETY: kill takes numbers; the process is a child that is not reaped yet.
    cvt(unsafe { libc::kill(process.pid, signal) }).map(|_| ())
}

/// All of them, whichever are asked for.
pub(super) fn default_dispositions(_: u64) -> Called {
    // SAFETY: all bytes zero are a valid sigaction: SIG_DFL, no flags, an empty mask.
    let default = unsafe { std::mem::zeroed::<libc::sigaction>() };
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the struct is whole, and the old disposition is not asked for.
        match check(unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) }) {
            // SIGKILL, SIGSTOP and numbers that do not exist.
            Ok(_) | Err(libc::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn empty_mask() -> Called {
    // SAFETY: all bytes zero are an empty set on these systems.
    let empty = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: the set is whole, and the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) }).map(|_| ())
}

/// Closes every descriptor from `first` on (S-16): closefrom(2).
#[cfg(target_os = "freebsd")]
pub(super) fn close_from(first: c_int) -> Called {
    // SAFETY: closefrom takes a number; what it closes is used by nobody in this process any more.
    unsafe { libc::closefrom(first) };
    Ok(())
}

/// Closes every descriptor from `first` on (S-16): closefrom(2).
#[cfg(not(target_os = "freebsd"))]
pub(super) fn close_from(first: c_int) -> Called {
    // SAFETY: closefrom takes a number; what it closes is used by nobody in this process any more.
    match check(unsafe { libc::closefrom(first) }) {
        // OpenBSD: nothing was open there.
        Ok(_) | Err(libc::EBADF) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Ends this process, and runs nothing of it.
pub(super) fn exit(status: c_int) -> ! {
    // SAFETY: _exit takes a number.
    unsafe { libc::_exit(status) }
}

pub(super) fn set_limit(resource: Resource, limit: &libc::rlimit) -> Called {
    // SAFETY: the limit is whole.
    check(unsafe { libc::setrlimit(resource, limit) }).map(|_| ())
}

/// How many groups this process has; they come into the cells. `EINVAL` where there are more than those.
pub(super) fn groups(seen: &[Cell<libc::gid_t>]) -> Called<usize> {
    let room = c_int::try_from(seen.len()).map_err(|_| libc::EINVAL)?;
    // SAFETY: there is room for that many, and cells may be written through a shared reference.
    let count = check(unsafe { libc::getgroups(room, seen.as_ptr().cast::<libc::gid_t>().cast_mut()) })?;
    usize::try_from(count).map_err(|_| libc::EINVAL)
}

pub(super) fn set_groups(groups: &[libc::gid_t]) -> Called {
    let count = c_int::try_from(groups.len()).map_err(|_| libc::EINVAL)?;
    // SAFETY: the groups are readable for their number.
    check(unsafe { libc::setgroups(count, groups.as_ptr()) }).map(|_| ())
}

#[cfg(not(target_os = "netbsd"))]
pub(super) fn set_gids(gid: libc::gid_t) -> Called {
    // SAFETY: setresgid takes numbers.
    check(unsafe { libc::setresgid(gid, gid, gid) }).map(|_| ())
}

#[cfg(not(target_os = "netbsd"))]
pub(super) fn set_uids(uid: libc::uid_t) -> Called {
    // SAFETY: setresuid takes numbers.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(|_| ())
}

/// NetBSD has no setresgid(2): the superuser's setgid(2) changes all three.
#[cfg(target_os = "netbsd")]
pub(super) fn set_gids(gid: libc::gid_t) -> Called {
    // SAFETY: setgid takes a number.
    check(unsafe { libc::setgid(gid) }).map(|_| ())
}

/// NetBSD has no setresuid(2): the superuser's setuid(2) changes all three.
#[cfg(target_os = "netbsd")]
pub(super) fn set_uids(uid: libc::uid_t) -> Called {
    // SAFETY: setuid takes a number.
    check(unsafe { libc::setuid(uid) }).map(|_| ())
}

#[cfg(not(target_os = "netbsd"))]
pub(super) fn has_uids(uid: libc::uid_t) -> bool {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three places are ours.
    let result = unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
    result == 0 && [real, effective, saved] == [uid; 3]
}

#[cfg(not(target_os = "netbsd"))]
pub(super) fn has_gids(gid: libc::gid_t) -> bool {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three places are ours.
    let result = unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
    result == 0 && [real, effective, saved] == [gid; 3]
}

/// The saved id cannot be read on NetBSD: that root's cannot be taken again is tried by the caller.
#[cfg(target_os = "netbsd")]
pub(super) fn has_uids(uid: libc::uid_t) -> bool {
    // SAFETY: getuid takes nothing.
    let real = unsafe { libc::getuid() };
    // SAFETY: geteuid takes nothing.
    let effective = unsafe { libc::geteuid() };
    [real, effective] == [uid; 2]
}

/// As [`has_uids`].
#[cfg(target_os = "netbsd")]
pub(super) fn has_gids(gid: libc::gid_t) -> bool {
    // SAFETY: getgid takes nothing.
    let real = unsafe { libc::getgid() };
    // SAFETY: getegid takes nothing.
    let effective = unsafe { libc::getegid() };
    [real, effective] == [gid; 2]
}

/// No tracing until the exec, which lifts it again.
#[cfg(target_os = "freebsd")]
pub(super) fn forbid_tracing() -> Called {
    control(libc::PROC_TRACE_CTL, libc::PROC_TRACE_CTL_DISABLE_EXEC)
}

/// OpenBSD and NetBSD let no one trace a process that has changed its ids.
#[cfg(not(target_os = "freebsd"))]
pub(super) fn forbid_tracing() -> Called {
    Ok(())
}

/// SIGKILL at the death of main (FreeBSD), and the look whether main lives still.
pub(super) fn die_with(main: libc::pid_t, _: Option<RawFd>) -> Called {
    #[cfg(target_os = "freebsd")]
    control(libc::PROC_PDEATHSIG_CTL, libc::SIGKILL)?;
    // SAFETY: getppid takes nothing.
    if unsafe { libc::getppid() } == main { Ok(()) } else { Err(libc::ESRCH) }
}

#[cfg(target_os = "freebsd")]
pub(super) fn forbid_new_privileges() -> Called {
    control(libc::PROC_NO_NEW_PRIVS_CTL, libc::PROC_NO_NEW_PRIVS_ENABLE)
}

#[cfg(not(target_os = "freebsd"))]
pub(super) fn forbid_new_privileges() -> Called {
    Err(libc::EOPNOTSUPP)
}

pub(super) fn is_folder_reachable() -> Called<bool> {
    let mut path = [0_u8; 1024];
    // SAFETY: the buffer is writable for the length that is given.
    let found = unsafe { libc::getcwd(path.as_mut_ptr().cast(), path.len()) };
    if found.is_null() { Err(errno()) } else { Ok(path.first() == Some(&b'/')) }
}

pub(super) fn is_set_id() -> bool {
    // SAFETY: issetugid takes nothing.
    unsafe { libc::issetugid() != 0 }
}

/// FreeBSD: orphaned descendants become main's children.
#[cfg(target_os = "freebsd")]
pub(super) fn adopt_orphans() -> Called {
    // SAFETY: this command takes no data; pid 0 is the calling process.
    check(unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_REAP_ACQUIRE, std::ptr::null_mut()) }).map(|_| ())
}

/// OpenBSD and NetBSD have nothing of the kind.
#[cfg(not(target_os = "freebsd"))]
pub(super) fn adopt_orphans() -> Called {
    Ok(())
}

/// No clearenv(3) on OpenBSD and NetBSD: one by one. Entries that are no `NAME=value` stay, but go to no one: whatever
/// main executes gets a list of its own.
pub(super) fn clear_environment() -> io::Result<()> {
    for (name, _) in std::env::vars_os() {
        if !name.is_empty() && !name.as_encoded_bytes().contains(&b'=') {
            // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
            unsafe { std::env::remove_var(&name) };
        }
    }
    Ok(())
}

/// Executes the program of a plan; comes back with the errno. Programs are not pinned here: policy refuses to.
pub(super) fn execute(plan: &Plan<'_>) -> c_int {
    // SAFETY: the path ends with NUL, and both lists with a null pointer; all live in the plan.
    unsafe { libc::execve(plan.path.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr()) };
    errno()
}

/// No way to ask without a library: main starts no thread, which the linter sees to.
pub(super) fn is_single_threaded() -> bool {
    true
}

#[cfg(target_os = "freebsd")]
fn control(command: c_int, mut value: c_int) -> Called {
    // SAFETY: the commands used here read one int; pid 0 is the calling process.
    check(unsafe { libc::procctl(libc::P_PID, 0, command, (&raw mut value).cast()) }).map(|_| ())
}
