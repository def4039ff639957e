//! How a worker is asked to end, before the grace: SIGTERM to it or to its group, or a command of the request's that
//! runs beside it.
//!
//! That command runs as the worker's user, under all that holds the worker, and within its tree: the SIGKILL at the end
//! of the grace ends it, too, and so does the end of the worker. It is no worker: no node knows it, and it is reaped
//! without a word.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use erluv_proto::ids::WorkerId;

use super::Workers;
use crate::launch::{self, Answer};
use crate::order::Ending;
use crate::sys::{self, Process};

impl Workers {
    /// Behind a SIGTERM goes SIGCONT, so that a stopped worker comes to it.
    pub(super) fn ask_to_end(&mut self, worker: WorkerId) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        let Some(process) = &entry.process else { return };
        let (leader, node) = (process.pid, entry.node);
        if entry.sandbox.profile.cgroup.freeze {
            // What is stopped does not come to its SIGTERM. An error means that nothing is.
            let _ = self.trees.freeze(node, worker, false);
        }
        match &mut entry.ending {
            Ending::Signal => signal(process),
            Ending::SignalGroup => {
                // Its leader is not reaped yet (S-39), and was in its own session before its exec.
                sys::signal_group(leader, libc::SIGTERM);
                sys::signal_group(leader, libc::SIGCONT);
            }
            Ending::Command(order) => {
                order.env.push(child_pid(leader, entry.init.is_some()));
                let null = self.null.as_ref().map_err(|error| io::Error::from(error.kind()));
                let folder = self.trees.folder(node, worker);
                let forked = null.and_then(|null| Ok((null, folder?))).and_then(|(null, folder)| {
                    let forked = launch::launch_beside(
                        order,
                        null.as_fd(),
                        folder.as_ref().map(AsFd::as_fd),
                        entry.init.as_ref(),
                    );
                    forked.map_err(|(_, errno)| io::Error::from_raw_os_error(errno))
                });
                match forked {
                    // How its exec goes nobody waits for: without it, the worker has its grace, and then SIGKILL.
                    Ok(launch::Forked { process, init: _, answer, ends: _ }) => {
                        self.killers.insert(process.pid, worker);
                        entry.killer = Some(process);
                        entry.killer_error = match answer {
                            Answer::Pipe(error) => Some(error),
                            Answer::Known(_) => None,
                        };
                    }
                    Err(error) => {
                        log::warn!("{worker}: its command to end it does not start, SIGTERM instead: {error}");
                        signal(process);
                    }
                }
            }
        }
    }

    /// A process that has been reaped was the command of a worker.
    pub(super) fn killer_ended(&mut self, pid: i32) -> bool {
        let Some(worker) = self.killers.remove(&pid) else { return false };
        if let Some(entry) = self.table.get_mut(&worker) {
            // From here on its number is no one's, or another's (S-39).
            entry.killer = None;
            entry.killer_error = None;
        }
        true
    }
}

impl Workers {
    /// The worker whose init of its process namespace a process was that has been reaped.
    pub(super) fn init_ended(&mut self, pid: i32) -> Option<WorkerId> {
        let worker = self.inits.remove(&pid)?;
        if let Some(entry) = self.table.get_mut(&worker) {
            // From here on its number is no one's, or another's (S-39).
            entry.init = None;
        }
        Some(worker)
    }
}

fn signal(process: &Process) {
    for signal in [libc::SIGTERM, libc::SIGCONT] {
        // It can only have ended; then it is about to be reaped.
        let _ = process.signal(signal);
    }
}

/// SIGKILL to the command of a worker, where one runs that is not reaped; whether one does.
pub(super) fn kill_killer(killer: Option<&Process>) -> bool {
    if let Some(killer) = killer {
        // It may not have come to its setsid(2) yet. An error means that it has ended.
        let _ = killer.signal(libc::SIGKILL);
        sys::kill_group(killer.pid);
    }
    killer.is_some()
}

/// SIGKILL to the init of a worker's process namespace, where it is not reaped, and by that to all that is in it;
/// whether there was one.
pub(super) fn kill_init(init: Option<&Process>) -> bool {
    if let Some(init) = init {
        // An error means that it has ended.
        let _ = init.signal(libc::SIGKILL);
    }
    init.is_some()
}

/// The number of the worker as the command sees it, which is within the worker's process namespace.
fn child_pid(leader: i32, within: bool) -> CString {
    let leader = within.then(|| sys::number_within(leader)).flatten().unwrap_or(leader);
    // Digits have no NUL.
    CString::new(format!("CHILD_PID={leader}")).unwrap_or_default()
}
