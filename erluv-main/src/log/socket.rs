//! The way to syslogd: a datagram socket that never waits. The syslog crate's own waits while syslogd is stopped, which
//! would stop main, and is deaf for ever after syslogd was started anew.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where syslogd listens: Linux and OpenBSD, macOS, FreeBSD and NetBSD.
const PLACES: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
        Self { places, line: Vec::new(), socket: None, not_before: None, pause: FIRST_PAUSE, lost: 0 }
    }

    /// Lines that came to nothing since the last one that got through.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Sends what was written, or counts it as lost.
    pub(super) fn finish(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        if self.send(&line, now) {
            (self.lost, self.not_before, self.pause) = (0, None, FIRST_PAUSE);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn send(&mut self, line: &[u8], now: Instant) -> bool {
        if let Some(socket) = &self.socket {
            match socket.send(line) {
                Ok(_) => return true,
                // syslogd is slow: this line is lost, the connection is not.
                Err(error) if is_full(&error) => return false,
                // It was started anew, so that its old socket leads nowhere.
                Err(_) => self.socket = None,
            }
        }
        if self.not_before.is_some_and(|time| now < time) {
            return false;
        }
        self.socket = self.places.iter().find_map(|place| connect(place).ok());
        let sent = self.socket.as_ref().is_some_and(|socket| socket.send(line).is_ok());
        if !sent {
            self.not_before = now.checked_add(self.pause);
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        sent
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
