//! New namespaces for a worker, all but that of its processes: unshare(2), and what makes the new ones usable.
//!
//! As root they are made with main's privileges. Without root a user namespace comes first, in which the process has
//! all privileges over the namespaces that it then makes, and over nothing else.

use std::ffi::CStr;
use std::os::fd::IntoRawFd;

use libc::c_int;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::own::Own;
use crate::order::Identity;
use crate::sandbox::host::Kind;
use crate::sandbox::{Namespaces, Profile};
use crate::sys::call::{address, call, word};
use crate::sys::forked::{Called, close};
use crate::sys::os;

/// Any user who is not root.
const NOBODY: libc::uid_t = 65534;

/// netdevice(7), the same number on all processors.
const SIOCSIFFLAGS: usize = 0x8914;

/// The texts of uid_map and gid_map, user_namespaces(7): every id of the worker stands for itself.
#[derive(Debug)]
pub(in crate::sys) struct Maps {
    pub(in crate::sys) uids: Vec<u8>,
    pub(in crate::sys) gids: Vec<u8>,
}

impl Maps {
    /// Those of a worker; main's own where it runs as main does.
    pub(in crate::sys) fn of(identity: Option<&Identity>) -> Self {
        match identity {
            Some(Identity { uid, gid, groups, .. }) => {
                Self::new(*uid, &groups.iter().copied().chain([*gid]).collect::<Vec<_>>())
            }
            None => Self::new(rustix::process::geteuid().as_raw(), &[rustix::process::getegid().as_raw()]),
        }
    }

    fn new(uid: u32, gids: &[u32]) -> Self {
        let mut gids = gids.to_vec();
        gids.sort_unstable();
        gids.dedup();
        let line = |id: &u32| format!("{id} {id} 1\n");
        Self { uids: line(&uid).into_bytes(), gids: gids.iter().map(line).collect::<String>().into_bytes() }
    }
}

const fn flag(kind: Kind) -> c_int {
    match kind {
        Kind::Mount => libc::CLONE_NEWNS,
        Kind::Pid => libc::CLONE_NEWPID,
        Kind::Net => libc::CLONE_NEWNET,
        Kind::Ipc => libc::CLONE_NEWIPC,
        Kind::Uts => libc::CLONE_NEWUTS,
        Kind::User => libc::CLONE_NEWUSER,
        Kind::Cgroup => libc::CLONE_NEWCGROUP,
    }
}

/// The flags for those of a profile that are made here: neither processes nor users.
fn flags(profile: &Profile) -> c_int {
    let Namespaces { pid: _, net, ipc, uts, user: _, cgroup } = &profile.namespaces;
    let wanted = [
        (profile.mounts.is_some(), Kind::Mount),
        (*net, Kind::Net),
        (*ipc, Kind::Ipc),
        (uts.is_some(), Kind::Uts),
        (*cgroup, Kind::Cgroup),
    ];
    wanted.into_iter().filter(|(wanted, _)| *wanted).fold(0, |flags, (_, kind)| flags | flag(kind))
}

/// Whether a user namespace is made before the others, because main has no privileges.
pub(super) fn users_first(profile: &Profile, root: bool) -> bool {
    !root && (profile.namespaces.user || flags(profile) != 0)
}

/// All in one call, after the one for users where there is no root.
pub(in crate::sys) fn unshare(profile: &Profile, root: bool, own: &Own, maps: &Maps) -> Called {
    if users_first(profile, root) {
        unshare_flags(libc::CLONE_NEWUSER)?;
        // Without it, an ordinary user may not map its group.
        own.write(c"setgroups", b"deny")?;
        own.write(c"uid_map", &maps.uids)?;
        own.write(c"gid_map", &maps.gids)?;
    }
    match flags(profile) {
        0 => Ok(()),
        flags => unshare_flags(flags),
    }
}

pub(super) fn unshare_flags(flags: c_int) -> Called {
    // SAFETY: unshare takes a number.
    unsafe { call(libc::SYS_unshare, [word(flags)]) }.map(|_| ())
}

/// A name for the new host, and a way to talk to itself.
pub(in crate::sys) fn furnish(namespaces: &Namespaces) -> Called {
    if let Some(name) = &namespaces.uts {
        set_host_name(name)?;
    }
    if namespaces.net { raise_loopback() } else { Ok(()) }
}

fn set_host_name(name: &CStr) -> Called {
    let length = name.count_bytes();
    // SAFETY: the name is readable for its length.
    unsafe { call(libc::SYS_sethostname, [address(name), length]) }.map(|_| ())
}

/// netdevice(7): a new network has its loopback, down.
fn raise_loopback() -> Called {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(Errno::raw_os_error)?.into_raw_fd();
    // SAFETY: all bytes zero are a valid ifreq.
    let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
    for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *place = libc::c_char::try_from(*byte).unwrap_or(0);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    // SAFETY: the request is whole.
    let raised = unsafe { call(libc::SYS_ioctl, [word(socket), SIOCSIFFLAGS, address(&request)]) };
    close(socket)?;
    raised.map(|_| ())
}

/// Tries in a process of its own whether main may make namespaces of a kind, without root within a new one for users.
pub(super) fn can_unshare(kind: Kind, root: bool) -> bool {
    let first = if root || kind == Kind::User { 0 } else { libc::CLONE_NEWUSER };
    super::probe::succeeds(|| {
        if root && kind == Kind::User {
            // By then it is the worker's user who makes it.
            os::set_uids(NOBODY)?;
        }
        unshare_flags(first)?;
        unshare_flags(flag(kind))?;
        if kind == Kind::Mount { super::mounts::make_own() } else { Ok(()) }
    })
}
