//! OpenBSD, FreeBSD and NetBSD have no process namespaces: no profile has one when it comes here.

use std::io;
use std::os::fd::BorrowedFd;

use super::{Plan, Process, spawn};

/// # Errors
/// Always.
pub(crate) fn spawn_init(_: &Plan<'_>, _: Option<BorrowedFd<'_>>) -> io::Result<Process> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is one namespace.
///
/// # Errors
/// Those of [`spawn`].
pub(crate) fn spawn_within(plan: &Plan<'_>, cgroup: Option<BorrowedFd<'_>>, _: &Process) -> io::Result<Process> {
    spawn(plan, cgroup)
}

/// None is ever made.
pub(crate) fn discard(_: &Process) {}

/// The one that it has.
pub(crate) fn number_within(pid: i32) -> Option<i32> {
    Some(pid)
}
