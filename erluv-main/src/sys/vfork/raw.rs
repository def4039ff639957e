//! System calls that leave errno alone, for processes that share main's memory while main runs, and for main while one
//! does.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use libc::{c_long, c_void};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::futex::{self, Flags, Timespec};

/// SIGKILL to a child of main's that is not reaped yet.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid.max(0)) {
        // It has ended where this fails.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// clone3(2), its fifth and sixth argument, which it does not read, as given. The new process begins with `entry` and
/// never leaves it. Comes back with its number, or with a negative error.
///
/// # Safety
/// The arguments can be read, share this process's memory and name a stack of its own for the new one, 16-byte aligned at its end;
/// `entry` may be given `argument` for as long as that process is in this memory, and shares with others only what both
/// expect.
pub(super) unsafe fn clone(
    args: *const libc::clone_args,
    pass: [u64; 2],
    entry: extern "C" fn(*const c_void) -> !,
    argument: *const c_void,
) -> c_long {
    let [fifth, sixth] = pass;
    let result: c_long;
    // SAFETY: to this process it is a call like any other; the caller answers for what the new one does.
    unsafe {
        std::arch::asm!(
            "syscall",
            // Nobody is shown a pass in registers for longer than the call takes.
            "xor r8d, r8d",
            "xor r9d, r9d",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            inlateout("r8") fifth => _,
            inlateout("r9") sixth => _,
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// Until a word is another than this, at the longest for this time, which is less than a second: futex(2). `shared` is
/// for words that the kernel clears, which wakes without FUTEX_PRIVATE_FLAG. Any error but the end of the time is a
/// reason to look again, and so is any other return: false is that end alone.
pub(super) fn wait(word: &AtomicU32, is: u32, shared: bool, time: Duration) -> bool {
    let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    futex::wait(word, flags(shared), is, Some(&time)) != Err(Errno::TIMEDOUT)
}

/// The same without an end, for a word that this process's own kind changes.
pub(super) fn wait_long(word: &AtomicU32, is: u32) {
    let _ = futex::wait(word, flags(false), is, None);
}

/// Wakes who waits for a word, `shared` as in [`wait`].
pub(super) fn wake(word: &AtomicU32, shared: bool) {
    let _ = futex::wake(word, flags(shared), 1);
}

fn flags(shared: bool) -> Flags {
    if shared { Flags::empty() } else { Flags::PRIVATE }
}
