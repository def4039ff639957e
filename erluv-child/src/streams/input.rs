//! A worker's stdin: what its pipe does not take waits in a queue with a cap.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What one message has to leave over, at the least, when the pipe is full, for a longer pipe to be worth its call.
const MUCH: usize = 16 * 1024;

/// What became of input that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The pipe has all that was sent so far.
    Written,
    /// Some of it waits: it is drained once [`Input::written`] reaches this count.
    Queued(u64),
    /// The queue is at its cap: nothing of it was taken.
    Overflow,
    /// The worker has closed its stdin, or the end was sent before.
    Closed,
}

/// The write end of a worker's stdin and the bytes that wait for it.
#[derive(Debug)]
pub(crate) struct Input {
    /// `None` once closed from either side.
    pipe: Option<OwnedFd>,
    queue: VecDeque<u8>,
    /// Whether the poller knows the pipe: it is told when the pipe first is full.
    registered: bool,
    /// The pipe was made as long as it gets.
    long: bool,
    /// The end of input has been sent: the pipe closes when the queue is empty.
    ending: bool,
    /// It is a terminal: its end of input is a character.
    terminal: bool,
    accepted: u64,
    written: u64,
}

impl Input {
    /// The write end of a pipe, or a terminal.
    pub(crate) fn new(pipe: OwnedFd, terminal: bool) -> Self {
        let (pipe, queue) = (Some(pipe), VecDeque::new());
        Self { pipe, queue, registered: false, long: false, ending: false, terminal, accepted: 0, written: 0 }
    }

    /// The pipe or terminal, while it is open.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that the pipe has taken since the start.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether nothing more can be written.
    pub(crate) fn is_closed(&self) -> bool {
        self.pipe.is_none()
    }

    /// Whether bytes that are offered now are taken.
    pub(crate) fn takes(&self, cap: usize) -> bool {
        self.pipe.is_some() && !self.ending && self.queue.len() < cap
    }

    /// Offers bytes: straight into the pipe where nothing waits, the rest into the queue.
    pub(crate) fn offer(&mut self, bytes: &[u8], cap: usize) -> Taken {
        if self.pipe.is_none() || self.ending {
            return Taken::Closed;
        }
        if self.queue.len() >= cap {
            return Taken::Overflow;
        }
        self.accepted = self.accepted.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        if self.queue.is_empty() {
            while let (false, Some(pipe)) = (rest.is_empty(), &self.pipe) {
                match write(pipe.as_fd(), rest) {
                    Ok(Some(n)) => {
                        self.written = self.written.saturating_add(n as u64);
                        rest = rest.get(n..).unwrap_or_default();
                    }
                    Ok(None) if self.long || rest.len() < MUCH => break,
                    Ok(None) => {
                        self.long = true;
                        super::lengthen(pipe.as_fd());
                    }
                    Err(_) => {
                        self.close();
                        return Taken::Closed;
                    }
                }
            }
        }
        self.queue.extend(rest);
        if self.queue.is_empty() { Taken::Written } else { Taken::Queued(self.accepted) }
    }

    /// The end of input. On a terminal it is the character that a user would type for it (VEOF, `^D`), and more input
    /// may follow.
    pub(crate) fn end(&mut self) -> Taken {
        match &self.pipe {
            // One byte beyond the cap is no harm.
            Some(terminal) if self.terminal => {
                let character = crate::sys::end_character(terminal.as_fd());
                self.offer(&[character], usize::MAX)
            }
            Some(_) | None => self.finish(),
        }
    }

    /// No more input: the pipe closes once the queue is empty.
    pub(crate) fn finish(&mut self) -> Taken {
        if self.pipe.is_none() {
            return Taken::Closed;
        }
        self.ending = true;
        if self.queue.is_empty() {
            self.close();
            return Taken::Written;
        }
        Taken::Queued(self.accepted)
    }

    /// The pipe has room, or its reader is gone: writes what waits.
    pub(crate) fn drain(&mut self) {
        while let (Some(pipe), (front, _)) = (&self.pipe, self.queue.as_slices()) {
            if front.is_empty() {
                break;
            }
            match write(pipe.as_fd(), front) {
                Ok(Some(n)) => {
                    self.written = self.written.saturating_add(n as u64);
                    self.queue.drain(..n.min(self.queue.len()));
                }
                Ok(None) => return,
                Err(_) => return self.close(),
            }
        }
        if self.queue.is_empty() {
            // An idle worker costs no buffer.
            self.queue = VecDeque::new();
            if self.ending {
                self.close();
            }
        }
    }

    /// The pipe, where the poller has to be told of it: something waits and it does not know yet.
    pub(crate) fn unregistered(&mut self) -> Option<BorrowedFd<'_>> {
        if self.registered || self.queue.is_empty() {
            return None;
        }
        self.registered = true;
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn close(&mut self) {
        self.pipe = None;
        self.queue = VecDeque::new();
    }
}

/// Writes to a non-blocking pipe. `None`: it is full.
fn write(pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        return match rustix::io::write(pipe, bytes) {
            Ok(n) => Ok(Some(n)),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn pipe() -> (OwnedFd, Input) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        (reader, Input::new(writer, false))
    }

    #[test]
    fn what_the_pipe_does_not_take_waits_and_is_not_reordered() {
        let (reader, mut input) = pipe();
        let sent: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(input.offer(&sent, 1 << 20), Taken::Queued(400_000));
        assert!(input.unregistered().is_some() && input.unregistered().is_none());
        assert_eq!(input.end(), Taken::Queued(400_000));
        assert_eq!(input.offer(b"late", 1 << 20), Taken::Closed);
        let (mut got, mut piece) = (Vec::new(), vec![0; 50_000]);
        while got.len() < sent.len() {
            match rustix::io::read(&reader, &mut piece[..]) {
                Ok(n) => got.extend_from_slice(&piece[..n]),
                Err(_) => input.drain(),
            }
        }
        assert_eq!(got, sent);
        input.drain();
        assert!(input.is_closed());
        // A process that another test has just forked may still hold a copy of the write end, until its exec.
        let mut end = rustix::io::read(&reader, &mut piece[..]);
        while end == Err(rustix::io::Errno::AGAIN) {
            std::thread::yield_now();
            end = rustix::io::read(&reader, &mut piece[..]);
        }
        assert_eq!(end, Ok(0));
    }

    #[test]
    fn a_queue_at_its_cap_takes_nothing_more() {
        let (_reader, mut input) = pipe();
        assert!(matches!(input.offer(&vec![0; 300_000], 1000), Taken::Queued(_)));
        let queued = input.queued();
        assert_eq!(input.offer(b"x", 1000), Taken::Overflow);
        assert_eq!(input.queued(), queued);
    }

    #[test]
    fn a_worker_that_closed_its_stdin_is_an_error_to_the_writer() {
        let (reader, mut input) = pipe();
        drop(reader);
        assert_eq!(input.offer(b"x", 1000), Taken::Closed);
        assert!(input.is_closed());
        assert_eq!(input.end(), Taken::Closed);
    }
}
