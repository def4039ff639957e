//! A worker's terminal: its size and its settings, by ioctl(2) on the side that child holds (S-30).

use std::io;
use std::os::fd::BorrowedFd;

use erluv_proto::ids::WorkerId;
use erluv_proto::terminal;

use super::Manager;
use super::worker::Worker;
use crate::dispatcher::worker::Size;
use crate::streams::input::Input;
use crate::streams::output::Output;
use crate::sys;

impl Manager {
    /// Sets the size of a worker's terminal.
    ///
    /// # Errors
    /// `ENOTTY` where it has none, or none of its streams to the node is open; what ioctl(2) says.
    pub(super) fn resize(&self, id: WorkerId, Size(rows, columns): Size) -> io::Result<()> {
        sys::set_size(self.terminal(id)?, rows, columns)
    }

    /// Changes settings of a worker's terminal, all of them at once.
    ///
    /// # Errors
    /// As [`Manager::resize`]; `EINVAL` for a setting that there is not.
    pub(super) fn set_terminal(&self, id: WorkerId, settings: &[(String, u32)]) -> io::Result<()> {
        let fd = self.terminal(id)?;
        let mut termios = sys::terminal_settings(fd)?;
        for (name, value) in settings {
            if !terminal::apply(&mut termios, name, *value) {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
        }
        sys::set_terminal(fd, &termios)
    }

    fn terminal(&self, id: WorkerId) -> io::Result<BorrowedFd<'_>> {
        let worker = self.workers.get(&id).filter(|worker| worker.terminal);
        worker.and_then(|worker| side(worker)).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTTY))
    }
}

/// Our side of a worker's terminal, by the stream that is open. With a terminal, no stream to the node is a pipe.
fn side(worker: &Worker) -> Option<BorrowedFd<'_>> {
    let output = worker.stdout.as_ref().map(Output::fd);
    output.or_else(|| worker.stdin.as_ref().and_then(Input::fd))
}
