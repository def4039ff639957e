//! Profiles: what holds a worker besides its user. Written by root in the configuration, resolved by `settings`, chosen
//! by `policy`, carried out between fork and exec by `sys`, and, for what concerns control groups, by `tree`.
//!
//! This module is data: what a profile says ([`Profile`]), and what it comes to on this system ([`Sandbox`]).
//!
//! - [`host`]: what this system can do of a profile.
//! - [`calls`]: the lists of refused system calls, and the filters made of them (Linux).
//! - `bpf`: how such a filter is put together.
//! - [`pass`]: what opens one to main's own steps.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "what these systems lack is named, and read no more"))]

#[cfg(target_os = "linux")]
mod bpf;
#[cfg(target_os = "linux")]
pub(crate) mod calls;
pub(crate) mod host;
pub(crate) mod pass;

use std::ffi::CString;
use std::time::Duration;

use erluv_proto::ids::ProfileName;

use crate::order::Rlimit;
use crate::settings::SandboxNeed;
use crate::sys::{self, Prepared};

/// What a `[profile.NAME]` says, every key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: ProfileName,
    /// What happens where this system lacks something of it (S-74).
    pub(crate) need: SandboxNeed,
    pub(crate) no_new_privs: bool,
    /// The bits that a new file does not get.
    pub(crate) umask: u32,
    pub(crate) rlimits: Vec<Rlimit>,
    /// The priority where a request names none, -20 to 19; `None` is main's own.
    pub(crate) nice: Option<i32>,
    /// As ioprio_set(2) takes it.
    pub(crate) io_priority: Option<IoPriority>,
    /// As sched_setscheduler(2) takes it.
    pub(crate) scheduler: Option<Scheduler>,
    /// Who is killed first for want of memory, -1000 to 1000.
    pub(crate) oom_score_adj: Option<i32>,
    /// A session keyring of its own, keyctl(2).
    pub(crate) keyring: bool,
    /// personality(2) is that of Linux and stays so.
    pub(crate) lock_personality: bool,
    /// No memory is both written and executed, PR_SET_MDWE of prctl(2).
    pub(crate) memory_deny_write_execute: bool,
    /// Capabilities that stay in the bounding set, a bit for each number of capabilities(7).
    pub(crate) bounding: u64,
    /// Capabilities that the worker has, ambient; a part of `bounding`.
    pub(crate) ambient: u64,
    pub(crate) seccomp: Seccomp,
    pub(crate) landlock: Option<Landlock>,
    pub(crate) mounts: Option<Mounts>,
    pub(crate) namespaces: Namespaces,
    pub(crate) cgroup: CgroupLimits,
    /// The longest life of a worker.
    pub(crate) wall: Option<Duration>,
    /// The most bytes of stdout and stderr together.
    pub(crate) output: Option<u64>,
}

/// A class and a level of ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoPriority {
    /// 0, the highest, to 7.
    BestEffort(u8),
    Idle,
}

/// A policy of sched(7) that needs no privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduler {
    Other,
    Batch,
    Idle,
}

/// Which list of system calls is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seccomp {
    pub(crate) list: CallList,
    /// A refused call ends the process (SIGSYS) instead of failing with EPERM.
    pub(crate) kill: bool,
}

/// The lists, each with all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallList {
    None,
    /// What container engines refuse (what administers the host or its kernel, mounts, keys, new namespaces), and
    /// feeding a terminal's input.
    Default,
    /// Also network and tracing, whatever capabilities the profile gives.
    Strict,
}

/// Rules of landlock(7). What is not named is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Landlock {
    /// Absolute paths below which files are read and folders listed.
    pub(crate) read: Vec<CString>,
    /// Below which files are made, written and removed, too.
    pub(crate) write: Vec<CString>,
    /// Below which files are executed, and read.
    pub(crate) execute: Vec<CString>,
    /// TCP ports that may be bound; `None` is no rule.
    pub(crate) bind: Option<Vec<u16>>,
    /// TCP ports that may be connected to; `None` is no rule.
    pub(crate) connect: Option<Vec<u16>>,
    /// No signals and no abstract sockets out of the sandbox.
    pub(crate) scopes: bool,
}

