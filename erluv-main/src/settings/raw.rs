//! The keys, as any layer may have them.

use std::collections::BTreeMap;

use erluv_proto::ids::{NodeName, ProfileName};
use serde::Deserialize;

use super::raw_profile::RawProfile;
use super::values::{
    ArgBytes, CgroupUse, Flag, Folder, Found, FrameSize, Grace, Nice, Port, QueueSize, SandboxNeed, StartRate, Text,
    Texts, Time, UserId, WorkerCount,
};

/// The keys at the top.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) node: Option<Nodes>,
    pub(super) prefix: Option<Prefix>,
    pub(super) name: Option<Name>,
    pub(super) cookie_file: Option<Folder>,
    pub(super) user: Option<Text>,
    pub(super) group: Option<Text>,
    pub(super) chroot: Option<Folder>,
    pub(super) epmd_port: Option<Port>,
    pub(super) node_port: Option<Port>,
    pub(super) die_timeout: Option<Time>,
    pub(super) heartbeat: Option<Time>,
    pub(super) hang_timeout: Option<Time>,
    pub(super) kill_timeout: Option<Grace>,
    pub(super) peer_timeout: Option<Time>,
    pub(super) connect_timeout: Option<Time>,
    pub(super) max_frame: Option<FrameSize>,
    pub(super) input_cap: Option<QueueSize>,
    pub(super) share_cookie: Option<Flag>,
    pub(super) pid_file: Option<Folder>,
    pub(super) cgroup: Option<CgroupUse>,
    pub(super) sandbox: Option<SandboxNeed>,
    pub(super) plaintext: Option<Flag>,
    pub(super) weak_cookie: Option<Flag>,
    pub(super) workers: Option<RawWorkers>,
    pub(super) profile: Option<BTreeMap<ProfileName, RawProfile>>,
}

/// The keys of `[workers]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkers {
    pub(super) users: Option<Texts>,
    pub(super) groups: Option<Texts>,
    pub(super) allow_root: Option<Flag>,
    pub(super) min_uid: Option<UserId>,
    pub(super) max: Option<WorkerCount>,
    pub(super) max_per_user: Option<WorkerCount>,
    pub(super) max_per_profile: Option<WorkerCount>,
    pub(super) starts_per_second: Option<StartRate>,
    pub(super) max_time: Option<Time>,
    pub(super) programs: Option<Patterns>,
    pub(super) pin: Option<Flag>,
    pub(super) shell: Option<Flag>,
    pub(super) folders: Option<Patterns>,
    pub(super) env: Option<EnvNames>,
    pub(super) path: Option<SearchPath>,
    pub(super) profile: Option<ProfileName>,
    pub(super) profiles: Option<ProfileNames>,
    pub(super) max_args_bytes: Option<ArgBytes>,
    pub(super) nice_min: Option<Nice>,
}

/// The nodes to serve, each once.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Found")]
pub(super) struct Nodes(pub(super) Vec<NodeName>);

impl TryFrom<Found> for Nodes {
    type Error = String;
    fn try_from(found: Found) -> Result<Self, String> {
        let mut nodes = Vec::new();
        for text in Texts::try_from(found)?.0 {
            let node = NodeName::parse(&text).map_err(|error| error.to_string())?;
            if nodes.contains(&node) {
                return Err(format!("{node} is named twice"));
            }
            nodes.push(node);
        }
        Ok(Self(nodes))
    }
}

/// Defines a text with a form of its own.
macro_rules! formed {
    ($(#[$about:meta])* $name:ident($inner:ty) of $found:ident, $make:expr) => {
        $(#[$about])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(try_from = "Found")]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<Found> for $name {
            type Error = String;
            fn try_from(found: Found) -> Result<Self, String> {
                #[allow(clippy::redundant_closure_call, reason = "the closure gives the macro its names")]
                ($make)($found::try_from(found)?.0).map(Self)
            }
        }
    };
}

formed! { /// A whole node name.
Name(NodeName) of Text, |text: String| NodeName::parse(&text).map_err(|error| error.to_string()) }

formed! { /// What our node names start with: 1 to 64 letters, digits, `-` and `_`.
Prefix(String) of Text, |text: String| {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.len() <= 64 && text.chars().all(plain) {
        Ok(text)
    } else {
        Err(format!("{text:?}: write 1 to 64 letters, digits, '-' or '_'"))
    }
} }

formed! { /// Patterns of paths, absolute.
Patterns(Vec<String>) of Texts, |patterns: Vec<String>| {
    for pattern in &patterns {
        if !pattern.starts_with('/') {
            return Err(format!("{pattern:?}: write an absolute path or pattern, such as \"/usr/bin/*\""));
        }
        crate::policy::check_path_pattern(pattern)?;
    }
    Ok(patterns)
} }

formed! { /// Profiles, at least one, each once.
ProfileNames(Vec<ProfileName>) of Texts, |texts: Vec<String>| {
    let mut names = Vec::new();
    for text in texts {
        let name = ProfileName::parse(&text).map_err(|error| error.to_string())?;
        if names.contains(&name) {
            return Err(format!("{name} is named twice"));
        }
        names.push(name);
    }
    if names.is_empty() { Err("is empty: name a profile, such as \"default\"".to_owned()) } else { Ok(names) }
} }

formed! { /// Names of environment variables, or patterns of them.
EnvNames(Vec<String>) of Texts, |names: Vec<String>| {
    names.iter().try_for_each(|name| crate::policy::check_env_pattern(name)).map(|()| names)
} }

formed! { /// Where programs without a folder are looked for: absolute folders with colons between.
SearchPath(Vec<std::path::PathBuf>) of Text, |text: String| {
    let folder = |part: &str| match part.starts_with('/') {
        true => Ok(std::path::PathBuf::from(part)),
        false => Err(format!("{part:?}: write absolute folders with ':' between")),
    };
    text.split(':').map(folder).collect::<Result<Vec<_>, String>>()
} }
