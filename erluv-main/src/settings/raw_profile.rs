//! The keys of a `[profile.NAME]`, as any layer may have them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::limits::LimitName;
use super::values::sandbox::{
    Binds, Bytes, Calls, Capabilities, CpuMax, EnvValue, HostName, IoLevel, IoLimits, KillsCaller, OomScore,
    OutputSize, Paths, Pids, Ports, Priority, Root, Scheduling, TmpSize, WallTime, Weight,
};
use super::values::{Flag, Limit, SandboxNeed, Text, Texts, Umask};

/// The keys of the table itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    /// Resolved where the layers are laid over each other, before this is read for good.
    #[serde(rename = "extends")]
    pub(super) _extends: Option<Text>,
    pub(super) on_missing: Option<SandboxNeed>,
    pub(super) user: Option<Text>,
    pub(super) group: Option<Text>,
    pub(super) groups: Option<Texts>,
    pub(super) no_new_privs: Option<Flag>,
    pub(super) umask: Option<Umask>,
    pub(super) nice: Option<Priority>,
    pub(super) io_priority: Option<IoLevel>,
    pub(super) scheduler: Option<Scheduling>,
    pub(super) oom_score_adj: Option<OomScore>,
    pub(super) keyring: Option<Flag>,
    pub(super) lock_personality: Option<Flag>,
    pub(super) memory_deny_write_execute: Option<Flag>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) ambient: Option<Capabilities>,
    pub(super) seccomp: Option<Calls>,
    pub(super) seccomp_action: Option<KillsCaller>,
    pub(super) wall_time: Option<WallTime>,
    pub(super) output_limit: Option<OutputSize>,
    pub(super) limits: Option<BTreeMap<LimitName, Limit>>,
    pub(super) env: Option<BTreeMap<EnvName, EnvValue>>,
    pub(super) landlock: Option<RawLandlock>,
    pub(super) mounts: Option<RawMounts>,
    #[serde(default)]
    pub(super) namespaces: RawNamespaces,
    #[serde(default)]
    pub(super) cgroup: RawCgroup,
}

/// The keys of its table `landlock`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLandlock {
    pub(super) read: Option<Paths>,
    pub(super) write: Option<Paths>,
    pub(super) execute: Option<Paths>,
    pub(super) bind: Option<Ports>,
    pub(super) connect: Option<Ports>,
    pub(super) scopes: Option<Flag>,
}

/// The keys of its table `mounts`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMounts {
    pub(super) root: Option<Root>,
    pub(super) read_only: Option<Flag>,
    pub(super) private_tmp: Option<TmpSize>,
    pub(super) private_dev: Option<Flag>,
    pub(super) private_proc: Option<Flag>,
    pub(super) hidden: Option<Paths>,
    pub(super) bind: Option<Binds>,
    pub(super) bind_read_only: Option<Binds>,
}

/// The keys of its table `namespaces`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNamespaces {
    pub(super) pid: Option<Flag>,
    pub(super) net: Option<Flag>,
    pub(super) ipc: Option<Flag>,
    pub(super) user: Option<Flag>,
    pub(super) cgroup: Option<Flag>,
    pub(super) hostname: Option<HostName>,
}

/// The keys of its table `cgroup`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCgroup {
    pub(super) freeze: Option<Flag>,
    pub(super) memory_max: Option<Bytes>,
    pub(super) memory_high: Option<Bytes>,
    pub(super) swap_max: Option<Bytes>,
    pub(super) pids_max: Option<Pids>,
    pub(super) cpu_max: Option<CpuMax>,
    pub(super) cpu_weight: Option<Weight>,
    pub(super) io_weight: Option<Weight>,
    pub(super) io_max: Option<IoLimits>,
}

/// The name of a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct EnvName(pub(super) String);

impl TryFrom<String> for EnvName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        if crate::policy::is_env_name(name.as_bytes()) {
            Ok(Self(name))
        } else {
            Err(format!("{name:?}: write a name of letters, digits and '_'"))
        }
    }
}
