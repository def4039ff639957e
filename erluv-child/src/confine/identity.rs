//! The user, the group and the folder of a child of root: looked up, changed by privdrop, and looked at again (S-02),
//! because privdrop reports success also where it has dropped nothing.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nix::unistd::{Gid, Group, Uid, User, chdir, getcwd, getgroups};
use privdrop::PrivDrop;

use super::{ConfineError, system};
use crate::start::Separation;

/// How child comes into a file system with nothing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By namespaces that root makes before it changes its user.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "Linux alone has namespaces"))]
    Root,
    /// By namespaces that the new user makes, where erluv-main has kept no capability for them.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "Linux alone has namespaces"))]
    User,
    /// By chroot(2) alone.
    Chroot,
}

/// Becomes the user of `separation`, in its folder, and makes sure of it. What the system refuses of the namespaces
/// that go with that is told in `missing`.
///
/// # Errors
/// [`ConfineError::Chroot`] and [`ConfineError::Identity`] before anything is changed; all others after.
pub(super) fn become_other(separation: &Separation, missing: &mut Vec<String>) -> Result<(), ConfineError> {
    check_folder(&separation.chroot)?;
    // Before the network is gone: the user database may be behind it.
    let uid = uid_of(&separation.user)?;
    let gid = gid_of(&separation.group)?;
    let way = system::way_in(uid, gid);
    let shut_in = way == Way::Root && system::become_alone_as_root(&separation.chroot, missing)?;
    system::empty_bounding_set()?;
    let drop = PrivDrop::default().fallback_to_ids_if_names_are_numeric();
    let drop = match (way, shut_in) {
        // The folder is the whole file system by now: no name can be looked up in it.
        (_, true) => drop.user(uid.to_string()).group(gid.to_string()),
        (Way::User, false) => {
            chdir("/").map_err(ConfineError::of("chdir"))?;
            drop.user(&separation.user).group(&separation.group)
        }
        (Way::Root | Way::Chroot, false) => {
            drop.user(&separation.user).group(&separation.group).chroot(&separation.chroot)
        }
    };
    drop.apply()?;
    verify(uid, gid)?;
    match way {
        Way::User => system::become_alone_as_user(missing).map(|_| ()),
        Way::Chroot => {
            missing.extend(system::WITHOUT_NAMESPACES.map(str::to_owned));
            Ok(())
        }
        Way::Root => Ok(()),
    }
}

/// The folder is root's alone, so that nobody can put anything into it or another in its place; and empty.
pub(super) fn check_folder(folder: &Path) -> Result<(), ConfineError> {
    let bad = |why: String| ConfineError::Chroot(folder.display().to_string(), why);
    if !folder.is_absolute() {
        // privdrop would have changed the working folder before it fails.
        return Err(bad("not absolute".into()));
    }
    for (depth, place) in folder.ancestors().enumerate() {
        let about = fs::symlink_metadata(place).map_err(|error| bad(format!("{}: {error}", place.display())))?;
        // In a sticky folder such as /tmp nobody else can rename what is root's.
        let sticky = depth > 0 && about.mode() & 0o1000 != 0;
        if !about.is_dir() {
            return Err(bad(format!("{} is not a folder", place.display())));
        }
        if about.uid() != 0 || (about.mode() & 0o022 != 0 && !sticky) {
            return Err(bad(format!("{} is not root's alone", place.display())));
        }
    }
    match fs::read_dir(folder).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(bad("not empty".into())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The id of a user of the system, never root.
fn uid_of(name: &str) -> Result<Uid, ConfineError> {
    let bad = |why: String| ConfineError::Identity { what: "user", name: name.to_owned(), why };
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Err(bad("has the privileges of root".into())),
        Ok(Some(user)) => Ok(user.uid),
        Ok(None) => Err(bad("no such user".into())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The id of a group by its name or its number, never root's. 4294967295 means "leave it" to the system (S-05).
fn gid_of(name: &str) -> Result<Gid, ConfineError> {
    let bad = |why: String| ConfineError::Identity { what: "group", name: name.to_owned(), why };
    let number = || name.parse().ok().filter(|id| *id != u32::MAX && name.bytes().all(|b| b.is_ascii_digit()));
    let gid = match Group::from_name(name) {
        Ok(Some(group)) => group.gid,
        Ok(None) => number().map(Gid::from_raw).ok_or_else(|| bad("no such group, and not a number".into()))?,
        Err(error) => return Err(bad(error.to_string())),
    };
    if gid.as_raw() == 0 { Err(bad("is root's".into())) } else { Ok(gid) }
}

/// Whether the drop is whole, and for good.
fn verify(uid: Uid, gid: Gid) -> Result<(), ConfineError> {
    let holds = |truth: bool, what: &'static str| if truth { Ok(()) } else { Err(ConfineError::Holds(what)) };
    holds(all_are(uid, gid), "user or group ids are not all the configured ones")?;
    let groups = getgroups().map_err(ConfineError::of("getgroups"))?;
    holds(groups.iter().all(|group| *group == gid) && groups.len() == 1, "supplementary groups are left")?;
    holds(!can_return(), "root can be had again")?;
    holds(getcwd().is_ok_and(|cwd| cwd == Path::new("/")), "the working folder is outside of the chroot")
}

#[cfg(not(target_os = "netbsd"))]
fn all_are(uid: Uid, gid: Gid) -> bool {
    let users = nix::unistd::getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [uid; 3]);
    users && nix::unistd::getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [gid; 3])
}

/// NetBSD cannot be asked for the saved ids: `can_return` tries them.
#[cfg(target_os = "netbsd")]
fn all_are(uid: Uid, gid: Gid) -> bool {
    use nix::unistd::{getegid, geteuid, getgid, getuid};
    [getuid(), geteuid()] == [uid; 2] && [getgid(), getegid()] == [gid; 2]
}

#[cfg(not(target_os = "netbsd"))]
fn can_return() -> bool {
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setresuid(root, root, root).is_ok() || nix::unistd::setresgid(wheel, wheel, wheel).is_ok()
}

#[cfg(target_os = "netbsd")]
fn can_return() -> bool {
    use nix::unistd::{setegid, seteuid, setgid, setuid};
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    setuid(root).is_ok() || seteuid(root).is_ok() || setgid(wheel).is_ok() || setegid(wheel).is_ok()
}
