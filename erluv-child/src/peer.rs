//! The connection to the node: bytes <-> frames, ticks, and the buffer that everything to the node goes through.
//!
//! It is read whatever happens: a C-node that does not read suspends every process that sends to it. What waits to be
//! written is bounded by not reading the workers' pipes; answers that pile up beyond [`MOST_WAITING`] cost the
//! connection.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use erluv_proto::dist::{Next, frame, send};
use rustix::io::Errno;

/// A tick goes out when nothing else has for this long: a quarter of the node's own default patience.
const TICK: Duration = Duration::from_secs(15);

/// Ticks are answered no more often than this, so that two such nodes cannot keep each other busy.
const TICK_PAUSE: Duration = Duration::from_millis(200);

/// Bytes read from the node in one go, or what a longer frame lacks.
const PIECE: usize = 128 * 1024;

/// A frame that is longer may be taken as it comes, which keeps what is read in the processor's cache.
const LONG: usize = 96 * 1024;

/// The input begins at the start of a page, as what comes does in the kernel: to copy to an address that is 1 to 31 bytes
/// further into its page than the source takes some processors (`rep movsb` on AMD's) many times as long, and a long
/// allocation begins 16 bytes into a page.
const PAGE: usize = 4096;

/// Room for input and for output that is kept while little is said.
const KEPT: usize = 256 * 1024;

/// More than that is given back this long after it was last of use: not between one long frame and the next, which
/// would cost as much as to copy them.
const KEPT_FOR: Duration = Duration::from_millis(200);

/// Output that has gone is taken from the front of the buffer once it is so much.
const GONE: usize = 256 * 1024;

/// Bytes that may wait for a node that does not read.
const MOST_WAITING: usize = 64 * 1024 * 1024;

/// Bytes of a long frame that are looked at, to see whether it can be taken as it comes: enough for what is no data.
const FRONT: usize = 2 * 1024;

/// Bytes of a frame over the limit that are looked at: enough for who asked.
const HEAD: usize = 8 * 1024;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The node closed it, or the network did.
    #[error("closed by the node")]
    Closed,
    /// read(2) or write(2) failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came for the whole time that the configuration allows.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// The node does not read, and too much waits for it.
    #[error("{0} bytes wait for a node that does not read")]
    Stuck(usize),
}