/// A mount namespace, mount_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mounts {
    /// A folder that becomes the root; `None` keeps the host's.
    pub(crate) root: Option<CString>,
    /// Everything is read-only but what follows.
    pub(crate) read_only: bool,
    /// A /tmp, /var/tmp and /dev/shm of its own, with so many bytes in all.
    pub(crate) private_tmp: Option<u64>,
    /// A /dev with the harmless devices alone.
    pub(crate) private_dev: bool,
    /// A /proc without other users' processes and without the kernel's switches.
    pub(crate) private_proc: bool,
    /// Paths that are there but empty and closed.
    pub(crate) hidden: Vec<CString>,
    pub(crate) binds: Vec<Bind>,
}

/// A part of the host's file system in the worker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) source: CString,
    pub(crate) target: CString,
    pub(crate) writable: bool,
}

/// The other namespaces, namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Namespaces {
    /// Processes; with an init of ours, so that the kernel ends all of a worker with it.
    pub(crate) pid: bool,
    /// An empty network with a loopback that is up.
    pub(crate) net: bool,
    pub(crate) ipc: bool,
    /// A host name of its own.
    pub(crate) uts: Option<CString>,
    /// A user namespace in which the worker's ids stand for themselves and no others exist.
    pub(crate) user: bool,
    pub(crate) cgroup: bool,
}

/// Limits of a control group (cgroup v2), all of a worker's processes together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CgroupLimits {
    /// SIGSTOP and SIGCONT stop all of its processes, `cgroup.freeze`.
    pub(crate) freeze: bool,
    /// Bytes, `memory.max`, `memory.high`, `memory.swap.max`.
    pub(crate) memory_max: Option<u64>,
    pub(crate) memory_high: Option<u64>,
    pub(crate) swap_max: Option<u64>,
    /// Processes and threads, `pids.max`.
    pub(crate) pids_max: Option<u64>,
    /// Microseconds of processor time in each 100 ms, `cpu.max`.
    pub(crate) cpu_max: Option<u64>,
    /// 1 to 10000, `cpu.weight`.
    pub(crate) cpu_weight: Option<u16>,
    /// 1 to 10000, `io.weight`.
    pub(crate) io_weight: Option<u16>,
    /// Lines of `io.max`.
    pub(crate) io_max: Vec<IoMax>,
}

/// A line of `io.max`: what is not named is not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IoMax {
    /// Major and minor number of the device.
    pub(crate) device: (u32, u32),
    /// Bytes a second.
    pub(crate) read_bytes: Option<u64>,
    pub(crate) write_bytes: Option<u64>,
    /// Operations a second.
    pub(crate) reads: Option<u64>,
    pub(crate) writes: Option<u64>,
}

/// A profile, made ready for this system.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Without what this system lacks of it.
    pub(crate) profile: Profile,
    /// What this system lacks, in words; these parts are left away.
    pub(crate) missing: Vec<String>,
    /// What the steps between fork and exec read beside the profile.
    pub(crate) prepared: Prepared,
}

impl Profile {
    /// Nothing but what every worker has: the profile of this name as it is before its keys are read.
    pub(crate) fn plain(name: ProfileName) -> Self {
        Self {
            name,
            need: SandboxNeed::Required,
            no_new_privs: crate::sys::CAN_FORBID_NEW_PRIVILEGES,
            umask: 0o077,
            rlimits: Vec::new(),
            nice: None,
            io_priority: None,
            scheduler: None,
            oom_score_adj: None,
            keyring: false,
            lock_personality: false,
            memory_deny_write_execute: false,
            bounding: 0,
            ambient: 0,
            seccomp: Seccomp { list: CallList::None, kill: false },
            landlock: None,
            mounts: None,
            namespaces: Namespaces::default(),
            cgroup: CgroupLimits::default(),
            wall: None,
            output: None,
        }
    }
}

impl Sandbox {
    /// What a profile comes to here; `root` is whether main may change users. Looks at the host the first time that
    /// something is asked for, by trying it in a process of its own where there is no other way.
    pub(crate) fn of(profile: Profile, root: bool) -> Self {
        let mut profile = profile;
        let mut missing = host::reduce(&mut profile, sys::host(), root, |kind| sys::can_unshare(kind, root));
        let prepared = Prepared::of(&profile, root, &mut missing);
        Self { profile, missing, prepared }
    }
}
