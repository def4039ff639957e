//! The configuration: read in layers (file, environment, command line), checked in each, laid over each other, and made
//! into what main works by. Runs in erluv-main before anything else; nothing a node says changes any of it.

mod environment;
mod error;
mod layers;
mod limits;
mod names;
mod raw;
#[cfg(test)]
pub(crate) mod scenarios;
mod trusted;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use erluv_proto::ids::{NodeName, ProfileName};
use nix::sys::resource::Resource;
use nix::sys::stat::{SFlag, stat};

use crate::args::Args;
use crate::cookie::CookieTrust;
use crate::link::Way;
use crate::order::Rlimit;
use crate::sandbox::Profile;
use crate::sys::CAN_FORBID_NEW_PRIVILEGES;
use layers::Layer;
use raw::{Raw, RawProfile, RawWorkers};

pub(crate) use environment::Environment;
pub(crate) use error::ConfigError;
pub(crate) use limits::LimitName;
#[cfg(test)]
pub(crate) use trusted::tests::Folder as TestFolder;
pub(crate) use trusted::{FileError, Trust, open_trusted, read as read_trusted};
pub(crate) use values::{CgroupUse, SandboxNeed};

/// Where there is no `/var/empty` and none is named, main makes this folder for erluv-child.
pub(crate) const MADE_CHROOT: &str = "/run/erluv/empty";

/// The longest configuration file.
const LONGEST_FILE: usize = 1024 * 1024;

/// Where programs without a folder are looked for.
const SEARCH_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// All that main works by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The nodes to serve, at least one, in the order of the configuration.
    pub(crate) nodes: Vec<NodeSettings>,
    /// The user id that main runs as.
    pub(crate) euid: u32,
    /// Where the process id is written.
    pub(crate) pid_file: Option<PathBuf>,
    /// Whether workers get control groups.
    pub(crate) cgroup: CgroupUse,
    /// What is allowed but worth a line in the log at start.
    pub(crate) warnings: Vec<String>,
}

/// What one node is served by.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    /// The node to serve.
    pub(crate) peer: NodeName,
    /// Our own name there, the same for the life of main.
    pub(crate) own: NodeName,
    pub(crate) cookie_file: PathBuf,
    pub(crate) cookie_trust: CookieTrust,
    /// Whom erluv-child runs as; where none is named, `_erluv`, else `nobody`.
    pub(crate) user: Option<String>,
    /// The group of erluv-child; where none is named, the user's own.
    pub(crate) group: Option<String>,
    /// What erluv-child sees as the root of the file system.
    pub(crate) chroot: PathBuf,
    pub(crate) epmd_port: u16,
    /// Connects without EPMD.
    pub(crate) node_port: Option<u16>,
    pub(crate) die_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) hang_timeout: Duration,
    /// From SIGTERM to SIGKILL; zero is SIGKILL at once.
    pub(crate) kill_timeout: Duration,
    pub(crate) peer_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// The longest frame taken from the node, in bytes.
    pub(crate) max_frame: u32,
    /// Input queued for one worker, in bytes.
    pub(crate) input_cap: u32,
    /// Whether the node may ask for the cookie.
    pub(crate) share_cookie: bool,
    pub(crate) sandbox: SandboxNeed,
    pub(crate) workers: WorkersSettings,
}

impl NodeSettings {
    /// Where the node is found, and as whom.
    pub(crate) fn way(&self) -> Way {
        Way {
            own: self.own.clone(),
            peer: self.peer.clone(),
            epmd_port: self.epmd_port,
            node_port: self.node_port,
            timeout: self.connect_timeout,
        }
    }
}

/// What the node may ask: `[workers]`. Checked in form; `policy` gives it its meaning.
#[derive(Debug, Clone)]
pub(crate) struct WorkersSettings {
    /// Names or numbers; empty where none are named.
    pub(crate) users: Vec<String>,
    pub(crate) allow_root: bool,
    pub(crate) min_uid: u32,
    pub(crate) max: u32,
    pub(crate) programs: Vec<String>,
    pub(crate) shell: bool,
    pub(crate) env: Vec<String>,
    pub(crate) path: Vec<PathBuf>,
    pub(crate) profile: Profile,
    pub(crate) max_args_bytes: usize,
    /// The lowest number, which is the highest priority, that may be asked for: -20 to 0.
    pub(crate) nice_min: i8,
}

impl Profile {
    /// Main raises its own soft limit of descriptors: a worker gets the one that main was started with, unless the
    /// profile says otherwise. Programs that use select(2) count on it.
    pub(crate) fn keep_descriptors(&mut self, (soft, hard): (u64, u64)) {
        let nofile = Rlimit { resource: Resource::RLIMIT_NOFILE as i32, soft, hard };
        if !self.rlimits.iter().any(|limit| limit.resource == nofile.resource) {
            self.rlimits.push(nofile);
        }
    }
}

