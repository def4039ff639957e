//! `erluv-child --self-test [--user NAME --group GROUP --chroot DIR --worker-limit N]`: whether the confinement holds
//! on this system (S-73). erluv-main runs it at its start where `sandbox = "required"`; anybody may by hand.
//!
//! Each attempt is made in a process of its own, executed for it, which confines itself by the same function as the
//! child that serves, with the same arguments, and then does what a child must not: a filter that ends the process ends
//! nothing else. A process that says how it was refused, or dies of SIGSYS, was refused; anything else was not.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use nix::errno::Errno;
use nix::unistd::alarm;

use crate::confine::confine;
use crate::start::{Separation, Start, StartError, parse};

#[cfg(not(target_os = "linux"))]
#[path = "self_test/portable.rs"]
mod attempts;
#[cfg(target_os = "linux")]
#[path = "self_test/linux.rs"]
mod attempts;

/// What this is asked for by.
pub(crate) const OPTION: &str = "--self-test";

/// The mark of a process that makes one attempt.
const ATTEMPT: &str = "--attempt";

/// An attempt that hangs was not refused: so many seconds are its life, and twice as many that of the whole.
const SECONDS: u32 = 10;

/// sysexits(3): the confinement does not hold.
const SOFTWARE: u8 = 70;

/// What the lines of an attempt begin with.
const MISSING: &str = "missing: ";
const REFUSED: &str = "refused: ";
const PASSED: &str = "passed: ";
const FAILED: &str = "failed: ";

/// Makes all attempts, or in a process of its own the one that is named, and reports on stdout.
///
/// The status: 0 where each was refused, 70 where one was not, 64 for a wrong command line, 71 or 78 where the
/// confinement cannot be made.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let start = |words: &[OsString]| match words {
        [] => by_hand(),
        words => parse(words.iter().cloned(), nix::unistd::geteuid().is_root()),
    };
    let (attempt, rest) = match words.as_slice() {
        [mark, name, rest @ ..] if mark == ATTEMPT => (Some(name), rest),
        rest => (None, rest),
    };
    match (start(rest), attempt) {
        (Err(error), _) => error.report(),
        (Ok(start), Some(name)) => attempt_one(&start, &name.to_string_lossy()),
        (Ok(_), None) => attempt_all(rest),
    }
}

/// What a person most likely means: as root the users and the folder of a configuration that names none.
fn by_hand() -> Result<Start, StartError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Start { separation: None, worker_limit: 1 });
    }
    let usage = |what: &str| StartError::Usage(format!("{what}: give --user, --group, --chroot, --worker-limit"));
    let known = |name: &&str| nix::unistd::User::from_name(name).is_ok_and(|user| user.is_some());
    let user = ["_erluv", "nobody"].into_iter().find(known).ok_or_else(|| usage("no user _erluv or nobody"))?;
    let group = nix::unistd::User::from_name(user).ok().flatten().map(|user| user.gid.to_string());
    let folder = ["/var/empty", "/run/erluv/empty"].into_iter().find(|path| Path::new(path).is_dir());
    let separation = Separation {
        user: user.to_owned(),
        group: group.unwrap_or_default(),
        chroot: PathBuf::from(folder.ok_or_else(|| usage("no folder /var/empty or /run/erluv/empty"))?),
    };
    Ok(Start { separation: Some(separation), worker_limit: 1 })
}

/// Confines this process and makes one attempt.
fn attempt_one(start: &Start, name: &str) -> ExitCode {
    alarm::set(SECONDS);
    let prepared = match attempts::prepare(name) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(&format!("{FAILED}{error}"));
            return ExitCode::from(SOFTWARE);
        }
    };
    match confine(start) {
        Ok(confined) => confined.missing.iter().for_each(|what| say(&format!("{MISSING}{what}"))),
        Err(error) => {
            say(&format!("{FAILED}{error}"));
            return ExitCode::from(error.status());
        }
    }
    match prepared.make().map_err(|error| error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)) {
        Err(errno) if is_refusal(errno) => say(&format!("{REFUSED}{errno:?}")),
        Err(errno) => say(&format!("{PASSED}{errno:?}, which is no refusal")),
        Ok(()) => say(&format!("{PASSED}it succeeded")),
    }
    ExitCode::SUCCESS
}

