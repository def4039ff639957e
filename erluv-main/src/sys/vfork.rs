//! Making workers in main's own memory, main standing still until their exec: clone3(2) with CLONE_VM, as posix_spawn(3)
//! does it. Nothing is copied that the exec would throw away, and how the exec went is known at once. Several that are
//! wanted at the same time go their way at the same time, each from a place of its own: [`slot`].
//!
//! Main's memory is then, for some 100 µs, that of processes which change to their workers' users. What keeps it safe:
//!
//! - That user may not trace the process or read its memory: the change of ids makes the memory undumpable, ptrace(2),
//!   before the ids are in force. Where the host says otherwise (`fs.suid_dumpable` of 1) nothing is made this way; it
//!   is looked at before. And until its exec it has a capability that the user lacks: `capabilities::shield`.
//! - That user may stop the process, take the processor from it, or have it enter a file system that never answers,
//!   where not even SIGKILL reaches it. So main does not wait as CLONE_VFORK does, which ends with the process alone:
//!   after [`PATIENCE`] main kills it, after [`LAST_PATIENCE`] main goes on without it. The worker is then made by
//!   fork(2), and so is whatever that user gets for a while, or anybody where the processors are not free: [`wary`].
//! - No signal that makes a core is taken before the memory is known to be undumpable. After it a core is refused, and
//!   kernels before Linux 5.16, where it takes all who share the memory with it, look at that first: core(5).
//! - What acts on memory (and not on a process), or could keep the process waiting, is made by fork(2): see
//!   [`is_brief`].
//!
//! Where the worker's profile has a filter, a process that has it already makes the worker: [`spawner`].
//!
//! Several at a time share more than one alone would:
//!
//! - The change of ids of one leaves the memory as the host has it, and another one may be beyond its own look at that.
//!   So there are several only where the host has it undumpable, `fs.suid_dumpable` of 0.
//! - They have the same thread-local memory, main's, and errno in it. So none of them uses any: [`super::call`].

mod raw;
mod slot;
pub(in crate::sys) mod spawner;
#[cfg(test)]
mod together_tests;
mod wary;

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libc::{c_int, c_void};

use self::slot::{Maker, Slot};
use self::spawner::{Place, Spawner};
use self::wary::Wait;
use super::forked::{Called, FAILED, become_planned};
use super::os::{exit, forbid_tracing, ignored};
use super::plan::Role;
use super::{Blocked, Born, Made, Plan, Process, Wanted, discard, reap};
use crate::order::Order;
use crate::sandbox::{CgroupLimits, IoPriority, Namespaces, Profile};

pub(crate) use slot::MOST_AT_ONCE;
pub(super) use slot::forget;
#[cfg(test)]
pub(super) use wary::forget_the_crowd;

/// How long main stands still for what it has made: beyond all that a start takes on a busy host.
const PATIENCE: Duration = Duration::from_millis(250);

/// And from SIGKILL on, which ends at once what does not hang in the kernel and gets a processor.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Of proc_pid_stat(5), `flags`: on its way out, and forked without an exec.
const PF_EXITING: u64 = 0x4;
const PF_FORKNOEXEC: u64 = 0x40;

/// What a new process finds of main's.
struct Start<'p> {
    plan: &'p Plan<'p>,
    born: Born,
}

/// One process on its way.
struct Way {
    slot: &'static Slot,
    /// Who makes it, where main does not.
    spawner: Option<(Rc<Spawner>, u32)>,
    /// That main has stood still for it for long, which its user answers for.
    wait: Option<Wait>,
    /// It was called off when main's patience was over.
    late: bool,
    /// Its number; or the errno where there is none.
    made: Result<i32, c_int>,
    /// Whether it is out of main's memory. Where it is not it has been killed, and may be there, in the kernel or without a
    /// processor; but it runs nothing there any more, since it meets SIGKILL before it comes back to that.
    gone: bool,
}

/// Whether nothing of a profile acts on memory as a whole, or lets the process wait: for an init, for mounts, for its
/// share of the processor or the disk. The kernel gives all who share memory one `oom_score_adj`, and kills all of them
/// where one goes beyond the memory of its group.
pub(in crate::sys) fn is_brief(profile: &Profile) -> bool {
    let Profile { namespaces, mounts, memory_deny_write_execute, oom_score_adj, cgroup, .. } = profile;
    let Profile { scheduler, nice, io_priority, .. } = profile;
    let waits = *namespaces != Namespaces::default() || mounts.is_some() || *cgroup != CgroupLimits::default();
    let yields = scheduler.is_some() || nice.is_some() || *io_priority == Some(IoPriority::Idle);
    !(waits || yields || *memory_deny_write_execute || oom_score_adj.is_some())
}

/// Whether the worker of an order can be made this way, now.
pub(crate) fn suits(order: &Order) -> bool {
    let user = order.identity.as_ref().map(|identity| identity.uid);
    order.sandbox.prepared.brief && order.nice.is_none() && !wary::is_wary_of(user)
}

