//! What a process that is made in main's memory has there until its exec: a stack, and the words in which the kernel says
//! how far it is. There are a few, each for one process at a time.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::Instant;

use libc::{c_int, c_long, c_void};

use super::{Start, enter, raw};
use crate::sys::os::{CLONE_CLEAR_SIGHAND, clone_args};

/// How many processes can be on their way to their exec at a time, while main stands still for all of them: so many that
/// where others have the processors they wait for their turns together, and not one after the other. A spawner has a bit
/// for each.
pub(crate) const MOST_AT_ONCE: usize = 32;

/// Bytes; no step needs a fifth.
const STACK: usize = 64 * 1024;

/// Whose child the new process is to be, and by whom it is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Maker {
    /// Main itself.
    Main,
    /// A child of main's, in its place.
    Spawner(i32),
}

/// The place of one process.
#[repr(C, align(4096))]
pub(super) struct Slot {
    stack: UnsafeCell<[u8; STACK]>,
    /// Not 0 while a process may use main's memory by way of this. When that executes its program or ends, the kernel sets
    /// it to 0 and wakes main: CLONE_CHILD_CLEARTID, clone(2).
    in_use: AtomicU32,
    /// What clone3(2) is told, and what the new process finds: written by main before anybody is told to make it.
    args: UnsafeCell<MaybeUninit<libc::clone_args>>,
    /// Null where main does not keep it any more.
    start: AtomicPtr<c_void>,
    /// The number of the process, written by the kernel before that runs; 0 before.
    made: AtomicI32,
    /// The errno where there is none.
    failed: AtomicI32,
    /// The spawner that was asked for it; 0 where main makes it.
    maker: AtomicI32,
}

// SAFETY: of a slot that is in use, main reads and writes the atomic words alone; the stack is the new process's, and
// the arguments are read by whoever makes that, once.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; MOST_AT_ONCE] = [const { Slot::new() }; MOST_AT_ONCE];

impl Slot {
    const fn new() -> Self {
        Self {
            stack: UnsafeCell::new([0; STACK]),
            in_use: AtomicU32::new(0),
            args: UnsafeCell::new(MaybeUninit::uninit()),
            start: AtomicPtr::new(std::ptr::null_mut()),
            made: AtomicI32::new(0),
            failed: AtomicI32::new(0),
            maker: AtomicI32::new(0),
        }
    }

    /// All there are, each with its bit in a set of them.
    pub(super) fn all() -> impl Iterator<Item = (u32, &'static Self)> {
        SLOTS.iter().scan(1_u32, |next, slot| {
            let bit = *next;
            *next = bit.wrapping_shl(1);
            Some((bit, slot))
        })
    }

    /// Whether main's memory is main's, as far as this goes.
    pub(super) fn is_free(&self) -> bool {
        self.in_use.load(Ordering::Acquire) == 0
    }

    /// Lays out what a new process begins with. From here on the slot is in use.
    pub(super) fn lay_out(&self, start: &Start<'_>, cgroup: Option<BorrowedFd<'_>>, maker: Maker) {
        let (maker, parent, exit_signal) = match maker {
            Maker::Main => (0, 0, None),
            // That of the maker is meant, which is the same.
            Maker::Spawner(pid) => (pid, libc::CLONE_PARENT, Some(0)),
        };
        let shared = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::CLONE_PARENT_SETTID | parent;
        let args = clone_args(u64::try_from(shared).unwrap_or(0) | CLONE_CLEAR_SIGHAND, cgroup);
        let args = libc::clone_args {
            child_tid: self.in_use.as_ptr() as u64,
            parent_tid: self.made.as_ptr() as u64,
            stack: self.stack.get() as u64,
            stack_size: STACK as u64,
            exit_signal: exit_signal.unwrap_or(args.exit_signal),
            ..args
        };
        // SAFETY: the slot is free, so nobody reads them.
        unsafe { (*self.args.get()).write(args) };
        self.start.store(std::ptr::from_ref(start).cast_mut().cast(), Ordering::Relaxed);
        self.made.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        self.maker.store(maker, Ordering::Relaxed);
        self.in_use.store(1, Ordering::Release);
    }

    /// Makes the process, the fifth and sixth argument of clone3(2) as given.
    ///
    /// # Safety
    /// The slot was laid out for this process, once for each call. The start lives until its process is out of main's
    /// memory, or never will run in it again, or is called off.
    pub(super) unsafe fn make(&'static self, pass: [u64; 2]) {
        let slot = std::ptr::from_ref(self).cast();
        // SAFETY: as the caller has it; the stack is the slot's, which begins at a page, and nobody else's.
        let made = unsafe { raw::clone(self.args.get().cast(), pass, enter, slot) };
        if made < 0 {
            self.give_up(made.saturating_neg());
            raw::wake(&self.in_use, true);
        }
    }

    /// A process that begins from here on ends at once. One that has begun has told its number before.
    pub(super) fn call_off(&self) {
        // Whole, so that no look at the number comes before it: the kernel writes that before the process looks here.
        self.start.swap(std::ptr::null_mut(), Ordering::SeqCst);
    }

    /// What its process finds; null where it was called off.
    pub(super) fn start(&self) -> *const c_void {
        self.start.load(Ordering::SeqCst)
    }

    /// No process has come of it, or none runs in main's memory.
    pub(super) fn give_up(&self, errno: c_long) {
        self.failed.store(c_int::try_from(errno).unwrap_or(libc::EOVERFLOW), Ordering::Release);
        self.in_use.store(0, Ordering::Release);
    }

    /// The number of the process, or the errno where there is none; 0 where nobody has tried yet.
    pub(super) fn made(&self) -> Result<i32, c_int> {
        match self.made.load(Ordering::Acquire) {
            pid @ 1.. => Ok(pid),
            _ => Err(self.failed.load(Ordering::Acquire)),
        }
    }

    /// Whether the process is out of main's memory by then, which is less than a second ahead.
    pub(super) fn is_out_by(&self, end: Instant) -> bool {
        while !self.is_free() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.is_free();
            }
            raw::wait(&self.in_use, 1, true, left);
        }
        true
    }
}

/// A child of main's has been reaped: whatever it still had of a slot is free.
pub(in crate::sys) fn forget(pid: i32) {
    for (_, slot) in Slot::all().filter(|(_, slot)| !slot.is_free()) {
        let had = slot.made().unwrap_or_else(|_| slot.maker.load(Ordering::Relaxed));
        if had == pid {
            slot.give_up(libc::ESRCH.into());
        }
    }
}
