//! Where main's words go: stderr with `-d`, else syslog. What erluv-child has to say comes through main, too, by its
//! log pipe. Whatever a line quotes is made harmless here, whoever wrote it (S-55), and writing one never waits for
//! syslogd.

mod clean;
mod socket;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use syslog::{Facility, Formatter3164, Logger};

pub(crate) use clean::clean;
use socket::Socket;

/// The name in front of every line.
const IDENT: &str = "erluv-main";

/// Lines wait for a syslogd that is slow.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// Whether lines wait for syslogd: flush the log from time to time.
pub(crate) fn is_behind() -> bool {
    BEHIND.load(Ordering::Relaxed)
}

struct Sink {
    level: LevelFilter,
    syslog: Option<Mutex<Logger<Socket, Formatter3164>>>,
    /// Whoever reads stderr writes name and process id in front of each line: systemd's journal.
    journal: bool,
    /// What is in front of a line otherwise.
    front: String,
}

/// Begins the log: to stderr for who stays in the foreground, else to the syslogd of this machine, facility daemon;
/// `verbose` is the number of `-v`, `journal` whether stderr is systemd's journal (systemd.exec(5)). Nothing fails for
/// want of a syslogd: it is looked for again with each line. To be called by the daemon, once it is one: each line
/// has the number of the process that calls this.
///
/// # Errors
/// The second time.
pub(crate) fn init(foreground: bool, verbose: u8, journal: bool) -> io::Result<()> {
    let level = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let syslog = (!foreground).then(|| Mutex::new(Logger::new(Socket::default(), formatter())));
    let front = format!("{IDENT}[{}]: ", std::process::id());
    ::log::set_boxed_logger(Box::new(Sink { level, syslog, journal, front })).map_err(io::Error::other)?;
    ::log::set_max_level(level);
    Ok(())
}

fn formatter() -> Formatter3164 {
    Formatter3164 {
        facility: Facility::LOG_DAEMON,
        // Local syslogds know the host, and RFC 3164's local form has none.
        hostname: None,
        process: IDENT.to_owned(),
        pid: std::process::id(),
    }
}

/// Says what was asked for by `-h` or `-V`, on stdout.
pub(crate) fn answer(text: &str) {
    // Nobody can be told that stdout is gone.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Says that `-n` has found nothing wrong, on stderr as ntpd(8) does, after what is allowed but worth a look.
pub(crate) fn answer_check(warnings: &[String]) {
    for warning in warnings {
        failure(&format!("warning: {}", clean(warning.as_bytes())));
    }
    failure("configuration OK");
}

/// Says why main does not run, on stderr, as long as there is no log. The text of a wrong command line has several
/// lines.
pub(crate) fn failure(text: &str) {
    let clean = text.lines().map(|line| clean(line.as_bytes())).collect::<Vec<_>>().join("\n");
    // Nobody can be told that stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{IDENT}: {clean}");
}

/// Passes a line of erluv-child's log pipe on, without its end of line: a digit for the level, 1 (error) to 5 (trace),
/// and the text. Child is not believed in either: another digit counts as the nearest, no digit as 3, and the line says
/// whose it is.
pub(crate) fn child_line(line: &[u8]) {
    let (level, text) = split_child_line(line);
    ::log::log!(level, "child: {}", clean(text));
}

fn split_child_line(line: &[u8]) -> (Level, &[u8]) {
    match line.split_first() {
        Some((b'0' | b'1', text)) => (Level::Error, text),
        Some((b'2', text)) => (Level::Warn, text),
        Some((b'3', text)) => (Level::Info, text),
        Some((b'4', text)) => (Level::Debug, text),
        Some((b'5'..=b'9', text)) => (Level::Trace, text),
        Some(_) | None => (Level::Info, line),
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = clean(record.args().to_string().as_bytes());
        match &self.syslog {
            None => {
                let line = match self.journal {
                    true => format!("{text}\n"),
                    false => [self.front.as_str(), &text, "\n"].concat(),
                };
                // There is nowhere to say that stderr is gone.
                let _ = io::stderr().lock().write_all(line.as_bytes());
            }
            Some(syslog) => {
                send(&mut syslog.lock().unwrap_or_else(PoisonError::into_inner), record.level(), &text);
            }
        }
    }

    fn flush(&self) {
        if let Some(syslog) = &self.syslog {
            let backend = &mut syslog.lock().unwrap_or_else(PoisonError::into_inner).backend;
            backend.drain(std::time::Instant::now());
            BEHIND.store(backend.is_behind(), Ordering::Relaxed);
        }
    }
}

/// Sends one line; what could not be sent before it is counted in it.
fn send(logger: &mut Logger<Socket, Formatter3164>, level: Level, text: &str) {
    let text = match logger.backend.lost() {
        0 => text.to_owned(),
        lost => format!("{text} [{lost} lines before this one were lost]"),
    };
    let formatted = match level {
        Level::Error => logger.err(text),
        Level::Warn => logger.warning(text),
        Level::Info => logger.info(text),
        Level::Debug | Level::Trace => logger.debug(text),
    };
    // The backend only collects: it cannot fail before `finish`.
    drop(formatted);
    logger.backend.finish(std::time::Instant::now());
    BEHIND.store(logger.backend.is_behind(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s55_the_level_of_childs_lines_is_clamped() {
        for (line, level, text) in [
            ("1a", Level::Error, "a"),
            ("0a", Level::Error, "a"),
            ("2a", Level::Warn, "a"),
            ("3a", Level::Info, "a"),
            ("4a", Level::Debug, "a"),
            ("5", Level::Trace, ""),
            ("9a", Level::Trace, "a"),
            ("a1", Level::Info, "a1"),
            ("", Level::Info, ""),
        ] {
            assert_eq!(split_child_line(line.as_bytes()), (level, text.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_line_for_syslog_has_facility_severity_name_and_process() {
        let folder = crate::settings::TestFolder::new("log-line");
        let place = folder.0.join("log");
        let server = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
        let mut logger = Logger::new(Socket::at(vec![place]), formatter());
        send(&mut logger, Level::Warn, "hello");
        let mut line = [0; 200];
        let n = server.recv(&mut line).unwrap();
        let line = std::str::from_utf8(&line[..n]).unwrap();
        // RFC 3164, 4.1.1: daemon is 3, warning is 4.
        assert!(line.starts_with("<28>"), "{line}");
        assert!(line.ends_with(&format!(" erluv-main[{}]: hello", std::process::id())), "{line}");
    }

    #[test]
    fn lines_that_were_lost_are_counted_in_the_next() {
        let folder = crate::settings::TestFolder::new("log-lost");
        let place = folder.0.join("log");
        let mut logger = Logger::new(Socket::at(vec![place.clone()]), formatter());
        send(&mut logger, Level::Info, "one");
        send(&mut logger, Level::Info, "two");
        let server = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
        logger.backend.forget_pause();
        send(&mut logger, Level::Info, "three");
        send(&mut logger, Level::Info, "four");
        let mut line = [0; 200];
        let n = server.recv(&mut line).unwrap();
        assert!(line[..n].ends_with(b": three [2 lines before this one were lost]"));
        let n = server.recv(&mut line).unwrap();
        assert!(line[..n].ends_with(b": four"));
    }
}
