//! System calls that leave errno alone, for processes that share main's memory while main runs, and for main while one
//! does.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use libc::{c_long, c_void};

/// A system call, its number first, that leaves errno alone; an error comes as a negative number.
pub(super) fn call([number, first, second, third, fourth]: [c_long; 5]) -> c_long {
    let result: c_long;
    // SAFETY: the calls made here are given numbers and addresses of what lives on, and write nothing.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
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
    let time = libc::timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let how = if shared { libc::FUTEX_WAIT } else { libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG };
    let address = word.as_ptr() as c_long;
    let error = call([libc::SYS_futex, address, how.into(), is.into(), &raw const time as c_long]).saturating_neg();
    error != c_long::from(libc::ETIMEDOUT)
}

/// The same without an end, for a word that this process's own kind changes.
pub(super) fn wait_long(word: &AtomicU32, is: u32) {
    let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    call([libc::SYS_futex, word.as_ptr() as c_long, how.into(), is.into(), 0]);
}

/// Wakes who waits for a word, `shared` as in [`wait`].
pub(super) fn wake(word: &AtomicU32, shared: bool) {
    let how = if shared { libc::FUTEX_WAKE } else { libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG };
    call([libc::SYS_futex, word.as_ptr() as c_long, how.into(), 1, 0]);
}
