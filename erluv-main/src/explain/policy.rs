//! A policy as keys and values.

use std::fmt::Debug;

use super::Line;
use super::keys::{quoted, time};
use crate::identity::Roles;
use crate::settings::{NodeSettings, WorkersSettings};

/// Keys of the node that bear on its workers.
pub(super) fn node_keys(node: &NodeSettings, roles: &Roles) -> Vec<Line> {
    let lines = [
        ("user", Ok(quoted(roles.child_user()))),
        ("cookie_file", Ok(quoted(&node.cookie_file.display().to_string()))),
        ("kill_timeout", Ok(time(node.kill_timeout))),
        ("input_cap", Ok(node.input_cap.to_string())),
    ];
    lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The keys of `[workers]`.
pub(super) fn keys(workers: &WorkersSettings) -> Vec<Line> {
    let asked_for = workers.profiles.iter().enumerate().filter(|(place, _)| !workers.is_trial(*place));
    let profiles = asked_for.map(|(_, profile)| profile.profile.name.as_str()).collect::<Vec<_>>();
    let path = workers.path.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":");
    let users = if workers.users.is_empty() { Err("nobody, or erluv-main's own user") } else { Ok(()) };
    let lines = [
        ("users", users.map(|()| format!("{:?}", workers.users))),
        ("groups", set(workers.groups.as_ref(), "the users' own")),
        ("allow_root", Ok(workers.allow_root.to_string())),
        ("min_uid", Ok(workers.min_uid.to_string())),
        ("profile", profiles.first().map(|name| quoted(name)).ok_or("none")),
        ("profiles", Ok(format!("{profiles:?}"))),
        ("programs", Ok(format!("{:?}", workers.programs))),
        ("pin", Ok(workers.pin.to_string())),
        ("shell", Ok(workers.shell.to_string())),
        ("folders", set(workers.folders.as_ref(), "any")),
        ("env", Ok(format!("{:?}", workers.env))),
        ("path", Ok(quoted(&path))),
        ("max", Ok(workers.max.to_string())),
        ("max_per_user", set(workers.max_per_user, "as many as max")),
        ("max_per_profile", set(workers.max_per_profile, "as many as max")),
        ("starts_per_second", set(workers.starts_per_second, "unlimited")),
        ("max_time", workers.max_time.map(time).ok_or("unlimited")),
        ("max_args_bytes", Ok(workers.max_args_bytes.to_string())),
        ("nice_min", Ok(workers.nice_min.to_string())),
    ];
    lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn set(value: Option<impl Debug>, unset: &'static str) -> Result<String, &'static str> {
    value.map(|value| format!("{value:?}")).ok_or(unset)
}