/// Whether an errno says that something is not allowed, not there, or not known to the kernel; others only say that
/// this very call could not be done.
fn is_refusal(errno: Errno) -> bool {
    let refusals = [Errno::EPERM, Errno::EACCES, Errno::ENOENT, Errno::ENOSYS, Errno::EROFS, Errno::ENETUNREACH];
    // What fork(2) says where RLIMIT_NPROC is 0, and capability mode of FreeBSD.
    #[cfg(target_os = "freebsd")]
    let others = [Errno::EAGAIN, Errno::ECAPMODE, Errno::ENOTCAPABLE];
    #[cfg(not(target_os = "freebsd"))]
    let others = [Errno::EAGAIN];
    refusals.contains(&errno) || others.contains(&errno)
}

/// Starts a process for each attempt, all at once, and reports what came of them.
fn attempt_all(words: &[OsString]) -> ExitCode {
    alarm::set(SECONDS.saturating_mul(2));
    let started = attempts::NAMES.iter().map(|name| (*name, start_attempt(name, words))).collect::<Vec<_>>();
    let (mut passed, mut missing) = (Vec::new(), Vec::new());
    let count = started.len();
    for (name, process) in started {
        let output = match process.and_then(Child::wait_with_output) {
            Ok(output) => output,
            Err(error) => return fail(&error.to_string()),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        if let Some(why) = line(FAILED) {
            let _ = writeln!(io::stderr(), "erluv-child: {why}");
            return ExitCode::from(output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(SOFTWARE));
        }
        if missing.is_empty() {
            missing = text.lines().filter_map(|line| line.strip_prefix(MISSING)).map(str::to_owned).collect();
        }
        match verdict(&output, line(REFUSED), line(PASSED)) {
            Ok(how) => say(&format!("{name}: refused: {how}")),
            Err(how) => {
                say(&format!("{name}: NOT REFUSED: {how}"));
                passed.push(name);
            }
        }
    }
    missing.iter().for_each(|what| say(&format!("the confinement lacks: {what}")));
    if passed.is_empty() {
        say(&format!("{count} attempts, all refused"));
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "erluv-child: self-test: not refused: {}", passed.join(", "));
    ExitCode::from(SOFTWARE)
}

fn start_attempt(name: &str, words: &[OsString]) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("erluv-child").args([OPTION, ATTEMPT, name]).args(words).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// How an attempt was refused, or what it came to instead.
fn verdict(output: &Output, refused: Option<&str>, passed: Option<&str>) -> Result<String, String> {
    match (refused, passed, output.status.signal()) {
        (Some(errno), _, _) => Ok(errno.to_owned()),
        (None, Some(how), _) => Err(how.to_owned()),
        (None, None, Some(signal)) if attempts::ENDS.contains(&signal) => Ok("it ends the process".to_owned()),
        (None, None, _) => Err(format!("the process did not come back from it: {}", output.status)),
    }
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "erluv-child: self-test: {why}");
    ExitCode::from(SOFTWARE)
}

fn say(line: &str) {
    // Whoever does not listen does not learn of it.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: i32) -> Output {
        Output { status: std::process::ExitStatus::from_raw(status), stdout: Vec::new(), stderr: Vec::new() }
    }

    #[test]
    fn s73_only_a_refusal_or_the_filters_signal_is_a_refusal() {
        assert_eq!(verdict(&ended(0), Some("EPERM"), None), Ok("EPERM".to_owned()));
        for end in attempts::ENDS {
            assert!(verdict(&ended(*end), None, None).is_ok());
        }
        assert!(verdict(&ended(0), None, Some("it succeeded")).is_err());
        // A program that was executed in its place, a hang, a crash.
        for status in [0, 256, libc::SIGALRM, libc::SIGSEGV, libc::SIGKILL] {
            assert!(verdict(&ended(status), None, None).is_err(), "{status}");
        }
        assert!(is_refusal(Errno::EPERM) && is_refusal(Errno::EACCES));
        assert!(!is_refusal(Errno::EFAULT) && !is_refusal(Errno::EINVAL) && !is_refusal(Errno::EBADF));
    }
}
