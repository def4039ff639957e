//! What erluv-child asks of erluv-main. No process id, user id or descriptor number is in any of it (S-38).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::codec::direction;
use crate::ids::{RequestId, WorkerId};

direction! {
    /// A frame from erluv-child to erluv-main.
    ToMain {
        /// The first frame: child has dropped its privileges and confined itself.
        0x81 Ready(Ready), at most 1024 bytes, |_| 0;
        /// Start a worker, policy permitting.
        0x82 Launch(Launch), at most 131072 bytes, |_| 0;
        /// Send a worker one signal.
        0x83 Signal(Signal), at most 32 bytes, |_| 0;
        /// End a worker by the kill ladder.
        0x84 Stop(Stop), at most 32 bytes, |_| 0;
        /// The answer to `Ping`.
        0x85 Pong(u64), at most 16 bytes, |_| 0;
        /// The connection to the node is lost: why, for the log.
        0x86 Disconnected(String), at most 512 bytes, |_| 0;
    }
}

/// Child is confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What this system could not do of child's confinement, in words; empty where nothing lacks.
    pub missing: Vec<String>,
}

/// A request for a worker. Main checks all of it against its own policy (S-56).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Echoed in the answer.
    pub request: RequestId,
    /// What to execute.
    pub program: Program,
    /// The environment, whole: names and values without NUL.
    pub env: Vec<(ByteBuf, ByteBuf)>,
    /// The working folder; `/` where none is named.
    pub cwd: Option<ByteBuf>,
    /// Whom to run as, by name; the policy's first user where none is named.
    pub user: Option<String>,
    /// What holds it, by name; the policy's own profile where none is named.
    pub profile: Option<String>,
    /// Where its stdin comes from.
    pub stdin: InputFrom,
    /// Where its stdout goes.
    pub stdout: OutputTo,
    /// Where its stderr goes.
    pub stderr: OutputTo,
    /// Executed in place of the first argument, or of the shell; argv stays as it is.
    pub executable: Option<ByteBuf>,
    /// The scheduling priority, -20 (most) to 19.
    pub nice: Option<i8>,
    /// The bits that a new file does not get, up to octal 777.
    pub umask: Option<u16>,
    /// The process group: 0 for one of its own, which every worker has.
    pub group: Option<u32>,
    /// Resource limits by the names of the configuration, lower than the profile's; `None` for unlimited.
    pub limits: Vec<(String, Option<u64>)>,
    /// A terminal of its own, for those streams that are [`InputFrom::Terminal`] and [`OutputTo::Terminal`].
    pub terminal: Option<Terminal>,
    /// A line for `/bin/sh`, run as the worker's user with `CHILD_PID` set, in place of SIGTERM.
    pub kill: Option<ByteBuf>,
    /// SIGTERM goes to the worker's process group.
    pub kill_group: bool,
    /// Who asked, for the audit log: the Erlang pid as the node prints it.
    pub asker: String,
}

impl Launch {
    /// A request for a program with nothing else asked for: an empty environment, `/dev/null` for each stream, and what
    /// policy gives by default.
    pub fn plain(request: RequestId, program: Program, asker: &str) -> Self {
        Self {
            request,
            program,
            env: Vec::new(),
            cwd: None,
            user: None,
            profile: None,
            stdin: InputFrom::Null,
            stdout: OutputTo::Null,
            stderr: OutputTo::Null,
            executable: None,
            nice: None,
            umask: None,
            group: None,
            limits: Vec::new(),
            terminal: None,
            kill: None,
            kill_group: false,
            asker: asker.to_owned(),
        }
    }
}

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A program, absolute or looked up in the configured PATH, and its arguments; the first is the program.
    Direct(Vec<ByteBuf>),
    /// A line for `/bin/sh -c`.
    Shell(ByteBuf),
}

/// A terminal for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Lines; 0 where nothing was said.
    pub rows: u16,
    /// Characters in a line; 0 where nothing was said.
    pub columns: u16,
    /// What is written to it comes back.
    pub echo: bool,
    /// Settings by the names that erlexec has for them (`vintr`, `icanon`, `tty_op_ispeed`, ...) and their values.
    pub settings: Vec<(String, u32)>,
}

/// Where a worker's stdin comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputFrom {
    /// `/dev/null`.
    Null,
    /// A pipe whose write end goes to child.
    Pipe,
    /// A file, opened as the worker's user.
    File(ByteBuf),
    /// The worker's terminal, whose other side goes to child.
    Terminal,
}

/// A file that an output stream goes to, opened or made as the worker's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Where it is; relative to the worker's folder where not absolute.
    pub path: ByteBuf,
    /// Written at its end; otherwise it is emptied first.
    pub append: bool,
    /// The mode of a new file, up to octal 7777, before the umask.
    pub mode: u16,
}

/// Where an output stream of a worker goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputTo {
    /// `/dev/null`.
    Null,
    /// A pipe whose read end goes to child.
    Pipe,
    /// The other output stream of the same worker.
    Other,
    /// A file.
    File(OutputFile),
    /// The worker's terminal, whose other side goes to child.
    Terminal,
}

/// What a node may send a worker (S-40), by name; the numbers are this system's. Main lets nothing else pass; child
/// looks before it asks, so that who wants another is told at once.
pub const SIGNALS: [i32; 10] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGKILL,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGQUIT,
    libc::SIGWINCH,
];

/// A signal for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Which one.
    pub worker: WorkerId,
    /// The signal's number on this system; main has the list of those allowed (S-40).
    pub signal: u8,
}

/// The kill ladder: SIGTERM, after `grace` SIGKILL to the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Which one.
    pub worker: WorkerId,
    /// From SIGTERM to SIGKILL, in milliseconds; 0 is SIGKILL at once.
    pub grace: u32,
}
