//! Workers as control groups of Linux (cgroups(7), Documentation/admin-guide/cgroup-v2.rst). No controller is needed:
//! what counts is that a process cannot leave its group, and `cgroup.kill`. Controllers are handed down to the workers'
//! groups where a profile limits something that they count.
//!
//! `BASE/erluv.<main's pid>.<number>/n<node>/w<worker>`: every name is made of numbers that main itself gave, a group's
//! of the first worker that had it (see [`super::names`]). BASE is
//! the group of main, or, where main is in the subgroup "main" (of a unit with delegation of systemd, for one), the
//! group above it. Mains that share BASE tell their groups apart by locks: see [`super::own`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use erluv_proto::ids::WorkerId;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use thiserror::Error;

use super::Removal;
use super::base::{self, Base};
use super::limits::Setting;
use super::names::{Group, Names};
use super::opened::Opened;
use super::own::{KILL, MODE, Own, kill_all, make_folder, open_folder, remove_leftovers, remove_tree};
use super::procfs;
use crate::order::NodeIndex;
use crate::sys;

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

/// Whether anything lives in a group.
const EVENTS: &str = "cgroup.events";

/// What a group has used; reading it adds up what those in it have.
const STATISTICS: &str = "cpu.stat";

/// So many groups are removed from one reading of it to the next.
const FLUSHED: u32 = 64;

/// Whether all in a group is stopped.
const FREEZE: &str = "cgroup.freeze";

/// The controllers that the group of this process is given.
pub(super) fn offered() -> Result<BTreeSet<String>, TreeError> {
    Base::find().map(|base| base.controllers())
}

/// All groups of this main.
#[derive(Debug)]
pub(super) struct Hierarchy {
    base: Base,
    own: Own,
    /// The folder of each, open: the way to a worker's group from there is short.
    nodes: BTreeMap<NodeIndex, OwnedFd>,
    names: Names,
    opened: Opened,
    /// Groups of workers that were removed since [`Hierarchy::flush`].
    removed: u32,
    /// Controllers that the workers' groups have, or why not.
    controllers: BTreeMap<&'static str, Result<(), String>>,
}

