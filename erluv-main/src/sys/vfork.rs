//! Making a worker in main's own memory, main standing still until its exec: clone3(2) with CLONE_VM, as posix_spawn(3)
//! does it. Nothing is copied that the exec would throw away, and how the exec went is known at once.
//!
//! Main's memory is then, for some 100 µs, that of a process which changes to the worker's user. What keeps it safe:
//!
//! - That user may not trace the process or read its memory: the change of ids makes the memory undumpable, ptrace(2),
//!   before the ids are in force. Where the host says otherwise (`fs.suid_dumpable` of 1) nothing is made this way; it
//!   is looked at before each. And until its exec it has a capability that the user lacks: `capabilities::shield`.
//! - That user may stop the process, take the processor from it, or have it enter a file system that never answers,
//!   where not even SIGKILL reaches it. So main does not wait as CLONE_VFORK does, which ends with the process alone:
//!   after [`PATIENCE`] main kills it, after [`LAST_PATIENCE`] main goes on without it. The worker is then made by
//!   fork(2), and so is whatever that user gets in the next [`PENANCE`].
//! - Main makes no other process meanwhile. Where that lasts ([`CROWDED`]), fork(2) is the way, too.
//! - No signal that makes a core is taken before the memory is known to be undumpable. After it a core is refused, and
//!   kernels before Linux 5.16, where it takes all who share the memory with it, look at that first: core(5).
//! - What acts on memory (and not on a process), or could keep the process waiting, is made by fork(2): see
//!   [`is_brief`].
//!
//! Where the worker's profile has a filter, a process that has it already makes the worker: [`spawner`].
//!
//! Both have the same thread-local memory, errno in it: until the process is out of it neither uses any ([`super::call`]),
//! and main does nothing but wait.

mod raw;
pub(in crate::sys) mod spawner;

use std::cell::UnsafeCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libc::{c_int, c_void};

use super::forked::become_planned;
use super::os::{CLONE_CLEAR_SIGHAND, clone_args, forbid_tracing, ignored};
use super::plan::Role;
use super::{Blocked, Born, Made, Plan, Process, discard, reap};
use crate::order::Order;
use crate::sandbox::{CgroupLimits, IoPriority, Namespaces, Profile};

/// How long main stands still for one process: beyond all that a start takes on a busy host.
const PATIENCE: Duration = Duration::from_millis(250);

/// And from SIGKILL on, which ends at once what does not hang in the kernel and gets a processor.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Whoever has kept main waiting for so long ...
const PATIENCE_WITH_USER: Duration = Duration::from_millis(50);

/// ... gets no more processes this way for so long.
const PENANCE: Duration = Duration::from_secs(60);

/// Where a process takes so long, which is twenty times what it takes by itself, others have the processors. Several that
/// are made by fork wait for their turns side by side then, and main for none of them ...
const CROWDED: Duration = Duration::from_micros(2500);

/// ... for so long.
const UNTIL_LESS_CROWDED: Duration = Duration::from_millis(100);

/// Of proc_pid_stat(5), `flags`: on its way out, and forked without an exec.
const PF_EXITING: u64 = 0x4;
const PF_FORKNOEXEC: u64 = 0x40;

/// Bytes; no step needs a tenth.
const STACK: usize = 128 * 1024;

/// Whom main has waited for, and when: `None` is main's own user.
static SLOW: Mutex<Vec<(Option<u32>, Instant)>> = Mutex::new(Vec::new());

/// When main last had to wait for its turn.
static WAITED: Mutex<Option<Instant>> = Mutex::new(None);

/// The stack of the one process at a time that is made this way.
#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: main has one thread and never looks into it, and only one process uses it at a time ([`IN_USE`]).
unsafe impl Sync for Stack {}

static STACK_OF_NEW: Stack = Stack(UnsafeCell::new([0; STACK]));

/// Not 0 while a process may use main's memory. When that executes its program or ends, the kernel sets it to 0 and wakes
/// main: CLONE_CHILD_CLEARTID, clone(2).
static IN_USE: AtomicU32 = AtomicU32::new(0);

/// What the new process finds on main's stack.
struct Start<'p> {
    plan: &'p Plan<'p>,
    born: Born,
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
    order.sandbox.prepared.brief && order.nice.is_none() && !is_crowded() && !is_slow(user) && is_memory_guarded()
}

