//! Making an erluv-child: finding its program, its sockets, its arguments. It gets descriptors 0 to 4 and nothing else
//! of main's: no memory, no environment, no cookie.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use erluv_proto::ids::Creation;
use erluv_proto::ipc::{About, Hello, ToChild};
use mio::Interest;
use mio::unix::SourceFd;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use thiserror::Error;

use crate::half::Half;
use crate::half::channel::Channel;
use crate::order::NodeIndex;
use crate::serving::Shared;
use crate::{sys, tokens};

/// The descriptor of the control socket in child.
const CONTROL: i32 = 3;

/// The descriptor of the log pipe in child.
const LOG: i32 = 4;

/// Frames that may wait for child beyond one for each worker.
const FRAMES: usize = 4096;

/// Why there is no child.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("erluv-child: not found ({0}): install it beside erluv-main or in libexec/erluv")]
    Missing(String),
    #[error("{0:?}: not to be trusted: {1}: make it root's, writable by nobody else")]
    Untrusted(PathBuf, &'static str),
    #[error("{0:?}: {1}")]
    Stat(PathBuf, io::Error),
    #[error("starting erluv-child: {what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error("starting erluv-child: {0:?}")]
    Lost(crate::half::Loss),
    #[error("the sandbox of erluv-child does not hold (sandbox = \"required\"): {0}")]
    SelfTest(String),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// What a child is made of.
#[derive(Debug, Clone)]
pub(crate) struct HalfPlan {
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) about: About,
}

/// Whom child becomes; nobody where main has no privilege to change users.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Become<'a> {
    pub(crate) user: &'a str,
    pub(crate) gid: u32,
    pub(crate) chroot: &'a Path,
}

impl HalfPlan {
    /// A plan for a child that serves at most `about.max_workers` workers.
    ///
    /// # Errors
    /// [`StartError::System`] for a name with a NUL.
    pub(crate) fn new(program: &Path, becomes: Option<Become<'_>>, about: About) -> Result<Self, StartError> {
        let mut args: Vec<Vec<u8>> = vec![b"erluv-child".to_vec()];
        if let Some(Become { user, gid, chroot }) = becomes {
            args.extend([b"--user".to_vec(), user.as_bytes().to_vec()]);
            args.extend([b"--group".to_vec(), gid.to_string().into_bytes()]);
            args.extend([b"--chroot".to_vec(), chroot.as_os_str().as_bytes().to_vec()]);
        }
        args.extend([b"--worker-limit".to_vec(), about.max_workers.to_string().into_bytes()]);
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|error| system("arguments")(error.into()));
        let argv = args.into_iter().map(text).collect::<Result<_, _>>()?;
        Ok(Self { path: text(program.as_os_str().as_bytes().to_vec())?, argv, about })
    }
}

/// The program of the unprivileged half: where the build says, beside our own, or in libexec. As root it has to be
/// root's, in a folder of root's, writable by nobody else (S-35).
///
/// # Errors
/// [`StartError::Missing`] or [`StartError::Untrusted`].
pub(crate) fn find_program(own: &Path, root: bool) -> Result<PathBuf, StartError> {
    let folder = own.parent().unwrap_or(Path::new("/"));
    let built_in = option_env!("ERLUV_LIBEXECDIR").map(|folder| Path::new(folder).join("erluv-child"));
    let places = built_in
        .into_iter()
        .chain([folder.join("erluv-child"), folder.join("../libexec/erluv/erluv-child")])
        .collect::<Vec<_>>();
    let Some(found) = places.iter().find(|place| place.is_file()) else {
        let tried = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(StartError::Missing(tried));
    };
    let path = found.canonicalize().map_err(|error| StartError::Stat(found.clone(), error))?;
    if root {
        for part in [path.as_path(), path.parent().unwrap_or(Path::new("/"))] {
            let about = part.metadata().map_err(|error| StartError::Stat(part.to_owned(), error))?;
            if about.uid() != 0 {
                return Err(StartError::Untrusted(part.to_owned(), "not owned by root"));
            }
            if about.mode() & 0o022 != 0 {
                return Err(StartError::Untrusted(part.to_owned(), "writable by group or others"));
            }
        }
    }
    Ok(path)
}

/// Has erluv-child try what it must not be able to do, in the confinement of this plan (S-73). Waits for it: to be
/// called at the start, before there is anything else to wait for.
///
/// # Errors
/// [`StartError::SelfTest`], where something was not refused or the confinement cannot be made.
pub(crate) fn self_test(plan: &HalfPlan) -> Result<(), StartError> {
    let text = |text: &CString| OsStr::from_bytes(text.as_bytes()).to_owned();
    let mut command = Command::new(text(&plan.path));
    command.arg0("erluv-child").arg("--self-test").args(plan.argv.iter().skip(1).map(text));
    let output = command.env_clear().stdin(Stdio::null()).output().map_err(system("self-test"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = crate::log::clean(output.stderr.trim_ascii());
    Err(StartError::SelfTest(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Makes the folder that child is shut into, and the one above it: root's, empty, writable by nobody else.
///
/// # Errors
/// What the system says.
pub(crate) fn make_chroot(folder: &Path) -> io::Result<()> {
    for part in folder.parent().into_iter().chain([folder]) {
        match std::fs::DirBuilder::new().mode(0o755).create(part) {
            Ok(()) => std::fs::set_permissions(part, std::fs::Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Executes a child and tells it what it works by.
///
/// # Errors
/// What the system says.
pub(crate) fn start(
    plan: &HalfPlan,
    mut hello: Hello,
    kill_file: Option<OwnedFd>,
    node: NodeIndex,
    shared: &Shared<'_>,
) -> Result<Half, StartError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
        .map_err(|errno| system("control socket")(errno.into()))?;
    let (log, log_end) = io::pipe().map_err(system("log pipe"))?;
    for pipe in [log.as_fd(), log_end.as_fd()] {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| system("log pipe")(errno.into()))?;
    }
    let descriptors = [(theirs.as_fd(), CONTROL), (log_end.as_fd(), LOG)];
    let process = sys::spawn_half(&plan.path, &plan.argv, &descriptors).map_err(system("exec"))?;
    let most = usize::try_from(plan.about.max_workers).unwrap_or(usize::MAX).saturating_mul(4);
    let channel = Channel::new(ours, most.saturating_add(FRAMES));
    let (registry, token) = (shared.registry, tokens::control(node));
    channel.watch(registry, token).map_err(system("poll"))?;
    let log_pipe = log.as_raw_fd();
    registry.register(&mut SourceFd(&log_pipe), tokens::log(node), Interest::READABLE).map_err(system("poll"))?;
    let mut half = Half::new(process, channel, log, shared.now);
    hello.tree_kill = kill_file.is_some();
    half.say(&ToChild::Hello(hello), kill_file.into_iter().collect()).map_err(StartError::Lost)?;
    half.flush(registry, token).map_err(StartError::Lost)?;
    Ok(half)
}

/// A creation that no earlier life of ours is likely to have had.
///
/// # Errors
/// Where the system has no random numbers.
pub(crate) fn random_creation() -> Result<Creation, getrandom::Error> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits)?;
    Ok(Creation::from_random(u32::from_ne_bytes(bits)))
}
