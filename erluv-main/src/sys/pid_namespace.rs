//! A process namespace for a worker, pid_namespaces(7): the kernel ends everything in it with its init, which is ours
//! ([`super::init`]).
//!
//! Main forks the init into a new namespace and then, with its own children-to-be set there for a moment, the worker:
//! so that one is main's own child, with its status and what it used.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::init::become_init;
use super::wipe::Ranges;
use super::{Blocked, Forked, Plan, Process, cvt, os, reap, spawn};

/// Children of main would be made in a worker's namespace.
static ASTRAY: AtomicBool = AtomicBool::new(false);

/// Makes the init of a new namespace for the worker of a plan.
///
/// # Errors
/// Those of clone3(2) and of looking at main's memory. What fails after it comes by the plan's error pipe, as
/// [`erluv_proto::ipc::Step::Init`].
pub(crate) fn spawn_init(plan: &Plan<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Process> {
    let memory = Ranges::own()?;
    let blocked = Blocked::all()?;
    match os::fork_init(cgroup)? {
        Forked::Child(born) => become_init(plan, born, &memory),
        Forked::Parent(process) => {
            drop(blocked);
            Ok(process)
        }
    }
}

/// As [`spawn`], in the namespace of an init. Main itself stays where it is.
///
/// # Errors
/// Those of pidfd_open(2), setns(2) and [`spawn`], `ENOMEM` where the init has ended. When main's children-to-be cannot
/// be set back, everything that forks fails from then on.
pub(crate) fn spawn_within(plan: &Plan<'_>, cgroup: Option<BorrowedFd<'_>>, init: &Process) -> io::Result<Process> {
    let (there, home) = (os::open_pidfd(init.pid)?, home()?);
    set_children(&there)?;
    let made = spawn(plan, cgroup);
    if let Err(error) = set_children(&home) {
        ASTRAY.store(true, Ordering::Relaxed);
        log::error!(
            "main cannot make processes in its own namespace any more: {error}: it launches nothing until it can"
        );
    }
    made
}

/// Ends an init that is of no use, and waits for that.
pub(crate) fn discard(init: &Process) {
    // An error means that it has ended already.
    let _ = init.signal(libc::SIGKILL);
    while reap(Some(init.pid)).is_none() {
        std::thread::yield_now();
    }
}

/// Looks whether children of main are made in main's own namespace; where they were not, with one more attempt.
///
/// # Errors
/// Those of setns(2): nothing may be forked then.
pub(super) fn come_home() -> io::Result<()> {
    if ASTRAY.load(Ordering::Relaxed) {
        set_children(&home()?)?;
        ASTRAY.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Main's own namespace, wherever its children are made.
fn home() -> io::Result<OwnedFd> {
    File::open("/proc/self/ns/pid").map(OwnedFd::from)
}

/// By a pidfd (Linux 5.8) or a file of namespaces.
fn set_children(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: setns takes numbers.
    cvt(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) }).map(|_| ())
}

/// The number of a process in its own namespace, the innermost; of proc_pid_status(5).
pub(crate) fn number_within(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::alone_as_root;
    use super::*;
    use crate::tree::UseCgroup;
    use crate::workers::bench::{Bench, order, sandbox};

    /// Which namespace children of this process are made in.
    fn of_children() -> std::path::PathBuf {
        fs::read_link("/proc/self/ns/pid_for_children").unwrap()
    }

    /// As if the way home had failed.
    fn go_astray(bench: &mut Bench) {
        let sandbox = sandbox(|profile| profile.namespaces.pid = true);
        let started = bench.start(crate::order::Order { sandbox, ..order(&["/bin/sleep", "1000"]) });
        let there = File::open(format!("/proc/{}/ns/pid", started.pid())).unwrap();
        set_children(&there.into()).unwrap();
        ASTRAY.store(true, Ordering::Relaxed);
    }

    #[test]
    fn main_comes_home_before_it_forks_again() {
        alone_as_root(|| {
            let (mut bench, home) = (Bench::new(UseCgroup::Auto), of_children());
            go_astray(&mut bench);
            assert_ne!(of_children(), home);
            let text = bench.output(order(&["/bin/readlink", "/proc/self/ns/pid"]));
            assert_eq!((text.trim_end(), of_children()), (home.to_str().unwrap(), home.clone()));
            bench.workers.close();
        });
    }

    #[test]
    fn main_forks_nothing_where_it_cannot_come_home() {
        alone_as_root(|| {
            let mut bench = Bench::new(UseCgroup::Never);
            go_astray(&mut bench);
            // Without CAP_SYS_ADMIN there is no way.
            nix::unistd::setresuid(65534.into(), 65534.into(), 65534.into()).unwrap();
            let refused = bench.refuse_at_once(crate::order::Order { identity: None, ..order(&["/bin/true"]) });
            assert_eq!(refused, (erluv_proto::ipc::Step::Fork, libc::EPERM));
        });
    }
}
