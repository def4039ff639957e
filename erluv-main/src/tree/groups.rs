//! Workers without control groups: a session and a process group each, and main as the parent of orphans where the
//! system can do that. What escapes stands in the module above.
//!
//! The group of a leader is killed before the leader is reaped: until then its number is no one else's (S-39). After
//! that only children of main are killed, whose numbers are safe until main reaps them. Looking for them costs a walk
//! through /proc at the end of each worker.

use crate::sys::{self, Process};

use super::Removal;

/// The way itself; it needs to remember nothing.
#[derive(Debug)]
pub(super) struct Groups;

impl Groups {
    /// SIGKILL to a leader that is not reaped, and to its group: it may not have come to setsid(2) yet.
    pub(super) fn kill(&self, leader: Option<&Process>) {
        if let Some(leader) = leader {
            // An error means that it has ended already.
            let _ = leader.signal(libc::SIGKILL);
            self.kill_group_of(leader.pid);
        }
    }

    pub(super) fn kill_group_of(&self, leader: i32) {
        sys::kill_group(leader);
        #[cfg(target_os = "freebsd")]
        kill_descendants(leader);
    }

    /// Kills what main can see of the leader's session. Busy for as long as something of it, or of its group, is there:
    /// what a dying member has started becomes main's child, and can be seen, only when the member is gone.
    pub(super) fn remove(&self, leader: i32) -> Removal {
        let dying = sys::group_exists(leader);
        #[cfg(target_os = "freebsd")]
        let mut seen = kill_descendants(leader);
        #[cfg(not(target_os = "freebsd"))]
        let mut seen = false;
        for orphan in orphans().filter(|orphan| orphan.session == leader) {
            sys::kill_orphan(orphan.pid);
            seen = true;
        }
        if dying || seen { Removal::Busy } else { Removal::Removed }
    }

    /// Kills all that workers have left: there is no worker any more, and erluv-child is none of theirs.
    pub(super) fn kill_orphans(&self) {
        orphans().for_each(|orphan| sys::kill_orphan(orphan.pid));
    }
}

/// A child of main that main has not forked.
#[derive(Debug, Clone, Copy)]
struct Orphan {
    pid: i32,
    session: i32,
}

/// Children of main but erluv-child. Workers are among them, too: the callers look for the session of a leader that has
/// been reaped, or look where there is no worker any more.
#[cfg(target_os = "linux")]
fn orphans() -> impl Iterator<Item = Orphan> {
    let main = i32::try_from(std::process::id()).unwrap_or(0);
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let stat = super::procfs::parse_stat(&std::fs::read(entry.path().join("stat")).ok()?)?;
        (stat.parent == main && !sys::is_half(pid)).then_some(Orphan { pid, session: stat.session })
    })
}

/// Without a list of children there is none to kill (FreeBSD's reaper is asked by [`kill_descendants`]).
#[cfg(not(target_os = "linux"))]
fn orphans() -> impl Iterator<Item = Orphan> {
    std::iter::empty()
}

/// procctl(2), PROC_REAP_KILL: all descendants that came from this child of main, whatever they have done since.
#[cfg(target_os = "freebsd")]
fn kill_descendants(leader: i32) -> bool {
    use rustix::process::{Pid, Signal, reaper_kill};
    Pid::from_raw(leader)
        .and_then(|leader| reaper_kill(None, Signal::KILL, false, Some(leader)).ok())
        .is_some_and(|result| result.killed > 0)
}