/// The configuration of this start, from all layers.
///
/// # Errors
/// [`ConfigError`]: the first mistake, as one line that tells what to change.
pub(crate) fn load(args: &Args, environment: &Environment) -> Result<Settings, ConfigError> {
    let mut layers = Vec::new();
    layers.extend(file_layer(args, environment)?);
    layers.extend(Layer::of_environment(&environment.vars)?);
    layers.extend(Layer::of_args(args));
    let settings = resolve(layers::merge(layers)?, environment)?;
    if environment.is_root() {
        settings.nodes.iter().try_for_each(|node| check_chroot(&node.chroot))?;
    }
    Ok(settings)
}

/// The file that `-f` names, else the default one, which need not be there.
fn file_layer(args: &Args, environment: &Environment) -> Result<Option<Layer>, ConfigError> {
    let default = || match environment.is_root() {
        true => Some(PathBuf::from("/etc/erluv.conf")),
        false => environment.in_home(".erluv.conf"),
    };
    let path = args.file.clone().or_else(default).ok_or(ConfigError::Home)?;
    let trust = Trust { owner: environment.euid, forbidden: 0o022, longest: LONGEST_FILE };
    let bytes = match read_trusted(&path, &trust) {
        Err(FileError::Missing(_)) if args.file.is_none() => return Ok(None),
        read => read?,
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| ConfigError::Syntax(path.clone(), format!("{error}: write it in UTF-8")))?;
    Layer::of_file(&path, text).map(Some)
}

/// The empty folder that most systems have; elsewhere one that main makes itself at start.
fn default_chroot() -> PathBuf {
    let common = Path::new("/var/empty");
    if common.is_dir() { common.to_owned() } else { PathBuf::from(MADE_CHROOT) }
}

/// The folder that erluv-child is shut into: root's, writable by nobody else. That it is empty child itself sees to.
fn check_chroot(path: &Path) -> Result<(), ConfigError> {
    let rule = |what: String| ConfigError::rule("chroot", format!("{path:?}: {what}"));
    if path == Path::new(MADE_CHROOT) && !path.exists() {
        return Ok(());
    }
    let about = stat(path).map_err(|errno| rule(format!("{}: mkdir -p -m 755 {path:?}", errno.desc())))?;
    if SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        return Err(rule("not a folder: name one that is".to_owned()));
    }
    if about.st_uid != 0 || about.st_mode & 0o022 != 0 {
        return Err(rule("has to be root's, writable by nobody else: chown root and chmod 755 it".to_owned()));
    }
    Ok(())
}

fn resolve(raw: Raw, environment: &Environment) -> Result<Settings, ConfigError> {
    let peers = raw.node.as_ref().map(|nodes| nodes.0.as_slice()).unwrap_or_default();
    if peers.is_empty() {
        return Err(ConfigError::rule("node", "none is named: write node = \"name@host\" or use --node name@host"));
    }
    if raw.name.is_some() && peers.len() > 1 {
        return Err(ConfigError::rule("name", "one name cannot serve several nodes: leave it away, prefix names us"));
    }
    let common = common(&raw, environment)?;
    let mut nodes = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        let own = match &raw.name {
            Some(name) => name.0.clone(),
            None => {
                let prefix = raw.prefix.as_ref().map_or("erluv", |prefix| prefix.0.as_str());
                names::own_name(prefix, peer, environment.host.as_deref(), names::life_of(environment.life, index))?
            }
        };
        if !raw.plaintext.as_ref().is_some_and(|flag| flag.0) && !names::is_loopback(peer.host()) {
            let what = format!(
                "{peer} is not on this machine's loopback, and what is sent there can be read on the way: set \
                 plaintext = true where that is meant, or name the node with @127.0.0.1"
            );
            return Err(ConfigError::rule("node", what));
        }
        nodes.push(NodeSettings { peer: peer.clone(), own, ..common.clone() });
    }
    let warnings = warnings(&raw, &nodes);
    Ok(Settings {
        nodes,
        euid: environment.euid,
        pid_file: raw.pid_file.map(|path| path.0),
        cgroup: raw.cgroup.unwrap_or(CgroupUse::Auto),
        warnings,
    })
}

