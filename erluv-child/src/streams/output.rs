//! A worker's stdout or stderr: read from the pipe straight into the buffer of the connection, behind a header that is
//! patched afterwards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Told;
use super::held::Held;

/// The most bytes in one message to the node: small enough that ticks and answers are not held up.
pub(crate) const PIECE: usize = 64 * 1024;

/// The most where no window counts, or a long one: with what is before them they fit one segment of the loopback, which
/// 64 KiB do not.
const SEGMENT: usize = 60 * 1024;

/// Bytes of a window from which on it is long: six segments. Of a shorter one, which mostly is a multiple of 64 KiB, the
/// rest that makes no whole segment would go as a message of its own each time.
const LONG_WINDOW: u32 = 6 * 60 * 1024;

/// How an output stream is handed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handing {
    /// The most bytes under way unacknowledged.
    pub(crate) window: Option<u32>,
    /// By lines of at most so many bytes.
    pub(crate) lines: Option<u32>,
    /// What is not acknowledged is kept for the next connection.
    pub(crate) keep: bool,
}

/// The read end of an output stream, and who gets its bytes.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: OwnedFd,
    /// Where its bytes go; `None`: to the owner.
    pub(crate) to: Option<Rc<[u8]>>,
    /// Bytes that the recipient still lets come; `None`: it counts nothing. Below 0 when a line was longer than that.
    credit: Option<i64>,
    window: u32,
    /// The poller has said that there is something to read, and it has not all been read.
    readable: bool,
    /// The last writer has gone: read on until the end is seen, no further event will come.
    closing: bool,
    /// What the poller tells of it.
    told: Told,
    /// The last read has brought a whole piece.
    full: bool,
    /// Its pipe was made as long as it gets.
    long: bool,
    /// It stands in the run queue.
    pub(crate) queued: bool,
    /// Bytes read since the start.
    pub(crate) total: u64,
    /// What lies between the pipe and the node; `None` for most streams, whose bytes go straight through.
    held: Option<Box<Held>>,
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
    pub(crate) fn new(pipe: OwnedFd, to: Option<Rc<[u8]>>, handing: Handing) -> Self {
        let Handing { window, lines, keep } = handing;
        let keep = keep && window.is_some();
        Self {
            pipe,
            to,
            credit: window.map(i64::from),
            window: window.unwrap_or(0),
            readable: false,
            closing: false,
            told: Told::All,
            full: false,
            long: false,
            queued: false,
            total: 0,
            held: (keep || lines.is_some()).then(|| Box::new(Held::new(lines, keep))),
        }
    }

    /// The pipe or terminal.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The poller's edge: there is something to read, or the last writer has gone.
    pub(crate) fn set_readable(&mut self, closing: bool) {
        self.readable = true;
        self.closing |= closing;
    }

    /// What the poller tells of it.
    pub(crate) fn told(&self) -> Told {
        self.told
    }

    /// The poller does so from now on.
    pub(crate) fn set_told(&mut self, told: Told) {
        self.told = told;
    }

    /// What the poller is to tell once it has said what was known, that there is something to read: it would do so for
    /// each write of a worker that writes faster than it is read, and wake child for nothing.
    pub(crate) fn told_when_ready(&self) -> Told {
        match self.told {
            Told::All if self.readable && !self.closing => Told::Nothing,
            told => told,
        }
    }

    /// What it is to tell after a turn of reading.
    pub(crate) fn told_when_read(&self) -> Told {
        if self.readable { self.told } else { Told::All }
    }

    /// Whether the end could be all that is left of it, and would not be seen: the poller is silent, and nobody lets it
    /// be read on.
    pub(crate) fn could_end_unseen(&self) -> bool {
        self.told == Told::Nothing && !self.has_credit()
    }

    /// There may be something to read, and if not a read will find out.
    pub(crate) fn look(&mut self) {
        self.readable |= self.has_credit();
    }

    /// Whether the poller has announced bytes that are not read yet, or some that were read wait.
    pub(crate) fn waits(&self) -> bool {
        self.readable || self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// Whether two pieces may go to the node in one write. The last two of a window do not: what the recipient gets early
    /// it acknowledges while the rest is read.
    pub(crate) fn lets_two_go_together(&self) -> bool {
        let three = self.longest().saturating_mul(3);
        self.credit.is_none_or(|credit| usize::try_from(credit).is_ok_and(|credit| credit >= three))
    }

    fn has_credit(&self) -> bool {
        self.credit.is_none_or(|credit| credit > 0)
    }

    /// Whether reading it is worth a turn: there is something, and the recipient lets it come.
    pub(crate) fn is_runnable(&mut self) -> bool {
        (self.readable && self.has_credit()) || self.has_piece()
    }

    /// Whether bytes that were read make another message, and the recipient lets it come.
    pub(crate) fn has_piece(&mut self) -> bool {
        self.has_credit() && self.held.as_mut().is_some_and(|held| held.has_piece())
    }

    /// Whether it has ended although the recipient lets nothing more come: all was read, and the last writer has gone.
    pub(crate) fn is_over(&self) -> bool {
        if !self.closing || self.has_credit() || self.held.as_ref().is_some_and(|held| !held.is_empty()) {
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
            *credit = credit.saturating_add(i64::from(bytes)).min(i64::from(self.window));
        }
        if let Some(held) = &mut self.held {
            held.acknowledge(bytes);
        }
    }

    /// The connection is lost and the worker kept. `unsent` was read of this stream and did not go out whole. Not a
    /// byte is read until [`Output::set_readable`], which follows when the poller knows the pipe again.
    pub(crate) fn rewind(&mut self, unsent: &[u8]) {
        if !unsent.is_empty() || self.held.is_some() {
            self.held.get_or_insert_with(Box::default).rewind(unsent);
        }
        self.credit = self.credit.map(|_| i64::from(self.window));
        self.to = None;
        self.readable = false;
        self.told = Told::All;
        self.queued = false;
    }

    /// Whether the last read has brought a whole piece.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Makes the pipe longer, once.
    pub(crate) fn lengthen(&mut self) {
        if !self.long {
            self.long = true;
            super::lengthen(self.pipe.as_fd());
        }
    }

    /// Appends to `out` what the pipe has, at most [`PIECE`] bytes and never more than the credit. By lines it is one
    /// line, for which any credit is enough.
    ///
    /// # Errors
    /// What read(2) says, but for "try again", which is [`Read::Empty`].
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<Read> {
        if self.held.is_some() {
            return self.read_held(out);
        }
        let most = self.allowed();
        let read = self.fill(most, out)?;
        if let Read::Some(n) = read {
            self.spend(n);
        }
        Ok(read)
    }

    /// The most bytes that may go out in one message now.
    fn allowed(&self) -> usize {
        let credit = self.credit.map_or(usize::MAX, |credit| usize::try_from(credit).unwrap_or(0));
        credit.min(self.longest())
    }

    /// The most bytes in a message of this stream.
    fn longest(&self) -> usize {
        if self.credit.is_some() && self.window < LONG_WINDOW { PIECE } else { SEGMENT }
    }

    fn spend(&mut self, bytes: usize) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    fn read_held(&mut self, out: &mut Vec<u8>) -> io::Result<Read> {
        let Some(mut held) = self.held.take() else { return Ok(Read::Empty) };
        let read = self.hand_on(&mut held, out);
        if !held.is_needless() {
            self.held = Some(held);
        }
        read
    }

    fn hand_on(&mut self, held: &mut Held, out: &mut Vec<u8>) -> io::Result<Read> {
        loop {
            if let Some(length) = held.piece(self.allowed()) {
                held.send(length, out);
                self.spend(length);
                return Ok(Read::Some(length));
            }
            if held.ended {
                return Ok(Read::End);
            }
            if !self.readable {
                return Ok(Read::Empty);
            }
            let (room, space) = held.room();
            match self.fill(room, space)? {
                Read::Some(_) => {}
                Read::Empty => return Ok(Read::Empty),
                Read::End => held.ended = true,
            }
        }
    }

    /// Reads at most `most` bytes, which is not 0.
    fn fill(&mut self, most: usize, out: &mut Vec<u8>) -> io::Result<Read> {
        match crate::sys::read_append(self.pipe.as_fd(), out, most) {
            Ok(0) => Ok(Read::End),
            Ok(n) => {
                self.total = self.total.saturating_add(n as u64);
                // A short read has emptied the pipe: whatever is written next raises an event of its own.
                self.readable = n == most || self.closing;
                self.full = n >= SEGMENT;
                Ok(Read::Some(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Read::Empty)
            }
            // What a terminal says when nobody has it open any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(Read::End),
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
        let mut output = Output::new(reader, None, Handing { window: Some(2000), ..Handing::default() });
        output.set_readable(false);
        let mut out = b"head".to_vec();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(2000));
        assert_eq!(out.len(), 2004);
        assert!(!output.is_runnable() && output.waits());
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
    fn the_last_two_pieces_of_a_window_go_one_by_one() {
        for (pieces, length) in [(4_u32, PIECE), (6, SEGMENT)] {
            let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
            let bytes = u32::try_from(length).unwrap();
            let window = Some(pieces * bytes);
            let mut output = Output::new(reader, None, Handing { window, ..Handing::default() });
            output.set_readable(false);
            for left in (1..=pieces).rev() {
                assert_eq!(output.lets_two_go_together(), left > 2, "{left} of {pieces}");
                rustix::io::write(&writer, &vec![7; length]).unwrap();
                assert_eq!(output.read(&mut Vec::new()).unwrap(), Read::Some(length));
            }
            output.acknowledge(3 * bytes);
            assert!(output.lets_two_go_together());
        }
    }

    #[test]
    fn the_poller_is_silent_from_where_it_could_only_repeat_itself_until_all_is_read() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"123").unwrap();
        let mut output = Output::new(reader, None, Handing { window: Some(2), ..Handing::default() });
        assert_eq!(output.told_when_ready(), Told::All);
        output.set_readable(false);
        assert_eq!(output.told_when_ready(), Told::Nothing);
        output.set_told(Told::Nothing);
        assert!(!output.could_end_unseen(), "it is read on");
        let mut out = Vec::new();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(2));
        assert_eq!(output.told_when_read(), Told::Nothing, "there may be more");
        assert!(output.could_end_unseen());
        output.acknowledge(2);
        assert!(!output.could_end_unseen());
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(1));
        assert_eq!(output.told_when_read(), Told::All);
        output.set_told(Told::All);
        output.set_readable(true);
        assert_eq!(output.told_when_ready(), Told::All, "after the last there is none that it could repeat");
    }

    #[test]
    fn a_piece_of_no_window_or_a_long_one_fits_one_segment_with_what_is_before_it() {
        for (window, most) in
            [(None, SEGMENT), (Some(LONG_WINDOW), SEGMENT), (Some(LONG_WINDOW - 1), PIECE), (Some(u32::MAX), SEGMENT)]
        {
            let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
            let mut output = Output::new(reader, None, Handing { window, ..Handing::default() });
            rustix::io::write(&writer, &[7; PIECE]).unwrap();
            output.set_readable(false);
            let mut out = Vec::new();
            assert_eq!(output.read(&mut out).unwrap(), Read::Some(most), "{window:?}");
            assert!(output.is_runnable());
            if most < PIECE {
                assert_eq!(output.read(&mut out).unwrap(), Read::Some(PIECE - most));
            }
        }
        // The loopback's packets of 65535 bytes, less the headers of IP and TCP with time stamps, and 1 KiB for pids and
        // names of 255 bytes.
        const { assert!(SEGMENT + 1024 <= 65535 - 20 - 32) };
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_made_longer_when_asked_and_says_when_it_was_full() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let mut output = Output::new(reader, None, Handing::default());
        let mut out = Vec::new();
        for (bytes, full) in [(SEGMENT - 1, false), (SEGMENT, true), (1, false)] {
            rustix::io::write(&writer, &vec![7; bytes]).unwrap();
            output.set_readable(false);
            out.clear();
            assert_eq!(output.read(&mut out).unwrap(), Read::Some(bytes));
            assert_eq!(output.is_full(), full);
        }
        output.lengthen();
        assert_eq!(rustix::pipe::fcntl_getpipe_size(output.fd()).unwrap(), super::super::LONG_PIPE);
    }

    #[test]
    fn an_end_that_came_with_the_last_bytes_is_not_missed() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"last").unwrap();
        drop(writer);
        let mut output = Output::new(reader, None, Handing::default());
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
        let mut output = Output::new(reader, None, Handing { window: Some(4), ..Handing::default() });
        drop(writer);
        output.set_readable(true);
        let mut out = Vec::new();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(4));
        assert!(!output.is_over());
        output.acknowledge(1);
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(1));
        assert!(output.is_over());
    }

    #[test]
    fn a_line_goes_out_whole_where_the_window_is_shorter() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"a long line\nx").unwrap();
        let mut output = Output::new(reader, None, Handing { window: Some(4), lines: Some(100), keep: false });
        output.set_readable(false);
        let mut out = Vec::new();
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(12));
        assert!(!output.is_runnable() && output.waits());
        output.acknowledge(8);
        assert!(!output.is_runnable());
        output.acknowledge(4);
        assert_eq!(output.read(&mut out).unwrap(), Read::Empty);
        drop(writer);
        output.set_readable(true);
        assert_eq!(output.read(&mut out).unwrap(), Read::Some(1));
        assert_eq!(output.read(&mut out).unwrap(), Read::End);
        assert_eq!((out.as_slice(), output.total), (b"a long line\nx".as_slice(), 13));
    }

    #[test]
    fn a_kept_stream_goes_on_where_it_was_acknowledged() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"0123456789").unwrap();
        let mut output = Output::new(reader, None, Handing { window: Some(6), lines: None, keep: true });
        output.set_readable(false);
        let mut out = Vec::new();
        while output.is_runnable() && output.read(&mut out).unwrap() != Read::Empty {}
        assert_eq!(out, b"012345");
        output.acknowledge(2);
        output.rewind(b"45");
        output.set_readable(false);
        out.clear();
        while output.is_runnable() && output.read(&mut out).unwrap() != Read::Empty {}
        assert_eq!(out, b"234567");
        output.acknowledge(6);
        while output.is_runnable() && output.read(&mut out).unwrap() != Read::Empty {}
        assert_eq!(out, b"23456789");
    }
}
