//! A worker's stdout or stderr: read from the pipe straight into the buffer of the connection, behind a header that is
//! patched afterwards.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};

/// The most bytes in one message to the node: small enough that ticks and answers are not held up.
pub(crate) const PIECE: usize = 64 * 1024;

/// The read end of an output stream, and who gets its bytes.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: OwnedFd,
    /// Where its bytes go; `None`: to the owner.
    pub(crate) to: Option<Box<[u8]>>,
    /// Bytes that the recipient still lets come; `None`: it counts nothing.
    credit: Option<u32>,
    window: u32,
    /// The poller has said that there is something to read, and it has not all been read.
    readable: bool,
    /// The last writer has gone: read on until the end is seen, no further event will come.
    closing: bool,
    /// It stands in the run queue.
    pub(crate) queued: bool,
    /// Bytes read since the start.
    pub(crate) total: u64,
}

/// What a turn of reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many bytes, and there may be more.
    Some(usize),
    /// Nothing for now: the poller will tell.
    Empty,
    /// The last writer has closed it.
    End,
}

impl Output {
    pub(crate) fn new(pipe: OwnedFd, to: Option<Box<[u8]>>, window: Option<u32>) -> Self {
        Self {
            pipe,
            to,
            credit: window,
            window: window.unwrap_or(0),
            readable: false,
            closing: false,
            queued: false,
            total: 0,
        }
    }

    /// The poller's edge: there is something to read, or the last writer has gone.
    pub(crate) fn set_readable(&mut self, closing: bool) {
        self.readable = true;
        self.closing |= closing;
    }

    /// Whether the poller has announced bytes that are not read yet.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether reading it is worth a turn: there is something, and the recipient lets it come.
    pub(crate) fn is_runnable(&self) -> bool {
        self.readable && self.credit != Some(0)
    }

    /// Whether it has ended although the recipient lets nothing more come: all was read, and the last writer has gone.
    pub(crate) fn is_over(&self) -> bool {
        if !self.closing || self.credit != Some(0) {
            return false;
        }
        let mut pipe = [PollFd::new(&self.pipe, PollFlags::IN)];
        let asked = rustix::event::poll(&mut pipe, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let [pipe] = pipe;
        asked.is_ok() && !pipe.revents().contains(PollFlags::IN) && pipe.revents().contains(PollFlags::HUP)
    }

    /// Gives credit back. More than the window is never in flight, whatever is acknowledged.
    pub(crate) fn acknowledge(&mut self, bytes: u32) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_add(bytes).min(self.window);
        }
    }

    /// Appends to `out` what the pipe has, at most [`PIECE`] bytes and never more than the credit.
    ///
    /// # Errors
    /// What read(2) says, but for "try again", which is [`Read::Empty`].
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<Read> {
        let credit = self.credit.map_or(PIECE, |credit| usize::try_from(credit).unwrap_or(PIECE));
        let most = PIECE.min(credit);
        match crate::sys::read_append(self.pipe.as_fd(), out, most) {
            Ok(0) => Ok(Read::End),
            Ok(n) => {
                if let Some(credit) = &mut self.credit {
                    *credit = credit.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                }
                self.total = self.total.saturating_add(n as u64);
                // A short read has emptied the pipe: whatever is written next raises an event of its own.
                self.readable = n == most || self.closing;
                Ok(Read::Some(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Read::Empty)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn a_window_lets_no_more_come_than_it_says() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, &[7; 5000]).unwrap();
        let mut output = Output::new(reader, None, Some(2000));
        output.set_readable(false);
        let mut out = b"head".to_vec();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(2000));
        assert_eq!(out.len(), 2004);
        assert!(!output.is_runnable() && output.is_readable());
        output.acknowledge(u32::MAX);
        assert!(output.is_runnable());
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(2000));
        output.acknowledge(2000);
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(1000));
        assert!(!output.is_runnable());
        drop(writer);
        output.set_readable(true);
        output.acknowledge(1000);
        assert_eq!(output.read(&mut out).unwrap(), Read::End);
    }

    #[test]
    fn an_end_that_came_with_the_last_bytes_is_not_missed() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"last").unwrap();
        drop(writer);
        let mut output = Output::new(reader, None, None);
        output.set_readable(true);
        let mut out = Vec::new();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(4));
        assert!(output.is_runnable());
        assert_eq!(output.read(&mut out).unwrap(), Read::End);
    }

    #[test]
    fn a_recipient_that_acknowledges_nothing_learns_of_the_end_all_the_same() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"12345").unwrap();
        let mut output = Output::new(reader, None, Some(4));
        drop(writer);
        output.set_readable(true);
        let mut out = Vec::new();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(4));
        assert!(!output.is_over());
        output.acknowledge(1);
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(1));
        assert!(output.is_over());
    }
}
