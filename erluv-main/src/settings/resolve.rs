//! From the keys to what main works by: defaults, rules that span keys, and each node's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use erluv_proto::ids::{NodeName, ProfileName};

use super::environment::Environment;
use super::error::ConfigError;
use super::merge::Merged;
use super::origins::Origins;
use super::profile::{self, ProfileSettings};
use super::raw::{Raw, RawWorkers};
use super::values::{CgroupUse, Flag, SandboxNeed, Time};
use super::{MADE_CHROOT, NodeSettings, SEARCH_PATH, Settings, WorkersSettings, names};
use crate::cookie::CookieTrust;

/// The settings that the layers come to.
///
/// # Errors
/// The first mistake, as one line that tells what to change.
pub(super) fn resolve(merged: Merged, environment: &Environment) -> Result<Settings, ConfigError> {
    let Merged { raw, origins, nodes: tables } = merged;
    let peers = raw.node.as_ref().map(|nodes| nodes.0.as_slice()).unwrap_or_default();
    if peers.is_empty() {
        return Err(ConfigError::rule("node", "none is named: write node = \"name@host\" or use --node name@host"));
    }
    let top = raw.name.as_ref().map(|name| &name.0);
    let name_of = |peer| tables.get(peer).map_or(top, |(own, _)| own.name.as_ref().map(|name| &name.0));
    if top.is_some() && peers.iter().filter(|peer| name_of(peer) == top).count() > 1 {
        let what = "one name cannot serve several nodes: leave it away, prefix names us, or write own_name in [[node]]";
        return Err(ConfigError::rule("name", what));
    }
    let profiles = raw.profile.iter().flatten();
    let profiles =
        profiles.map(|(name, profile)| profile::resolve(name, profile)).collect::<Result<Vec<_>, ConfigError>>()?;
    let (mut nodes, mut warnings) = (Vec::new(), Vec::new());
    for (index, peer) in peers.iter().enumerate() {
        let (own, from) = tables.get(peer).map_or((&raw, &origins), |(own, from)| (own, from));
        let life = names::life_of(environment.life, index);
        let node = node(peer, own, from, &profiles, environment, life).map_err(|error| match error {
            ConfigError::Rule { key, what } if tables.contains_key(peer) => {
                ConfigError::Rule { key: format!("[[node]] {peer}: {key}"), what }
            }
            other => other,
        })?;
        nodes.push(node);
        for warning in self::warnings(peer, own) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    Ok(Settings {
        nodes,
        euid: environment.euid,
        pid_file: raw.pid_file.map(|path| path.0),
        cgroup: raw.cgroup.unwrap_or(CgroupUse::Auto),
        profiles,
        origins,
        warnings,
    })
}

fn is(flag: &Option<Flag>) -> bool {
    flag.as_ref().is_some_and(|flag| flag.0)
}

/// One node; `raw` is what concerns it, its own table over the top.
fn node(
    peer: &NodeName,
    raw: &Raw,
    origins: &Origins,
    profiles: &[ProfileSettings],
    environment: &Environment,
    life: u32,
) -> Result<NodeSettings, ConfigError> {
    let time = |time: &Option<Time>, seconds| time.as_ref().map_or(Duration::from_secs(seconds), |time| time.0);
    let cookie_file = match &raw.cookie_file {
        Some(path) => path.0.clone(),
        None => environment.in_home(".erlang.cookie").ok_or(ConfigError::Home)?,
    };
    let (heartbeat, hang_timeout) = (time(&raw.heartbeat, 1), time(&raw.hang_timeout, 10));
    if heartbeat >= hang_timeout {
        return Err(ConfigError::rule("hang_timeout", format!("write a time above heartbeat, which is {heartbeat:?}")));
    }
    if !is(&raw.plaintext) && !names::is_loopback(peer.host()) {
        let what = format!(
            "{peer} is not on this machine's loopback, and what is sent there can be read on the way: set \
             plaintext = true where that is meant, or name the node with @127.0.0.1"
        );
        return Err(ConfigError::rule("node", what));
    }
    Ok(NodeSettings {
        peer: peer.clone(),
        own: own_name(peer, raw, environment, life)?,
        cookie_file,
        cookie_trust: CookieTrust { owner: environment.euid, weak: is(&raw.weak_cookie) },
        user: raw.user.as_ref().map(|user| user.0.clone()),
        group: raw.group.as_ref().map(|group| group.0.clone()),
        chroot: raw.chroot.as_ref().map_or_else(default_chroot, |path| path.0.clone()),
        epmd_port: raw.epmd_port.as_ref().map_or(4369, |port| port.0),
        node_port: raw.node_port.as_ref().map(|port| port.0),
        die_timeout: time(&raw.die_timeout, 30),
        heartbeat,
        hang_timeout,
        kill_timeout: raw.kill_timeout.as_ref().map_or(Duration::from_secs(5), |time| time.0),
        peer_timeout: time(&raw.peer_timeout, 90),
        connect_timeout: time(&raw.connect_timeout, 5),
        max_frame: raw.max_frame.as_ref().map_or(1_048_576, |size| size.0),
        input_cap: raw.input_cap.as_ref().map_or(262_144, |size| size.0),
        share_cookie: is(&raw.share_cookie),
        sandbox: raw.sandbox.unwrap_or(SandboxNeed::BestEffort),
        workers: workers(raw.workers.as_ref().unwrap_or(&RawWorkers::default()), profiles)?,
        origins: origins.clone(),
    })
}

fn own_name(peer: &NodeName, raw: &Raw, environment: &Environment, life: u32) -> Result<NodeName, ConfigError> {
    let prefix = raw.prefix.as_ref().map_or("erluv", |prefix| prefix.0.as_str());
    match &raw.name {
        Some(name) => Ok(name.0.clone()),
        None => names::own_name(prefix, peer, environment.host.as_deref(), life),
    }
}

/// The empty folder that most systems have; elsewhere one that main makes itself at start.
pub(super) fn default_chroot() -> PathBuf {
    let common = Path::new("/var/empty");
    if common.is_dir() { common.to_owned() } else { PathBuf::from(MADE_CHROOT) }
}

fn workers(workers: &RawWorkers, known: &[ProfileSettings]) -> Result<WorkersSettings, ConfigError> {
    let all = |pattern: &str| vec![pattern.to_owned()];
    let max_time = workers.max_time.as_ref().map(|time| time.0);
    let profiles = profiles(workers, known)?.into_iter().map(|profile| profile.clone().within(max_time)).collect();
    Ok(WorkersSettings {
        users: workers.users.as_ref().map(|users| users.0.clone()).unwrap_or_default(),
        groups: workers.groups.as_ref().map(|groups| groups.0.clone()),
        allow_root: is(&workers.allow_root),
        min_uid: workers.min_uid.as_ref().map_or(1, |uid| uid.0),
        max: workers.max.as_ref().map_or(10_000, |max| max.0),
        max_per_user: workers.max_per_user.as_ref().map(|max| max.0),
        max_per_profile: workers.max_per_profile.as_ref().map(|max| max.0),
        starts_per_second: workers.starts_per_second.as_ref().map(|rate| rate.0),
        max_time,
        programs: workers.programs.as_ref().map_or_else(|| all("/**"), |programs| programs.0.clone()),
        pin: is(&workers.pin),
        shell: workers.shell.as_ref().is_none_or(|flag| flag.0),
        folders: workers.folders.as_ref().map(|folders| folders.0.clone()),
        env: workers.env.as_ref().map_or_else(|| all("*"), |names| names.0.clone()),
        path: workers.path.as_ref().map_or_else(|| SEARCH_PATH.map(PathBuf::from).to_vec(), |path| path.0.clone()),
        profiles,
        trial: false,
        max_args_bytes: workers.max_args_bytes.as_ref().map_or(65_536, |bytes| bytes.0),
        nice_min: workers.nice_min.as_ref().map_or(0, |nice| nice.0),
    })
}

/// The profiles that may be asked for, the default first.
fn profiles<'p>(workers: &RawWorkers, known: &'p [ProfileSettings]) -> Result<Vec<&'p ProfileSettings>, ConfigError> {
    let find = |key: &str, name: &str| {
        let found = known.iter().find(|profile| profile.profile.name.as_str() == name);
        found.ok_or_else(|| {
            let names = known.iter().map(|profile| profile.profile.name.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("there is no profile {name:?}: write [profile.{name}], or one of: {names}");
            ConfigError::rule(&format!("workers.{key}"), what)
        })
    };
    let listed = workers.profiles.as_ref().map(|names| names.0.as_slice()).unwrap_or_default();
    let default = workers.profile.as_ref().or(listed.first()).map_or("default", ProfileName::as_str);
    let default = find("profile", default)?;
    let name = &default.profile.name;
    if workers.profiles.is_some() && !listed.contains(name) {
        return Err(ConfigError::rule(
            "workers.profile",
            format!("\"{name}\" is not in workers.profiles: add it there"),
        ));
    }
    let others = listed.iter().filter(|other| *other != name).map(|other| find("profiles", other.as_str()));
    std::iter::once(Ok(default)).chain(others).collect()
}

