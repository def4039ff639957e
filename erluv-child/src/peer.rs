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

/// Room for input and for output that is kept while little is said.
const KEPT: usize = 256 * 1024;

/// More than that is given back this long after it was last of use: not between one long frame and the next, which
/// would cost as much as to copy them.
const KEPT_FOR: Duration = Duration::from_millis(200);

/// Output that has gone is taken from the front of the buffer once it is so much.
const GONE: usize = 256 * 1024;

/// Bytes that may wait for a node that does not read.
const MOST_WAITING: usize = 64 * 1024 * 1024;

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
}

/// A connection that has passed the handshake.
pub(crate) struct Peer {
    socket: OwnedFd,
    max_frame: usize,
    patience: Duration,
    input: Vec<u8>,
    /// Bytes that the frame at the front of the input has, as far as is known.
    wanted: usize,
    /// Bytes of a frame over the limit that are still to come.
    skip: usize,
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
            wanted: 0,
            skip: 0,
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
    /// the buffer that it is given.
    ///
    /// # Errors
    /// [`PeerError::Closed`] or [`PeerError::Io`].
    pub(crate) fn read(&mut self, now: Instant, each: impl FnMut(Frame<'_>, &mut Vec<u8>)) -> Result<(), PeerError> {
        let most = self.wanted.saturating_sub(self.input.len()).max(PIECE);
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

    fn split(&mut self, mut each: impl FnMut(Frame<'_>, &mut Vec<u8>)) {
        let mut at = 0usize;
        self.wanted = 0;
        loop {
            let skipped = self.skip.min(self.input.len().saturating_sub(at));
            self.skip = self.skip.saturating_sub(skipped);
            at = at.saturating_add(skipped);
            let rest = self.input.get(at..).unwrap_or_default();
            let used = match frame::next(rest, self.max_frame) {
                Next::Tick { used } => {
                    self.tick_owed = true;
                    used
                }
                Next::Frame { body, used } => {
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
                    self.wanted = wanted;
                    break;
                }
            };
            at = at.saturating_add(used);
        }
        self.input.drain(..at.min(self.input.len()));
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
        if self.input.is_empty() && now.saturating_duration_since(self.heard) >= KEPT_FOR {
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
mod tests {
    use super::*;

    fn peer(max_frame: usize) -> (OwnedFd, Peer) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (theirs.into(), Peer::new(ours.into(), max_frame, Duration::from_secs(90), Instant::now()))
    }

    fn frames(peer: &mut Peer) -> Vec<(bool, Vec<u8>)> {
        let mut got = Vec::new();
        while peer.is_readable() {
            let read = peer.read(Instant::now(), |frame, _| {
                got.push(match frame {
                    Frame::Whole(body) => (true, body.to_vec()),
                    Frame::Head(head) => (false, head.to_vec()),
                });
            });
            read.unwrap();
        }
        got
    }

    #[test]
    fn frames_come_whole_however_the_bytes_are_cut() {
        let (theirs, mut peer) = peer(1000);
        let bytes = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut got = Vec::new();
        for byte in bytes {
            rustix::io::write(&theirs, &[byte]).unwrap();
            peer.set_ready(true, false, false);
            got.extend(frames(&mut peer));
        }
        assert_eq!(got, [(true, vec![1, 2, 3]), (true, vec![9])]);
        assert!(peer.tick_owed && peer.input.is_empty());
    }

    #[test]
    fn what_a_long_frame_lacks_is_asked_for_in_one_go() {
        let (theirs, mut peer) = peer(1_000_000);
        let mut sent = 500_000u32.to_be_bytes().to_vec();
        sent.resize(500_004, 7);
        let mut got = Vec::new();
        for piece in sent.chunks(50_000) {
            rustix::io::write(&theirs, piece).unwrap();
            peer.set_ready(true, false, false);
            assert!(got.is_empty());
            got.extend(frames(&mut peer));
            assert!(got.is_empty() == (peer.wanted == sent.len()));
        }
        assert_eq!((got, peer.wanted), (vec![(true, sent.split_off(4))], 4));
    }

    #[test]
    fn a_frame_over_the_limit_shows_its_head_and_costs_no_memory() {
        let (theirs, mut peer) = peer(10_000);
        let long = vec![7u8; 300_000];
        let mut sent = (300_000u32.to_be_bytes()).to_vec();
        sent.extend(&long);
        sent.extend([0, 0, 0, 1, 9]);
        let mut got = Vec::new();
        for piece in sent.chunks(50_000) {
            rustix::io::write(&theirs, piece).unwrap();
            peer.set_ready(true, false, false);
            got.extend(frames(&mut peer));
            assert!(peer.input.len() < HEAD + PIECE);
        }
        assert_eq!(got, [(false, vec![7; HEAD]), (true, vec![9])]);
    }

    #[test]
    fn an_end_that_came_with_the_last_frame_is_seen_at_once() {
        let (theirs, mut peer) = peer(1000);
        rustix::io::write(&theirs, &[0, 0, 0, 1, 9]).unwrap();
        drop(theirs);
        peer.set_ready(true, true, true);
        assert!(peer.read(Instant::now(), |_, _| ()).is_ok());
        assert!(peer.is_readable());
        assert!(matches!(peer.read(Instant::now(), |_, _| ()), Err(PeerError::Closed)));
    }

    #[test]
    fn what_has_not_gone_whole_is_known_from_its_start() {
        let (theirs, mut peer) = peer(1000);
        let frame = |fill: u8| {
            let mut frame = 100_000u32.to_be_bytes().to_vec();
            frame.extend(vec![fill; 100_000]);
            frame
        };
        for fill in 1..=30 {
            peer.out.extend(frame(fill));
        }
        let mut got = Vec::new();
        let mut piece = vec![0; 70_000];
        while got.len() < 1_500_000 {
            peer.set_ready(false, true, false);
            peer.flush(Instant::now()).unwrap();
            let n = rustix::io::read(&theirs, &mut piece[..]).unwrap();
            got.extend_from_slice(&piece[..n]);
        }
        let unsent = peer.unsent();
        assert!(!unsent.is_empty() && unsent.len() % 100_004 == 0);
        let first = 31 - u8::try_from(unsent.len() / 100_004).unwrap();
        assert_eq!(unsent[..100_004], frame(first));
    }

    #[test]
    fn ticks_are_answered_but_not_without_end() {
        let (theirs, mut peer) = peer(1000);
        let start = Instant::now();
        rustix::io::write(&theirs, &[0; 4]).unwrap();
        frames(&mut peer);
        peer.tick(start).unwrap();
        assert_eq!(peer.waiting(), 0);
        peer.tick(start + TICK_PAUSE).unwrap();
        assert_eq!(peer.out, [0; 4]);
        peer.flush(start + TICK_PAUSE).unwrap();
        assert!(!peer.tick_owed);
        peer.tick(start + TICK_PAUSE + TICK).unwrap();
        assert_eq!(peer.out, [0; 4]);
        assert!(matches!(peer.tick(start + Duration::from_secs(91)), Err(PeerError::Silent(_))));
    }
}
