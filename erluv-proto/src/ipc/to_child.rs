//! What erluv-main tells erluv-child.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::codec::direction;
use crate::ids::{Creation, NodeName, RequestId, WorkerId};

direction! {
    /// A frame from erluv-main to erluv-child.
    ToChild {
        /// The first frame: what child works by. With it, where there is one, the descriptor of `cgroup.kill` of all
        /// its workers' common parent.
        0x01 Hello(Hello), at most 16384 bytes, |hello| usize::from(hello.tree_kill);
        /// A connection to the node, after the handshake; its descriptor comes with the frame.
        0x02 Connection(Connection), at most 1024 bytes, |_| 1;
        /// A worker runs: its exec has succeeded. With it the ends of those pipes that were asked for, in the order
        /// stdin, stdout, stderr.
        0x03 Launched(Launched), at most 320 bytes, Launched::pipes;
        /// A launch request was refused or failed.
        0x04 LaunchFailed(LaunchFailed), at most 1024 bytes, |_| 0;
        /// A worker has ended and was reaped; what it started has been killed.
        0x05 Exited(Exited), at most 128 bytes, |_| 0;
        /// Answer with `Pong` of the same number, or be taken for hung.
        0x06 Ping(u64), at most 16 bytes, |_| 0;
        /// Main is going away: start nothing more. Every worker's `Exited` still comes.
        0x07 Stopping(()), at most 0 bytes, |_| 0;
    }
}

/// What child works by, for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The descriptor of `cgroup.kill` comes with this frame.
    pub tree_kill: bool,
    /// Our own node name, the same for the life of main.
    pub own: NodeName,
    /// The incarnation of `own` for the life of this child.
    pub creation: Creation,
    /// The longest frame taken from the node, in bytes. Longer ones are read and dropped.
    pub max_frame: u32,
    /// Input queued for one worker before it counts as overflowing, in bytes.
    pub input_cap: u32,
    /// From SIGTERM to SIGKILL where a request does not say, in milliseconds.
    pub kill_timeout: u32,
    /// Silence of the node after which the connection counts as lost, in milliseconds.
    pub peer_timeout: u32,
    /// What the node may ask about erluv itself.
    pub about: About,
}

/// What every erluv tells the node that asks, and the node cannot change.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The user that main runs as.
    pub main_user: String,
    /// The user that child runs as.
    pub child_user: String,
    /// Whom workers may run as, the first by default.
    pub worker_users: Vec<String>,
    /// Which profiles may be asked for, the first by default.
    pub profiles: Vec<String>,
    /// The most workers at one time.
    pub max_workers: u32,
    /// When main started, in seconds since 1970.
    pub started: u64,
    /// The cookie, only where the configuration says `share_cookie`.
    pub cookie: Option<ByteBuf>,
}

impl std::fmt::Debug for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("About")
            .field("child_user", &self.child_user)
            .field("worker_users", &self.worker_users)
            .field("profiles", &self.profiles)
            .finish_non_exhaustive()
    }
}

/// A connection to the node that has passed the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The node's name, as proved by the handshake.
    pub peer: NodeName,
    /// The flags that both sides have.
    pub flags: u64,
}

/// A worker runs. Where a stream is its terminal, the end is a copy of the terminal's other side, to read and to write;
/// stderr has one only where stdout has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    /// Whose answer this is.
    pub request: RequestId,
    /// The worker's name from now on.
    pub worker: WorkerId,
    /// The process id, for information: no frame of the other direction has one.
    pub os_pid: u32,
    /// Whom it runs as; empty where main has no privilege to change users and it runs as main does.
    pub user: String,
    /// What holds it: the name of its profile.
    pub profile: String,
    /// The most bytes of its output that are passed on; behind them it is to be stopped.
    pub output_limit: Option<u64>,
    /// The write end of its stdin comes with this frame.
    pub stdin: bool,
    /// The read end of its stdout comes with this frame.
    pub stdout: bool,
    /// The read end of its stderr comes with this frame.
    pub stderr: bool,
}

impl Launched {
    /// How many pipe ends come with the frame.
    pub fn pipes(&self) -> usize {
        [self.stdin, self.stdout, self.stderr].into_iter().filter(|there| *there).count()
    }
}

/// No worker came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchFailed {
    /// Whose answer this is.
    pub request: RequestId,
    /// The name that the worker would have had: never used for another.
    pub worker: WorkerId,
    /// Why.
    pub failure: Failure,
}

/// Why no worker came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A step of the launch failed with an errno.
    Step(Step, i32),
    /// Policy says no; the rule's name in small letters, and what it was about.
    Refused(String, String),
}

