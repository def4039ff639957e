//! Between fork and exec, in the forked process: still with all of main's privileges at the top, with none at the end.
//!
//! Only async-signal-safe calls on memory that was prepared before the fork: no allocation, no lock, no look-up,
//! nothing that may panic (S-23). Each step that fails writes its name and errno to the error pipe, and the process is
//! gone.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use erluv_proto::ipc::Step;
use libc::c_int;

use super::plan::{Held, Ids, MOST_DESCRIPTORS, Plan, Role};
use super::sandbox::capabilities;
use super::{Born, os, sandbox};
use crate::sandbox::pass::Pass;

/// The exit status of a process that never came to its exec (EX_OSERR).
const FAILED: c_int = 71;

/// A call, or its errno.
pub(super) type Called<T = ()> = Result<T, c_int>;

/// A step, or its name and errno.
pub(super) type Stepped<T = ()> = Result<T, (Step, c_int)>;

/// Becomes what the plan says.
pub(super) fn become_planned(plan: &Plan<'_>, born: Born) -> ! {
    #[cfg(test)]
    #[cfg(target_os = "linux")]
    super::guard::forbid_allocation();
    let mut error = plan.error.map(|error| error.as_raw_fd());
    match steps(plan, born, &mut error) {
        Ok(never) => match never {},
        Err(failed) => leave(plan, error, failed),
    }
}

/// Says which step failed, by the error pipe or where main will look, and ends this process.
pub(super) fn leave(plan: &Plan<'_>, error: Option<RawFd>, failed: (Step, c_int)) -> ! {
    let (step, errno) = failed;
    match error {
        Some(error) => tell(error, step, errno),
        None => plan.told.set(Some(failed)),
    }
    // SAFETY: _exit takes a number and runs nothing of this process.
    unsafe { libc::_exit(FAILED) }
}

/// All steps, in the order of their names; `error` is where the error pipe is at any time.
fn steps(plan: &Plan<'_>, born: Born, error: &mut Option<RawFd>) -> Stepped<Infallible> {
    join_group(born.join).map_err(at(Step::Cgroup))?;
    let wait = place_descriptors(plan, error).map_err(at(Step::Descriptors))?;
    os::default_dispositions(born.signals).map_err(at(Step::Signals))?;
    own_session().map_err(at(Step::Setsid))?;
    take_terminal(plan.terminal).map_err(at(Step::Terminal))?;
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(plan.umask) };
    if let Role::Worker(held) = &plan.role {
        become_worker(plan, held, *error, born.sealed)?;
    }
    change_folder(plan).map_err(at(Step::Chdir))?;
    open_files(plan).map_err(at(Step::Redirect))?;
    wait_for_init(wait).map_err(at(Step::Init))?;
    // Not earlier: a signal could make a core of memory that has main's secrets, or is main's. Now none does (S-36).
    os::empty_mask().map_err(at(Step::Signals))?;
    if let Role::Worker(held) = &plan.role {
        // After it, only what programs do is sure to be allowed.
        sandbox::seal(held, born.sealed)?;
    }
    Err((Step::Exec, os::execute(plan)))
}

