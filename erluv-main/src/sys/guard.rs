//! For tests: between fork and exec nothing may allocate (S-23), as another thread may have held the allocator's lock
//! when the process was forked. In the unit tests of erluv-main, an allocation there ends the process, and so each test
//! that launches something tries it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// What such a process ends with; nobody else does.
pub(super) const ALLOCATED: libc::c_int = 98;

/// In this process: it is a copy of its own after a fork.
static FORKED: AtomicBool = AtomicBool::new(false);

struct Guarded;

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

/// From here on this process allocates nothing.
pub(super) fn forbid_allocation() {
    FORKED.store(true, Ordering::Relaxed);
}

/// The process that shared this one's memory is gone from it.
#[cfg(target_arch = "x86_64")]
pub(super) fn allow_allocation() {
    FORKED.store(false, Ordering::Relaxed);
}

fn check() {
    if FORKED.load(Ordering::Relaxed) {
        let text = b"memory was asked for between fork and exec\n";
        // SAFETY: the text is readable for its length.
        let _ = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        // SAFETY: _exit takes a number and runs nothing of this process.
        unsafe { libc::_exit(ALLOCATED) }
    }
}

// SAFETY: all is the system's allocator.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        check();
        // SAFETY: as the caller's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        // SAFETY: as the caller's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[test]
fn s23_memory_that_is_asked_for_between_fork_and_exec_ends_the_process() {
    use super::testing::alone;
    use super::{Forked, os, reap};
    use erluv_proto::ipc::ExitStatus;

    // That the guard works; what it guards is each launch of the other tests.
    alone(|| {
        let process = match os::fork(None).unwrap() {
            Forked::Child { .. } => {
                forbid_allocation();
                let taken = std::hint::black_box(vec![0_u8; 100]);
                // SAFETY: _exit takes a number and runs nothing of this process.
                unsafe { libc::_exit(i32::from(taken[0])) }
            }
            Forked::Parent(process) => process,
        };
        let ended = loop {
            match reap(Some(process.pid)) {
                Some(ended) => break ended,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(ended.status, ExitStatus::Code(98));
    });
}
