//! The configuration: read in layers (file, environment, command line), checked in each, laid over each other, and made
//! into what main works by. Runs in erluv-main before anything else; nothing a node says changes any of it.

mod environment;
mod error;
mod layers;
mod limits;
mod merge;
mod names;
mod origins;
mod profile;
mod raw;
mod raw_profile;
mod resolve;
#[cfg(test)]
pub(crate) mod scenarios;
mod trusted;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use erluv_proto::ids::NodeName;
use nix::sys::resource::Resource;
use nix::sys::stat::{SFlag, stat};

use crate::args::Args;
use crate::cookie::CookieTrust;
use crate::link::Way;
use crate::order::Rlimit;
use crate::sandbox::Profile;
use layers::Layer;
use resolve::resolve;

pub(crate) use environment::Environment;
pub(crate) use error::ConfigError;
pub(crate) use limits::LimitName;
#[cfg(test)]
pub(crate) use merge::PROFILES as BUILT_IN;
pub(crate) use origins::Origins;
pub(crate) use profile::ProfileSettings;
#[cfg(test)]
pub(crate) use trusted::tests::Folder as TestFolder;
pub(crate) use trusted::{FileError, Trust, open_trusted, read as read_trusted};
pub(crate) use values::sandbox::Variable;
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
    /// All profiles, those included that no node may ask for.
    pub(crate) profiles: Vec<ProfileSettings>,
    /// Where each key of the daemon comes from.
    pub(crate) origins: Origins,
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
    /// Where each of its keys comes from; `name` is that of `own`.
    pub(crate) origins: Origins,
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
    /// Names or numbers, perhaps each with a group; empty where none are named.
    pub(crate) users: Vec<String>,
    /// The supplementary groups of all of them, in place of their own.
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) allow_root: bool,
    pub(crate) min_uid: u32,
    pub(crate) max: u32,
    pub(crate) max_per_user: Option<u32>,
    pub(crate) max_per_profile: Option<u32>,
    /// In the long run; so many at once.
    pub(crate) starts_per_second: Option<u32>,
    /// The longest life; that of the profiles is no longer.
    pub(crate) max_time: Option<Duration>,
    pub(crate) programs: Vec<String>,
    /// The very file that was looked at is executed.
    pub(crate) pin: bool,
    pub(crate) shell: bool,
    /// Where a worker may start; `None` is anywhere.
    pub(crate) folders: Option<Vec<String>>,
    pub(crate) env: Vec<String>,
    pub(crate) path: Vec<PathBuf>,
    /// What may be asked for, at least one; the first is the default.
    pub(crate) profiles: Vec<ProfileSettings>,
    /// The last of them is there to be tried by hand: no node may ask for it.
    pub(crate) trial: bool,
    pub(crate) max_args_bytes: usize,
    /// The lowest number, which is the highest priority, that may be asked for: -20 to 0.
    pub(crate) nice_min: i8,
}

impl WorkersSettings {
    /// Whether the profile at this place is there to be tried by hand alone.
    pub(crate) fn is_trial(&self, place: usize) -> bool {
        self.trial && place.checked_add(1) == Some(self.profiles.len())
    }
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
    // By hand, a policy can be looked at without a node that it is for.
    layers.extend(args.command.is_some().then(Layer::stand_in));
    layers.extend(file_layer(args, environment)?);
    layers.extend(Layer::of_environment(&environment.vars)?);
    layers.extend(Layer::of_args(args));
    let mut settings = resolve(merge::merge(layers)?, environment)?;
    if let Some(name) = args.tried_profile() {
        resolve::admit(&mut settings, name)?;
    }
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