/// From main's privileges to those of the worker.
fn become_worker(plan: &Plan<'_>, held: &Held<'_>, error: Option<RawFd>, sealed: Option<Pass>) -> Stepped {
    let ahead = sandbox::surround(held, sealed)?;
    // While privileged, so that a limit can be above the one of main.
    for (resource, limit) in &plan.limits {
        // SAFETY: setrlimit reads the limit, which is in the plan.
        check(unsafe { libc::setrlimit(*resource, limit) }).map_err(at(Step::Setrlimit))?;
    }
    // While privileged: an ordinary user can only lower its priority.
    be_nice(plan.nice).map_err(at(Step::Nice))?;
    sandbox::prioritize(held, &ahead)?;
    let profile = &held.sandbox.profile;
    let shield = if plan.ids.as_ref().is_some_and(|ids| ids.uid != 0) { held.shield } else { 0 };
    if let Some(ids) = &plan.ids {
        capabilities::bound_from(held.bounding, profile.bounding).map_err(at(Step::Capabilities))?;
        capabilities::keep_over_drop(profile, ids.uid, profile.ambient | shield).map_err(at(Step::Capabilities))?;
        os::set_groups(&ids.groups).map_err(at(Step::Setgroups))?;
        os::set_gids(ids.gid).map_err(at(Step::Setgid))?;
        os::set_uids(ids.uid).map_err(at(Step::Setuid))?;
    }
    // Before the look whether the drop holds: with capabilities an ordinary user could take root's ids again.
    capabilities::reduce(profile.ambient, shield).map_err(at(Step::Capabilities))?;
    if let Some(ids) = &plan.ids {
        verify(ids).map_err(at(Step::Verify))?;
    }
    // The change of ids has taken back both of these (S-36, S-37).
    os::forbid_tracing().map_err(at(Step::Deathsig))?;
    os::die_with(held.main, error).map_err(at(Step::Deathsig))?;
    if profile.no_new_privs {
        os::forbid_new_privileges().map_err(at(Step::NoNewPrivs))?;
    }
    sandbox::restrict(held, &ahead)?;
    // The last call that takes any away has been made.
    capabilities::raise(profile.ambient, shield).map_err(at(Step::Capabilities))
}

/// An error with the step that it is of.
pub(super) fn at(step: Step) -> impl Fn(c_int) -> (Step, c_int) {
    move |errno| (step, errno)
}

/// Into a control group, where the fork did not put the process there: "0" is whoever writes it.
pub(super) fn join_group(procs: Option<RawFd>) -> Called {
    procs.map_or(Ok(()), |procs| write_all(procs, b"0"))
}

/// Descriptors 0 to n-1 are the plan's, behind them are, as far as there are such, the error pipe, the program where it
/// is pinned, and the pipe of the init, whose number comes back. Nothing else is open (S-15, S-16).
fn place_descriptors(plan: &Plan<'_>, error: &mut Option<RawFd>) -> Called<Option<RawFd>> {
    let floor = c_int::try_from(plan.descriptors.len()).map_err(|_| libc::EINVAL)?;
    let free = floor.saturating_add(3);
    // First everything out of the way of the targets, so that no source is overwritten before its turn.
    *error = error.map(|error| lift(error, free)).transpose()?;
    let program = plan.pinned.map(|program| lift(program.as_raw_fd(), free)).transpose()?;
    let wait = plan.ready.map(|ready| lift(ready.wait.as_raw_fd(), free)).transpose()?;
    let mut lifted = [-1; MOST_DESCRIPTORS];
    for (place, source) in lifted.iter_mut().zip(&plan.descriptors) {
        *place = lift(source.as_raw_fd(), free)?;
    }
    for (target, source) in (0..floor).zip(lifted) {
        // SAFETY: dup2 takes numbers; the copy has no close-on-exec flag, as it should be.
        check(unsafe { libc::dup2(source, target) })?;
    }
    let mut next = floor;
    *error = error.map(|error| settle(error, &mut next)).transpose()?;
    if let Some(program) = program {
        settle(program, &mut next)?;
    }
    let wait = wait.map(|wait| settle(wait, &mut next)).transpose()?;
    os::close_from(next)?;
    Ok(wait)
}

/// A copy at the next place, which is gone with the exec.
pub(super) fn settle(fd: RawFd, next: &mut RawFd) -> Called<RawFd> {
    // SAFETY: dup3 takes numbers.
    let place = check(unsafe { libc::dup3(fd, *next, libc::O_CLOEXEC) })?;
    *next = place.saturating_add(1);
    Ok(place)
}

/// Until the init of the process namespace has given everything up (S-35).
fn wait_for_init(wait: Option<RawFd>) -> Called {
    let Some(wait) = wait else { return Ok(()) };
    let mut word = [0_u8];
    // SAFETY: the byte is ours to be written.
    match unsafe { libc::read(wait, word.as_mut_ptr().cast(), 1) } {
        1 => Ok(()),
        0 => Err(libc::ESRCH),
        _ => Err(errno()),
    }
}

/// The descriptor itself where it is at `floor` or above, else a copy of it that is.
pub(super) fn lift(fd: RawFd, floor: c_int) -> Called<RawFd> {
    if fd >= floor {
        return Ok(fd);
    }
    // SAFETY: fcntl takes numbers for this command.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor) })
}