/// What stands at the front of the input.
pub(crate) enum Frame<'a> {
    /// A whole frame.
    Whole(&'a [u8]),
    /// The front of a frame over the limit; the rest is dropped.
    Head(&'a [u8]),
    /// The front of a long frame's body, and how long that will be. Who takes it gets the rest of it in parts; else it
    /// comes whole.
    Begun(&'a [u8], usize),
    /// More of a frame that was taken as it comes.
    Part(&'a [u8]),
    /// The end of it.
    Last(&'a [u8]),
}

/// A connection that has passed the handshake.
pub(crate) struct Peer {
    socket: OwnedFd,
    max_frame: usize,
    patience: Duration,
    /// What has come and is not yet taken, behind `pad` bytes.
    input: Vec<u8>,
    pad: usize,
    /// Bytes that the frame at the front of the input has, as far as is known.
    wanted: usize,
    /// Bytes of a frame over the limit that are still to come.
    skip: usize,
    /// Bytes of a frame that is taken as it comes that are still to come.
    passing: usize,
    /// The frame at the front of the input was offered as it comes, and not taken.
    held: bool,
    readable: bool,
    /// The node has closed it: read on until the end is seen, no further event will come.
    closing: bool,
    /// Frames to the node, from the start of one; the first `sent` bytes have gone.
    pub(crate) out: Vec<u8>,
    sent: usize,
    blocked: bool,
    heard: Instant,
    said: Instant,
    tick_owed: bool,
}

impl Peer {
    /// Takes the connection; `now` counts as the last time that anything was heard.
    pub(crate) fn new(socket: OwnedFd, max_frame: usize, patience: Duration, now: Instant) -> Self {
        Self {
            socket,
            max_frame,
            patience,
            input: Vec::new(),
            pad: 0,
            wanted: 0,
            skip: 0,
            passing: 0,
            held: false,
            readable: true,
            closing: false,
            out: Vec::new(),
            sent: 0,
            blocked: false,
            heard: now,
            said: now,
            tick_owed: false,
        }
    }

    /// For the poller.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The poller's edge; `closing`: there is an end to be read.
    pub(crate) fn set_ready(&mut self, readable: bool, writable: bool, closing: bool) {
        self.readable |= readable | closing;
        self.closing |= closing;
        self.blocked &= !writable;
    }

    /// Whether there is something to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len().saturating_sub(self.sent)
    }

    /// Whether the socket takes no more for now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Reads what the socket has, at most one piece, and hands over each frame in it; `each` appends its answers to
    /// the buffer that it is given, and returns whether it takes what it got; only of [`Frame::Begun`] that matters.
    ///
    /// # Errors
    /// [`PeerError::Closed`] or [`PeerError::Io`].
    pub(crate) fn read(
        &mut self,
        now: Instant,
        each: impl FnMut(Frame<'_>, &mut Vec<u8>) -> bool,
    ) -> Result<(), PeerError> {
        let most = self.wanted.saturating_sub(self.unread().len()).max(PIECE);
        self.align(most);
        match crate::sys::read_append(self.socket.as_fd(), &mut self.input, most) {
            Ok(0) => return Err(PeerError::Closed),
            Ok(n) => {
                self.heard = now;
                self.readable = n == most || self.closing;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.split(each);
        Ok(())
    }

    fn split(&mut self, mut each: impl FnMut(Frame<'_>, &mut Vec<u8>) -> bool) {
        let mut at = self.pad;
        self.wanted = 0;
        loop {
            let skipped = self.skip.min(self.input.len().saturating_sub(at));
            self.skip = self.skip.saturating_sub(skipped);
            at = at.saturating_add(skipped).saturating_add(self.pass(at, &mut each));
            let rest = self.input.get(at..).unwrap_or_default();
            let used = match frame::next(rest, self.max_frame) {
                Next::Tick { used } => {
                    self.tick_owed = true;
                    used
                }
                Next::Frame { body, used } => {
                    self.held = false;
                    each(Frame::Whole(body), &mut self.out);
                    used
                }
                Next::Oversize { length, used } => {
                    let body = rest.get(used..).unwrap_or_default();
                    if body.len() < HEAD.min(length) {
                        break;
                    }
                    each(Frame::Head(body.get(..HEAD.min(length)).unwrap_or(body)), &mut self.out);
                    self.skip = length;
                    used
                }
                Next::More { wanted } => {
                    let body = rest.get(4..).unwrap_or_default();
                    let may_pass = wanted > LONG && body.len() >= FRONT && !self.held;
                    if may_pass && each(Frame::Begun(body, wanted.saturating_sub(4)), &mut self.out) {
                        self.passing = wanted.saturating_sub(rest.len());
                        at = self.input.len();
                        break;
                    }
                    self.held |= may_pass;
                    self.wanted = wanted;
                    break;
                }
            };
            at = at.saturating_add(used);
        }
        self.input.drain(self.pad..at.clamp(self.pad, self.input.len()));
    }

    /// Hands over what has come of a frame that is taken as it comes; returns how many bytes that is.
    fn pass(&mut self, at: usize, each: &mut impl FnMut(Frame<'_>, &mut Vec<u8>) -> bool) -> usize {
        let bytes = self.input.get(at..).unwrap_or_default();
        let part = bytes.get(..self.passing).unwrap_or(bytes);
        if part.is_empty() {
            return 0;
        }
        self.passing = self.passing.saturating_sub(part.len());
        each(if self.passing == 0 { Frame::Last(part) } else { Frame::Part(part) }, &mut self.out);
        part.len()
    }

    /// What has come and is not yet taken.
    fn unread(&self) -> &[u8] {
        self.input.get(self.pad..).unwrap_or_default()
    }

    /// Has the input begin at the start of a page, while it is empty; with room for `most` bytes, so that it stays there.
    fn align(&mut self, most: usize) {
        if !self.unread().is_empty() {
            return;
        }
        self.input.reserve(most.saturating_add(PAGE).saturating_sub(self.input.len()));
        let pad = self.input.as_ptr().align_offset(PAGE).min(PAGE);
        if pad != self.pad {
            self.pad = pad;
            self.input.resize(pad, 0);
        }
    }

    /// Writes what waits, as much as the socket takes.
    ///
    /// # Errors
    /// [`PeerError::Io`], or [`PeerError::Stuck`] where too much waits.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<(), PeerError> {
        while !self.blocked && self.waiting() > 0 {
            match rustix::io::write(&self.socket, self.out.get(self.sent..).unwrap_or_default()) {
                Ok(n) => {
                    self.sent = self.sent.saturating_add(n);
                    self.said = now;
                    self.tick_owed = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => self.blocked = true,
                Err(error) => return Err(PeerError::Io(error.into())),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > GONE {
            let whole = self.whole();
            self.out.drain(..whole);
            self.sent = self.sent.saturating_sub(whole);
        }
        if self.waiting() > MOST_WAITING {
            return Err(PeerError::Stuck(self.waiting()));
        }
        Ok(())
    }

    /// Where the first frame begins that has not gone whole.
    fn whole(&self) -> usize {
        let mut at = 0usize;
        while let Some(length) = self.out.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let end = at.saturating_add(4).saturating_add(length);
            if end > self.sent {
                break;
            }
            at = end;
        }
        at.min(self.out.len())
    }

    /// The frames that have not gone whole: of a connection that is lost, what the node has not been told.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.out.get(self.whole()..).unwrap_or_default()
    }

    /// Queues a tick where one is due: as an answer, or because nothing else was said for long. Gives back what is not
    /// needed; main's pings see to it that this is soon.
    ///
    /// # Errors
    /// [`PeerError::Silent`] where the node has said nothing for too long.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), PeerError> {
        if now.saturating_duration_since(self.heard) >= self.patience {
            return Err(PeerError::Silent(self.patience));
        }
        let quiet = now.saturating_duration_since(self.said);
        if self.unread().is_empty() && now.saturating_duration_since(self.heard) >= KEPT_FOR {
            self.input.shrink_to(KEPT);
        }
        if self.out.is_empty() && quiet >= KEPT_FOR {
            self.out.shrink_to(KEPT);
        }
        // Whole frames stand in the buffer, so a tick behind them is at a frame boundary.
        if self.waiting() == 0 && (quiet >= TICK || (self.tick_owed && quiet >= TICK_PAUSE)) {
            send::put_tick(&mut self.out);
        }
        Ok(())
    }

    /// When [`Peer::tick`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let silent = self.heard.checked_add(self.patience)?;
        let tick = self.said.checked_add(if self.tick_owed { TICK_PAUSE } else { TICK })?;
        Some(if self.waiting() == 0 { silent.min(tick) } else { silent })
    }
}

#[cfg(test)]
mod tests;
