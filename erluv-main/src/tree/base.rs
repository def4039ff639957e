//! Where main may make groups, and the controllers there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::TreeError;
use super::own::make_folder;
use super::procfs;

/// The subgroup that main is in: systemd puts it there, by `DelegateSubgroup=`, or it goes there itself.
const SUBGROUP: &str = "main";

const CONTROLLERS: &str = "cgroup.controllers";
const SUBTREE: &str = "cgroup.subtree_control";
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
        let parent = group.parent().filter(|_| group.ends_with(SUBGROUP));
        let path = procfs::mounted_at(&mounts, parent.unwrap_or(&group)).ok_or(TreeError::NoMount)?;
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
        let failed = |error: &io::Error| format!("{}: {error}", self.path.join(SUBTREE).display());
        match hand_on(&self.path, controller) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                // A group has processes or hands controllers on, not both.
                self.make_way()?;
                hand_on(&self.path, controller).map_err(|error| failed(&error))
            }
            handed => handed.map_err(|error| failed(&error)),
        }
    }

    /// Main leaves this group for one of its own within it, and so does the process that waits for main's start.
    fn make_way(&self) -> Result<(), String> {
        let (main, starter) = (std::process::id(), starter());
        let (ours, others): (Vec<u32>, Vec<u32>) = processes(&self.path)
            .map_err(|error| format!("{}: {error}", self.path.join(PROCESSES).display()))?
            .into_iter()
            .partition(|pid| *pid == main || Some(*pid) == starter);
        if let Some(other) = others.first() {
            let path = self.path.display();
            return Err(format!("process {other} is in {path}, too: start main in a group of its own"));
        }
        let place = self.path.join(SUBGROUP);
        match make_folder(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => ours.iter().try_for_each(|pid| fs::write(place.join(PROCESSES), pid.to_string())),
        }
        .map_err(|error| format!("{}: {error}", place.display()))
    }
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

/// The process that has forked main and waits for its start to be over: it runs the same program.
fn starter() -> Option<u32> {
    let parent = std::os::unix::process::parent_id();
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    (program("self").is_some() && program("self") == program(&parent.to_string())).then_some(parent)
}