/// No controlling terminal, and a group of its own (S-30).
pub(super) fn own_session() -> Called {
    // SAFETY: setsid takes nothing.
    check(unsafe { libc::setsid() }).map(|_| ())
}

/// The terminal becomes that of the new session, which has none, and this process its foreground (S-30).
fn take_terminal(terminal: Option<RawFd>) -> Called {
    let Some(fd) = terminal else { return Ok(()) };
    // SAFETY: ioctl takes a number for this request.
    check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }).map(|_| ())
}

fn be_nice(nice: Option<c_int>) -> Called {
    let Some(nice) = nice else { return Ok(()) };
    // SAFETY: setpriority takes numbers; 0 is this process.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(|_| ())
}

/// As the user that the process is by now, in the folder where it is by now (S-28).
fn open_files(plan: &Plan<'_>) -> Called {
    for file in &plan.files {
        // SAFETY: the path ends with NUL and lives in the plan; the mode is there for a file that is made.
        let fd = check(unsafe { libc::open(file.path.as_ptr(), file.flags, file.mode) })?;
        // SAFETY: fcntl takes numbers for this command.
        let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
        // SAFETY: fcntl takes numbers for this command, too.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) })?;
        for target in [Some(file.target), file.also].into_iter().flatten() {
            // SAFETY: dup2 takes numbers; the copy has no close-on-exec flag, as it should be.
            check(unsafe { libc::dup2(fd, target) })?;
        }
        // SAFETY: close takes a number; the descriptor is the one just opened, and has its copies.
        check(unsafe { libc::close(fd) })?;
    }
    Ok(())
}

/// Whether the drop holds (S-02): all ids are the plan's, and the way back to root is shut.
pub(super) fn verify(ids: &Ids) -> Called {
    let same = os::has_uids(ids.uid) && os::has_gids(ids.gid) && has_groups(ids)?;
    let back = (ids.uid != 0 && os::set_uids(0).is_ok()) || (ids.gid != 0 && os::set_gids(0).is_ok());
    if same && !back { Ok(()) } else { Err(libc::EPERM) }
}

fn has_groups(ids: &Ids) -> Called<bool> {
    let room = c_int::try_from(ids.seen.len()).map_err(|_| libc::EINVAL)?;
    // SAFETY: `seen` has room for that many, and its cells may be written through a shared reference.
    let count = check(unsafe { libc::getgroups(room, ids.seen.as_ptr().cast::<libc::gid_t>().cast_mut()) });
    let count = match count {
        // There are even more.
        Err(libc::EINVAL) => return Ok(false),
        count => count.and_then(|count| usize::try_from(count).map_err(|_| libc::EINVAL))?,
    };
    let seen = || ids.seen.iter().map(std::cell::Cell::get).take(count);
    Ok(seen().eq(ids.groups.iter().copied()) || seen().eq(ids.sorted.iter().copied()))
}

/// As the user that the process is by now, so that main's eyes open no folder for it (S-18).
fn change_folder(plan: &Plan<'_>) -> Called {
    // SAFETY: the path ends with NUL and lives in the plan.
    check(unsafe { libc::chdir(plan.cwd.as_ptr()) })?;
    if os::is_folder_reachable()? { Ok(()) } else { Err(libc::ENOENT) }
}

/// Five bytes in one write, which a pipe takes whole or not at all.
pub(super) fn tell(error: RawFd, step: Step, errno: c_int) {
    let [a, b, c, d] = errno.to_le_bytes();
    // Nothing is left to do where this fails: main sees the end of the process.
    let _ = write_all(error, &[step as u8, a, b, c, d]);
}

pub(super) fn write_all(fd: RawFd, bytes: &[u8]) -> Called {
    // SAFETY: the bytes are readable for their length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(written) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(libc::EIO),
        Err(_) => Err(errno()),
    }
}

/// The errno of the call just made. Reads a thread-local and allocates nothing.
pub(super) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A result of -1 is an error.
pub(super) fn check(result: c_int) -> Called<c_int> {
    if result == -1 { Err(errno()) } else { Ok(result) }
}
