//! What a worker is made of: itself and all that it started, so that all of it ends with it (S-41).
//!
//! Two ways, one for the whole life of main:
//!
//! - [`cgroup`] (Linux 5.14 and later, where main may make control groups): nothing escapes. Double forks, new sessions
//!   and ignored or stopped signals are of no use against `cgroup.kill`.
//! - [`groups`] (everywhere else): each worker is a session and a process group of its own. What escapes: a descendant
//!   that makes a session of its own *and* outlives those between. On Linux it becomes a child of main and is killed
//!   when main's last worker has ended; on FreeBSD the reaper finds it at once; on OpenBSD and NetBSD, nobody finds it.

#[cfg(target_os = "linux")]
mod base;
#[cfg_attr(not(target_os = "linux"), path = "no_cgroup.rs")]
mod cgroup;
mod groups;
mod limits;
#[cfg(target_os = "linux")]
mod names;
#[cfg(target_os = "linux")]
mod opened;
#[cfg(target_os = "linux")]
mod own;
#[cfg(target_os = "linux")]
mod procfs;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use erluv_proto::ids::WorkerId;

use crate::order::NodeIndex;
use crate::sandbox::{CgroupLimits, Profile};
use crate::settings::SandboxNeed;
use crate::sys::Process;
use cgroup::Hierarchy;
use groups::Groups;

pub(crate) use cgroup::TreeError;

/// Whether root's main has to override file permissions for its control groups.
pub(crate) fn needs_override() -> bool {
    cgroup::is_base_closed()
}

/// Whether control groups are to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UseCgroup {
    /// Where it can be.
    Auto,
    /// Or main does not start.
    Required,
    /// Not.
    Never,
}

/// What can be said of these limits before a single group is made, from where this very process is: for a check of the
/// configuration, which changes nothing. The service may be started elsewhere, with more or less.
pub(crate) fn foresee(use_cgroup: UseCgroup, limits: &CgroupLimits) -> Vec<String> {
    let why = match use_cgroup {
        UseCgroup::Never => Err("control groups are switched off".to_owned()),
        UseCgroup::Auto | UseCgroup::Required => cgroup::offered().map_err(|error| error.to_string()),
    };
    limits::lacking(limits, |setting| match &why {
        Err(why) => Some(why.clone()),
        Ok(offered) if offered.contains(setting.controller) => None,
        Ok(_) => Some(format!("no {} controller is given to where this check runs", setting.controller)),
    })
}

/// So many trees are cleared away at a time, for a quarter of a millisecond: who wants a worker then waits so long.
const MOST_TIDIED: usize = 8;

/// What came of the attempt to remove a worker's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Removed,
    /// Something in it lives still.
    Busy,
}

/// The trees of all workers of main.
#[derive(Debug)]
pub(crate) struct Trees {
    kind: Kind,
    about: String,
}

#[derive(Debug)]
enum Kind {
    Cgroup(Box<Hierarchy>),
    Groups(Groups),
}

impl Trees {
    /// Finds out which way there is, and kills and removes what dead mains have left behind. To be called before the
    /// first fork, with one thread.
    ///
    /// # Errors
    /// [`TreeError`], only where control groups are required.
    pub(crate) fn open(use_cgroup: UseCgroup) -> Result<Self, TreeError> {
        let groups = |why: &str| Self {
            kind: Kind::Groups(Groups),
            about: format!("workers are process groups and sessions, which a worker can leave: {why}"),
        };
        match use_cgroup {
            UseCgroup::Never => Ok(groups("control groups are switched off")),
            UseCgroup::Auto => Self::by_cgroup().or_else(|error| Ok(groups(&error.to_string()))),
            UseCgroup::Required => Self::by_cgroup(),
        }
    }

    fn by_cgroup() -> Result<Self, TreeError> {
        let hierarchy = Hierarchy::open()?;
        let about = format!("workers are control groups below {}", hierarchy.path().display());
        Ok(Self { kind: Kind::Cgroup(Box::new(hierarchy)), about })
    }

    /// Which way it is, and why, for the log.
    pub(crate) fn about(&self) -> &str {
        &self.about
    }

