//! From the keys of a profile to the profile: defaults, and what does not go together.

use std::collections::BTreeMap;
use std::time::Duration;

use erluv_proto::ids::ProfileName;

use super::error::ConfigError;
use super::limits::LimitName;
use super::raw_profile::{RawCgroup, RawLandlock, RawMounts, RawNamespaces, RawProfile};
use super::values::sandbox::Variable;
use super::values::{Flag, SandboxNeed};
use crate::sandbox::{Bind, CallList, CgroupLimits, Landlock, Mounts, Namespaces, Profile, Seccomp};
use crate::sys::CAN_FORBID_NEW_PRIVILEGES;

/// What a `[profile.NAME]` says, the part included that `policy` and `identity` work by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProfileSettings {
    pub(crate) profile: Profile,
    /// The one user of who is held by it.
    pub(crate) user: Option<String>,
    /// The primary group, in place of the user's own.
    pub(crate) group: Option<String>,
    /// The supplementary groups, in place of all others.
    pub(crate) groups: Option<Vec<String>>,
    /// What is in the environment without being asked for.
    pub(crate) env: Vec<(String, Variable)>,
}

/// Variables that have a value of the system's or the policy's.
const KNOWN: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM"];

/// The profile of these keys.
///
/// # Errors
/// What does not go together in it, or is not for this system.
pub(super) fn resolve(name: &ProfileName, raw: &RawProfile) -> Result<ProfileSettings, ConfigError> {
    let of = |key: &str| format!("profile.{name}.{key}");
    let profile = Profile {
        need: raw.on_missing.unwrap_or(SandboxNeed::Required),
        no_new_privs: is(&raw.no_new_privs, CAN_FORBID_NEW_PRIVILEGES),
        umask: raw.umask.as_ref().map_or(0o077, |umask| umask.0),
        rlimits: rlimits(raw),
        nice: raw.nice.as_ref().map(|nice| nice.0),
        io_priority: raw.io_priority.as_ref().map(|level| level.0),
        scheduler: raw.scheduler.as_ref().map(|scheduler| scheduler.0),
        oom_score_adj: raw.oom_score_adj.as_ref().map(|score| score.0),
        keyring: is(&raw.keyring, false),
        lock_personality: is(&raw.lock_personality, false),
        memory_deny_write_execute: is(&raw.memory_deny_write_execute, false),
        bounding: raw.capabilities.as_ref().map_or(0, |bits| bits.0),
        ambient: raw.ambient.as_ref().map_or(0, |bits| bits.0),
        seccomp: Seccomp {
            list: raw.seccomp.as_ref().map_or(CallList::None, |list| list.0),
            kill: raw.seccomp_action.as_ref().is_some_and(|kill| kill.0),
        },
        landlock: raw.landlock.as_ref().map(landlock),
        mounts: raw.mounts.as_ref().map(mounts).filter(|mounts| *mounts != Mounts::default()),
        namespaces: namespaces(&raw.namespaces),
        cgroup: cgroup(&raw.cgroup),
        wall: raw.wall_time.as_ref().and_then(|time| time.0),
        output: raw.output_limit.as_ref().and_then(|size| size.0),
        ..Profile::plain(name.clone())
    };
    check(&profile).map_err(|(key, what)| ConfigError::rule(&of(key), what))?;
    let env = raw.env.iter().flatten().map(|(name, value)| (name.0.clone(), value.0.clone())).collect::<Vec<_>>();
    if let Some((unknown, _)) = env.iter().find(|(name, v)| *v == Variable::Known && !KNOWN.contains(&name.as_str())) {
        let what = format!("write its value in quotes: true is for {} alone", KNOWN.join(", "));
        return Err(ConfigError::rule(&format!("{}.{unknown}", of("env")), what));
    }
    Ok(ProfileSettings {
        profile,
        user: raw.user.as_ref().map(|user| user.0.clone()),
        group: raw.group.as_ref().map(|group| group.0.clone()),
        groups: raw.groups.as_ref().map(|groups| groups.0.clone()),
        env,
    })
}

impl ProfileSettings {
    /// The profile for a policy that gives no worker more than so much time.
    pub(super) fn within(mut self, most: Option<Duration>) -> Self {
        self.profile.wall = self.profile.wall.into_iter().chain(most).min();
        self
    }
}

fn is(flag: &Option<Flag>, default: bool) -> bool {
    flag.as_ref().map_or(default, |flag| flag.0)
}

fn rlimits(raw: &RawProfile) -> Vec<crate::order::Rlimit> {
    let mut limits = BTreeMap::from([(LimitName::CORE, (Some(0), Some(0)))]);
    limits.extend(raw.limits.iter().flatten().map(|(name, limit)| (*name, limit.0)));
    limits.into_iter().map(|(name, pair)| name.rlimit(pair)).collect()
}

fn landlock(raw: &RawLandlock) -> Landlock {
    Landlock {
        read: raw.read.as_ref().map(|paths| paths.0.clone()).unwrap_or_default(),
        write: raw.write.as_ref().map(|paths| paths.0.clone()).unwrap_or_default(),
        execute: raw.execute.as_ref().map(|paths| paths.0.clone()).unwrap_or_default(),
        bind: raw.bind.as_ref().and_then(|ports| ports.0.clone()),
        connect: raw.connect.as_ref().and_then(|ports| ports.0.clone()),
        scopes: is(&raw.scopes, false),
    }
}

