//! What a request may ask of a worker's place among the other processes: priority, umask, process group, limits.

use erluv_proto::ipc::Failure;

use super::refused;
use crate::order::Rlimit;
use crate::settings::LimitName;
use crate::sys;

/// The highest number, which is the lowest priority, on all of our systems.
const LEAST_PRIORITY: i32 = 19;

/// The priority: that of the request, else the profile's. A request can only lower what the profile sets.
///
/// # Errors
/// Refused by `nice`: below what the policy or the profile allows, or no priority.
pub(super) fn nice(wanted: Option<i8>, least: i8, profile: Option<i32>) -> Result<Option<i32>, Failure> {
    let least = i32::from(least).max(profile.unwrap_or(i32::MIN));
    match wanted.map(i32::from) {
        None => Ok(profile),
        Some(nice) if (least..=LEAST_PRIORITY).contains(&nice) => Ok(Some(nice)),
        Some(nice) => Err(refused("nice", format!("{nice}, write {least} to {LEAST_PRIORITY}").as_bytes())),
    }
}

/// # Errors
/// Refused by `umask`: bits that are no permissions.
pub(super) fn umask(wanted: Option<u16>, own: u32) -> Result<u32, Failure> {
    match wanted {
        Some(umask) if umask > 0o777 => Err(refused("umask", format!("{umask:o}, write 777 at most").as_bytes())),
        wanted => Ok(wanted.map_or(own, u32::from)),
    }
}

/// Each worker leads a session and a group of its own, so that there is nothing to do.
///
/// # Errors
/// Refused by `group`: the group of somebody else.
pub(super) fn group(wanted: Option<u32>) -> Result<(), Failure> {
    match wanted {
        None | Some(0) => Ok(()),
        Some(group) => Err(refused("group", format!("{group}, write 0").as_bytes())),
    }
}

/// The limits of the profile with those of the request in their places, soft and hard the same.
///
/// # Errors
/// Refused by `limits`: a name that is none or is there twice, or a value above the profile's hard limit; where the
/// profile has none, above the one that main itself has and the worker would get.
pub(super) fn limits(profile: &[Rlimit], wanted: Vec<(String, Option<u64>)>) -> Result<Vec<Rlimit>, Failure> {
    let mut limits = profile.to_vec();
    let mut seen = Vec::new();
    for (name, value) in wanted {
        let known = LimitName::try_from(name).map_err(|error| refused("limits", error.to_string().as_bytes()))?;
        let asked = known.rlimit((value, value));
        let place = limits.iter_mut().find(|limit| limit.resource == asked.resource);
        let most = place.as_ref().map_or_else(|| own(asked.resource), |limit| limit.hard);
        if asked.hard > most || seen.contains(&known) {
            return Err(refused("limits", format!("{} {}, {most} at most, once", known.name(), asked.hard).as_bytes()));
        }
        seen.push(known);
        match place {
            Some(limit) => *limit = asked,
            None => limits.push(asked),
        }
    }
    Ok(limits)
}

/// The hard limit of main. Where it cannot be known, nothing is below it.
fn own(resource: i32) -> u64 {
    sys::own_limit(resource).map_or(0, |(_, hard)| hard)
}