/// How many can be made this way at a time, now: [`MOST_AT_ONCE`] at the most. A change of ids keeps others from the memory
/// where `fs.suid_dumpable` is 0 or 2, proc_sys_fs(5).
pub(crate) fn room() -> usize {
    static SWITCH: OnceLock<Option<File>> = OnceLock::new();
    let switch = SWITCH.get_or_init(|| File::open("/proc/sys/fs/suid_dumpable").ok());
    let mut said = [0; 2];
    match switch.as_ref().map(|file| file.read_exact_at(&mut said, 0)) {
        Some(Ok(())) => room_by(said),
        Some(Err(_)) | None => 0,
    }
}

/// By what the switch says. All but these numbers leave the memory as it is.
pub(super) fn room_by(switch: [u8; 2]) -> usize {
    match switch {
        [b'0', b'\n'] => MOST_AT_ONCE,
        [b'2', b'\n'] => 1,
        _ => 0,
    }
}

/// Makes workers whose plans have no error pipe, and waits until their programs run, or never will: what came of each, in
/// their order. Not more than [`room`] says.
///
/// # Errors
/// Each by itself, those of clone3(2): there is no process then. `EBUSY` where an earlier one has main's memory yet.
pub(crate) fn spawn_and_wait(wanted: Vec<Wanted<'_>>) -> Vec<io::Result<Made>> {
    match make(&wanted) {
        Ok(ways) => {
            // The changes of ids have left the memory as the host has it.
            let closed = forbid_tracing();
            let end = later(Instant::now(), LAST_PATIENCE);
            wanted.into_iter().zip(ways).map(|(wanted, way)| settle(wanted.plan, &way, closed, end)).collect()
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            wanted.iter().map(|_| Err(io::Error::from_raw_os_error(errno))).collect()
        }
    }
}

/// Has them made, and waits for their execs.
fn make(wanted: &[Wanted<'_>]) -> io::Result<Vec<Way>> {
    super::pid_namespace::come_home()?;
    if wanted.len() > MOST_AT_ONCE || !Slot::all().all(|(_, slot)| slot.is_free()) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let blocked = Blocked::all()?;
    let mut ways = Slot::all().zip(wanted).map(|((bit, slot), wanted)| Way::new(slot, bit, wanted)).collect::<Vec<_>>();
    let starts = wanted.iter().zip(&ways).map(|(wanted, way)| way.start(&wanted.plan)).collect::<Vec<_>>();
    // From here on nothing is allocated, until they are out of main's memory or dead.
    let began = Instant::now();
    for ((way, start), wanted) in ways.iter().zip(&starts).zip(wanted) {
        way.begin(start, wanted.cgroup);
    }
    wait_for_execs(&mut ways, began);
    drop(blocked);
    #[cfg(test)]
    super::guard::allow_allocation();
    wary::note_crowd(share_of(began.elapsed(), ways.len()));
    for (way, wanted) in ways.iter().zip(wanted) {
        way.look_at_spawner(wanted);
    }
    Ok(ways)
}

/// Until all have executed their programs or are on their way out, or main's patience is over. The last that was begun is
/// waited for first: in most cases the others are out by then, and main is woken once.
fn wait_for_execs(ways: &mut [Way], began: Instant) {
    let (soon, end, alone) = (later(began, wary::PATIENCE_WITH_USER), later(began, PATIENCE), ways.len() == 1);
    for way in ways.iter_mut().rev() {
        way.wait = (!way.slot.is_out_by(soon)).then(|| Wait::long(began, alone));
    }
    for way in ways.iter_mut().rev() {
        way.gone = way.slot.is_out_by(end);
        way.late = !way.gone;
        way.wait = if way.late { Some(Wait::in_vain(began)) } else { way.wait };
    }
    // Those first that are there: to end a spawner may take longer, and they may all go to their ends meanwhile.
    ways.iter().filter(|way| way.late).for_each(Way::kill);
    let end = later(Instant::now(), spawner::LAST_PATIENCE);
    ways.iter().filter(|way| way.late).for_each(|way| way.call_off(end));
    let end = later(Instant::now(), LAST_PATIENCE);
    for way in ways {
        way.gone = way.gone || way.slot.is_out_by(end);
        way.made = way.slot.made();
    }
}

/// Of a time that is for so many.
fn share_of(time: Duration, all: usize) -> Duration {
    time.checked_div(u32::try_from(all).unwrap_or(u32::MAX)).unwrap_or_default()
}

fn later(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or(from)
}

impl Way {
    fn new(slot: &'static Slot, bit: u32, wanted: &Wanted<'_>) -> Self {
        let spawner = place(wanted).and_then(|(place, main)| place.spawner(main)).map(|spawner| (spawner, bit));
        Self { slot, spawner, wait: None, late: false, made: Err(0), gone: true }
    }

    fn start<'p>(&self, plan: &'p Plan<'p>) -> Start<'p> {
        let sealed = self.spawner.as_ref().map(|(spawner, _)| spawner.pass());
        Start { plan, born: Born { join: None, signals: ignored(), sealed } }
    }

    /// The process is made, or will be.
    fn begin(&self, start: &Start<'_>, cgroup: Option<BorrowedFd<'_>>) {
        match &self.spawner {
            Some((spawner, bit)) => {
                self.slot.lay_out(start, cgroup, Maker::Spawner(spawner.pid()));
                spawner.ask(*bit);
            }
            None => {
                self.slot.lay_out(start, cgroup, Maker::Main);
                // SAFETY: it was laid out for this, and `make` keeps the start until the process is out of main's memory,
                // or was killed.
                unsafe { self.slot.make([0; 2]) };
            }
        }
    }

    /// Kills whatever is late; the end of who makes it is waited for until then.
    fn call_off(&self, end: Instant) {
        // No process is made in main's memory later: it is known by now, or whoever would make it is gone. Where that one
        // does not go it may be behind clone3(2)'s look for SIGKILL, with a process that is made and waits to be woken.
        if let (Some((spawner, _)), Err(_)) = (&self.spawner, self.slot.made()) {
            let gone = spawner.kill(end);
            self.slot.call_off();
            if gone && self.slot.made().is_err() {
                self.slot.give_up(libc::EAGAIN.into());
            }
        }
        self.kill();
    }

    /// Kills the process, where that is in main's memory, or who is to make it.
    fn kill(&self) {
        match (self.slot.made(), &self.spawner) {
            (Ok(pid), _) if !self.slot.is_free() => raw::kill(pid),
            (Err(_), Some((spawner, _))) if spawner.lives() => raw::kill(spawner.pid()),
            (Ok(_) | Err(_), _) => {}
        }
    }

    /// A spawner that is gone, or that may not make anything, gets no successor for a while.
    fn look_at_spawner(&self, wanted: &Wanted<'_>) {
        if let (Err(errno), Some((spawner, _)), Some((place, _))) = (self.made, &self.spawner, place(wanted))
            && (!spawner.lives() || matches!(errno, libc::ENOSYS | libc::EPERM | libc::EINVAL))
        {
            place.rest(&io::Error::from_raw_os_error(errno));
        }
    }
}

/// Where the spawner of a worker's profile is, and the process that the worker dies with.
fn place<'w>(wanted: &'w Wanted<'_>) -> Option<(&'w Place, libc::pid_t)> {
    match &wanted.plan.role {
        Role::Worker(held) => Some((&held.sandbox.prepared.spawner, held.main)),
        Role::Half => None,
    }
}

