//! What the unprivileged half knows of one worker.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{ExitStatus, Exited, Usage};

use super::life::State;
use crate::dispatcher::run::Telling;
use crate::streams::Which;
use crate::streams::input::Input;
use crate::streams::output::Output;

/// A remote pid or reference, as its bytes came.
pub(crate) type Bytes = Rc<[u8]>;

/// Who waits for the reply of a call.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) from: Bytes,
    pub(crate) tag: Bytes,
    /// Answered once this many bytes of input have been written.
    pub(crate) until: u64,
}

/// Why somebody ends a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// `exit(Pid, kill)`.
    Kill,
    /// The call `stop`, or another exit signal.
    Stop,
    /// It has run for as long as it may.
    Timeout,
    /// Its owner has ended.
    Owner,
    /// The node was away for too long.
    Nodedown,
    /// It has written more than these bytes, which are all that its profile grants.
    Output(u64),
}

impl Stopped {
    /// The atom in a report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Timeout => "timeout",
            Self::Owner => "owner",
            Self::Nodedown => "nodedown",
            Self::Output(_) => "output_limit",
        }
    }
}

/// How a worker ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) usage: Usage,
    pub(crate) oom: bool,
}

impl End {
    /// What main tells of it.
    pub(crate) fn of(exited: &Exited) -> Self {
        Self { status: exited.status, usage: exited.usage, oom: exited.oom }
    }
}

/// The names that the last worker had. Most have the same, and share them.
#[derive(Debug, Default)]
pub(crate) struct LastNames {
    user: Rc<str>,
    profile: Rc<str>,
}

impl LastNames {
    /// `None` for the empty name.
    pub(crate) fn user(&mut self, name: &str) -> Option<Rc<str>> {
        (!name.is_empty()).then(|| shared(&mut self.user, name))
    }

    pub(crate) fn profile(&mut self, name: &str) -> Rc<str> {
        shared(&mut self.profile, name)
    }
}

fn shared(last: &mut Rc<str>, name: &str) -> Rc<str> {
    if **last != *name {
        *last = name.into();
    }
    Rc::clone(last)
}

/// A worker, from the success of its exec until its end is told.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) os_pid: u32,
    /// Who gets its output and answers for it with its own life; `None`: nobody.
    pub(crate) owner: Option<Bytes>,
    /// Who gets the `'DOWN'` message of the option `monitor`.
    pub(crate) watcher: Option<Bytes>,
    pub(crate) telling: Telling,
    pub(crate) user: Option<Rc<str>>,
    pub(crate) profile: Rc<str>,
    pub(crate) command: Box<str>,
    /// Seconds since 1970.
    pub(crate) started: u64,
    /// Milliseconds from SIGTERM to SIGKILL.
    pub(crate) kill_timeout: u32,
    /// When it has run for as long as it may.
    pub(crate) late: Option<Instant>,
    /// When it is looked whether the streams of one that has ended have ended too.
    pub(crate) drained: Option<Instant>,
    /// How long it goes on without a connection.
    pub(crate) keep: Option<Duration>,
    /// While it is kept: until when.
    pub(crate) kept_until: Option<Instant>,
    pub(crate) links: HashSet<Bytes>,
    /// Watchers by the references of their monitors.
    pub(crate) monitors: HashMap<Bytes, Bytes>,
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    /// stdout and stderr of a worker that may be kept, once they have come to their end: what of them has not arrived
    /// may have to be sent again.
    pub(crate) past: Option<Box<[Option<Output>; 2]>>,
    /// It has a terminal: stdin and stdout are two names of that.
    pub(crate) terminal: bool,
    /// Bytes read of stdout and stderr before each was closed.
    pub(crate) read: [u64; 2],
    /// The most bytes of stdout and stderr together.
    pub(crate) output_limit: Option<u64>,
    /// Bytes written to its stdin before that was closed.
    pub(crate) written: u64,
    pub(crate) waiting: VecDeque<Waiting>,
    /// Those who wait for its end.
    pub(crate) mourners: Vec<Waiting>,
    pub(crate) state: State,
    /// Somebody has asked for its end: what its recipient does not take in time is not waited for.
    pub(crate) stopped: Option<Stopped>,
    /// How it ended, once it has.
    pub(crate) end: Option<Box<End>>,
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

    /// The open output streams.
    pub(crate) fn outputs(&mut self) -> impl Iterator<Item = (Which, &mut Output)> {
        let stdout = self.stdout.as_mut().map(|output| (Which::Stdout, output));
        let stderr = self.stderr.as_mut().map(|output| (Which::Stderr, output));
        stdout.into_iter().chain(stderr)
    }

    /// An output stream has come to its end.
    pub(crate) fn ended(&mut self, which: Which) {
        if self.keep.is_none() {
            return self.close(which);
        }
        let [out, err] = &mut **self.past.get_or_insert_default();
        let (past, output) = match which {
            Which::Stdin => return,
            Which::Stdout => (out, self.stdout.take()),
            Which::Stderr => (err, self.stderr.take()),
        };
        let read = match (which, &mut self.read) {
            (Which::Stderr, [_, err]) => err,
            (Which::Stdin | Which::Stdout, [out, _]) => out,
        };
        *read = output.as_ref().map_or(*read, |output| output.total);
        *past = output;
    }

    /// A stream is closed, for good.
    pub(crate) fn close(&mut self, which: Which) {
        let [out, err] = &mut self.read;
        match which {
            Which::Stdin => {
                if let Some(input) = self.stdin.take() {
                    self.written = input.written();
                }
            }
            Which::Stdout => *out = self.stdout.take().map_or(*out, |output| output.total),
            Which::Stderr => *err = self.stderr.take().map_or(*err, |output| output.total),
        }
    }

    /// Bytes of stdin, stdout and stderr since the start.
    pub(crate) fn bytes(&self) -> [u64; 3] {
        let [out, err] = self.read;
        [
            self.stdin.as_ref().map_or(self.written, Input::written),
            self.stdout.as_ref().map_or(out, |output| output.total),
            self.stderr.as_ref().map_or(err, |output| output.total),
        ]
    }

    /// Whether it has written more than it may: the limit.
    pub(crate) fn beyond_output_limit(&self) -> Option<u64> {
        let [_, stdout, stderr] = self.bytes();
        self.output_limit.filter(|most| stdout.saturating_add(stderr) > *most)
    }

    /// Whether more output may come.
    pub(crate) fn streams_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Whether bytes wait that their recipient has not yet let come.
    pub(crate) fn output_waits(&self) -> bool {
        let told = |output: &&Output| output.to.is_some() || self.owner.is_some();
        [&self.stdout, &self.stderr].into_iter().flatten().filter(told).any(Output::waits)
    }

    /// Whether it waits for somebody to adopt it.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.state, State::Kept | State::KeptEnded)
    }

    /// Bytes of input that wait for the worker.
    pub(crate) fn queued(&self) -> usize {
        self.stdin.as_ref().map_or(0, Input::queued)
    }

    /// The state as the node is told it.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Running => "running",
            State::Draining => "draining",
            State::Kept | State::KeptEnded => "kept",
            State::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_one_user_share_its_name_and_others_keep_theirs() {
        let mut names = LastNames::default();
        let [Some(first), Some(second)] = ["www", "www"].map(|name| names.user(name)) else { panic!("both have one") };
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(names.user("bin").as_deref(), Some("bin"));
        assert_eq!((&*first, names.user("")), ("www", None));
        assert_eq!((&*names.profile("strict"), &*names.profile("default")), ("strict", "default"));
    }
}
