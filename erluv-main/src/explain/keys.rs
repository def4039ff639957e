//! A profile as keys and values.

use std::ffi::CString;
use std::time::Duration;

use super::Line;
use crate::order::Rlimit;
use crate::sandbox::{Bind, CallList, IoMax, IoPriority, Landlock, Mounts, Profile, Scheduler};
use crate::settings::{CgroupUse, LimitName, ProfileSettings, SandboxNeed, Variable};

const OWN: &str = "as erluv-main's own";
const UNLIMITED: &str = "unlimited";
const NONE: &str = "none";

/// What is not in [`Profile`].
pub(super) fn identity(profile: &ProfileSettings) -> Vec<Line> {
    let text = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
    let mut lines = vec![
        named("user", text(&profile.user).ok_or("the policy's")),
        named("group", text(&profile.group).ok_or("the user's own")),
        named("groups", profile.groups.as_ref().map(|groups| format!("{groups:?}")).ok_or("the policy's")),
    ];
    lines.extend(profile.env.iter().map(|(name, value)| {
        let value = match value {
            Variable::Absent => "false".to_owned(),
            Variable::Known => "true".to_owned(),
            Variable::Text(text) => format!("{text:?}"),
        };
        (format!("env.{name}"), Ok(value))
    }));
    lines
}

/// Everything else.
pub(super) fn keys(profile: &Profile) -> Vec<Line> {
    let mut lines = vec![
        named("on_missing", Ok(quoted(need(profile.need)))),
        named("no_new_privs", flag(profile.no_new_privs)),
        named("umask", Ok(format!("\"{:03o}\"", profile.umask))),
        named("nice", profile.nice.map(|nice| nice.to_string()).ok_or(OWN)),
        named("io_priority", profile.io_priority.map(io_priority).ok_or(OWN)),
        named("scheduler", profile.scheduler.map(|scheduler| quoted(scheduling(scheduler))).ok_or(OWN)),
        named("oom_score_adj", profile.oom_score_adj.map(|score| score.to_string()).ok_or(OWN)),
        named("keyring", flag(profile.keyring)),
        named("lock_personality", flag(profile.lock_personality)),
        named("memory_deny_write_execute", flag(profile.memory_deny_write_execute)),
        named("capabilities", Ok(capabilities(profile.bounding))),
        named("ambient", Ok(capabilities(profile.ambient))),
        named("seccomp", Ok(quoted(calls(profile.seccomp.list)))),
        named("seccomp_action", Ok(quoted(if profile.seccomp.kill { "kill" } else { "errno" }))),
        named("wall_time", profile.wall.map(time).ok_or(UNLIMITED)),
        named("output_limit", number(profile.output)),
    ];
    lines.extend(profile.rlimits.iter().filter_map(limit));
    match &profile.landlock {
        None => lines.push(named("landlock", Err(NONE))),
        Some(rules) => lines.extend(landlock(rules)),
    }
    match &profile.mounts {
        None => lines.push(named("mounts", Err("the system's"))),
        Some(view) => lines.extend(mounts(view)),
    }
    lines.extend(namespaces(profile));
    lines.extend(cgroup(profile));
    lines
}

fn landlock(rules: &Landlock) -> [Line; 6] {
    let ports =
        |ports: &Option<Vec<u16>>| Ok(ports.as_ref().map_or_else(|| quoted("any"), |ports| format!("{ports:?}")));
    [
        named("landlock.read", Ok(paths(&rules.read))),
        named("landlock.write", Ok(paths(&rules.write))),
        named("landlock.execute", Ok(paths(&rules.execute))),
        named("landlock.bind", ports(&rules.bind)),
        named("landlock.connect", ports(&rules.connect)),
        named("landlock.scopes", flag(rules.scopes)),
    ]
}

fn mounts(view: &Mounts) -> [Line; 8] {
    let binds = |writable: bool| {
        let text = |bind: &Bind| match bind.source == bind.target {
            true => bind.source.clone().into_bytes(),
            false => [bind.source.as_bytes(), b":", bind.target.as_bytes()].concat(),
        };
        let chosen = view.binds.iter().filter(|bind| bind.writable == writable);
        Ok(list(chosen.map(|bind| format!("{:?}", String::from_utf8_lossy(&text(bind))))))
    };
    [
        named("mounts.root", Ok(view.root.as_ref().map_or_else(|| quoted("/"), |root| format!("{root:?}")))),
        named("mounts.read_only", flag(view.read_only)),
        named("mounts.private_tmp", Ok(view.private_tmp.map_or_else(|| "false".to_owned(), |size| size.to_string()))),
        named("mounts.private_dev", flag(view.private_dev)),
        named("mounts.private_proc", flag(view.private_proc)),
        named("mounts.hidden", Ok(paths(&view.hidden))),
        named("mounts.bind", binds(true)),
        named("mounts.bind_read_only", binds(false)),
    ]
}

