//! What makes erluv-child the unprivileged half: it gives up, for good, all that it does not need to live on
//! descriptors that it is handed. Runs once, before the first byte is read; with the privileges of erluv-main at its
//! start, with none at its end.
//!
//! - [`identity`]: the user, the one group and the empty folder of a child of root, and whether the drop holds.
//! - [`system`]: what the system has beyond that (Linux: namespaces, capabilities, Landlock, seccomp; OpenBSD: unveil,
//!   pledge; FreeBSD: Capsicum).
//! - here: the order, and the limits that all systems have.
//!
//! Each layer stands by itself: what one refuses the next would refuse too.

#[cfg(not(target_os = "linux"))]
#[path = "bsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;

mod identity;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, rlim_t, setrlimit},
};
use thiserror::Error;

use crate::start::Start;

#[cfg(target_os = "linux")]
pub(crate) use system::{PROBE, probe};

/// Descriptors beyond those of the workers' streams: ours, connections to come, frames under way.
const OWN_DESCRIPTORS: rlim_t = 64;

/// Child is confined.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Confined {
    /// What could not be done of it, in words, for [`erluv_proto::ipc::Ready`]; empty where nothing lacks.
    pub(crate) missing: Vec<String>,
}

/// Why child cannot be confined, and so must not go on.
#[derive(Debug, Error)]
pub(crate) enum ConfineError {
    /// The folder for chroot is not what it must be.
    #[error("chroot {0}: {1}: make it an empty folder of root, mode 0755, or name another in the configuration")]
    Chroot(String, String),
    /// The configured user or group cannot be used.
    #[error("{what} {name:?}: {why}: name another in the configuration")]
    Identity {
        /// `user` or `group`.
        what: &'static str,
        /// As configured.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Privdrop has failed.
    #[error("drop to the configured user: {0}: erluv-main needs the capabilities of root, or be run without root")]
    Drop(#[from] privdrop::PrivDropError),
    /// The drop was made and does not hold.
    #[error("drop to the configured user does not hold: {0}: report this as a bug")]
    Holds(&'static str),
    /// A call of the system failed that works on every system erluv runs on.
    #[error("{0}: {1}: see its manual page for the cause")]
    System(&'static str, String),
}

impl ConfineError {
    /// The status to exit with, of sysexits(3): 78 (configuration) or 71 (system).
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Chroot(..) | Self::Identity { .. } => 78,
            Self::Drop(_) | Self::Holds(_) | Self::System(..) => 71,
        }
    }

    /// For `map_err`: the failure of a named call.
    fn of<E: ToString>(call: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::System(call, error.to_string())
    }
}

/// Confines the process, for good.
///
/// The process must have one thread, and all that opens a descriptor (the poller among it) must be done before.
///
/// # Errors
/// Any [`ConfineError`]; the process is then in an unknown state and must exit.
pub(crate) fn confine(start: &Start) -> Result<Confined, ConfineError> {
    let mut missing = Vec::new();
    drop_privileges(start, &mut missing)?;
    system::seal(&mut missing)?;
    Ok(Confined { missing })
}

/// All but the last layer, which would end the process before another is asked.
fn drop_privileges(start: &Start, missing: &mut Vec<String>) -> Result<(), ConfineError> {
    limit_descriptors(start.worker_limit)?;
    let bounding = match &start.separation {
        Some(separation) => {
            identity::become_other(separation, missing)?;
            true
        }
        None => {
            missing.push("user of its own: erluv-main is not root".to_owned());
            system::become_alone_as_user(missing)?
        }
    };
    system::give_up_capabilities(bounding)?;
    // After the change of user, which makes a process dumpable by the system's setting (prctl(2)).
    system::forbid_new_privileges(missing)?;
    for (resource, name) in [
        (Resource::RLIMIT_CORE, "setrlimit RLIMIT_CORE"),
        (Resource::RLIMIT_FSIZE, "setrlimit RLIMIT_FSIZE"),
        (Resource::RLIMIT_NPROC, "setrlimit RLIMIT_NPROC"),
    ] {
        setrlimit(resource, 0, 0).map_err(ConfineError::of(name))?;
    }
    system::forbid_files(missing)
}

/// Room for three streams of every worker, as far as the hard limit goes where it cannot be raised.
fn limit_descriptors(worker_limit: u32) -> Result<(), ConfineError> {
    let wanted = rlim_t::from(worker_limit).saturating_mul(3).saturating_add(OWN_DESCRIPTORS);
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM | Errno::EINVAL) => {}
        Err(error) => return Err(ConfineError::System("setrlimit RLIMIT_NOFILE", error.to_string())),
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(ConfineError::of("getrlimit RLIMIT_NOFILE"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(ConfineError::of("setrlimit RLIMIT_NOFILE"))?;
    log::warn!("{hard} descriptors where {worker_limit} workers may need {wanted}: raise the limit of open files");
    Ok(())
}
