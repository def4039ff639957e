//! Becoming a daemon. The process that was started waits until the daemon says that its start is over, so that an init
//! script learns how it went and finds the pid file written.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use super::{cvt, exit_status};
use erluv_proto::ipc::ExitStatus;

/// The process that was started, as the daemon knows it: it waits.
#[derive(Debug)]
pub(crate) struct Starter(io::PipeWriter);

/// Forks. The caller goes on in the daemon, in a session of its own; the process that was started stays in this call
/// and ends with 0 once [`Starter::release`] is called, or as the daemon ends before that.
///
/// # Errors
/// Those of pipe(2), fork(2), setsid(2), chdir(2).
pub(crate) fn detach() -> io::Result<Starter> {
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: this process has one thread (nothing has made another), so the child may go on as it is.
    let pid = cvt(unsafe { libc::fork() })?;
    if pid != 0 {
        drop(writer);
        let released = matches!(reader.read(&mut [0]), Ok(1));
        leave(if released { 0 } else { end_of(pid) });
    }
    drop(reader);
    // SAFETY: setsid takes nothing.
    cvt(unsafe { libc::setsid() })?;
    std::env::set_current_dir("/")?;
    Ok(Starter(writer))
}

/// How the daemon ended, as an exit code.
fn end_of(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: status is valid for writing.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    match exit_status(status) {
        ExitStatus::Code(code) if waited == pid => i32::from(code),
        ExitStatus::Code(_) | ExitStatus::Signal(..) => 71,
    }
}

fn leave(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return; nothing is to be flushed by this process.
    unsafe { libc::_exit(code) }
}

impl Starter {
    /// The start is over: the process that was started ends with 0, and 0 to 2 are `/dev/null` from now on.
    ///
    /// # Errors
    /// Those of open(2) and dup2(2).
    pub(crate) fn release(mut self) -> io::Result<()> {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        for standard in 0..3 {
            // SAFETY: dup2 takes numbers; 0 to 2 are nobody's but this process's own.
            cvt(unsafe { libc::dup2(null.as_raw_fd(), standard) })?;
        }
        // The starter may have been killed: then nobody waits.
        let _ = self.0.write(&[0]);
        Ok(())
    }
}
