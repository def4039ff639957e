//! The table of all workers of all nodes of main: the effects of their lives ([`crate::worker`]), their timers, and
//! what the nodes are told of them.
//!
//! Nothing here knows bytes of a worker, and nothing that comes from erluv-child names a process but by the id that
//! main gave it (S-38). Each event costs a few look-ups in ordered tables, however many workers there are.

mod ask;
#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod bench;
mod end;
mod looks;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod option_tests;
mod reap;
mod start;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use erluv_proto::ids::{RequestId, WorkerId};
use erluv_proto::ipc::{self, Exited, LaunchFailed, SIGNALS, Step};

use crate::audit::Subject;
use crate::launch::{self, Ends};
use crate::order::{Ending, NodeIndex, Running};
use crate::sandbox::{CgroupLimits, Sandbox};
use crate::sys::{Process, Reaped};
use crate::tree::Trees;
use crate::worker::{Event, State};
use looks::{Looks, Young};

pub(crate) use start::{LaunchOutcome, Purpose, Wanted};

/// What a node's child is to be told; in [`Report::Launched`] with the node's ends of the pipes.
#[derive(Debug)]
pub(crate) enum Report {
    /// It runs.
    Launched(NodeIndex, ipc::Launched, Vec<OwnedFd>),
    /// No worker came of a request.
    Failed(NodeIndex, LaunchFailed),
    /// It has ended, and so has all that it started.
    Exited(NodeIndex, Exited),
}

/// One worker.
#[derive(Debug)]
struct Worker {
    node: NodeIndex,
    request: RequestId,
    subject: Subject,
    /// The user's name, for the report.
    user: Rc<str>,
    /// What holds it, as it was when it was launched.
    sandbox: Rc<Sandbox>,
    state: State,
    /// The process id, and that of its session and group.
    leader: i32,
    /// Until it is reaped.
    process: Option<Process>,
    /// Until it has told how its exec went.
    error: Option<OwnedFd>,
    /// Until they are handed over.
    ends: Ends,
    /// How it is asked to end, and the command that does so, from its fork until it is reaped.
    ending: Ending,
    killer: Option<Process>,
    /// It was signalled so that it ends, and is among [`Workers::condemned`].
    condemned: bool,
    /// The read end of the command's error pipe: in another process namespace, that tells the command that main lives.
    killer_error: Option<OwnedFd>,
    /// The init of its process namespace, until it is reaped.
    init: Option<Process>,
    /// The system has killed something in its tree for want of memory.
    oom: bool,
    /// Its profile grants no longer life, and main ends it for that.
    timeout: bool,
    /// The grace that it has then.
    grace: Duration,
    /// The step that failed.
    failure: Option<(Step, i32)>,
    started: Instant,
    /// Once it is reaped; in a box, as most have it for a moment only.
    ended: Option<Box<Reaped>>,
    /// When the grace of the last request to stop is over.
    grace_ends: Option<Instant>,
    /// When it comes up in [`Workers::due`]: the end of its life by its profile, that of a grace, or the next look at
    /// its tree.
    timer: Option<Instant>,
    /// From one look at its tree to the next, and when the last is.
    pause: Duration,
    give_up: Option<Instant>,
}

/// The workers of one node.
#[derive(Debug, Default)]
struct OfNode {
    ids: BTreeSet<WorkerId>,
    running: Running,
}

/// All workers of main.
#[derive(Debug)]
pub(crate) struct Workers {
    trees: Trees,
    /// `/dev/null`, and why it could not be opened.
    null: io::Result<OwnedFd>,
    next_id: u64,
    /// In boxes: of a table that grows at its end, half of each piece stays empty.
    table: BTreeMap<WorkerId, Box<Worker>>,
    /// Process ids of those that are not reaped.
    by_pid: HashMap<i32, WorkerId>,
    /// Those of the commands that end workers, until they are reaped.
    killers: HashMap<i32, WorkerId>,
    /// Those of the inits of their process namespaces, until they are reaped.
    inits: HashMap<i32, WorkerId>,
    by_node: BTreeMap<NodeIndex, OfNode>,
    timers: BTreeSet<(Instant, WorkerId)>,
    looks: Looks,
    /// Process ids of those that were signalled so that they end, in that order: once each, and until they are reaped or
    /// a little longer.
    condemned: VecDeque<i32>,
    /// The leaders that were started last.
    young: Young,
}

impl Workers {
    /// No worker yet; the first is called `first_id`.
    pub(crate) fn new(trees: Trees, first_id: u64) -> Self {
        Self {
            trees,
            null: launch::open_null(),
            next_id: first_id,
            table: BTreeMap::new(),
            by_pid: HashMap::new(),
            killers: HashMap::new(),
            inits: HashMap::new(),
            by_node: BTreeMap::new(),
            timers: BTreeSet::new(),
            looks: Looks::default(),
            condemned: VecDeque::new(),
            young: Young::default(),
        }
    }

    /// An id for a worker that never comes to be: none is used twice.
    pub(crate) fn name_nobody(&mut self) -> WorkerId {
        let id = WorkerId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        id
    }

