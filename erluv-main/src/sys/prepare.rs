//! What main does to itself before anything else, with whatever privileges it was started with: nothing that the
//! starter left it (descriptors, environment, ignored signals, limits) goes any further.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;

use thiserror::Error;

use super::forked::Called;
use super::plan::Resource;
use super::{EVERY_SIGNAL, check, cvt, os};

/// The only name in main's environment from then on.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Why main will not run in this process.
#[derive(Debug, Error)]
pub(crate) enum PrepareError {
    /// S-71.
    #[error("set-uid, set-gid or with file capabilities: take these off the program file and start it as its user")]
    SetId,
    #[error("standard descriptors: {0}: check /dev/null")]
    Standard(#[source] io::Error),
    #[error("inherited descriptors: {0}: start erluv-main with none above 2")]
    Inherited(#[source] io::Error),
    #[error("environment: {0}: start erluv-main with an empty one")]
    Environment(#[source] io::Error),
    #[error("core dumps and tracing: {0}: erluv-main does not run where they cannot be forbidden")]
    Tracing(#[source] io::Error),
    #[error("limit of descriptors: {0}: start erluv-main with equal soft and hard limits")]
    Limits(#[source] io::Error),
    #[error("signals: {0}: start erluv-main with none ignored or blocked")]
    Signals(#[source] io::Error),
    #[error("adopting orphans: {0}: Linux 3.4 or newer is needed")]
    Orphans(#[source] io::Error),
}

/// What the starter had given, for those who need it.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The environment as it was: `ERLUV_*` and `HOME` are read from here.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The soft and the hard limit of descriptors as they were, before main raised the soft one for itself.
    pub(crate) descriptors: (u64, u64),
}

/// Prepares this process. To be called first in main: it closes every descriptor above 2, and it needs the only thread.
///
/// # Errors
/// [`PrepareError`]; the process should then end.
pub(crate) fn prepare_process() -> Result<Prepared, PrepareError> {
    if os::is_set_id() || !has_one_identity() {
        return Err(PrepareError::SetId);
    }
    open_standard().map_err(PrepareError::Standard)?;
    os::close_from(3).map_err(plain).map_err(PrepareError::Inherited)?;
    let environment = std::env::vars_os().collect::<Vec<_>>();
    reset_environment(&environment).map_err(PrepareError::Environment)?;
    forbid_cores().map_err(PrepareError::Tracing)?;
    let descriptors = raise_descriptors().map_err(PrepareError::Limits)?;
    reset_signals().map_err(plain).map_err(PrepareError::Signals)?;
    os::adopt_orphans().map_err(plain).map_err(PrepareError::Orphans)?;
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(0o077) };
    Ok(Prepared { environment, descriptors })
}

fn plain(errno: libc::c_int) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn has_one_identity() -> bool {
    // SAFETY: getuid takes nothing.
    let real = unsafe { libc::getuid() };
    // SAFETY: geteuid takes nothing.
    let effective = unsafe { libc::geteuid() };
    // SAFETY: getgid takes nothing.
    let real_group = unsafe { libc::getgid() };
    // SAFETY: getegid takes nothing.
    let effective_group = unsafe { libc::getegid() };
    real == effective && real_group == effective_group
}

/// Whatever is opened next would get a free number among 0 to 2, and be written to as if it were a log (S-17).
fn open_standard() -> io::Result<()> {
    for number in 0..3 {
        // SAFETY: fcntl takes numbers for this command.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } != -1 {
            continue;
        }
        // SAFETY: the path ends with NUL. The lowest free number is the one that was just found free.
        let opened = cvt(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
        if opened != number {
            return Err(plain(libc::EBADF));
        }
    }
    Ok(())
}

/// What is left: a constant path, and the service manager's socket, which [`crate::notify`] finds there. Neither child
/// nor workers inherit it: theirs are made from nothing.
fn reset_environment(before: &[(OsString, OsString)]) -> io::Result<()> {
    os::clear_environment()?;
    // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("PATH", PATH) };
    for (name, value) in before.iter().filter(|(name, _)| name == "NOTIFY_SOCKET") {
        // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// The cookie passes through this process's memory (S-36, S-76).
fn forbid_cores() -> io::Result<()> {
    os::forbid_tracing().map_err(plain)?;
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: setrlimit reads the limit, which is ours.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) }).map(|_| ())
}

/// A worker that lives costs main none, but for a few whose control groups stay open; while it is launched, up to
/// thirteen, and so do others that are launched with it.
fn raise_descriptors() -> io::Result<(u64, u64)> {
    let before = read_limit(libc::RLIMIT_NOFILE)?;
    let raised = libc::rlimit { rlim_cur: before.rlim_max, rlim_max: before.rlim_max };
    // SAFETY: setrlimit reads the limit, which is ours.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) })?;
    Ok(numbers(before))
}

/// A limit of this process, soft and hard, by its `RLIMIT_*`.
///
/// # Errors
/// Those of getrlimit(2).
pub(crate) fn own_limit(resource: i32) -> io::Result<(u64, u64)> {
    let resource = Resource::try_from(resource).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    read_limit(resource).map(numbers)
}

fn read_limit(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the place is ours and of the type that getrlimit writes.
    cvt(unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) })?;
    // SAFETY: getrlimit has succeeded, so it has written the limit.
    Ok(unsafe { limit.assume_init() })
}

fn numbers(limit: libc::rlimit) -> (u64, u64) {
    // rlim_t is signed on FreeBSD.
    #[allow(clippy::useless_conversion, reason = "an identity on the other systems")]
    let number = |limit: libc::rlim_t| u64::try_from(limit).unwrap_or(u64::MAX);
    (number(limit.rlim_cur), number(limit.rlim_max))
}

/// An ignored SIGCHLD would take the ends of the workers from us. SIGPIPE alone is ignored: writing to a pipe that
/// nobody reads is an error like any other.
fn reset_signals() -> Called {
    os::default_dispositions(EVERY_SIGNAL)?;
    // SAFETY: all bytes zero are a valid sigaction.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = libc::SIG_IGN;
    // SAFETY: the struct is whole, and the old disposition is not asked for.
    check(unsafe { libc::sigaction(libc::SIGPIPE, &raw const action, std::ptr::null_mut()) })?;
    os::empty_mask()
}
