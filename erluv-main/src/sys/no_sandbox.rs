//! OpenBSD, FreeBSD and NetBSD: a profile comes to its limits, priorities and ids here; what else it names is missing,
//! and has been taken away when a process is made. The names are those of `sandbox/mod.rs`.

use super::forked::Stepped;
use super::plan::Held;
use crate::sandbox::Profile;
use crate::sandbox::host::{Host, Kind};
use crate::sandbox::pass::Pass;

/// What these systems have of what Linux has.
pub(crate) fn host() -> Host {
    Host { linux: false, resources: false, keyring: false, mdwe: false, seccomp: false, landlock: 0, mounts: false }
}

/// No namespaces.
pub(crate) fn can_unshare(_: Kind, _: bool) -> bool {
    false
}

/// Nothing is prepared.
#[derive(Debug)]
pub(crate) struct Prepared;

impl Prepared {
    /// As on Linux.
    pub(crate) fn of(_: &Profile, _: bool, _: &mut Vec<String>) -> Self {
        Self
    }
}

/// Later steps have nothing from earlier ones.
pub(super) struct Ahead;

/// Nothing is around a worker.
pub(super) fn surround(_: &Held<'_>, _: Option<Pass>) -> Stepped<Ahead> {
    Ok(Ahead)
}

/// Nothing beside its priority.
pub(super) fn prioritize(_: &Held<'_>, _: &Ahead) -> Stepped {
    Ok(())
}

/// Nothing beside its ids.
pub(super) fn restrict(_: &Held<'_>, _: &Ahead) -> Stepped {
    Ok(())
}

/// No filter.
pub(super) fn seal(_: &Held<'_>, _: Option<Pass>) -> Stepped {
    Ok(())
}

/// No capabilities: the change of ids is all.
pub(super) mod capabilities {
    use crate::sandbox::Profile;
    use crate::sys::forked::Called;

    pub(in crate::sys) fn bounding() -> u64 {
        0
    }

    pub(in crate::sys) fn shield() -> u64 {
        0
    }

    pub(in crate::sys) fn bound_from(_: u64, _: u64) -> Called {
        Ok(())
    }

    pub(in crate::sys) fn keep_over_drop(_: &Profile, _: libc::uid_t, _: u64) -> Called {
        Ok(())
    }

    pub(in crate::sys) fn reduce(_: u64, _: u64) -> Called {
        Ok(())
    }

    pub(in crate::sys) fn raise(_: u64, _: u64) -> Called {
        Ok(())
    }
}
