//! Linux: namespaces of child's own with nothing in them, namespaces(7): no network but a loopback that is down, no
//! file system but the empty folder, no other's semaphores, message queues and host name. Runs in erluv-child: as root
//! before it changes its user, or as an ordinary user in a user namespace, user_namespaces(7).
//!
//! What child is handed works on: a socket belongs to the network that it was made in, wherever it is used.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, chdir, getegid, geteuid, pivot_root};

use super::ConfineError;
use super::identity::Way;

/// All that need nothing but to be made.
const PLAIN: [(&str, CloneFlags); 4] = [
    ("network", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

/// What a tmpfs that becomes the root of an ordinary user's child is mounted on: a folder that every system has.
const PLACE: &str = "/proc";

/// What this program is asked for to try whether [`become_alone_as_user`] works here.
pub(crate) const PROBE: &str = "--probe-namespaces";

/// What lacks where there are none.
pub(super) const WITHOUT_NAMESPACES: Option<&str> =
    Some("namespaces: erluv-main has no CAP_SYS_ADMIN, and the kernel lets no user make them");

/// Which way this system has for a root that becomes this user. A user's way is tried before it is taken, in a process
/// of its own: there is no way back from the change of user to chroot(2).
pub(super) fn way_in(uid: Uid, gid: Gid) -> Way {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false) {
        return Way::Root;
    }
    let tried = std::env::current_exe().and_then(|own| {
        let mut command = Command::new(own);
        command.arg0("erluv-child").arg(PROBE).env_clear().uid(uid.as_raw()).gid(gid.as_raw());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    });
    if tried.is_ok_and(|status| status.success()) { Way::User } else { Way::Chroot }
}

/// In the process of [`way_in`]: makes the namespaces and ends, with 0 where nothing lacked.
pub(crate) fn probe() -> ExitCode {
    let mut missing = Vec::new();
    let made = become_alone_as_user(&mut missing);
    if matches!(made, Ok(true)) && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the namespaces as root, each by itself, so that one that is refused takes none of the others along.
///
/// `folder` is the empty folder that becomes the root of the new mount namespace, and all that is in it. True where it
/// did; else the caller has chroot(2) left.
///
/// # Errors
/// [`ConfineError::System`] where the root was changed and the old one does not go.
pub(super) fn become_alone_as_root(folder: &Path, missing: &mut Vec<String>) -> Result<bool, ConfineError> {
    let mut refused = Vec::new();
    for (name, flag) in PLAIN {
        if let Err(errno) = unshare(flag) {
            refused.push(format!("{name} ({})", errno.desc()));
        }
    }
    let mounted = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| stand_in(Root::Folder(folder)));
    if let Err(errno) = mounted {
        refused.push(format!("mount ({})", errno.desc()));
    }
    if !refused.is_empty() {
        missing.push(format!("namespaces: {}", refused.join(", ")));
    }
    if mounted.is_ok() { leave_old_root().map(|()| true) } else { Ok(false) }
}

/// Makes the namespaces as an ordinary user, all at once, in a user namespace in which only this user and its group
/// exist. Its capabilities there are the caller's to give up.
///
/// True where they were made; else what lacks is told in `missing`.
///
/// # Errors
/// [`ConfineError::System`] where a namespace was made that cannot be used.
pub(super) fn become_alone_as_user(missing: &mut Vec<String>) -> Result<bool, ConfineError> {
    let (uid, gid) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    if let Err(errno) = unshare(PLAIN.iter().fold(own, |all, (_, flag)| all | *flag)) {
        let names = PLAIN.map(|(name, _)| name).join(", ");
        missing.push(format!("namespaces: mount, {names} ({})", errno.desc()));
        missing.push("chroot: erluv-main is not root".to_owned());
        return Ok(false);
    }
    // The files of a process that has changed its user are root's, unless it says that it may be looked at; that is
    // taken back as soon as the maps are written.
    prctl::set_dumpable(true).map_err(ConfineError::of("prctl PR_SET_DUMPABLE"))?;
    // Before the first map, or the second is refused. user_namespaces(7).
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
    ] {
        fs::write(file, text).map_err(ConfineError::of("writing the maps of a user namespace"))?;
    }
    prctl::set_dumpable(false).map_err(ConfineError::of("prctl PR_SET_DUMPABLE"))?;
    super::system::empty_bounding_set()?;
    match stand_in(Root::Tmpfs) {
        Ok(()) => leave_old_root()?,
        Err(errno) => missing.push(format!("chroot: {}", errno.desc())),
    }
    Ok(true)
}

/// What becomes the root of the mount namespace.
enum Root<'a> {
    /// An empty folder of the host's.
    Folder(&'a Path),
    /// A file system without room for anything.
    Tmpfs,
}

/// Goes into what is to become the root and makes it that; the old one is beneath it then. pivot_root(2).
fn stand_in(root: Root<'_>) -> Result<(), Errno> {
    let none = None::<&str>;
    // Nothing of what follows is to reach the host's mounts.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let held = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    match root {
        Root::Folder(folder) => {
            mount(Some(folder), folder, none, MsFlags::MS_BIND, none)?;
            mount(none, folder, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | held, none)?;
            chdir(folder)?;
        }
        Root::Tmpfs => {
            mount(Some("none"), PLACE, Some("tmpfs"), held, Some("size=4k,nr_inodes=1,mode=555"))?;
            chdir(PLACE)?;
        }
    }
    pivot_root(".", ".")
}

/// Takes the old root away, which lies on top of the new one since the step before.
fn leave_old_root() -> Result<(), ConfineError> {
    umount2(".", MntFlags::MNT_DETACH).map_err(ConfineError::of("umount of the old root"))?;
    chdir("/").map_err(ConfineError::of("chdir to the new root"))
}
