//! Workers as control groups of Linux (cgroups(7), Documentation/admin-guide/cgroup-v2.rst). No controller is needed:
//! what counts is that a process cannot leave its group, and `cgroup.kill`.
//!
//! `BASE/erluv.<main's pid>.<main's start time>/n<node>/w<worker>`: every name is made of numbers that main itself gave
//! or read from the kernel. BASE is the group of main, or, where systemd has put main into the subgroup "main" of a
//! unit with delegation, the group of the unit. Two mains that share BASE have to share the pid namespace, too: what
//! belongs to a pid that does not exist is taken for a dead main's, and killed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use erluv_proto::ids::WorkerId;
use thiserror::Error;

use super::Removal;
use super::procfs::{self, Stat};
use crate::order::NodeIndex;
use crate::sys;

/// The subgroup that systemd puts main into, by `DelegateSubgroup=`.
const SUBGROUP: &str = "main";

const KILL: &str = "cgroup.kill";

/// How deep a worker may have made groups within its own, and how often and how long a killed group is waited for.
const DEEPEST: u32 = 16;
const LOOKS: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(10);

/// Why there are no control groups.
#[derive(Debug, Error)]
pub(crate) enum TreeError {
    #[error("control groups: {0} cannot be read: {1}: mount /proc")]
    Unreadable(&'static str, #[source] io::Error),
    #[error("control groups: no cgroup2 file system with the group of main in it: mount one on /sys/fs/cgroup")]
    NoMount,
    #[error("control groups: {0}: {1}: start main where it may make groups (systemd: Delegate=yes)")]
    Make(PathBuf, #[source] io::Error),
    #[error("control groups: {0} has no cgroup.kill: Linux 5.14 or newer is needed")]
    NoKill(PathBuf),
    #[error("control groups: no process can be made in {0}: {1}: start main within the delegated groups")]
    Enter(PathBuf, #[source] io::Error),
}

/// All groups of this main.
#[derive(Debug)]
pub(super) struct Hierarchy {
    own: PathBuf,
    nodes: BTreeSet<NodeIndex>,
}

impl Hierarchy {
    /// Kills and removes what dead mains have left, makes the group of this main, and tries whether a process can be
    /// made in it.
    pub(super) fn open() -> Result<Self, TreeError> {
        let base = find_base()?;
        let pid = std::process::id();
        let stat = stat_of(pid).ok_or_else(|| unreadable("/proc/self/stat", ErrorKind::InvalidData.into()))?;
        remove_leftovers(&base);
        let own = base.join(format!("erluv.{pid}.{}", stat.start));
        make_folder(&own).map_err(|error| TreeError::Make(own.clone(), error))?;
        let hierarchy = Self { own: own.clone(), nodes: BTreeSet::new() };
        if !own.join(KILL).exists() {
            hierarchy.close();
            return Err(TreeError::NoKill(own));
        }
        match open_folder(&own).and_then(|folder| sys::try_fork_into(folder.as_fd())) {
            Ok(()) => Ok(hierarchy),
            Err(error) => {
                hierarchy.close();
                Err(TreeError::Enter(own, error))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.own
    }

    pub(super) fn node(&mut self, node: NodeIndex) -> io::Result<()> {
        if !self.nodes.contains(&node) {
            make_folder(&self.node_path(node))?;
            self.nodes.insert(node);
        }
        Ok(())
    }

    pub(super) fn kill_file(&self, node: NodeIndex) -> io::Result<OwnedFd> {
        File::options().write(true).open(self.node_path(node).join(KILL)).map(OwnedFd::from)
    }

    pub(super) fn make(&self, node: NodeIndex, worker: WorkerId) -> io::Result<OwnedFd> {
        let path = self.worker_path(node, worker);
        fs::create_dir(&path)?;
        open_folder(&path).inspect_err(|_| drop(fs::remove_dir(&path)))
    }

    pub(super) fn folder(&self, node: NodeIndex, worker: WorkerId) -> io::Result<OwnedFd> {
        open_folder(&self.worker_path(node, worker))
    }

    /// The file counts for groups within this one, too.
    pub(super) fn was_out_of_memory(&self, node: NodeIndex, worker: WorkerId) -> bool {
        let events = fs::read_to_string(self.worker_path(node, worker).join("memory.events"));
        events.is_ok_and(|events| procfs::has_oom_kill(&events))
    }

    pub(super) fn kill(&self, node: NodeIndex, worker: WorkerId) -> io::Result<()> {
        kill_all(&self.worker_path(node, worker))
    }

    pub(super) fn kill_node(&self, node: NodeIndex) -> io::Result<()> {
        kill_all(&self.node_path(node))
    }

    /// One call where the worker left nothing behind, which is the rule.
    pub(super) fn remove(&self, node: NodeIndex, worker: WorkerId) -> Removal {
        let path = self.worker_path(node, worker);
        match fs::remove_dir(&path) {
            Ok(()) => Removal::Removed,
            Err(error) if error.kind() == ErrorKind::NotFound => Removal::Removed,
            // Something lives in it, or it has made groups of its own.
            Err(_) => match remove_tree(&path, DEEPEST) {
                Ok(()) => Removal::Removed,
                Err(_) => Removal::Busy,
            },
        }
    }

    pub(super) fn close(self) {
        clear(&self.own);
    }

    fn node_path(&self, node: NodeIndex) -> PathBuf {
        self.own.join(format!("n{}", node.0))
    }

    fn worker_path(&self, node: NodeIndex, worker: WorkerId) -> PathBuf {
        self.own.join(format!("n{}/w{}", node.0, worker.0))
    }
}

/// Whether root itself makes groups here only by CAP_DAC_OVERRIDE: the topmost folder of the file system is writable by
/// nobody, and a delegated one may be another user's.
pub(super) fn is_base_closed() -> bool {
    let about = find_base().ok().and_then(|base| fs::metadata(base).ok());
    about.is_some_and(|about| about.uid() != 0 || about.mode() & 0o200 == 0)
}

/// Where this process may make groups.
fn find_base() -> Result<PathBuf, TreeError> {
    let read = |path: &'static str| fs::read_to_string(path).map_err(|error| unreadable(path, error));
    let group = procfs::own_group(&read("/proc/self/cgroup")?).ok_or(TreeError::NoMount)?;
    let mounts = read("/proc/self/mountinfo")?;
    let parent = group.parent().filter(|_| group.ends_with(SUBGROUP));
    procfs::mounted_at(&mounts, parent.unwrap_or(&group)).ok_or(TreeError::NoMount)
}

fn unreadable(path: &'static str, error: io::Error) -> TreeError {
    TreeError::Unreadable(path, error)
}

fn stat_of(pid: u32) -> Option<Stat> {
    procfs::parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// A folder, for clone3(2).
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    options.open(path).map(OwnedFd::from)
}

fn kill_all(path: &Path) -> io::Result<()> {
    File::options().write(true).open(path.join(KILL))?.write_all(b"1")
}

/// What belongs to mains that are not there any more.
fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(parse_name).is_some_and(is_dead) {
            clear(&entry.path());
        }
    }
}

/// Pid and start time of the main that a group is named for.
fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (pid, start) = name.strip_prefix("erluv.")?.split_once('.')?;
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
    Some((u32::try_from(number(pid)?).ok()?, number(start)?))
}

fn is_dead((pid, start): (u32, u64)) -> bool {
    stat_of(pid).is_none_or(|stat| stat.start != start)
}

/// Kills all in a group, waits until it is empty, but not for ever, and removes it.
fn clear(path: &Path) {
    for _ in 0..LOOKS {
        match fs::read_to_string(path.join("cgroup.events")) {
            Ok(events) if procfs::is_populated(&events) => {
                // Again each time: something may have been forked into it meanwhile.
                let _ = kill_all(path);
                thread::sleep(BETWEEN);
            }
            Ok(_) | Err(_) => break,
        }
    }
    // What cannot be removed now is left to the next start.
    let _ = remove_tree(path, DEEPEST);
}

/// Removes a group and those in it, which is possible where nothing lives.
fn remove_tree(path: &Path, depth: u32) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or(ErrorKind::ResourceBusy)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path(), depth)?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_two_numbers_are_mains() {
        assert_eq!(parse_name("erluv.12.345"), Some((12, 345)));
        for other in
            ["erluv.12", "erluv.12.", "erluv..5", "erluv.+1.5", "erluv.1.5.6", "erluv.1.x", "other.1.2", "erluv"]
        {
            assert_eq!(parse_name(other), None, "{other:?}");
        }
        assert_eq!(parse_name("erluv.4294967296.1"), None);
    }

    #[test]
    fn a_main_is_dead_when_its_number_has_another_start() {
        let (pid, start) = (std::process::id(), stat_of(std::process::id()).unwrap().start);
        assert!(!is_dead((pid, start)));
        assert!(is_dead((pid, start + 1)));
        assert!(is_dead((u32::MAX, 1)));
    }
}
