//! Lines for stderr that wait for the end of a turn, or for who reads them.

use std::io::{self, Write};

/// The most bytes that are written at once where it can be helped: a pipe takes no more of them in one piece (PIPE_BUF),
/// so that nobody else's come between.
const TOGETHER: usize = 4096;

/// The most bytes that wait for a stderr that takes none and must not be waited for: further lines are lost, and counted.
const MOST_WAITING: usize = 1 << 20;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// How many lines were lost since the last one that was not.
    lost: u64,
}

impl Lines {
    /// One more line, behind what waits.
    pub(super) fn push(&mut self, line: &str, out: &mut impl Write) {
        if self.bytes.len().saturating_add(line.len()) > TOGETHER {
            self.write_out(out);
        }
        if self.bytes.len() >= MOST_WAITING {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let line = line.as_bytes();
        match std::mem::take(&mut self.lost) {
            0 => self.bytes.extend_from_slice(line),
            lost => {
                self.bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                self.bytes.extend_from_slice(format!(" [{lost} lines before this one were lost]\n").as_bytes());
            }
        }
    }

    /// Writes what waits, as far as it is taken. False where some of it waits on.
    pub(super) fn write_out(&mut self, out: &mut impl Write) -> bool {
        while !self.bytes.is_empty() {
            match out.write(&self.bytes) {
                Ok(written @ 1..) => drop(self.bytes.drain(..written.min(self.bytes.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // There is nowhere to say that stderr is gone.
                Ok(0) | Err(_) => self.bytes.clear(),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then no more for now.
    struct Slow(usize, Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0 -= taken;
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_slow_stderr_does_not_take_comes_later() {
        let (mut slow, mut lines) = (Slow(5, Vec::new()), Lines::default());
        lines.push("one\n", &mut slow);
        lines.push("two\n", &mut slow);
        assert!(slow.1.is_empty());
        assert!(!lines.write_out(&mut slow));
        assert_eq!(slow.1, b"one\nt");
        slow.0 = 10;
        assert!(lines.write_out(&mut slow));
        assert_eq!(slow.1, b"one\ntwo\n");
    }

    #[test]
    fn lines_that_a_stopped_stderr_has_no_room_for_are_counted_in_the_next() {
        let (mut slow, mut lines) = (Slow(2, Vec::new()), Lines::default());
        let long = format!("{}\n", "x".repeat(MOST_WAITING / 4));
        for _ in 0..7 {
            lines.push(&long, &mut slow);
        }
        slow.0 = usize::MAX;
        assert!(lines.write_out(&mut slow));
        lines.push("last\n", &mut slow);
        lines.write_out(&mut slow);
        let text = String::from_utf8(slow.1).unwrap();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!((lines.len(), lines[4]), (5, "last [3 lines before this one were lost]"));
    }

    #[test]
    fn nobody_waits_for_a_stderr_that_is_gone() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines::default();
        lines.push("one\n", &mut Gone);
        assert!(lines.write_out(&mut Gone) && lines.bytes.is_empty());
    }
}
