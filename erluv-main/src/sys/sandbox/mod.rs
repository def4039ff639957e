//! Linux: what a profile is between fork and exec. Each step is a function of this module, called by
//! [`super::forked`] in its order; it does nothing where the profile does not ask for it.
//!
//! - [`namespaces`]: as root or, without it, in a user namespace.
//! - [`mount_plan`], [`mounts`], [`mount_calls`]: what is seen of the file system.
//! - [`users`]: the user namespace of a main that is root.
//! - [`attributes`]: keys, domain, priorities.
//! - [`capabilities`]: which stay, around the change of ids.
//! - [`landlock`], [`filter`]: what is left to an ordinary user.
//! - [`own`]: this process in /proc.
//! - [`probe`]: what the host has.

pub(in crate::sys) mod attributes;
pub(in crate::sys) mod capabilities;
pub(in crate::sys) mod filter;
pub(in crate::sys) mod landlock;
mod mount_calls;
mod mount_plan;
mod mounts;
pub(in crate::sys) mod namespaces;
pub(in crate::sys) mod own;
pub(in crate::sys) mod probe;
pub(in crate::sys) mod users;

#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod mount_tests;
#[cfg(test)]
mod namespace_tests;
#[cfg(test)]
mod profile_tests;
#[cfg(test)]
mod tests;

use erluv_proto::ipc::Step;
use seccompiler::BpfProgram;

use super::forked::{Stepped, at};
use super::plan::Held;
use crate::sandbox::pass::Pass;
use crate::sandbox::{Profile, calls};
use crate::sys::vfork::spawner;
use mount_plan::MountPlan;
use own::Own;
pub(crate) use probe::{can_unshare, host};
use users::Mapper;

/// What the steps read beside the profile: made once for each profile, before any fork.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Whether main may change users.
    pub(in crate::sys) root: bool,
    pub(in crate::sys) oom_score: Option<Vec<u8>>,
    mounts: Option<MountPlan>,
    pub(in crate::sys) landlock: Option<landlock::Rules>,
    pub(in crate::sys) filter: Option<BpfProgram>,
    /// That of the init of its process namespace. Without one no init can be made, and the launch fails by that name.
    pub(in crate::sys) init: Option<BpfProgram>,
    /// Who makes its workers, where they may be made in main's memory and have a filter.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "see no_vfork.rs"))]
    pub(in crate::sys) spawner: spawner::Place,
    /// Whether its worker may be made in main's memory ([`crate::sys::vfork`]).
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "see no_vfork.rs"))]
    pub(in crate::sys) brief: bool,
    /// Whether a step writes to the process's own folder in /proc.
    pub(in crate::sys) needs_own: bool,
}

impl Prepared {
    /// Of a profile that is reduced to what the host has.
    pub(crate) fn of(profile: &Profile, root: bool, missing: &mut Vec<String>) -> Self {
        let oom_score = profile.oom_score_adj.map(|score| score.to_string().into_bytes());
        let filter =
            calls::compile(profile.seccomp, profile.lock_personality, profile.ambient).unwrap_or_else(|error| {
                missing.push(format!("seccomp: {error}"));
                None
            });
        let brief = crate::sys::vfork::is_brief(profile);
        Self {
            root,
            spawner: spawner::Place::new(recipe(profile).filter(|_| brief && root && filter.is_some())),
            brief,
            needs_own: oom_score.is_some() || profile.namespaces.user || namespaces::users_first(profile, root),
            oom_score,
            mounts: profile.mounts.as_ref().map(|mounts| MountPlan::new(mounts, root)),
            landlock: profile.landlock.as_ref().map(|rules| landlock::Rules::new(rules, host().landlock)),
            filter,
            init: profile.namespaces.pid.then(|| calls::only(&super::init::CALLS).ok()).flatten(),
        }
    }
}

/// What a spawner of a profile begins with; none without no_new_privs, where there is no such
/// filter, or no chance to make a pass of.
fn recipe(profile: &Profile) -> Option<spawner::Recipe> {
    if !profile.no_new_privs {
        return None;
    }
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).ok()?;
    let pass = Pass::new(secret);
    let filter = calls::inherited(profile.seccomp, profile.lock_personality, profile.ambient, pass).ok()??;
    Some(spawner::Recipe { filter, pass })
}

/// What later steps have from earlier ones.
pub(super) struct Ahead {
    own: Own,
    mapper: Option<Mapper>,
}

/// With main's privileges: what is around the worker.
pub(super) fn surround(held: &Held<'_>, sealed: Option<Pass>) -> Stepped<Ahead> {
    let (profile, prepared) = (&held.sandbox.profile, &held.sandbox.prepared);
    let own = Own::open(prepared.needs_own, prepared.root).map_err(at(Step::Unshare))?;
    namespaces::unshare(profile, prepared.root, &own, &held.maps).map_err(at(Step::Unshare))?;
    namespaces::furnish(&profile.namespaces).map_err(at(Step::Namespaces))?;
    mounts::arrange(prepared.mounts.as_ref()).map_err(at(Step::Mount))?;
    attributes::new_keyring(profile.keyring, sealed).map_err(at(Step::Keyring))?;
    attributes::reset_personality(profile.lock_personality).map_err(at(Step::Personality))?;
    let users = prepared.root && profile.namespaces.user;
    let mapper = users::start(users, &own, &held.maps).map_err(at(Step::UserMap))?;
    Ok(Ahead { own, mapper })
}

/// With main's privileges: what it is worth to the kernel.
pub(super) fn prioritize(held: &Held<'_>, ahead: &Ahead) -> Stepped {
    let (profile, prepared) = (&held.sandbox.profile, &held.sandbox.prepared);
    attributes::set_io_priority(profile.io_priority).map_err(at(Step::IoPriority))?;
    attributes::set_scheduler(profile.scheduler).map_err(at(Step::Scheduler))?;
    attributes::set_oom_score(prepared.oom_score.as_deref(), &ahead.own).map_err(at(Step::OomScore))?;
    if namespaces::users_first(profile, prepared.root) {
        // The privileges over the new namespaces end here: there is no change of ids that would do it.
        capabilities::bound(profile.bounding).map_err(at(Step::Capabilities))?;
    }
    Ok(())
}

/// As the worker's user: what it is not to do.
pub(super) fn restrict(held: &Held<'_>, ahead: &Ahead) -> Stepped {
    let (profile, prepared) = (&held.sandbox.profile, &held.sandbox.prepared);
    if let Some(mapper) = &ahead.mapper {
        users::finish(mapper).map_err(at(Step::UserMap))?;
        // A new user namespace gives all capabilities in it.
        capabilities::bound(profile.bounding).map_err(at(Step::Capabilities))?;
        capabilities::reduce(profile.ambient, 0).map_err(at(Step::Capabilities))?;
    }
    attributes::deny_write_execute(profile.memory_deny_write_execute).map_err(at(Step::Mdwe))?;
    landlock::restrict(prepared.landlock.as_ref()).map_err(at(Step::Landlock))
}

/// As the worker's user, last of all: the calls that it is not to make, where it has not inherited that.
pub(super) fn seal(held: &Held<'_>, sealed: Option<Pass>) -> Stepped {
    match sealed {
        None => filter::load_filter(held.sandbox.prepared.filter.as_ref()),
        Some(_) => filter::is_filtered(),
    }
    .map_err(at(Step::Seccomp))
}