/// The steps of a launch, in their order, each named by the call that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Step {
    /// Making the pipes of the worker's streams.
    Pipe = 1,
    /// Making the worker's terminal; after `Setsid`, making it the controlling one.
    Terminal = 17,
    /// Making the worker's control group.
    Cgroup = 2,
    /// Making the process.
    Fork = 3,
    /// Putting descriptors 0 to 2 in place and closing all others.
    Descriptors = 4,
    /// Signal mask and dispositions.
    Signals = 5,
    /// A session of its own.
    Setsid = 6,
    /// The init of its process namespace.
    Init = 20,
    /// Its other namespaces.
    Unshare = 21,
    /// Its host name and its loopback.
    Namespaces = 22,
    /// Its view of the file system.
    Mount = 23,
    /// Its session keyring.
    Keyring = 24,
    /// Its execution domain.
    Personality = 25,
    /// Resource limits.
    Setrlimit = 7,
    /// Priority.
    Nice = 19,
    /// Priority of its input and output.
    IoPriority = 26,
    /// Scheduling policy.
    Scheduler = 27,
    /// Who is killed first for want of memory.
    OomScore = 28,
    /// The capability bounding set.
    Capabilities = 8,
    /// Supplementary groups.
    Setgroups = 9,
    /// Group ids.
    Setgid = 10,
    /// User ids.
    Setuid = 11,
    /// Looking whether the drop holds.
    Verify = 12,
    /// Being told of the death of main.
    Deathsig = 13,
    /// Giving up new privileges.
    NoNewPrivs = 14,
    /// Its user namespace and what its ids are there.
    UserMap = 29,
    /// No memory that is both written and executed.
    Mdwe = 30,
    /// Its rights to files and ports.
    Landlock = 31,
    /// The working folder.
    Chdir = 15,
    /// Opening the files that its streams come from or go to.
    Redirect = 18,
    /// Its filter of system calls.
    Seccomp = 32,
    /// Executing the program.
    Exec = 16,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 32] = [
        Self::Pipe,
        Self::Terminal,
        Self::Cgroup,
        Self::Fork,
        Self::Descriptors,
        Self::Signals,
        Self::Setsid,
        Self::Init,
        Self::Unshare,
        Self::Namespaces,
        Self::Mount,
        Self::Keyring,
        Self::Personality,
        Self::Setrlimit,
        Self::Nice,
        Self::IoPriority,
        Self::Scheduler,
        Self::OomScore,
        Self::Capabilities,
        Self::Setgroups,
        Self::Setgid,
        Self::Setuid,
        Self::Verify,
        Self::Deathsig,
        Self::NoNewPrivs,
        Self::UserMap,
        Self::Mdwe,
        Self::Landlock,
        Self::Chdir,
        Self::Redirect,
        Self::Seccomp,
        Self::Exec,
    ];

    /// The step of a byte from the error pipe.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u8 == byte)
    }

    /// The name that Erlang sees, an atom.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Cgroup => "cgroup",
            Self::Fork => "fork",
            Self::Descriptors => "descriptors",
            Self::Signals => "signals",
            Self::Setsid => "setsid",
            Self::Setrlimit => "setrlimit",
            Self::Capabilities => "capabilities",
            Self::Setgroups => "setgroups",
            Self::Setgid => "setgid",
            Self::Setuid => "setuid",
            Self::Verify => "verify",
            Self::Deathsig => "deathsig",
            Self::NoNewPrivs => "no_new_privs",
            Self::Chdir => "chdir",
            Self::Terminal => "terminal",
            Self::Redirect => "open",
            Self::Nice => "nice",
            Self::Init => "init",
            Self::Unshare => "unshare",
            Self::Namespaces => "namespaces",
            Self::Mount => "mount",
            Self::Keyring => "keyring",
            Self::Personality => "personality",
            Self::IoPriority => "ioprio",
            Self::Scheduler => "scheduler",
            Self::OomScore => "oom_score_adj",
            Self::UserMap => "user_map",
            Self::Mdwe => "mdwe",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Exec => "exec",
        }
    }
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Which one.
    pub worker: WorkerId,
    /// Its end.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    /// The system killed it, or something that it started, for want of memory.
    pub oom: bool,
    /// Main ended it because its profile grants no longer life.
    pub timeout: bool,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called exit with this status, 0 to 255.
    Code(u8),
    /// This signal ended it; whether it left a core.
    Signal(u8, bool),
}

/// What a process and those that it waited for have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User time, microseconds.
    pub user: u64,
    /// System time, microseconds.
    pub system: u64,
    /// Largest resident size, KiB.
    pub memory: u64,
    /// From fork to reaping, microseconds.
    pub wall: u64,
}
