//! `erluv-main explain`: what a worker would get, key by key, and where each value comes from. Runs in erluv-main with
//! the privileges that it was started with, reads nothing but the configuration and the user database, and ends.
//!
//! What it prints is TOML: each key with its value, and behind it as a comment the layer that it comes from.

mod keys;
mod policy;

use crate::args::Explain;
use crate::identity::{Person, Roles};
use crate::log::clean;
use crate::policy::Policy;
use crate::sandbox::Sandbox;
use crate::settings::{CgroupUse, ConfigError, NodeSettings, ProfileSettings, Settings};
use crate::tree;

/// Where what no layer says comes from.
const DEFAULT: &str = "default";

/// Where the comments stand, if there is room.
const COLUMN: usize = 48;

/// A key and its value as TOML has it; `Err` is what holds where nothing is set, in words.
type Line = (String, Result<String, &'static str>);

/// The whole answer.
///
/// # Errors
/// A node or profile that the configuration does not have.
pub(crate) fn explain(
    wanted: &Explain,
    settings: &Settings,
    roles: &[Roles],
    policies: &[Policy],
) -> Result<String, ConfigError> {
    let nodes = settings.nodes.iter().zip(roles).zip(policies);
    let chosen = nodes.filter(|((node, _), _)| wanted.node.as_deref().is_none_or(|name| node.peer.as_str() == name));
    let mut text = String::new();
    for ((node, roles), policy) in chosen {
        text.push_str(&format!("# Node {}, served as {}\n\n", node.peer, node.own));
        text.push_str(&line(
            "cgroup",
            &Ok(keys::cgroup_use(settings.cgroup)),
            settings.origins.of("cgroup").unwrap_or(DEFAULT),
        ));
        for (key, value) in policy::node_keys(node, roles) {
            text.push_str(&line(&key, &value, node.origins.of(&key).unwrap_or(DEFAULT)));
        }
        text.push_str(&of_node(wanted, node, roles, policy, settings.cgroup));
    }
    if text.is_empty() {
        let names = settings.nodes.iter().map(|node| node.peer.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ConfigError::rule(
            "node",
            format!("{:?}: not one of: {names}", wanted.node.as_deref().unwrap_or("")),
        ));
    }
    Ok(text.trim_end().to_owned())
}

fn of_node(wanted: &Explain, node: &NodeSettings, roles: &Roles, policy: &Policy, cgroup: CgroupUse) -> String {
    let mut text = "\n[workers]\n".to_owned();
    for (key, value) in policy::keys(&node.workers) {
        let origin = node.origins.of(&format!("workers.{key}")).unwrap_or(DEFAULT);
        text.push_str(&line(&key, &value, origin));
    }
    text.push('\n');
    let held = node.workers.profiles.iter().zip(&roles.workers).zip(policy.sandboxes());
    for (place, ((profile, people), sandbox)) in held.enumerate() {
        let name = profile.profile.name.as_str();
        if wanted.profile.as_deref().is_none_or(|wanted| wanted == name) {
            let asked = match (place, node.workers.is_trial(place)) {
                (_, true) => "no worker can ask for it",
                (0, false) => "for who asks for none",
                (_, false) => "for who asks for it",
            };
            text.push_str(&format!("# Profile {name}, {asked}\n"));
            text.push_str(&of_profile(profile, people, sandbox, node));
            for what in tree::foresee(crate::use_cgroup(cgroup), &profile.profile.cgroup) {
                text.push_str(&format!("# missing as seen from here: {}\n", clean(what.as_bytes())));
            }
            let env = policy.added_environment(place);
            let env = if env.is_empty() { "empty but for what is asked for".to_owned() } else { env.join(", ") };
            text.push_str(&format!("# environment: {env}\n\n"));
        }
    }
    text
}

fn of_profile(profile: &ProfileSettings, people: &[Person], sandbox: &Sandbox, node: &NodeSettings) -> String {
    let (name, origins) = (&profile.profile.name, &node.origins);
    let mut text = format!("[profile.{name}]\n");
    let here = keys::keys(&sandbox.profile);
    for (key, value) in keys::identity(profile).into_iter().chain(keys::keys(&profile.profile)) {
        let origin = match key.as_str() {
            "wall_time" if profile.profile.wall.is_some() && profile.profile.wall == node.workers.max_time => {
                format!("workers.max_time, {}", origins.of("workers.max_time").unwrap_or(DEFAULT))
            }
            key => origins.of(&format!("profile.{name}.{key}")).unwrap_or(DEFAULT).to_owned(),
        };
        let changed = here.iter().any(|(other, reduced)| *other == key && *reduced != value);
        let origin = if changed { format!("{origin}; missing on this system") } else { origin };
        text.push_str(&line(&key, &value, &origin));
    }
    for what in &sandbox.missing {
        text.push_str(&format!("# missing on this system: {}\n", clean(what.as_bytes())));
    }
    for (place, person) in people.iter().enumerate() {
        let default = if place == 0 { " (who asks for none)" } else { "" };
        let ids = match &person.identity {
            Some(who) => format!("uid {}, gid {}, groups {:?}", who.uid, who.gid, who.groups),
            None => "as erluv-main, which cannot change users".to_owned(),
        };
        text.push_str(&format!("# user {}: {ids}{default}\n", person.name));
    }
    text
}

/// `key = value  # origin`; what is not set is a comment itself.
fn line(key: &str, value: &Result<String, &'static str>, origin: &str) -> String {
    let text = match value {
        Ok(value) => format!("{key} = {value}"),
        Err(words) => format!("# {key}: {words}"),
    };
    format!("{text:COLUMN$}  # {origin}\n")
}

#[cfg(test)]
mod tests;