fn mounts(raw: &RawMounts) -> Mounts {
    let writable = raw.bind.iter().flat_map(|binds| &binds.0).map(|bind| Bind { writable: true, ..bind.clone() });
    let read_only = raw.bind_read_only.iter().flat_map(|binds| &binds.0).cloned();
    Mounts {
        root: raw.root.as_ref().and_then(|root| root.0.clone()),
        read_only: is(&raw.read_only, false),
        private_tmp: raw.private_tmp.as_ref().and_then(|size| size.0),
        private_dev: is(&raw.private_dev, false),
        private_proc: is(&raw.private_proc, false),
        hidden: raw.hidden.as_ref().map(|paths| paths.0.clone()).unwrap_or_default(),
        binds: read_only.chain(writable).collect(),
    }
}

fn namespaces(raw: &RawNamespaces) -> Namespaces {
    Namespaces {
        pid: is(&raw.pid, false),
        net: is(&raw.net, false),
        ipc: is(&raw.ipc, false),
        uts: raw.hostname.as_ref().and_then(|name| name.0.clone()),
        user: is(&raw.user, false),
        cgroup: is(&raw.cgroup, false),
    }
}

fn cgroup(raw: &RawCgroup) -> CgroupLimits {
    CgroupLimits {
        freeze: is(&raw.freeze, false),
        memory_max: raw.memory_max.as_ref().and_then(|size| size.0),
        memory_high: raw.memory_high.as_ref().and_then(|size| size.0),
        swap_max: raw.swap_max.as_ref().and_then(|size| size.0),
        pids_max: raw.pids_max.as_ref().and_then(|count| count.0),
        cpu_max: raw.cpu_max.as_ref().and_then(|part| part.0),
        cpu_weight: raw.cpu_weight.as_ref().map(|weight| weight.0),
        io_weight: raw.io_weight.as_ref().map(|weight| weight.0),
        io_max: raw.io_max.as_ref().map(|lines| lines.0.clone()).unwrap_or_default(),
    }
}

/// What does not go together: the key, and what to write.
type Contradiction = (&'static str, String);

fn check(profile: &Profile) -> Result<(), Contradiction> {
    check_privileges(profile)?;
    check_mounts(profile)?;
    let cgroup = &profile.cgroup;
    if let (Some(high), Some(max)) = (cgroup.memory_high, cgroup.memory_max)
        && high > max
    {
        return Err(("cgroup.memory_high", format!("is above memory_max, which is {max}: write less")));
    }
    let mut devices = cgroup.io_max.iter().map(|line| line.device).collect::<Vec<_>>();
    devices.sort_unstable();
    devices.dedup();
    if devices.len() != cgroup.io_max.len() {
        return Err(("cgroup.io_max", "a device is there twice: write all its limits on one line".to_owned()));
    }
    Ok(())
}

fn check_privileges(profile: &Profile) -> Result<(), Contradiction> {
    if profile.no_new_privs && !CAN_FORBID_NEW_PRIVILEGES {
        return Err(("no_new_privs", "this system cannot forbid new privileges: leave the key away".to_owned()));
    }
    if !profile.no_new_privs && CAN_FORBID_NEW_PRIVILEGES {
        let needs = "works with no_new_privs = true alone: set that, or";
        if profile.seccomp.list != CallList::None {
            return Err(("seccomp", format!("{needs} write \"none\" here")));
        }
        if profile.landlock.is_some() {
            return Err(("landlock", format!("{needs} leave the table away")));
        }
        if profile.memory_deny_write_execute {
            return Err(("memory_deny_write_execute", format!("{needs} write false here")));
        }
    }
    if profile.seccomp.kill && profile.seccomp.list == CallList::None {
        return Err(("seccomp_action", "there is no list of calls: set seccomp, too".to_owned()));
    }
    if profile.ambient & !profile.bounding != 0 {
        return Err(("ambient", "has what is not in capabilities: name it there, too".to_owned()));
    }
    if profile.ambient != 0 && profile.namespaces.user {
        let what = "a user namespace of its own leaves a worker none: leave ambient or namespaces.user away";
        return Err(("ambient", what.to_owned()));
    }
    if profile.landlock.as_ref().is_some_and(|rules| rules.execute.is_empty()) {
        let what = "nothing could be executed, not even the program: name folders such as [\"/usr\"], or [\"/\"]";
        return Err(("landlock.execute", what.to_owned()));
    }
    Ok(())
}

fn check_mounts(profile: &Profile) -> Result<(), Contradiction> {
    let Some(mounts) = &profile.mounts else { return Ok(()) };
    let mut targets = mounts.binds.iter().map(|bind| &bind.target).collect::<Vec<_>>();
    targets.sort_unstable();
    if let Some([twice, _]) = targets.windows(2).find_map(|pair| <[_; 2]>::try_from(pair).ok().filter(|[a, b]| a == b))
    {
        return Err(("mounts.bind", format!("{twice:?} is bound to twice")));
    }
    if let Some(both) = mounts.hidden.iter().find(|path| targets.binary_search(path).is_ok()) {
        return Err(("mounts.hidden", format!("{both:?} is bound to and hidden: leave one away")));
    }
    if mounts.hidden.iter().any(|path| path.as_c_str() == c"/") {
        return Err(("mounts.hidden", "\"/\" cannot be hidden: set root to an empty folder".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
