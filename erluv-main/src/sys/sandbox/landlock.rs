//! Rights to files and ports, landlock(7), by system calls: between fork and exec nothing may allocate.

use std::ffi::{CStr, CString};

use libc::c_int;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::sandbox;
use crate::sys::call::{address, call, descriptor, word};
use crate::sys::forked::{Called, borrowed, close, open};

/// landlock_create_ruleset(2): tell the version.
const VERSION: usize = 1;

/// landlock_add_rule(2).
const RULE_PATH_BENEATH: usize = 1;
const RULE_NET_PORT: usize = 2;

/// Rights to files, in the order of their bits.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

const READ: u64 = READ_FILE | READ_DIR;
const WRITE: u64 = READ
    | WRITE_FILE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_SYM
    | REFER
    | TRUNCATE
    | IOCTL_DEV;

/// What a rule for a path that is no folder may give.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;

/// Abstract sockets, and signals.
const SCOPES: u64 = 0b11;

/// The kernel's `struct landlock_ruleset_attr`, as of version 6; older ones take its first parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Handled {
    files: u64,
    ports: u64,
    scopes: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`, packed to 12 bytes.
#[repr(C, packed)]
struct Beneath {
    rights: u64,
    parent: c_int,
}

/// The kernel's `struct landlock_net_port_attr`.
#[derive(Debug, PartialEq, Eq)]
#[repr(C)]
struct Port {
    rights: u64,
    port: u64,
}

/// The rules of a profile, as the kernel of this host takes them.
#[derive(Debug)]
pub(crate) struct Rules {
    handled: Handled,
    /// How much of [`Handled`] the kernel knows.
    size: usize,
    paths: Vec<(CString, u64)>,
    ports: Vec<Port>,
}

/// All rights that a version knows.
fn known(version: u32) -> u64 {
    let bits: u32 = match version {
        0 => 0,
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        5.. => 16,
    };
    1_u64.checked_shl(bits).map_or(0, |end| end.saturating_sub(1))
}

impl Rules {
    /// `version` is the kernel's, and not 0.
    pub(super) fn new(profile: &sandbox::Landlock, version: u32) -> Self {
        let known = known(version);
        let with = |paths: &[CString], rights: u64| {
            paths.iter().map(|path| (path.clone(), rights & known)).collect::<Vec<_>>()
        };
        let paths = [with(&profile.read, READ), with(&profile.write, WRITE), with(&profile.execute, EXECUTE | READ)];
        let ports = |ports: &Option<Vec<u16>>, rights: u64| {
            let port = |port: &u16| Port { rights, port: u64::from(*port) };
            ports.iter().flatten().map(port).collect::<Vec<_>>()
        };
        let is = |is: bool, bits: u64| if is { bits } else { 0 };
        let handled = Handled {
            files: known,
            ports: is(profile.bind.is_some(), BIND_TCP) | is(profile.connect.is_some(), CONNECT_TCP),
            scopes: is(profile.scopes, SCOPES),
        };
        let words = match version {
            0..=3 => 1,
            4 | 5 => 2,
            6.. => 3_usize,
        };
        Self {
            handled,
            size: words.saturating_mul(size_of::<u64>()),
            paths: paths.concat(),
            ports: [ports(&profile.bind, BIND_TCP), ports(&profile.connect, CONNECT_TCP)]
                .into_iter()
                .flatten()
                .collect(),
        }
    }
}

/// Takes the rules into force, for good. As the worker's user: a path that it cannot reach is passed over like one that
/// is not there.
pub(in crate::sys) fn restrict(rules: Option<&Rules>) -> Called {
    let Some(rules) = rules else { return Ok(()) };
    let ruleset = create(&rules.handled, rules.size)?;
    for (path, rights) in &rules.paths {
        allow_path(ruleset, path, *rights)?;
    }
    for port in &rules.ports {
        let (no_flags, rule) = (0, address(port));
        // SAFETY: the struct is the kernel's for this kind of rule.
        unsafe { call(libc::SYS_landlock_add_rule, [word(ruleset), RULE_NET_PORT, rule, no_flags]) }?;
    }
    // SAFETY: landlock_restrict_self takes numbers.
    unsafe { call(libc::SYS_landlock_restrict_self, [word(ruleset), 0]) }?;
    close(ruleset)
}

fn create(handled: &Handled, size: usize) -> Called<c_int> {
    let (no_flags, handled) = (0, address(handled));
    // SAFETY: the struct is the kernel's, and has at least as many bytes.
    unsafe { descriptor(libc::SYS_landlock_create_ruleset, [handled, size, no_flags]) }
}

fn allow_path(ruleset: c_int, path: &CStr, rights: u64) -> Called {
    let parent = match open(path, libc::O_PATH | libc::O_CLOEXEC, 0) {
        Err(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => return Ok(()),
        answer => answer?,
    };
    let rights = if is_folder(parent)? { rights } else { rights & OF_A_FILE };
    let rule = Beneath { rights, parent };
    let (no_flags, rule) = (0, address(&rule));
    // SAFETY: the struct is the kernel's for this kind of rule, and the descriptor in it is open.
    unsafe { call(libc::SYS_landlock_add_rule, [word(ruleset), RULE_PATH_BENEATH, rule, no_flags]) }?;
    close(parent)
}

/// Whether an open path is a folder.
pub(super) fn is_folder(fd: c_int) -> Called<bool> {
    let status = rustix::fs::fstat(borrowed(fd)?).map_err(Errno::raw_os_error)?;
    Ok(FileType::from_raw_mode(status.st_mode).is_dir())
}

/// The version of the kernel's landlock(7), 0 where it has none.
pub(super) fn version() -> u32 {
    let nothing = 0;
    // SAFETY: to tell its version the kernel reads nothing.
    let version = unsafe { call(libc::SYS_landlock_create_ruleset, [nothing, 0, VERSION]) };
    version.map_or(0, |version| u32::try_from(version).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> sandbox::Landlock {
        sandbox::Landlock {
            read: vec![c"/etc".to_owned()],
            write: vec![c"/tmp".to_owned()],
            execute: vec![c"/usr".to_owned()],
            bind: Some(vec![80]),
            connect: Some(Vec::new()),
            scopes: true,
        }
    }

    #[test]
    fn a_kernel_is_asked_for_no_more_than_its_version_has() {
        let handled = |version| {
            let rules = Rules::new(&profile(), version);
            (rules.handled.files, rules.size, rules.paths.iter().all(|(_, rights)| rights & !known(version) == 0))
        };
        assert_eq!(handled(1), (0x1fff, 8, true));
        assert_eq!(handled(2), (0x3fff, 8, true));
        assert_eq!(handled(4), (0x7fff, 16, true));
        assert_eq!(handled(6), (0xffff, 24, true));
    }

    #[test]
    fn ports_are_ruled_only_where_the_profile_names_some() {
        let rules = Rules::new(&profile(), 6);
        assert_eq!((rules.handled.ports, rules.handled.scopes), (3, 3));
        assert_eq!(rules.ports, [Port { rights: BIND_TCP, port: 80 }]);
        let without = Rules::new(&sandbox::Landlock { bind: None, connect: None, scopes: false, ..profile() }, 6);
        assert_eq!((without.handled.ports, without.handled.scopes, without.ports.len()), (0, 0, 0));
    }
}