    /// The `cgroup.kill` of all workers of a node, open for writing, for its child (design.md §2).
    pub(crate) fn kill_file(&mut self, node: NodeIndex) -> Option<OwnedFd> {
        self.trees.kill_file(node)
    }

    /// The error pipe of a worker is readable, or at its end.
    pub(crate) fn exec_answered(&mut self, worker: WorkerId, now: Instant) -> Option<Report> {
        let mut told = None;
        self.settle(worker, now, &mut |report| told = Some(report));
        told
    }

    /// Reads how the exec went, where that is not known yet.
    fn settle(&mut self, worker: WorkerId, now: Instant, report: &mut dyn FnMut(Report)) {
        let Some(entry) = self.table.get_mut(&worker) else { return };
        let Some(error) = &entry.error else { return };
        let mut said = [0; 5];
        let event = match rustix::io::read(error, &mut said) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok(0) => Event::ExecSucceeded,
            Ok(_) | Err(_) => {
                let [step, errno @ ..] = said;
                let errno = i32::from_le_bytes(errno);
                // A process that is not ours to trust any more: whatever it said, its program does not run.
                entry.failure = Some(Step::from_byte(step).map_or((Step::Exec, libc::EIO), |step| (step, errno)));
                Event::ExecFailed
            }
        };
        entry.error = None;
        self.happens(worker, event, now, report);
    }

    /// Sends a running worker of this node one of the signals that a node may send. False where that is not so.
    pub(crate) fn signal(&mut self, node: NodeIndex, worker: WorkerId, signal: u8) -> bool {
        let entry = self.table.get(&worker).filter(|entry| entry.node == node);
        let runs = |state| matches!(state, State::Running | State::Terminating | State::Killing);
        let Some(entry) = entry.filter(|entry| runs(entry.state)) else { return false };
        let signal = i32::from(signal);
        if entry.sandbox.profile.cgroup.freeze && matches!(signal, libc::SIGSTOP | libc::SIGCONT) {
            let frozen = self.trees.freeze(node, worker, signal == libc::SIGSTOP);
            // Where nothing can be frozen, the profile may do without: the worker alone is stopped.
            if frozen.is_ok() {
                return true;
            }
        }
        SIGNALS.contains(&signal) && entry.process.as_ref().is_some_and(|process| process.signal(signal).is_ok())
    }

    /// Ends a worker of this node: SIGTERM, and after the grace SIGKILL to all that it started. No grace: at once.
    pub(crate) fn stop(&mut self, node: NodeIndex, worker: WorkerId, grace: Duration, now: Instant) {
        if self.table.get(&worker).is_some_and(|entry| entry.node == node) {
            self.end_it(worker, grace, now);
        }
    }

    /// As [`Workers::stop`] for each worker of a node.
    pub(crate) fn stop_node(&mut self, node: NodeIndex, grace: Duration, now: Instant) {
        for worker in self.of(node) {
            self.end_it(worker, grace, now);
        }
    }

    /// Kills all workers of a node, those included whose exec is still ahead.
    pub(crate) fn kill_node(&mut self, node: NodeIndex, now: Instant) {
        self.trees.kill_node(node);
        self.stop_node(node, Duration::ZERO, now);
    }

    /// How many workers a node has, those included that are about to run or to be gone.
    pub(crate) fn running(&self, node: NodeIndex) -> usize {
        self.by_node.get(&node).map_or(0, |of_node| of_node.ids.len())
    }

    /// The same, told apart by user and profile.
    pub(crate) fn running_by(&mut self, node: NodeIndex) -> &Running {
        &self.by_node.entry(node).or_default().running
    }

    /// Whether nothing is left of any worker of a node.
    pub(crate) fn is_empty(&self, node: NodeIndex) -> bool {
        self.running(node) == 0
    }

    /// When [`Workers::due`] is to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Has the workers' groups have what these limits need; what lacks, by key and reason ([`Trees::provide`]).
    pub(crate) fn provide(&mut self, limits: &CgroupLimits) -> Vec<String> {
        self.trees.provide(limits)
    }

    /// Whether there is work for [`Workers::tidy`].
    pub(crate) fn is_untidy(&self) -> bool {
        self.trees.is_untidy()
    }

    /// Clears something away that ended workers have left, and that nobody waits for.
    pub(crate) fn tidy(&mut self) {
        self.trees.tidy();
    }

    /// What workers are made of, for the log.
    pub(crate) fn about(&self) -> &str {
        self.trees.about()
    }

    /// A clean end: what is left of any worker is killed, and the trees are removed.
    pub(crate) fn close(mut self) {
        for (worker, entry) in &self.table {
            self.trees.kill(entry.node, *worker, entry.process.as_ref());
            ask::kill_killer(entry.killer.as_ref());
            ask::kill_init(entry.init.as_ref());
        }
        self.trees.close();
    }

    fn of(&self, node: NodeIndex) -> Vec<WorkerId> {
        self.by_node.get(&node).map(|of_node| of_node.ids.iter().copied().collect()).unwrap_or_default()
    }
}
