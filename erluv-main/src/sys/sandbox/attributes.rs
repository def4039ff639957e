//! What a worker is to the kernel besides its user: keys, execution domain, priorities, what its memory may be. Each of
//! these is one call.

use libc::c_int;

use super::own::Own;
use crate::sandbox::pass::Pass;
use crate::sandbox::{IoPriority, Scheduler};
use crate::sys::call::{address, call, control, word};
use crate::sys::forked::{Called, close, write_all};

/// keyctl(2): a new session keyring in place of the inherited one.
const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;

/// ioprio_set(2): a process, and where the class stands.
const IOPRIO_WHO_PROCESS: usize = 1;
const IOPRIO_CLASS_BEST_EFFORT: usize = 2;
const IOPRIO_CLASS_IDLE: usize = 3;
const IOPRIO_CLASS_PLACE: usize = 1 << 13;

/// As root: its keyring counts for root, who may have many, and belongs to whoever possesses it all the same.
/// A filter that is in force already lets it with the pass.
pub(in crate::sys) fn new_keyring(wanted: bool, sealed: Option<Pass>) -> Called {
    if !wanted {
        return Ok(());
    }
    let unnamed = 0;
    // Processors of 32 bits have no passes.
    let [fifth, sixth] = sealed.map_or([0; 2], Pass::arguments).map(|half| usize::try_from(half).unwrap_or(0));
    // SAFETY: keyctl takes a number and, for this command, a name or a null pointer, and reads nothing else.
    unsafe { call(libc::SYS_keyctl, [KEYCTL_JOIN_SESSION_KEYRING, unnamed, 0, 0, fifth, sixth]) }.map(|_| ())
}

/// Linux as it is without any of the flags of personality(2); that it stays so is the filter's part.
pub(in crate::sys) fn reset_personality(wanted: bool) -> Called {
    if !wanted {
        return Ok(());
    }
    // SAFETY: personality takes a number.
    unsafe { call(libc::SYS_personality, [0]) }.map(|_| ())
}

pub(in crate::sys) fn set_io_priority(wanted: Option<IoPriority>) -> Called {
    let Some(wanted) = wanted else { return Ok(()) };
    let (class, level) = match wanted {
        IoPriority::BestEffort(level) => (IOPRIO_CLASS_BEST_EFFORT, usize::from(level)),
        IoPriority::Idle => (IOPRIO_CLASS_IDLE, 0),
    };
    let priority = class.wrapping_mul(IOPRIO_CLASS_PLACE) | level;
    // SAFETY: ioprio_set takes numbers; 0 is this process.
    unsafe { call(libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, 0, priority]) }.map(|_| ())
}

pub(in crate::sys) fn set_scheduler(wanted: Option<Scheduler>) -> Called {
    let Some(wanted) = wanted else { return Ok(()) };
    let policy = match wanted {
        Scheduler::Other => libc::SCHED_OTHER,
        Scheduler::Batch => libc::SCHED_BATCH,
        Scheduler::Idle => libc::SCHED_IDLE,
    };
    // The kernel's struct is one int, 0 for all of these policies.
    let priority: c_int = 0;
    // SAFETY: sched_setscheduler reads one int; 0 is this process.
    unsafe { call(libc::SYS_sched_setscheduler, [0, word(policy), address(&priority)]) }.map(|_| ())
}

/// Of proc_pid_oom_score_adj(5); `text` is the number in decimal digits.
pub(in crate::sys) fn set_oom_score(text: Option<&[u8]>, own: &Own) -> Called {
    let Some(text) = text else { return Ok(()) };
    own.write(c"oom_score_adj", text)
}

/// No memory becomes executable that could be written (PR_SET_MDWE of prctl(2), Linux 6.3).
pub(in crate::sys) fn deny_write_execute(wanted: bool) -> Called {
    if !wanted {
        return Ok(());
    }
    let gain = c_int::try_from(libc::PR_MDWE_REFUSE_EXEC_GAIN).map_err(|_| libc::EINVAL)?;
    control(libc::PR_SET_MDWE, gain, 0).map(|_| ())
}

/// Writes a whole text to an open file and closes it.
pub(super) fn write_and_close(fd: c_int, text: &[u8]) -> Called {
    let written = write_all(fd, text);
    close(fd)?;
    written
}
