//! What policy has let pass: a launch with every name resolved. Made by `policy` from a request of erluv-child, carried
//! out by `launch`. Nothing in it is looked up or checked again.

use std::ffi::CString;

use erluv_proto::ids::RequestId;
use erluv_proto::ipc::{InputFrom, OutputTo};

/// Which of main's nodes something belongs to: the place of the node in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeIndex(pub(crate) usize);

/// Who a process runs as. Never made of numbers that came from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user's name, for the log and the environment.
    pub(crate) name: String,
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

/// A launch that policy has let pass.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) node: NodeIndex,
    pub(crate) request: RequestId,
    /// The absolute path that is executed.
    pub(crate) path: CString,
    /// argv: at least the name of the program.
    pub(crate) argv: Vec<CString>,
    /// `NAME=value`, the whole environment.
    pub(crate) env: Vec<CString>,
    /// The working folder, absolute.
    pub(crate) cwd: CString,
    /// Whom to become; `None` where main has no privilege to change users: the worker runs as main does.
    pub(crate) identity: Option<Identity>,
    pub(crate) stdin: InputFrom,
    pub(crate) stdout: OutputTo,
    pub(crate) stderr: OutputTo,
    pub(crate) umask: u32,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privs: bool,
}
