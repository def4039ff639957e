//! Making erluv-child: executed anew, so that nothing of main's memory is in it, with the privileges that it then drops
//! itself, and with exactly the descriptors that main names.

use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use super::{Plan, Process, reap, spawn};

/// The children of this process that are neither workers nor orphans.
static HALVES: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Executes `path` with an empty environment, `/dev/null` on descriptors 0 to 2 and each of `fds` on the number beside
/// it: 3, 4 and so on without a gap, in any order. It gets a session of its own and clean signals, and it is not killed
/// with main: it is the one that kills the workers then. Waits for the exec.
///
/// # Errors
/// `EINVAL` for an empty argv or numbers with a gap; those of the fork, or of the step that failed.
pub(crate) fn spawn_half(path: &CStr, argv: &[CString], fds: &[(BorrowedFd<'_>, i32)]) -> io::Result<Process> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut sorted = fds.to_vec();
    sorted.sort_by_key(|(_, target)| *target);
    if !sorted.iter().map(|(_, target)| *target).eq((3..).take(sorted.len())) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let standard = [null.as_fd(); 3];
    let descriptors = standard.into_iter().chain(sorted.iter().map(|(fd, _)| *fd)).collect();
    let (mut answer, error) = io::pipe()?;
    let plan = Plan::half(path, argv, descriptors, error.as_fd())?;
    let process = spawn(&plan, None)?;
    // Whoever holds it hears of its end only after it was reaped.
    #[cfg(target_os = "linux")]
    let process = Process { pidfd: super::os::open_pidfd(process.pid).ok(), ..process };
    drop(plan);
    drop(error);
    let mut said = Vec::new();
    let read = answer.read_to_end(&mut said);
    if let (Ok(_), []) = (&read, said.as_slice()) {
        keep_apart(process.pid);
        return Ok(process);
    }
    // It is on its way out; where the pipe failed, it is sent there.
    let _ = process.signal(libc::SIGKILL);
    while reap(Some(process.pid)).is_none() {
        std::thread::yield_now();
    }
    read?;
    match said.as_slice() {
        [_, a, b, c, d] => Err(io::Error::from_raw_os_error(i32::from_le_bytes([*a, *b, *c, *d]))),
        _ => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

/// This child is main's own, and no orphan of a worker.
pub(super) fn keep_apart(pid: i32) {
    halves(|halves| halves.push(pid));
}

/// Whether this child of main was made by [`spawn_half`], or makes workers for main.
#[cfg(target_os = "linux")]
pub(crate) fn is_half(pid: i32) -> bool {
    halves(|halves| halves.contains(&pid))
}

/// The number is free again.
pub(super) fn forget_half(pid: i32) {
    halves(|halves| halves.retain(|half| *half != pid));
}

fn halves<T>(use_them: impl FnOnce(&mut Vec<i32>) -> T) -> T {
    // Nothing that panics runs under this lock, and main has one thread: the list is whole whatever the lock says.
    use_them(&mut HALVES.lock().unwrap_or_else(PoisonError::into_inner))
}
