//! Where main's words go: stderr with `-d`, else syslog. What erluv-child has to say comes through main, too, by its
//! log pipe. Whatever a line quotes is made harmless here, whoever wrote it (S-55), and writing one never waits for
//! syslogd.

mod clean;
mod lines;
mod socket;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use syslog::{Facility, Formatter3164, Logger};

pub(crate) use clean::clean;
use lines::Lines;
use socket::Socket;

/// The name in front of every line.
const IDENT: &str = "erluv-main";

/// Lines wait for whoever takes them.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// Lines wait for the end of a turn.
static HOLDING: AtomicBool = AtomicBool::new(false);

/// While there is one, lines wait, but for errors: they are written together when it is dropped.
pub(crate) struct Turn(());

/// Begins a turn of the loop. Whoever reads the log is woken once for it then, and after those who wait for what the turn
/// is about.
pub(crate) fn begin_turn() -> Turn {
    HOLDING.store(true, Ordering::Relaxed);
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        HOLDING.store(false, Ordering::Relaxed);
        ::log::logger().flush();
    }
}

/// Whether lines wait for who is slow to take them: flush the log from time to time.
pub(crate) fn is_behind() -> bool {
    BEHIND.load(Ordering::Relaxed)
}

struct Sink {
    level: LevelFilter,
    syslog: Option<Mutex<Logger<Socket, Formatter3164>>>,
    /// For stderr.
    waiting: Mutex<Lines>,
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
    ::log::set_boxed_logger(Box::new(Sink { level, syslog, waiting: Mutex::default(), journal, front }))
        .map_err(io::Error::other)?;
    ::log::set_max_level(level);
    say_all_before_a_panic();
    Ok(())
}

/// A panic ends this process: what was said before it is written first.
fn say_all_before_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ::log::logger().flush();
        usual(info);
    }));
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
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.push(&line, &mut io::stderr());
                if !holds(record.level()) {
                    write_out(&mut waiting);
                }
            }
            Some(syslog) => {
                let syslog = &mut syslog.lock().unwrap_or_else(PoisonError::into_inner);
                collect(syslog, record.level(), &text);
                if !holds(record.level()) {
                    drain(syslog);
                }
            }
        }
    }

    fn flush(&self) {
        // Who panics while it has one of them cannot have it again.
        if let Ok(mut waiting) = self.waiting.try_lock() {
            write_out(&mut waiting);
        }
        if let Some(Ok(mut syslog)) = self.syslog.as_ref().map(Mutex::try_lock) {
            drain(&mut syslog);
        }
    }
}

/// Whether a line of this level waits for the end of the turn.
fn holds(level: Level) -> bool {
    level > Level::Error && HOLDING.load(Ordering::Relaxed)
}

fn write_out(waiting: &mut Lines) {
    BEHIND.store(!waiting.write_out(&mut io::stderr()), Ordering::Relaxed);
}

fn drain(logger: &mut Logger<Socket, Formatter3164>) {
    logger.backend.drain(std::time::Instant::now());
    BEHIND.store(logger.backend.is_behind(), Ordering::Relaxed);
}

/// Takes one line down; what was lost before it is counted in it.
fn collect(logger: &mut Logger<Socket, Formatter3164>, level: Level, text: &str) {
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
        collect(&mut logger, Level::Warn, "hello");
        drain(&mut logger);
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
        let say = |logger: &mut Logger<Socket, Formatter3164>, text| {
            collect(logger, Level::Info, text);
            drain(logger);
        };
        say(&mut logger, "one");
        say(&mut logger, "two");
        let server = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
        logger.backend.forget_pause();
        say(&mut logger, "three");
        say(&mut logger, "four");
        let mut line = [0; 200];
        let n = server.recv(&mut line).unwrap();
        assert!(line[..n].ends_with(b": three [2 lines before this one were lost]"));
        let n = server.recv(&mut line).unwrap();
        assert!(line[..n].ends_with(b": four"));
    }

    #[test]
    fn lines_of_a_turn_come_at_its_end_and_errors_at_once() {
        let folder = crate::settings::TestFolder::new("log-turn");
        let place = folder.0.join("log");
        let server = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut line = [0; 200];
        let mut heard = || server.recv(&mut line).ok().map(|n| line[..n].last().copied());
        let logger = Mutex::new(Logger::new(Socket::at(vec![place]), formatter()));
        let (level, front) = (LevelFilter::Info, String::new());
        let sink = Sink { level, syslog: Some(logger), waiting: Mutex::default(), journal: false, front };
        let say = |level, text| {
            sink.log(&Record::builder().level(level).args(format_args!("{text}")).build());
        };
        let turn = begin_turn();
        say(Level::Info, 1);
        say(Level::Warn, 2);
        assert_eq!(heard(), None);
        // With what was said before it.
        say(Level::Error, 3);
        assert_eq!([heard(), heard(), heard()], [Some(Some(b'1')), Some(Some(b'2')), Some(Some(b'3'))]);
        say(Level::Info, 4);
        assert_eq!(heard(), None);
        drop(turn);
        sink.flush();
        say(Level::Info, 5);
        assert_eq!([heard(), heard(), heard()], [Some(Some(b'4')), Some(Some(b'5')), None]);
    }
}