/// Makes the worker of a plan that has no error pipe, and waits until its program runs, or never will.
///
/// # Errors
/// Those of clone3(2): there is no process then. `EBUSY` where an earlier one has main's memory yet.
pub(crate) fn spawn_and_wait(plan: Plan<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Made> {
    super::pid_namespace::come_home()?;
    if IN_USE.load(Ordering::Acquire) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let blocked = Blocked::all()?;
    let place = match &plan.role {
        Role::Worker(held) => Some((&held.sandbox.prepared.spawner, held.main)),
        Role::Half => None,
    };
    let spawner = place.and_then(|(place, main)| place.spawner(main));
    let sealed = spawner.as_ref().map(|spawner| spawner.pass());
    let start = Start { plan: &plan, born: Born { join: None, signals: ignored(), sealed } };
    let began = Instant::now();
    let made = match &spawner {
        Some(spawner) => spawner.make(&start, cgroup),
        None => clone_in_memory(&start, cgroup).map(|pid| (pid, wait_for_exec(pid))),
    };
    let took = began.elapsed();
    drop(blocked);
    #[cfg(test)]
    super::guard::allow_allocation();
    if let (Err(error), Some(spawner), Some((place, _))) = (&made, &spawner, place)
        && (!spawner.lives() || matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)))
    {
        place.rest(error);
    }
    let (pid, gone) = made?;
    let process = Process { pid, pidfd: None };
    let user = plan.ids.as_ref().map(|ids| ids.uid);
    let failed = plan.told.get();
    if !gone {
        // The kernel may yet read from it, or write to it, for a call that the process has not come back from.
        std::mem::forget(plan);
    }
    // The change of ids has left the memory as the host has it.
    if let Err(errno) = forbid_tracing() {
        if gone {
            discard(&process);
        }
        return Err(io::Error::from_raw_os_error(errno));
    }
    if took >= CROWDED {
        *WAITED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    if took >= PATIENCE_WITH_USER {
        be_wary_of(user);
    }
    if !gone || took >= PATIENCE && failed.is_none() && is_unexecuted(pid) {
        // Where it has not ended yet it is taken up like any orphan, later.
        reap(Some(pid));
        log::warn!(
            "a process of user {} took over {} ms to its exec: its next ones are made by fork",
            user.map_or_else(|| "of main".to_owned(), |uid| uid.to_string()),
            PATIENCE.as_millis()
        );
        return Ok(Made::Late);
    }
    Ok(Made::Answered(process, failed))
}

/// Until the process has executed its program or is on its way out; false as of [`kill_and_wait`].
fn wait_for_exec(pid: i32) -> bool {
    is_out_within(PATIENCE) || kill_and_wait(pid)
}

/// Kills a process that main has waited for. False where it hangs all the same: it may then be in main's memory, in the
/// kernel or without a processor, but runs nothing there any more, since it meets SIGKILL before it comes back to that.
fn kill_and_wait(pid: i32) -> bool {
    raw::kill(pid);
    is_out_within(LAST_PATIENCE)
}

/// Whether it is out of main's memory, or comes out of it in this time, which is less than a second.
fn is_out_within(time: Duration) -> bool {
    while IN_USE.load(Ordering::Acquire) != 0 {
        if !raw::wait(&IN_USE, 1, true, time) {
            return IN_USE.load(Ordering::Acquire) == 0;
        }
    }
    true
}

/// The number of the new process, which is in main's memory from here on.
fn clone_in_memory(start: &Start<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<i32> {
    let args = worker_args(0, cgroup);
    IN_USE.store(1, Ordering::Release);
    // SAFETY: the new process has a stack of its own, and shares with this one, which only waits meanwhile, only what
    // `enter` reads and the cells that it is told to write.
    let result = unsafe { raw::clone(&raw const args, [0; 2], enter, std::ptr::from_ref(start).cast()) };
    if result < 0 {
        IN_USE.store(0, Ordering::Release);
        return Err(io::Error::from_raw_os_error(i32::try_from(result.saturating_neg()).unwrap_or(libc::EOVERFLOW)));
    }
    // The kernel's numbers are no greater.
    Ok(i32::try_from(result).unwrap_or(i32::MAX))
}

/// What clone3(2) is told of a worker, with these flags more.
fn worker_args(flags: c_int, cgroup: Option<BorrowedFd<'_>>) -> libc::clone_args {
    let shared = u64::try_from(libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | flags).unwrap_or(0);
    libc::clone_args {
        child_tid: IN_USE.as_ptr() as u64,
        stack: STACK_OF_NEW.0.get() as u64,
        stack_size: STACK as u64,
        ..clone_args(shared | CLONE_CLEAR_SIGHAND, cgroup)
    }
}

/// The first function of the new process.
extern "C" fn enter(start: *const c_void) -> ! {
    // SAFETY: it is given the address of one, which main's stack has until this process is out of its memory.
    let Start { plan, born } = unsafe { &*start.cast::<Start<'_>>() };
    become_planned(plan, *born)
}

/// Whether a change of ids keeps others from the memory: `fs.suid_dumpable` is 0 or 2, proc_sys_fs(5).
fn is_memory_guarded() -> bool {
    static SWITCH: OnceLock<Option<File>> = OnceLock::new();
    let switch = SWITCH.get_or_init(|| File::open("/proc/sys/fs/suid_dumpable").ok());
    let mut said = [0; 2];
    let read = switch.as_ref().map(|file| file.read_exact_at(&mut said, 0));
    matches!(read, Some(Ok(()))) && is_guarded_by(said)
}

/// By what the switch says. All but these numbers leave the memory as it is.
pub(super) fn is_guarded_by(switch: [u8; 2]) -> bool {
    matches!(switch, [b'0' | b'2', b'\n'])
}

/// Whether a child of ours ends without having executed anything. Nothing that cannot be looked at does.
fn is_unexecuted(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have any byte in it: state, ppid, pgrp, session, tty_nr, tpgid, flags.
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & (PF_EXITING | PF_FORKNOEXEC) == PF_EXITING | PF_FORKNOEXEC)
}

/// The processors are as good as free.
#[cfg(test)]
pub(super) fn forget_the_crowd() {
    *WAITED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn is_crowded() -> bool {
    let waited = *WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    waited.is_some_and(|when| when.elapsed() < UNTIL_LESS_CROWDED)
}

fn is_slow(user: Option<u32>) -> bool {
    let slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    slow.iter().any(|(who, when)| *who == user && when.elapsed() < PENANCE)
}

fn be_wary_of(user: Option<u32>) {
    let mut slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    slow.retain(|(who, when)| *who != user && when.elapsed() < PENANCE);
    slow.push((user, Instant::now()));
}
