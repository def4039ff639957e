//! What of a profile this host can do. The rest is left away, and named: a pure function of the profile and of what the
//! host was found to have.

#[cfg(test)]
mod tests;

use super::{CallList, Profile};

/// A kind of namespaces, by its name in namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    User,
    Cgroup,
}

/// What a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    /// Priorities of input and output, policies of scheduling, scores for want of memory.
    pub(crate) linux: bool,
    /// CAP_SYS_RESOURCE, which lowers such a score.
    pub(crate) resources: bool,
    pub(crate) keyring: bool,
    /// PR_SET_MDWE.
    pub(crate) mdwe: bool,
    pub(crate) seccomp: bool,
    /// The version of landlock(7), 0 for none.
    pub(crate) landlock: u32,
    /// The calls that mount by descriptors, and mount_setattr(2).
    pub(crate) mounts: bool,
}

/// Leaves away what cannot be done; what that was, in words. `root` is whether main may change users, `can` whether it
/// may make namespaces of a kind.
pub(crate) fn reduce(profile: &mut Profile, host: Host, root: bool, can: impl Fn(Kind) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    attributes(profile, host, root, &mut missing);
    filters(profile, host, &mut missing);
    landlock(profile, host, &mut missing);
    namespaces(profile, host, root, can, &mut missing);
    missing
}

/// Takes a value away where it is set and cannot be had.
fn take<T: Default + PartialEq>(value: &mut T, can: impl FnOnce() -> bool, what: &str, missing: &mut Vec<String>) {
    if *value != T::default() && !can() {
        *value = T::default();
        missing.push(what.to_owned());
    }
}

fn attributes(profile: &mut Profile, host: Host, root: bool, missing: &mut Vec<String>) {
    let linux = || host.linux;
    take(&mut profile.keyring, || host.keyring, "keyring: the kernel has no keyrings (CONFIG_KEYS)", missing);
    take(&mut profile.io_priority, linux, "io_priority: this system has none", missing);
    take(&mut profile.scheduler, linux, "scheduler: this system has no such policies", missing);
    take(&mut profile.oom_score_adj, linux, "oom_score_adj: this system has no such score", missing);
    take(&mut profile.lock_personality, linux, "lock_personality: this system has no such domains", missing);
    let mdwe = "memory_deny_write_execute: the kernel cannot (Linux 6.3)";
    take(&mut profile.memory_deny_write_execute, || host.mdwe, mdwe, missing);
    let ambient = "ambient: erluv-main has no capabilities to give";
    take(&mut profile.ambient, || host.linux && root, ambient, missing);
    if !host.linux {
        profile.bounding = 0;
    }
    if !host.resources && profile.oom_score_adj.is_some_and(|score| score < 0) {
        profile.oom_score_adj = None;
        missing.push("oom_score_adj: below 0 it needs CAP_SYS_RESOURCE".to_owned());
    }
}

fn filters(profile: &mut Profile, host: Host, missing: &mut Vec<String>) {
    if host.seccomp {
        return;
    }
    let why = "no filter for this kernel or machine (CONFIG_SECCOMP_FILTER)";
    if profile.seccomp.list != CallList::None {
        profile.seccomp.list = CallList::None;
        missing.push(format!("seccomp: {why}"));
    }
    take(&mut profile.lock_personality, || false, &format!("lock_personality: {why}"), missing);
}

fn landlock(profile: &mut Profile, host: Host, missing: &mut Vec<String>) {
    let none = "landlock: the kernel has none (CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list)";
    take(&mut profile.landlock, || host.landlock > 0, none, missing);
    let Some(rules) = &mut profile.landlock else { return };
    if host.landlock < 3 {
        missing.push("landlock: files can be emptied whatever the rules (Linux 6.2)".to_owned());
    }
    let ports = || host.landlock >= 4;
    take(&mut rules.bind, ports, "landlock.bind: no rules for ports (Linux 6.7)", missing);
    take(&mut rules.connect, ports, "landlock.connect: no rules for ports (Linux 6.7)", missing);
    take(&mut rules.scopes, || host.landlock >= 6, "landlock.scopes: not known (Linux 6.12)", missing);
}

fn namespaces(profile: &mut Profile, host: Host, root: bool, can: impl Fn(Kind) -> bool, missing: &mut Vec<String>) {
    let kinds = &mut profile.namespaces;
    let pid = if root { "namespaces.pid: cannot be made here" } else { "namespaces.pid: needs root" };
    take(&mut kinds.pid, || root && can(Kind::Pid), pid, missing);
    take(&mut kinds.net, || can(Kind::Net), "namespaces.net: cannot be made here", missing);
    take(&mut kinds.ipc, || can(Kind::Ipc), "namespaces.ipc: cannot be made here", missing);
    take(&mut kinds.uts, || can(Kind::Uts), "namespaces.hostname: cannot be made here", missing);
    take(&mut kinds.cgroup, || can(Kind::Cgroup), "namespaces.cgroup: cannot be made here", missing);
    take(&mut kinds.user, || can(Kind::User), "namespaces.user: cannot be made here", missing);
    let mounts = &mut profile.mounts;
    take(mounts, || host.mounts, "mounts: the kernel has no mount_setattr (Linux 5.12)", missing);
    take(mounts, || can(Kind::Mount), "mounts: no mount namespace can be made here", missing);
    if let Some(mounts) = mounts {
        take(&mut mounts.private_proc, || root, "mounts.private_proc: a new /proc needs root", missing);
    }
}