    /// The `cgroup.kill` of a node's workers, open for writing: whoever writes "1" to it kills them all. `None` without
    /// control groups.
    pub(crate) fn kill_file(&mut self, node: NodeIndex) -> Option<OwnedFd> {
        match &mut self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.node(node).and_then(|()| hierarchy.kill_file(node)).ok(),
            Kind::Groups(_) => None,
        }
    }

    /// Has the workers' groups have what these limits need, as far as the host gives it: at the start, and again where
    /// a changed configuration brings other limits. What lacks is said by key and reason; nothing lacks where nothing
    /// is limited.
    pub(crate) fn provide(&mut self, limits: &CgroupLimits) -> Vec<String> {
        if let Kind::Cgroup(hierarchy) = &mut self.kind {
            limits::controllers(limits).into_iter().for_each(|controller| hierarchy.hand_down(controller));
        }
        self.lacks(limits)
    }

    /// What of these limits no worker can have, after [`Trees::provide`].
    pub(crate) fn lacks(&self, limits: &CgroupLimits) -> Vec<String> {
        let mut lacks = limits::lacking(limits, |setting| match &self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.lacks(setting),
            Kind::Groups(_) => Some(self.about.clone()),
        });
        if limits.freeze && matches!(self.kind, Kind::Groups(_)) {
            lacks.push(format!("cgroup freeze: {}", self.about));
        }
        lacks
    }

    /// Makes a worker's tree with the limits of its profile; the folder to fork into, where it is a control group.
    /// `closed`: the worker's user is neither main's nor root, and changes nothing in a group.
    ///
    /// # Errors
    /// Those of mkdir(2), open(2) and write(2). `EOPNOTSUPP` for a limit that nothing here can keep, where the profile
    /// requires it.
    pub(crate) fn make(
        &mut self,
        node: NodeIndex,
        worker: WorkerId,
        profile: &Profile,
        closed: bool,
    ) -> io::Result<Option<Rc<OwnedFd>>> {
        let settings = limits::settings(&profile.cgroup);
        let lacks = || match profile.need {
            SandboxNeed::Required => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            SandboxNeed::BestEffort => Ok(()),
        };
        match &mut self.kind {
            Kind::Cgroup(hierarchy) => {
                hierarchy.node(node)?;
                let folder = hierarchy.make(node, worker, closed && !profile.cgroup.freeze)?;
                let set = settings.iter().try_for_each(|setting| match hierarchy.lacks(setting) {
                    None => hierarchy.set(&folder, setting),
                    Some(_) => lacks(),
                });
                if set.is_err() {
                    // Nothing was ever in it.
                    hierarchy.remove(node, worker);
                }
                set?;
                Ok(Some(folder))
            }
            Kind::Groups(_) => if settings.is_empty() { Ok(()) } else { lacks() }.map(|()| None),
        }
    }

    /// No process could be made in a tree, which somebody may have removed while it waited for its next worker:
    /// [`Trees::make`] gives none any more that is not there.
    pub(crate) fn reopen(&mut self) {
        match &mut self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.reopen(),
            Kind::Groups(_) => {}
        }
    }

    /// The folder of a worker's tree, to fork one more process into; `None` without control groups.
    ///
    /// # Errors
    /// Those of open(2).
    pub(crate) fn folder(&self, node: NodeIndex, worker: WorkerId) -> io::Result<Option<OwnedFd>> {
        match &self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.folder(node, worker).map(Some),
            Kind::Groups(_) => Ok(None),
        }
    }

    /// Whether the system has killed something in a worker's tree for want of memory. To be asked before
    /// [`Trees::remove`]. False where nobody counts: without control groups, or without their memory controller.
    pub(crate) fn was_out_of_memory(&self, node: NodeIndex, worker: WorkerId) -> bool {
        match &self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.was_out_of_memory(node, worker),
            Kind::Groups(_) => false,
        }
    }

    /// Stops all of a worker, or lets it go on.
    ///
    /// # Errors
    /// Those of open(2) and write(2); without control groups, always.
    pub(crate) fn freeze(&self, node: NodeIndex, worker: WorkerId, freeze: bool) -> io::Result<()> {
        match &self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.freeze(node, worker, freeze),
            Kind::Groups(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// SIGKILL to a worker and all that it started; `leader` where it is not reaped yet.
    pub(crate) fn kill(&mut self, node: NodeIndex, worker: WorkerId, leader: Option<&Process>) {
        let killed = match &mut self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.kill(node, worker).is_ok(),
            Kind::Groups(groups) => {
                groups.kill(leader);
                true
            }
        };
        if let (false, Some(leader)) = (killed, leader) {
            // The group could not be opened, for lack of descriptors perhaps: the leader dies at least, and the sweep
            // after it tries again.
            let _ = leader.signal(libc::SIGKILL);
        }
    }

    /// SIGKILL to all workers of a node in one call, where that exists. Each of them is to be killed, too: one may be
    /// between its fork and its way into the group.
    pub(crate) fn kill_node(&mut self, node: NodeIndex) {
        match &mut self.kind {
            // Where it fails, the one by one of the caller is left.
            Kind::Cgroup(hierarchy) => drop(hierarchy.kill_node(node)),
            Kind::Groups(_) => {}
        }
    }

    /// Whether ended leaders are to be seen by [`Trees::before_reaping`] first.
    pub(crate) fn looks_before_reaping(&self) -> bool {
        matches!(self.kind, Kind::Groups(_))
    }

    /// A leader has ended and is not reaped yet, so its group is still its own (S-39).
    pub(crate) fn before_reaping(&self, leader: i32) {
        match &self.kind {
            Kind::Cgroup(_) => {}
            Kind::Groups(groups) => groups.kill_group_of(leader),
        }
    }

    /// Removes the tree of a worker whose leader, once process `leader`, has been reaped: nothing lives in it any more,
    /// and what is left of it is cleared away by [`Trees::tidy`].
    pub(crate) fn remove(&mut self, node: NodeIndex, worker: WorkerId, leader: i32) -> Removal {
        match &mut self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.remove(node, worker),
            Kind::Groups(groups) => groups.remove(leader),
        }
    }

    /// Whether there is work for [`Trees::tidy`].
    pub(crate) fn is_untidy(&self) -> bool {
        match &self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.is_untidy(),
            Kind::Groups(_) => false,
        }
    }

    /// Clears away something of the trees that were removed: when there is nothing else to do.
    pub(crate) fn tidy(&mut self) {
        match &mut self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.tidy(MOST_TIDIED),
            Kind::Groups(_) => {}
        }
    }

    /// The last worker of main has ended: whatever it or another has left is killed.
    pub(crate) fn all_ended(&self) {
        match &self.kind {
            Kind::Cgroup(_) => {}
            Kind::Groups(groups) => groups.kill_orphans(),
        }
    }

    /// A clean end: everything in any tree is killed, and all that was made is removed.
    pub(crate) fn close(self) {
        match self.kind {
            Kind::Cgroup(hierarchy) => hierarchy.close(),
            Kind::Groups(groups) => groups.kill_orphans(),
        }
    }
}
