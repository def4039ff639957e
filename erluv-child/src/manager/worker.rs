//! What the unprivileged half knows of one worker.

use std::collections::{HashMap, HashSet, VecDeque};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::ExitStatus;

use super::life::State;
use crate::streams::Which;
use crate::streams::input::Input;
use crate::streams::output::Output;

/// A remote pid or reference, as its bytes came.
pub(crate) type Bytes = Box<[u8]>;

/// Who waits for the reply of a call.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) from: Bytes,
    pub(crate) tag: Bytes,
    /// Answered once this many bytes of input have been written.
    pub(crate) until: u64,
}

/// A worker, from the success of its exec until its end is told.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) os_pid: u32,
    /// Who gets its output and answers for it with its own life.
    pub(crate) owner: Bytes,
    pub(crate) user: Option<String>,
    pub(crate) command: String,
    /// Seconds since 1970.
    pub(crate) started: u64,
    /// Milliseconds from SIGTERM to SIGKILL.
    pub(crate) kill_timeout: u32,
    pub(crate) links: HashSet<Bytes>,
    /// Watchers by the references of their monitors.
    pub(crate) monitors: HashMap<Bytes, Bytes>,
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) state: State,
    /// Somebody has asked for its end: what its recipient does not take in time is not waited for.
    pub(crate) stopped: bool,
    /// How it ended, once it has.
    pub(crate) status: Option<ExitStatus>,
}

impl Worker {
    /// An output stream, while it is open.
    pub(crate) fn output(&mut self, which: Which) -> Option<&mut Output> {
        match which {
            Which::Stdin => None,
            Which::Stdout => self.stdout.as_mut(),
            Which::Stderr => self.stderr.as_mut(),
        }
    }

    /// An output stream has ended.
    pub(crate) fn close(&mut self, which: Which) {
        match which {
            Which::Stdin => self.stdin = None,
            Which::Stdout => self.stdout = None,
            Which::Stderr => self.stderr = None,
        }
    }

    /// Whether more output may come.
    pub(crate) fn streams_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Whether bytes wait that the recipient has not yet let come.
    pub(crate) fn output_waits(&self) -> bool {
        [&self.stdout, &self.stderr].into_iter().flatten().any(Output::is_readable)
    }

    /// Bytes of input that wait for the worker.
    pub(crate) fn queued(&self) -> usize {
        self.stdin.as_ref().map_or(0, Input::queued)
    }
}