/// What came of a plan; until `end` the end of a process is waited for whose program never runs.
fn settle(plan: Plan<'_>, way: &Way, closed: Called, end: Instant) -> io::Result<Made> {
    let user = plan.ids.as_ref().map(|ids| ids.uid);
    let failed = plan.told.get();
    if !way.gone {
        // The kernel may yet read from it, or write to it, for a call that the process has not come back from.
        std::mem::forget(plan);
    }
    // Of a process that nobody has made, and nobody will, but for somebody who does not die.
    let errno = |errno| io::Error::from_raw_os_error(if errno == 0 { libc::EBUSY } else { errno });
    let pid = way.made.map_err(errno)?;
    let process = Process { pid, pidfd: None };
    if let Err(error) = closed {
        if way.gone {
            discard(&process);
        }
        return Err(errno(error));
    }
    if let Some(wait) = way.wait {
        wary::note_user(user, wait);
    }
    if !way.gone || way.late && failed.is_none() && is_unexecuted(pid) {
        // Only with its end it gives up a terminal that the next one is to have. Where it has not ended by then it is
        // taken up like any orphan, later.
        while reap(Some(pid)).is_none() && way.gone && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        log::warn!(
            "a process of user {} took over {} ms to its exec: its next ones are made by fork",
            user.map_or_else(|| "of main".to_owned(), |uid| uid.to_string()),
            PATIENCE.as_millis()
        );
        return Ok(Made::Late);
    }
    Ok(Made::Answered(process, failed))
}

/// The first function of the new process.
extern "C" fn enter(slot: *const c_void) -> ! {
    // SAFETY: it is given the address of one, and those are there for good.
    let start = unsafe { &*slot.cast::<Slot>() }.start();
    if start.is_null() {
        exit(FAILED)
    }
    // SAFETY: it is the address of one, which main keeps until this process is out of its memory or was killed.
    let Start { plan, born } = unsafe { &*start.cast::<Start<'_>>() };
    become_planned(plan, *born)
}

/// Whether a child of ours ends without having executed anything. Nothing that cannot be looked at does.
fn is_unexecuted(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have any byte in it: state, ppid, pgrp, session, tty_nr, tpgid, flags.
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & (PF_EXITING | PF_FORKNOEXEC) == PF_EXITING | PF_FORKNOEXEC)
}