/// What all nodes have in common; the names of the first are put in place of each.
fn common(raw: &Raw, environment: &Environment) -> Result<NodeSettings, ConfigError> {
    let time = |time: &Option<values::Time>, seconds| time.as_ref().map_or(Duration::from_secs(seconds), |time| time.0);
    let is = |flag: &Option<values::Flag>| flag.as_ref().is_some_and(|flag| flag.0);
    let unnamed = || ConfigError::rule("node", "none is named");
    let peer = raw.node.as_ref().and_then(|nodes| nodes.0.first()).cloned().ok_or_else(unnamed)?;
    let cookie_file = match &raw.cookie_file {
        Some(path) => path.0.clone(),
        None => environment.in_home(".erlang.cookie").ok_or(ConfigError::Home)?,
    };
    let (heartbeat, hang_timeout) = (time(&raw.heartbeat, 1), time(&raw.hang_timeout, 10));
    if heartbeat >= hang_timeout {
        return Err(ConfigError::rule("hang_timeout", format!("write a time above heartbeat, which is {heartbeat:?}")));
    }
    Ok(NodeSettings {
        own: peer.clone(),
        peer,
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
        workers: workers(raw)?,
    })
}

fn workers(raw: &Raw) -> Result<WorkersSettings, ConfigError> {
    let none = RawWorkers::default();
    let workers = raw.workers.as_ref().unwrap_or(&none);
    let all = |pattern: &str| vec![pattern.to_owned()];
    Ok(WorkersSettings {
        users: workers.users.as_ref().map(|users| users.0.clone()).unwrap_or_default(),
        allow_root: workers.allow_root.as_ref().is_some_and(|flag| flag.0),
        min_uid: workers.min_uid.as_ref().map_or(1, |uid| uid.0),
        max: workers.max.as_ref().map_or(10_000, |max| max.0),
        programs: workers.programs.as_ref().map_or_else(|| all("/**"), |programs| programs.0.clone()),
        shell: workers.shell.as_ref().is_none_or(|flag| flag.0),
        env: workers.env.as_ref().map_or_else(|| all("*"), |names| names.0.clone()),
        path: workers.path.as_ref().map_or_else(|| SEARCH_PATH.map(PathBuf::from).to_vec(), |path| path.0.clone()),
        profile: profile(raw, workers.profile.as_ref())?,
        max_args_bytes: workers.max_args_bytes.as_ref().map_or(65_536, |bytes| bytes.0),
        nice_min: workers.nice_min.as_ref().map_or(0, |nice| nice.0),
    })
}

/// The profile of that name. `default` is there whether it is written or not.
fn profile(raw: &Raw, name: Option<&ProfileName>) -> Result<Profile, ConfigError> {
    let wanted = name.map_or("default", ProfileName::as_str);
    let mut written = raw.profile.iter().flatten();
    let none = RawProfile::default();
    let found = match written.find(|(name, _)| name.as_str() == wanted) {
        Some((_, profile)) => profile,
        None if wanted == "default" => &none,
        None => {
            let what = format!("there is no profile {wanted:?}: write [profile.{wanted}]");
            return Err(ConfigError::rule("workers.profile", what));
        }
    };
    let mut limits = BTreeMap::from([(LimitName::CORE, (Some(0), Some(0)))]);
    limits.extend(found.limits.iter().flatten().map(|(name, limit)| (*name, limit.0)));
    let no_new_privs = found.no_new_privs.as_ref().map(|flag| flag.0);
    if no_new_privs == Some(true) && !CAN_FORBID_NEW_PRIVILEGES {
        return Err(ConfigError::rule("no_new_privs", "this system cannot forbid new privileges: leave the key away"));
    }
    Ok(Profile {
        no_new_privs: no_new_privs.unwrap_or(CAN_FORBID_NEW_PRIVILEGES),
        umask: found.umask.as_ref().map_or(0o077, |umask| umask.0),
        rlimits: limits.into_iter().map(|(name, pair)| name.rlimit(pair)).collect(),
        ..Profile::plain(name.cloned().map_or_else(default_name, Ok)?)
    })
}

fn default_name() -> Result<ProfileName, ConfigError> {
    ProfileName::parse("default").map_err(|error| ConfigError::rule("workers.profile", error.to_string()))
}

fn warnings(raw: &Raw, nodes: &[NodeSettings]) -> Vec<String> {
    let is = |flag: &Option<values::Flag>| flag.as_ref().is_some_and(|flag| flag.0);
    let far = nodes.iter().filter(|node| !names::is_loopback(node.peer.host()));
    let mut warnings = far
        .map(|node| format!("plaintext: what goes to {} and comes from it can be read on the way", node.peer))
        .collect::<Vec<_>>();
    if is(&raw.weak_cookie) {
        warnings.push("weak_cookie: a cookie that can be guessed is taken".to_owned());
    }
    if is(&raw.share_cookie) {
        warnings.push("share_cookie: erluv-child knows the cookie and tells it to the node that asks".to_owned());
    }
    warnings
}
