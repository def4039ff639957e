//! What policy has let pass: a launch with every name resolved. Made by `policy` from a request of erluv-child, carried
//! out by `launch`. Nothing in it is looked up or checked again.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use erluv_proto::ids::RequestId;

use crate::sandbox::Sandbox;

/// Which of main's nodes something belongs to: the place of the node in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeIndex(pub(crate) usize);

/// Who a process runs as. Never made of numbers that came from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user's name, for the log and the environment; all workers of the user share it.
    pub(crate) name: Rc<str>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary group first (S-09); exactly what the process gets.
    pub(crate) groups: Vec<u32>,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rlimit {
    /// `RLIMIT_*` of this system.
    pub(crate) resource: i32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Where a worker's stdin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// `/dev/null`.
    Null,
    /// A pipe whose write end goes to erluv-child.
    Pipe,
    /// A file, which the worker's own user opens; relative to the working folder where it is not absolute.
    File(CString),
    /// The worker's terminal.
    Terminal,
    /// Main's own: of `erluv-main exec` alone, no request can ask for it.
    Own,
}

/// Where an output stream of a worker goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// `/dev/null`.
    Null,
    /// A pipe whose read end goes to erluv-child.
    Pipe,
    /// Wherever the other one goes.
    Other,
    /// A file.
    File(OutputFile),
    /// The worker's terminal.
    Terminal,
    /// Main's own: of `erluv-main exec` alone, no request can ask for it.
    Own,
}

/// A file for output, which the worker's own user opens or makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputFile {
    /// Relative to the working folder where it is not absolute.
    pub(crate) path: CString,
    /// Written at its end; otherwise it is emptied first.
    pub(crate) append: bool,
    /// The mode of a new one, before the umask.
    pub(crate) mode: u32,
}

/// A terminal for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) echo: bool,
    /// As [`erluv_proto::terminal::apply`] takes them, in this order; each has passed its check.
    pub(crate) settings: Vec<(String, u32)>,
}

/// How a worker is told to end before it is killed.
#[derive(Debug)]
pub(crate) enum Ending {
    /// SIGTERM to it.
    Signal,
    /// SIGTERM to its process group.
    SignalGroup,
    /// Nothing: this is run beside it instead, with its process id in `CHILD_PID`.
    Command(Box<Order>),
}

/// A launch that policy has let pass.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) node: NodeIndex,
    pub(crate) request: RequestId,
    /// The absolute path that is executed.
    pub(crate) path: CString,
    /// The very file that policy has looked at, opened as O_PATH: executed in place of whatever is at `path` by then.
    pub(crate) pinned: Option<OwnedFd>,
    /// argv: at least the name of the program.
    pub(crate) argv: Vec<CString>,
    /// `NAME=value`, the whole environment.
    pub(crate) env: Vec<CString>,
    /// The working folder, absolute.
    pub(crate) cwd: CString,
    /// Whom to become; `None` where main has no privilege to change users: the worker runs as main does.
    pub(crate) identity: Option<Identity>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    /// There where one of the streams is one, and only there.
    pub(crate) terminal: Option<Terminal>,
    pub(crate) umask: u32,
    pub(crate) rlimits: Vec<Rlimit>,
    /// The priority, -20 to 19; main's own where none is named.
    pub(crate) nice: Option<i32>,
    /// What holds it besides its user: `umask`, `rlimits` and `nice` above are the profile's, as the request has
    /// lowered them.
    pub(crate) sandbox: Rc<Sandbox>,
    pub(crate) ending: Ending,
}

/// How many workers one node has, those included that are about to run or to be gone: for the ceilings of policy.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) all: usize,
    /// By the name of the user; the empty one where main has no privilege to change users.
    pub(crate) by_user: HashMap<String, usize>,
    /// By the name of the profile.
    pub(crate) by_profile: HashMap<String, usize>,
}

impl Running {
    /// One more.
    pub(crate) fn add(&mut self, user: &str, profile: &str) {
        self.all = self.all.saturating_add(1);
        for (counts, name) in [(&mut self.by_user, user), (&mut self.by_profile, profile)] {
            let count = counts.entry(name.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// One less.
    pub(crate) fn remove(&mut self, user: &str, profile: &str) {
        self.all = self.all.saturating_sub(1);
        for (counts, name) in [(&mut self.by_user, user), (&mut self.by_profile, profile)] {
            if let Some(count) = counts.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
    }
}
