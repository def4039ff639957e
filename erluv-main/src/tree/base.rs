//! Where main may make groups, and the controllers there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::TreeError;
use super::own::make_folder;
use super::procfs;
use crate::sys::is_half;

/// The subgroup that main is in: systemd puts it there, by `DelegateSubgroup=`, or it goes there itself.
const SUBGROUP: &str = "main";

/// Where systemd puts what it runs beside main, such as the check before a reload, systemd.exec(5).
const CONTROL: &str = ".control";

const CONTROLLERS: &str = "cgroup.controllers";
const SUBTREE: &str = "cgroup.subtree_control";
const TYPE: &str = "cgroup.type";
const PROCESSES: &str = "cgroup.procs";

/// The group below which main makes its own.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) path: PathBuf,
}

impl Base {
    /// Finds it. Nothing is changed.
    ///
    /// # Errors
    /// Where there is no cgroup2 file system.
    pub(super) fn find() -> Result<Self, TreeError> {
        let read = |path| fs::read_to_string(path).map_err(|error| TreeError::Unreadable(path, error));
        let group = procfs::own_group(&read("/proc/self/cgroup")?).ok_or(TreeError::NoMount)?;
        let mounts = read("/proc/self/mountinfo")?;
        let path = procfs::mounted_at(&mounts, base_of(&group)).ok_or(TreeError::NoMount)?;
        Ok(Self { path })
    }

    /// The controllers that the host lets this group hand on.
    pub(super) fn controllers(&self) -> BTreeSet<String> {
        words(&self.path.join(CONTROLLERS))
    }

    /// Has the groups below have a controller.
    ///
    /// # Errors
    /// Why they cannot, in words.
    pub(super) fn hand_on(&self, controller: &str) -> Result<(), String> {
        if !self.controllers().contains(controller) {
            return Err(format!("the host gives {} no {controller} controller", self.path.display()));
        }
        self.make_way()?;
        hand_on(&self.path, controller).map_err(|error| format!("{}: {error}", self.path.join(SUBTREE).display()))
    }

    /// A group has processes or hands controllers on, not both. Some controllers it would hand on, but to threads: then
    /// no process can be made in the groups below. So main leaves this group for one of its own within it before, and
    /// so do its own children and the process that waits for main's start.
    fn make_way(&self) -> Result<(), String> {
        if !self.path.join(TYPE).exists() {
            // The root of all groups, which may do both.
            return Ok(());
        }
        let (main, starter) = (std::process::id(), starter());
        let (ours, others): (Vec<u32>, Vec<u32>) = processes(&self.path)
            .map_err(|error| format!("{}: {error}", self.path.join(PROCESSES).display()))?
            .into_iter()
            .partition(|pid| *pid == main || Some(*pid) == starter || is_own_child(*pid));
        if let Some(other) = others.first() {
            let path = self.path.display();
            return Err(format!("process {other} is in {path}, too: start main in a group of its own"));
        }
        if ours.is_empty() {
            return Ok(());
        }
        let place = self.path.join(SUBGROUP);
        match make_folder(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => ours.iter().try_for_each(|pid| move_to(&place, *pid)),
        }
        .map_err(|error| format!("{}: {error}", place.display()))
    }
}

/// Whether it is erluv-child, or makes workers for main.
fn is_own_child(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(is_half)
}

/// One that has ended meanwhile is in nobody's way.
fn move_to(group: &Path, pid: u32) -> io::Result<()> {
    match fs::write(group.join(PROCESSES), pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        answer => answer,
    }
}

/// The group below which a process of this group would make its own: the group above a subgroup.
fn base_of(group: &Path) -> &Path {
    let parent = group.parent().filter(|_| group.ends_with(SUBGROUP) || group.ends_with(CONTROL));
    parent.unwrap_or(group)
}

/// Has the groups within a group have a controller.
///
/// # Errors
/// Those of write(2) on `cgroup.subtree_control`.
pub(super) fn hand_on(group: &Path, controller: &str) -> io::Result<()> {
    let file = group.join(SUBTREE);
    if words(&file).contains(controller) { Ok(()) } else { fs::write(file, format!("+{controller}")) }
}

fn words(file: &Path) -> BTreeSet<String> {
    // A file that is not there has none.
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn processes(group: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(group.join(PROCESSES))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The process that has forked main and waits for its start to be over: it has main's name. (Which program it runs only
/// somebody with all that it may do can see.)
fn starter() -> Option<u32> {
    let parent = std::os::unix::process::parent_id();
    let name = |pid: &str| fs::read(format!("/proc/{pid}/comm")).ok();
    (name("self").is_some() && name("self") == name(&parent.to_string())).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_beside_the_subgroup_of_main() {
        for (group, base) in [
            ("/", "/"),
            ("/system.slice/erluv.service", "/system.slice/erluv.service"),
            ("/system.slice/erluv.service/main", "/system.slice/erluv.service"),
            ("/system.slice/erluv.service/.control", "/system.slice/erluv.service"),
            ("/domain", "/domain"),
        ] {
            assert_eq!(base_of(Path::new(group)), Path::new(base));
        }
    }
}
