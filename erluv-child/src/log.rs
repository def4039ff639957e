//! erluv-child's log: lines through a pipe to erluv-main, which alone writes to syslog or stderr. Runs without
//! privileges.
//!
//! A line is one digit, the level from 1 (error) to 5 (trace), the text, and `\n`, [`LINE`] bytes at most: one write(2)
//! of less than `PIPE_BUF`, so that lines are never mixed. The pipe is never waited for: a line that does not fit is
//! dropped and counted, and the count is told before the next line that does fit.

use std::{
    fmt::Write as _,
    io,
    os::fd::OwnedFd,
    panic::PanicHookInfo,
    sync::atomic::{AtomicU64, Ordering},
};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::retry_on_intr,
};

/// The longest line in bytes, its level and its end included (S-55).
const LINE: usize = 1024;

/// Stands at the end of a text that was cut.
const CUT: &str = "...";

/// Sends all messages of `level` and above, and the text of a panic, to the pipe from now on; makes the pipe
/// non-blocking.
///
/// # Errors
/// Those of fcntl(2); [`io::ErrorKind::AlreadyExists`] where the process has a logger.
pub(crate) fn init(pipe: OwnedFd, level: LevelFilter) -> io::Result<()> {
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
    let logger = PipeLog { pipe, dropped: AtomicU64::new(0) };
    ::log::set_boxed_logger(Box::new(logger)).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    ::log::set_max_level(level);
    std::panic::set_hook(Box::new(on_panic));
    Ok(())
}

/// The last words: panics end the process (profile `panic = "abort"`), and stderr is `/dev/null`.
fn on_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no text");
    match info.location() {
        Some(place) => ::log::error!("panic at {}:{}: {text}", place.file(), place.line()),
        None => ::log::error!("panic: {text}"),
    }
}

struct PipeLog {
    pipe: OwnedFd,
    dropped: AtomicU64,
}

impl PipeLog {
    /// Whether the whole line is in the pipe.
    fn put(&self, level: Level, text: std::fmt::Arguments<'_>) -> bool {
        let line = line(level, text);
        // The one cause of a short write, a pipe with less room than the line, is excluded by its being under PIPE_BUF.
        matches!(retry_on_intr(|| rustix::io::write(&self.pipe, line.as_bytes())), Ok(length) if length == line.len())
    }
}

impl Log for PipeLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && !self.put(Level::Warn, format_args!("{dropped} log lines dropped: the log pipe was full")) {
            self.dropped.fetch_add(dropped.saturating_add(1), Ordering::Relaxed);
            return;
        }
        if !self.put(record.level(), *record.args()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// The line of a message, its end included.
fn line(level: Level, text: std::fmt::Arguments<'_>) -> String {
    let digit = match level {
        Level::Error => '1',
        Level::Warn => '2',
        Level::Info => '3',
        Level::Debug => '4',
        Level::Trace => '5',
    };
    let mut line = Line { text: String::with_capacity(LINE), full: false };
    line.text.push(digit);
    // Its one error says that the line is full.
    let _ = line.write_fmt(text);
    if line.full {
        line.text.push_str(CUT);
    }
    line.text.push('\n');
    line.text
}

/// Takes a message as it is formatted, escapes it, and stops when there is no more room.
struct Line {
    text: String,
    full: bool,
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        for c in part.chars() {
            let length = if unsafe_in_a_log(c) { c.escape_unicode().len() } else { c.len_utf8() };
            let end = self.text.len().saturating_add(length).saturating_add(CUT.len()).saturating_add(1);
            if self.full || end > LINE {
                self.full = true;
                return Err(std::fmt::Error);
            }
            if unsafe_in_a_log(c) {
                self.text.extend(c.escape_unicode());
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}

/// What could forge a line, drive a terminal or turn the order of what is read: control characters (C0, DEL, C1), line
/// and paragraph separators, and the marks of bidirectional text.
fn unsafe_in_a_log(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_line_is_level_text_and_end() {
        assert_eq!(line(Level::Error, format_args!("a: {}", 1)), "1a: 1\n");
        assert_eq!(line(Level::Trace, format_args!("é")), "5é\n");
    }

    #[test]
    fn s55_control_characters_and_marks_are_escaped() {
        let text = "a\nb\x1b[1m\u{9b}\u{202e}\u{7f}\0c";
        assert_eq!(line(Level::Info, format_args!("{text}")), "3a\\u{a}b\\u{1b}[1m\\u{9b}\\u{202e}\\u{7f}\\u{0}c\n");
    }

    #[test]
    fn s55_a_line_has_1024_bytes_at_most() {
        for filling in ["x", "é", "\n", "\u{202e}"] {
            let long = filling.repeat(2000);
            let made = line(Level::Warn, format_args!("{long}{long}"));
            assert!(made.len() <= LINE && made.len() > LINE - 12, "{} bytes", made.len());
            assert!(made.ends_with("...\n"));
            assert_eq!(made.matches('\n').count(), 1);
        }
    }

    #[test]
    fn a_full_pipe_drops_lines_and_counts_them() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let logger = PipeLog { pipe: writer.into(), dropped: AtomicU64::new(0) };
        let text = "x".repeat(900);
        let mut written = 0;
        for length in [900, 0] {
            while logger.put(Level::Info, format_args!("{}", &text[..length])) {
                written += length + 2;
            }
        }
        ::log::set_max_level(LevelFilter::Info);
        let say = |text: &str| {
            logger.log(&Record::builder().level(Level::Error).args(format_args!("{text}")).build());
        };
        say(&text);
        say(&text);
        let mut all = vec![0; written];
        reader.read_exact(&mut all).unwrap();
        say("after");
        drop(logger);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "22 log lines dropped: the log pipe was full\n1after\n");
    }
}
