//! The way to syslogd: a datagram socket that never waits, and a queue before it. The syslog crate's own waits while
//! syslogd is stopped, which would stop main, and is deaf for ever after syslogd was started anew.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where syslogd listens: Linux and OpenBSD, macOS, FreeBSD and NetBSD.
const PLACES: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Lines that wait for a syslogd that is slower than we are: the socket itself holds some ten, and a storm of starts is
/// two audit lines for each.
const MOST_WAITING: usize = 4096;

/// A line that is not sent yet.
#[derive(Debug)]
struct Waiting {
    line: Vec<u8>,
    /// How many lines before it were lost, which it says.
    lost: u64,
}

/// What came of a line.
enum Sent {
    Yes,
    /// syslogd is slow.
    NotYet,
    /// There is none.
    Never,
}

/// Collects what is written, and sends it as one datagram.
#[derive(Debug)]
pub(super) struct Socket {
    places: Vec<PathBuf>,
    line: Vec<u8>,
    socket: Option<UnixDatagram>,
    /// No attempt to connect before this.
    not_before: Option<Instant>,
    pause: Duration,
    lost: u64,
    waiting: VecDeque<Waiting>,
}

impl Default for Socket {
    fn default() -> Self {
        Self::at(PLACES.map(PathBuf::from).to_vec())
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    /// For a syslogd at one of these places.
    pub(super) const fn at(places: Vec<PathBuf>) -> Self {
        Self {
            places,
            line: Vec::new(),
            socket: None,
            not_before: None,
            pause: FIRST_PAUSE,
            lost: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Lines that came to nothing since the last one that did not.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether lines wait for [`Socket::drain`].
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts what was written behind what waits; counts it as lost where too much does.
    pub(super) fn finish(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        if self.waiting.len() >= MOST_WAITING {
            self.drain(now);
        }
        if self.waiting.len() >= MOST_WAITING {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let lost = std::mem::take(&mut self.lost);
        self.waiting.push_back(Waiting { line, lost });
    }

    /// Sends what waits, as far as syslogd takes it; counts it as lost where nobody listens.
    pub(super) fn drain(&mut self, now: Instant) {
        while let Some(first) = self.waiting.pop_front() {
            match self.send(&first.line, now) {
                Sent::Yes => (self.not_before, self.pause) = (None, FIRST_PAUSE),
                Sent::NotYet => return self.waiting.push_front(first),
                Sent::Never => self.lost = self.lost.saturating_add(first.lost).saturating_add(1),
            }
        }
    }

    fn send(&mut self, line: &[u8], now: Instant) -> Sent {
        if let Some(socket) = &self.socket {
            match socket.send(line) {
                Ok(_) => return Sent::Yes,
                // syslogd is slow, and the connection stands.
                Err(error) if is_full(&error) => return Sent::NotYet,
                // It was started anew, so that its old socket leads nowhere.
                Err(_) => self.socket = None,
            }
        }
        if self.not_before.is_some_and(|time| now < time) {
            return Sent::Never;
        }
        self.socket = self.places.iter().find_map(|place| connect(place).ok());
        match self.socket.as_ref().map(|socket| socket.send(line)) {
            Some(Ok(_)) => Sent::Yes,
            Some(Err(error)) if is_full(&error) => Sent::NotYet,
            Some(Err(_)) | None => {
                self.not_before = now.checked_add(self.pause);
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
                Sent::Never
            }
        }
    }

    /// As if the pause were over.
    #[cfg(test)]
    pub(super) const fn forget_pause(&mut self) {
        self.not_before = None;
    }
}

fn connect(place: &PathBuf) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(place)?;
    Ok(socket)
}

/// Whether the queue of the other side is full: EAGAIN on Linux, ENOBUFS on the BSDs.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TestFolder;

    fn say(socket: &mut Socket, text: &str, now: Instant) {
        socket.write_all(text.as_bytes()).unwrap();
        socket.finish(now);
        socket.drain(now);
    }

    #[test]
    fn a_syslogd_that_does_not_read_costs_lines_and_no_time() {
        let folder = TestFolder::new("log-slow");
        let place = folder.0.join("log");
        let server = UnixDatagram::bind(&place).unwrap();
        let mut socket = Socket::at(vec![place]);
        let now = Instant::now();
        // A socket that waited would hang here for ever.
        while socket.lost() < 3 {
            say(&mut socket, "line", now);
        }
        let mut line = [0; 16];
        let n = server.recv(&mut line).unwrap();
        assert_eq!(&line[..n], b"line");
        say(&mut socket, "line", now);
        assert_eq!(socket.lost(), 0);
    }

    #[test]
    fn what_a_slow_syslogd_does_not_take_waits_and_comes_in_order() {
        let folder = TestFolder::new("log-waits");
        let place = folder.0.join("log");
        let server = UnixDatagram::bind(&place).unwrap();
        let mut socket = Socket::at(vec![place]);
        let now = Instant::now();
        for number in 0..1000 {
            say(&mut socket, &number.to_string(), now);
        }
        assert!(socket.is_behind() && socket.lost() == 0);
        let mut line = [0; 16];
        for number in 0..1000 {
            let n = server.recv(&mut line).unwrap();
            assert_eq!(line[..n], *number.to_string().as_bytes());
            socket.drain(now);
        }
        assert!(!socket.is_behind());
    }

    #[test]
    fn a_syslogd_that_is_started_anew_is_found_again() {
        let folder = TestFolder::new("log-anew");
        let place = folder.0.join("log");
        let old = UnixDatagram::bind(&place).unwrap();
        let mut socket = Socket::at(vec![folder.0.join("none"), place.clone()]);
        let now = Instant::now();
        say(&mut socket, "one", now);
        drop(old);
        std::fs::remove_file(&place).unwrap();
        say(&mut socket, "two", now);
        assert_eq!(socket.lost(), 1);
        let new = UnixDatagram::bind(&place).unwrap();
        say(&mut socket, "too early", now);
        assert_eq!(socket.lost(), 2);
        say(&mut socket, "three", now.checked_add(FIRST_PAUSE).unwrap());
        assert_eq!(socket.lost(), 0);
        let mut line = [0; 16];
        let n = new.recv(&mut line).unwrap();
        assert_eq!(&line[..n], b"three");
    }

    #[test]
    fn attempts_come_after_longer_and_longer_pauses() {
        let folder = TestFolder::new("log-none");
        let mut socket = Socket::at(vec![folder.0.join("none")]);
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            say(&mut socket, "line", now);
            let until = now.checked_add(Duration::from_secs(seconds)).unwrap();
            assert_eq!(socket.not_before, Some(until));
            now = until;
        }
        assert_eq!(socket.lost(), 7);
    }
}