fn namespaces(profile: &Profile) -> [Line; 6] {
    let own = &profile.namespaces;
    let host = own.uts.as_ref().map_or_else(|| "false".to_owned(), |name| format!("{name:?}"));
    [
        named("namespaces.pid", flag(own.pid)),
        named("namespaces.net", flag(own.net)),
        named("namespaces.ipc", flag(own.ipc)),
        named("namespaces.user", flag(own.user)),
        named("namespaces.cgroup", flag(own.cgroup)),
        named("namespaces.hostname", Ok(host)),
    ]
}

fn cgroup(profile: &Profile) -> [Line; 9] {
    let limits = &profile.cgroup;
    let weight = |weight: Option<u16>| weight.map(|weight| weight.to_string()).ok_or("the system's");
    let cpu = limits.cpu_max.map(|micros| format!("\"{}%\"", micros / 1000));
    [
        named("cgroup.freeze", flag(limits.freeze)),
        named("cgroup.memory_max", number(limits.memory_max)),
        named("cgroup.memory_high", number(limits.memory_high)),
        named("cgroup.swap_max", number(limits.swap_max)),
        named("cgroup.pids_max", number(limits.pids_max)),
        named("cgroup.cpu_max", cpu.ok_or(UNLIMITED)),
        named("cgroup.cpu_weight", weight(limits.cpu_weight)),
        named("cgroup.io_weight", weight(limits.io_weight)),
        named("cgroup.io_max", Ok(list(limits.io_max.iter().map(io_max)))),
    ]
}

fn named(key: &str, value: Result<String, &'static str>) -> Line {
    (key.to_owned(), value)
}

fn flag(flag: bool) -> Result<String, &'static str> {
    Ok(flag.to_string())
}

fn number(number: Option<u64>) -> Result<String, &'static str> {
    number.map(|number| number.to_string()).ok_or(UNLIMITED)
}

pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn paths(paths: &[CString]) -> String {
    list(paths.iter().map(|path| format!("{path:?}")))
}

pub(super) fn time(time: Duration) -> String {
    format!("\"{}\"", humantime::format_duration(time))
}

fn limit(limit: &Rlimit) -> Option<Line> {
    let name = LimitName::of(limit.resource)?.name();
    let text = |value: u64| LimitName::value(value).map_or_else(|| quoted("unlimited"), |value| value.to_string());
    let value = match limit.soft == limit.hard {
        true => text(limit.hard),
        false => format!("{{ soft = {}, hard = {} }}", text(limit.soft), text(limit.hard)),
    };
    Some((format!("limits.{name}"), Ok(value)))
}

fn io_max(line: &IoMax) -> String {
    let limits = [("rbps", line.read_bytes), ("wbps", line.write_bytes), ("riops", line.reads), ("wiops", line.writes)];
    let (major, minor) = line.device;
    let set = limits.into_iter().filter_map(|(key, limit)| limit.map(|limit| format!(" {key}={limit}")));
    format!("\"{major}:{minor}{}\"", set.collect::<String>())
}

fn io_priority(level: IoPriority) -> String {
    match level {
        IoPriority::BestEffort(level) => level.to_string(),
        IoPriority::Idle => quoted("idle"),
    }
}

const fn scheduling(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::Other => "other",
        Scheduler::Batch => "batch",
        Scheduler::Idle => "idle",
    }
}

const fn calls(list: CallList) -> &'static str {
    match list {
        CallList::None => "none",
        CallList::Default => "default",
        CallList::Strict => "strict",
    }
}

pub(super) fn cgroup_use(setting: CgroupUse) -> String {
    match setting {
        CgroupUse::Auto => quoted("auto"),
        CgroupUse::Required => "true".to_owned(),
        CgroupUse::Never => "false".to_owned(),
    }
}

const fn need(need: SandboxNeed) -> &'static str {
    match need {
        SandboxNeed::Required => "required",
        SandboxNeed::BestEffort => "best_effort",
    }
}

#[cfg(target_os = "linux")]
fn capabilities(bits: u64) -> String {
    let mut set = caps::all().into_iter().filter(|one| one.bitmask() & bits != 0).collect::<Vec<_>>();
    set.sort_unstable_by_key(|one| one.index());
    list(set.into_iter().map(|one| format!("\"{one}\"")))
}

#[cfg(not(target_os = "linux"))]
fn capabilities(_: u64) -> String {
    "[]".to_owned()
}
