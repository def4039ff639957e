//! Exit codes, those of sysexits(3), so that a service manager can tell what is worth another try.

/// Told to go (SIGTERM, SIGINT), `-n` found nothing wrong, or `-h` and `-V` were answered.
pub(crate) const OK: u8 = 0;

/// The command line is wrong: the same command will never work.
pub(crate) const USAGE: u8 = 64;

/// The system refuses something that every start needs: a process, a descriptor, a poller.
pub(crate) const OSERR: u8 = 71;

/// No order to respawn within `die_timeout`: starting again may help.
pub(crate) const TEMPFAIL: u8 = 75;

/// Started set-uid or set-gid, or without a right that the configuration asks for.
pub(crate) const NOPERM: u8 = 77;

/// The configuration, the policy or the cookie file is wrong: a person has to change a file.
pub(crate) const CONFIG: u8 = 78;