/// Adds a profile to those of each node, for who tries it by hand.
///
/// # Errors
/// Where there is none of that name.
pub(super) fn admit(settings: &mut Settings, name: &str) -> Result<(), ConfigError> {
    let Settings { nodes, profiles, .. } = settings;
    let Some(wanted) = profiles.iter().find(|known| known.profile.name.as_str() == name) else {
        let names = profiles.iter().map(|known| known.profile.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ConfigError::rule("--profile", format!("{name:?}: not one of: {names}")));
    };
    for workers in nodes.iter_mut().map(|node| &mut node.workers) {
        if !workers.profiles.iter().any(|listed| listed.profile.name == wanted.profile.name) {
            workers.profiles.push(wanted.clone().within(workers.max_time));
            workers.trial = true;
        }
    }
    Ok(())
}

fn warnings(peer: &NodeName, raw: &Raw) -> Vec<String> {
    let mut warnings = Vec::new();
    if !names::is_loopback(peer.host()) {
        warnings.push(format!("plaintext: what goes to {peer} and comes from it can be read on the way"));
    }
    if is(&raw.weak_cookie) {
        warnings.push("weak_cookie: a cookie that can be guessed is taken".to_owned());
    }
    if is(&raw.share_cookie) {
        warnings.push("share_cookie: erluv-child knows the cookie and tells it to the node that asks".to_owned());
    }
    warnings
}
