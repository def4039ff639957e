//! Between fork and exec, in the forked process: still with all of main's privileges at the top, with none at the end.
//!
//! Only async-signal-safe calls on memory that was prepared before the fork: no allocation, no lock, no look-up,
//! nothing that may panic (S-23). Each step that fails writes its name and errno to the error pipe, and the process is
//! gone.
//!
//! Where the process is in main's memory, thread-local memory is main's: on Linux errno is left alone ([`super::call`]).

use std::convert::Infallible;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use erluv_proto::ipc::Step;
use libc::c_int;
use rustix::fs::{Mode, OFlags};
use rustix::io::{DupFlags, Errno};

use super::plan::{Held, Ids, MOST_DESCRIPTORS, Plan, Role};
use super::sandbox::capabilities;
use super::{Born, os, sandbox};
use crate::sandbox::pass::Pass;

/// The exit status of a process that never came to its exec (EX_OSERR).
pub(super) const FAILED: c_int = 71;

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
    os::exit(FAILED)
}

/// All steps, in the order of their names; `error` is where the error pipe is at any time.
fn steps(plan: &Plan<'_>, born: Born, error: &mut Option<RawFd>) -> Stepped<Infallible> {
    join_group(born.join).map_err(at(Step::Cgroup))?;
    let wait = place_descriptors(plan, error).map_err(at(Step::Descriptors))?;
    os::default_dispositions(born.signals).map_err(at(Step::Signals))?;
    own_session().map_err(at(Step::Setsid))?;
    take_terminal(plan.terminal).map_err(at(Step::Terminal))?;
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
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
        os::set_limit(*resource, limit).map_err(at(Step::Setrlimit))?;
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
        put(source, target, DupFlags::empty())?;
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
    let place = *next;
    put(fd, place, DupFlags::CLOEXEC)?;
    *next = place.saturating_add(1);
    Ok(place)
}

/// A copy at a place that is another, whatever is open there. By itself it is not close-on-exec, as it should be for a
/// program's own.
fn put(fd: RawFd, place: RawFd, flags: DupFlags) -> Called {
    if place < 0 {
        return Err(libc::EBADF);
    }
    // SAFETY: the place is no -1, and what says that it is owned is never dropped.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(place) });
    rustix::io::dup3(borrowed(fd)?, &mut place, flags).map_err(Errno::raw_os_error)
}

/// A descriptor of this process by its number. One that is not open is refused by whatever is done with it.
pub(super) fn borrowed(fd: RawFd) -> Called<BorrowedFd<'static>> {
    if fd < 0 {
        return Err(libc::EBADF);
    }
    // SAFETY: it is no -1. Who closes it does so after the last use.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The descriptor is the caller's, who gives it up.
pub(super) fn close(fd: RawFd) -> Called {
    if fd < 0 {
        return Err(libc::EBADF);
    }
    // SAFETY: nobody uses it after this.
    unsafe { rustix::io::try_close(fd) }.map_err(Errno::raw_os_error)
}

/// Opens a file, close-on-exec where the flags say so.
pub(super) fn open(path: &CStr, flags: c_int, mode: libc::mode_t) -> Called<RawFd> {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    rustix::fs::open(path, flags, Mode::from_raw_mode(mode)).map(IntoRawFd::into_raw_fd).map_err(Errno::raw_os_error)
}

/// Until the init of the process namespace has given everything up (S-35).
fn wait_for_init(wait: Option<RawFd>) -> Called {
    let Some(wait) = wait else { return Ok(()) };
    read_word(wait)
}

/// One byte of a pipe; `ESRCH` where nobody is left to write it.
pub(super) fn read_word(pipe: RawFd) -> Called {
    match rustix::io::read(borrowed(pipe)?, &mut [0]) {
        Ok(0) => Err(libc::ESRCH),
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error()),
    }
}

/// The descriptor itself where it is at `floor` or above, else a copy of it that is.
pub(super) fn lift(fd: RawFd, floor: c_int) -> Called<RawFd> {
    if fd >= floor {
        return Ok(fd);
    }
    let lifted = rustix::io::fcntl_dupfd_cloexec(borrowed(fd)?, floor);
    lifted.map(IntoRawFd::into_raw_fd).map_err(Errno::raw_os_error)
}

/// No controlling terminal, and a group of its own (S-30).
pub(super) fn own_session() -> Called {
    rustix::process::setsid().map(|_| ()).map_err(Errno::raw_os_error)
}

/// The terminal becomes that of the new session, which has none, and this process its foreground (S-30).
fn take_terminal(terminal: Option<RawFd>) -> Called {
    let Some(fd) = terminal else { return Ok(()) };
    rustix::process::ioctl_tiocsctty(borrowed(fd)?).map_err(Errno::raw_os_error)
}

fn be_nice(nice: Option<c_int>) -> Called {
    let Some(nice) = nice else { return Ok(()) };
    rustix::process::setpriority_process(None, nice).map_err(Errno::raw_os_error)
}

/// As the user that the process is by now, in the folder where it is by now (S-28).
fn open_files(plan: &Plan<'_>) -> Called {
    for file in &plan.files {
        let fd = open(file.path, file.flags, file.mode)?;
        unblock(borrowed(fd)?).map_err(Errno::raw_os_error)?;
        // Each is another number: all that the process is given is open already.
        for target in [Some(file.target), file.also].into_iter().flatten() {
            put(fd, target, DupFlags::empty())?;
        }
        close(fd)?;
    }
    Ok(())
}

fn unblock(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags.difference(OFlags::NONBLOCK))
}

/// Whether the drop holds (S-02): all ids are the plan's, and the way back to root is shut.
pub(super) fn verify(ids: &Ids) -> Called {
    let same = os::has_uids(ids.uid) && os::has_gids(ids.gid) && has_groups(ids)?;
    let back = (ids.uid != 0 && os::set_uids(0).is_ok()) || (ids.gid != 0 && os::set_gids(0).is_ok());
    if same && !back { Ok(()) } else { Err(libc::EPERM) }
}

fn has_groups(ids: &Ids) -> Called<bool> {
    let count = match os::groups(&ids.seen) {
        // There are even more.
        Err(libc::EINVAL) => return Ok(false),
        count => count?,
    };
    let seen = || ids.seen.iter().map(std::cell::Cell::get).take(count);
    Ok(seen().eq(ids.groups.iter().copied()) || seen().eq(ids.sorted.iter().copied()))
}

/// As the user that the process is by now, so that main's eyes open no folder for it (S-18).
fn change_folder(plan: &Plan<'_>) -> Called {
    rustix::process::chdir(plan.cwd).map_err(Errno::raw_os_error)?;
    if os::is_folder_reachable()? { Ok(()) } else { Err(libc::ENOENT) }
}

/// Five bytes in one write, which a pipe takes whole or not at all.
pub(super) fn tell(error: RawFd, step: Step, errno: c_int) {
    let [a, b, c, d] = errno.to_le_bytes();
    // Nothing is left to do where this fails: main sees the end of the process.
    let _ = write_all(error, &[step as u8, a, b, c, d]);
}

pub(super) fn write_all(fd: RawFd, bytes: &[u8]) -> Called {
    match rustix::io::write(borrowed(fd)?, bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(libc::EIO),
        Err(error) => Err(error.raw_os_error()),
    }
}