impl Hierarchy {
    /// Kills and removes what dead mains have left, makes the group of this main, and tries whether a process can be
    /// made in it.
    pub(super) fn open() -> Result<Self, TreeError> {
        let base = Base::find()?;
        remove_leftovers(&base.path);
        let own = Own::claim(&base.path).map_err(|error| TreeError::Make(base.path.clone(), error))?;
        let path = own.path.clone();
        if !path.join(KILL).exists() {
            own.close();
            return Err(TreeError::NoKill(path));
        }
        match open_folder(&path).and_then(|folder| sys::try_fork_into(folder.as_fd())) {
            Ok(()) => Ok(Self {
                base,
                own,
                nodes: BTreeMap::new(),
                names: Names::default(),
                opened: Opened::default(),
                removed: 0,
                controllers: BTreeMap::new(),
            }),
            Err(error) => {
                own.close();
                Err(TreeError::Enter(path, error))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.own.path
    }

    pub(super) fn node(&mut self, node: NodeIndex) -> io::Result<()> {
        if !self.nodes.contains_key(&node) {
            let path = self.node_path(node);
            match make_folder(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for (controller, _) in self.controllers.iter().filter(|(_, there)| there.is_ok()) {
                base::hand_on(&path, controller)?;
            }
            self.nodes.insert(node, open_folder(&path)?);
        }
        Ok(())
    }

    /// Hands a controller down to the workers' groups, those to come and those that are there. Asked for again, it is
    /// what it was.
    pub(super) fn hand_down(&mut self, controller: &'static str) {
        if !self.controllers.contains_key(controller) {
            // What has been counted of one worker is nothing to the next.
            self.give_up_spares();
            let handed = self.try_hand_down(controller);
            self.controllers.insert(controller, handed);
        }
    }

    /// What cannot be removed is left to the end of main.
    fn give_up_spares(&mut self) {
        self.opened.close_all();
        for (node, group) in self.names.give_up() {
            let _ = self.node_folder(node).map(|folder| unlinkat(folder, name(group), AtFlags::REMOVEDIR));
        }
    }

    fn try_hand_down(&self, controller: &str) -> Result<(), String> {
        self.base.hand_on(controller)?;
        let nodes = self.nodes.keys().map(|node| self.node_path(*node));
        for group in std::iter::once(self.own.path.clone()).chain(nodes) {
            base::hand_on(&group, controller).map_err(|error| format!("{}: {error}", group.display()))?;
        }
        Ok(())
    }

    /// Why a worker's group cannot have a setting, where it cannot.
    pub(super) fn lacks(&self, setting: &Setting) -> Option<String> {
        match self.controllers.get(setting.controller) {
            None => Some(format!("the {} controller is not handed down", setting.controller)),
            Some(Err(why)) => Some(why.clone()),
            Some(Ok(())) if self.own.path.join(setting.file).exists() => None,
            Some(Ok(())) => Some(format!("this kernel has no {}", setting.file)),
        }
    }

    /// Writes a setting into a worker's group.
    pub(super) fn set(&self, folder: &OwnedFd, setting: &Setting) -> io::Result<()> {
        let file = openat(folder, setting.file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(file).write_all(setting.value.as_bytes())
    }

    pub(super) fn kill_file(&self, node: NodeIndex) -> io::Result<OwnedFd> {
        File::options().write(true).open(self.node_path(node).join(KILL)).map(OwnedFd::from)
    }

    /// A group for a worker; where it is `closed` to the worker's user and nothing is counted in it, perhaps that of
    /// one before it.
    pub(super) fn make(&mut self, node: NodeIndex, worker: WorkerId, closed: bool) -> io::Result<Rc<OwnedFd>> {
        self.opened.count_start();
        let plain = closed && !self.controllers.values().any(Result::is_ok);
        if plain && let Some(group) = self.names.reuse(node, worker) {
            if let Some(folder) = self.opened.take(group) {
                return Ok(folder);
            }
            match self.open_group(node, group) {
                Ok(folder) => return Ok(Rc::new(folder)),
                // Somebody has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.names.keep(node, worker);
                    return Err(error);
                }
            }
        }
        let group = self.names.add(worker, plain);
        self.make_group(node, group).map(Rc::new).inspect_err(|_| self.names.forget(worker))
    }

    /// No process could be made in a group: of those that are open, somebody may have removed some. They are closed,
    /// and found missing by their names.
    pub(super) fn reopen(&mut self) {
        self.opened.close_all();
    }

    fn make_group(&self, node: NodeIndex, group: Group) -> io::Result<OwnedFd> {
        let folder = self.node_folder(node)?;
        mkdirat(folder, name(group), Mode::from_raw_mode(MODE))?;
        self.open_group(node, group).inspect_err(|_| {
            let _ = unlinkat(folder, name(group), AtFlags::REMOVEDIR);
        })
    }

    fn open_group(&self, node: NodeIndex, group: Group) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(self.node_folder(node)?, name(group), flags, Mode::empty())?)
    }

    fn open_file(&self, node: NodeIndex, group: Group, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = format!("{}/{file}", name(group));
        Ok(openat(self.node_folder(node)?, path, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    pub(super) fn folder(&self, node: NodeIndex, worker: WorkerId) -> io::Result<OwnedFd> {
        self.open_group(node, self.group(worker)?)
    }

    /// The file counts for groups within this one, too. It is there where the controller was handed down.
    pub(super) fn was_out_of_memory(&self, node: NodeIndex, worker: WorkerId) -> bool {
        if !matches!(self.controllers.get("memory"), Some(Ok(()))) {
            return false;
        }
        let path = self.worker_path(node, worker);
        let events = path.and_then(|path| fs::read_to_string(path.join("memory.events")));
        events.is_ok_and(|events| procfs::has_oom_kill(&events))
    }

    pub(super) fn freeze(&self, node: NodeIndex, worker: WorkerId, freeze: bool) -> io::Result<()> {
        let file = self.open_file(node, self.group(worker)?, FREEZE, OFlags::WRONLY)?;
        Ok(rustix::io::write(file, if freeze { b"1" } else { b"0" }).map(drop)?)
    }

    pub(super) fn kill(&mut self, node: NodeIndex, worker: WorkerId) -> io::Result<()> {
        self.names.spoil(worker);
        let file = self.open_file(node, self.group(worker)?, KILL, OFlags::WRONLY)?;
        Ok(rustix::io::write(file, b"1").map(drop)?)
    }

    pub(super) fn kill_node(&mut self, node: NodeIndex) -> io::Result<()> {
        self.give_up_spares();
        kill_all(&self.node_path(node))
    }

    /// Keeps a worker's group for the next, or has it removed by [`Hierarchy::tidy`], if nothing lives in it nor in one
    /// within it.
    pub(super) fn remove(&mut self, node: NodeIndex, worker: WorkerId) -> Removal {
        let Ok(group) = self.group(worker) else { return Removal::Removed };
        match self.look_into(node, group) {
            Ok((true, _)) => return Removal::Busy,
            Ok((_, file)) if self.names.may_keep(node, worker) => {
                self.names.keep(node, worker);
                self.keep_open(node, group, file);
            }
            Ok(_) => {
                self.opened.close(group);
                self.names.retire(node, worker);
                if self.names.has_too_many_dead() {
                    self.tidy(1);
                }
            }
            // Somebody has removed it, or no descriptor is left: to remove it needs none.
            Err(_) => match self.remove_group(node, group) {
                Removal::Busy => return Removal::Busy,
                Removal::Removed => {
                    self.opened.close(group);
                    self.names.forget(worker);
                }
            },
        }
        Removal::Removed
    }

    /// Whether empty groups are still to be removed.
    pub(super) fn is_untidy(&self) -> bool {
        self.names.has_dead()
    }

    /// Removes so many of the groups that are empty. To do so costs the kernel more than all the rest of a worker's
    /// end, and nobody waits for it.
    pub(super) fn tidy(&mut self, most: usize) {
        for (node, group) in std::iter::from_fn(|| self.names.next_dead()).take(most).collect::<Vec<_>>() {
            // What does not go is left to the end of main: something is in it again that only root can have put there.
            let _ = self.remove_group(node, group);
            self.removed = self.removed.saturating_add(1);
            if self.removed >= FLUSHED {
                self.flush(node);
            }
        }
    }

    /// Has the kernel add up what the node's groups have used. A group that has used something since the last time is in
    /// a list of its parent's, and when it goes the kernel searches that list from its start: with 10,000 in it, for
    /// longer than all the rest of its end.
    fn flush(&mut self, node: NodeIndex) {
        self.removed = 0;
        // Without it, all is slower and nothing else.
        let _ = fs::read(self.node_path(node).join(STATISTICS));
    }

    /// One call where there are no groups in it, which is the rule.
    fn remove_group(&self, node: NodeIndex, group: Group) -> Removal {
        match self.node_folder(node).and_then(|folder| Ok(unlinkat(folder, name(group), AtFlags::REMOVEDIR)?)) {
            Ok(()) => Removal::Removed,
            Err(error) if error.kind() == ErrorKind::NotFound => Removal::Removed,
            // Something lives in it, or there are groups in it.
            Err(_) => match remove_tree(&self.group_path(node, group)) {
                Ok(()) => Removal::Removed,
                Err(_) => Removal::Busy,
            },
        }
    }

    pub(super) fn close(self) {
        self.own.close();
    }

    /// Whether something lives in a group, or in one within it; and the file that says so, where it was opened for this.
    fn look_into(&self, node: NodeIndex, group: Group) -> io::Result<(bool, Option<OwnedFd>)> {
        if let Some(file) = self.opened.events(group) {
            return Ok((is_populated(file)?, None));
        }
        let file = self.open_file(node, group, EVENTS, OFlags::RDONLY)?;
        Ok((is_populated(&file)?, Some(file)))
    }

    /// A group waits for its next worker, and its `cgroup.events` may have been opened. Without descriptors for it,
    /// that worker opens it anew.
    fn keep_open(&mut self, node: NodeIndex, group: Group, events: Option<OwnedFd>) {
        if let Some(events) = events.filter(|_| self.opened.has_room())
            && let Ok(folder) = self.open_group(node, group)
        {
            self.opened.add(group, folder, events);
        }
    }

    fn node_folder(&self, node: NodeIndex) -> io::Result<&OwnedFd> {
        self.nodes.get(&node).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn group(&self, worker: WorkerId) -> io::Result<Group> {
        self.names.of(worker).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn node_path(&self, node: NodeIndex) -> PathBuf {
        self.own.path.join(format!("n{}", node.0))
    }

    fn group_path(&self, node: NodeIndex, group: Group) -> PathBuf {
        self.node_path(node).join(name(group))
    }

    fn worker_path(&self, node: NodeIndex, worker: WorkerId) -> io::Result<PathBuf> {
        self.group(worker).map(|group| self.group_path(node, group))
    }
}

/// By its `cgroup.events`, whatever was read of that before.
fn is_populated(file: &OwnedFd) -> io::Result<bool> {
    // More than twice what the file has, which one read brings whole.
    let mut events = [0; 64];
    let length = rustix::io::pread(file, &mut events, 0)?;
    Ok(procfs::is_populated(&String::from_utf8_lossy(events.get(..length).unwrap_or_default())))
}

/// Of a group's folder, in that of its node.
fn name(group: Group) -> String {
    format!("w{}", group.0)
}

/// Whether root itself makes groups here only by CAP_DAC_OVERRIDE: the topmost folder of the file system is writable by
/// nobody, and a delegated one may be another user's.
pub(super) fn is_base_closed() -> bool {
    let about = Base::find().ok().and_then(|base| fs::metadata(base.path).ok());
    about.is_some_and(|about| about.uid() != 0 || about.mode() & 0o200 == 0)
}
