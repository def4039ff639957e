//! What the configuration depends on beside the file and the command line. Taken once, before main clears its own
//! environment (S-27), and kept for SIGHUP, so that a life has one name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// Where and as whom main was started.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// The effective user id.
    pub(crate) euid: u32,
    /// The home folder of that user, absolute, where there is one.
    pub(crate) home: Option<PathBuf>,
    /// The variables of the environment; those that are not UTF-8 are none of ours.
    pub(crate) vars: Vec<(String, String)>,
    /// The host name of this machine, as gethostname(2) has it.
    pub(crate) host: Option<String>,
    /// The random part of our node names, one for each life.
    pub(crate) life: u32,
}

impl Environment {
    /// That of this process, with the variables as its starter had set them. Root's home is what the user database
    /// says; others may name theirs in `HOME`, as they do for Erlang.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(crate) fn of_process(vars: Vec<(OsString, OsString)>) -> Result<Self, getrandom::Error> {
        let euid = geteuid();
        let listed = User::from_uid(euid).ok().flatten().map(|user| user.dir);
        let named = vars.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
        let home = match named.filter(|home| home.is_absolute()) {
            Some(named) if !euid.is_root() => Some(named),
            _ => listed,
        };
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let mut bits = [0; 4];
        getrandom::fill(&mut bits)?;
        Ok(Self {
            euid: euid.as_raw(),
            home,
            vars: vars.into_iter().filter_map(text).collect(),
            // The syslog crate asks for it anyway.
            host: syslog::Formatter3164::default().hostname,
            life: u32::from_ne_bytes(bits),
        })
    }

    /// Whether main has the privileges to separate.
    pub(crate) const fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// A file in the home folder.
    pub(super) fn in_home(&self, name: &str) -> Option<PathBuf> {
        self.home.as_deref().map(|home: &Path| home.join(name))
    }
}
