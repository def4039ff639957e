//! What a node may ask. Every launch request of erluv-child is held against it by erluv-main, whole and anew, whatever
//! child has looked at before (S-56); what passes becomes an [`Order`]. A node can only ask for less than this.

mod bounds;
mod env;
mod programs;
mod streams;

use std::ffi::CString;
use std::rc::Rc;

use erluv_proto::ipc::{Failure, Launch, Program, Step};
use serde_bytes::ByteBuf;

use crate::identity::Roles;
use crate::log::clean;
use crate::order::{Ending, Identity, Input, NodeIndex, Order, Output, Running};
use crate::sandbox::Sandbox;
use crate::settings::{ConfigError, Settings, WorkersSettings};
use env::EnvRules;
use programs::Programs;

pub(crate) use env::check_pattern as check_env_pattern;
pub(crate) use programs::check_pattern as check_program_pattern;

/// The most arguments, whatever their length.
const MOST_ARGUMENTS: usize = 4096;

/// The longest path that any of our systems takes, with its NUL (PATH_MAX of Linux).
const LONGEST_PATH: usize = 4096;

/// The most bytes of what a refusal quotes: its frame has a limit.
const LONGEST_QUOTE: usize = 200;

/// The shell that a string command runs under.
const SHELL: &str = "/bin/sh";

/// The policy for one node.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Whom workers may run as, the first by default. Without an identity they run as main does.
    users: Vec<(String, Option<Identity>)>,
    max: usize,
    programs: Programs,
    shell: bool,
    env: EnvRules,
    /// The bytes of arguments and environment together, each with its NUL.
    max_bytes: usize,
    nice_min: i8,
    sandbox: Rc<Sandbox>,
}

/// The policy for each node, in the order of the settings; `roles` are those of the same settings.
///
/// # Errors
/// Where a pattern cannot be understood.
pub(crate) fn resolve(settings: &Settings, roles: &[Roles]) -> Result<Vec<Policy>, ConfigError> {
    settings.nodes.iter().zip(roles).map(|(node, roles)| Policy::new(&node.workers, roles)).collect()
}

impl Policy {
    fn new(workers: &WorkersSettings, roles: &Roles) -> Result<Self, ConfigError> {
        let users = match roles.workers.as_slice() {
            [] => vec![(roles.main_user.clone(), None)],
            identities => identities.iter().map(|who| (who.name.clone(), Some(who.clone()))).collect(),
        };
        Ok(Self {
            users,
            max: usize::try_from(workers.max).unwrap_or(usize::MAX),
            programs: Programs::new(&workers.programs, &workers.path)
                .map_err(|what| ConfigError::rule("workers.programs", what))?,
            shell: workers.shell,
            env: EnvRules::new(&workers.env).map_err(|what| ConfigError::rule("workers.env", what))?,
            max_bytes: workers.max_args_bytes,
            nice_min: workers.nice_min,
            sandbox: Rc::new(Sandbox::of(workers.profile.clone(), !roles.workers.is_empty())),
        })
    }

    /// What a request comes to; `running` are this node's workers.
    ///
    /// # Errors
    /// The rule that says no, or the step at which the launch would fail.
    pub(crate) fn order(&self, node: NodeIndex, launch: Launch, running: &Running) -> Result<Order, Failure> {
        if running.all >= self.max {
            return Err(refused("max", format!("{} workers run, {} may", running.all, self.max).as_bytes()));
        }
        bounds::group(launch.group)?;
        let identity = self.user(launch.user.as_deref())?;
        self.check_size(&launch)?;
        let env = launch.env.into_iter();
        let env = self.env.check(env.map(|(name, value)| (name.into_vec(), value.into_vec())))?;
        let cwd = working_folder(launch.cwd)?;
        let (path, argv) = self.program(launch.program, launch.executable)?;
        let streams::Streams { stdin, stdout, stderr, terminal } =
            streams::check(launch.stdin, launch.stdout, launch.stderr, launch.terminal)?;
        let order = Order {
            node,
            request: launch.request,
            path,
            argv,
            env,
            cwd,
            identity,
            stdin,
            stdout,
            stderr,
            terminal,
            umask: bounds::umask(launch.umask, self.sandbox.profile.umask)?,
            rlimits: bounds::limits(&self.sandbox.profile.rlimits, launch.limits)?,
            nice: bounds::nice(launch.nice, self.nice_min)?,
            sandbox: Rc::clone(&self.sandbox),
            ending: if launch.kill_group { Ending::SignalGroup } else { Ending::Signal },
        };
        match launch.kill {
            None => Ok(order),
            Some(line) => Ok(Order { ending: self.command(&order, line)?, ..order }),
        }
    }

    /// What ends a worker by a line for the shell: run as the worker itself is, with nothing but what it has to know.
    fn command(&self, worker: &Order, line: ByteBuf) -> Result<Ending, Failure> {
        if line.len() > self.max_bytes {
            return Err(refused("arguments", format!("a command to end it of {} bytes", line.len()).as_bytes()));
        }
        let (path, argv) = self.program(Program::Shell(line), None)?;
        Ok(Ending::Command(Box::new(Order {
            node: worker.node,
            request: worker.request,
            path,
            argv,
            env: vec![self.programs.variable()?],
            cwd: c"/".to_owned(),
            identity: worker.identity.clone(),
            stdin: Input::Null,
            stdout: Output::Null,
            stderr: Output::Null,
            terminal: None,
            umask: worker.umask,
            rlimits: worker.rlimits.clone(),
            nice: worker.nice,
            sandbox: Rc::clone(&worker.sandbox),
            ending: Ending::Signal,
        })))
    }

    fn user(&self, name: Option<&str>) -> Result<Option<Identity>, Failure> {
        let found = match name {
            None => self.users.first(),
            Some(name) => self.users.iter().find(|(user, _)| user == name),
        };
        let (_, identity) = found.ok_or_else(|| refused("users", name.unwrap_or_default().as_bytes()))?;
        Ok(identity.clone())
    }

    /// Arguments and environment as execve(2) counts them, without the pointers.
    fn check_size(&self, launch: &Launch) -> Result<(), Failure> {
        let args = match &launch.program {
            Program::Direct(args) => args.as_slice(),
            Program::Shell(line) => std::slice::from_ref(line),
        };
        if args.len() > MOST_ARGUMENTS {
            return Err(refused("arguments", format!("{} of them, {MOST_ARGUMENTS} at most", args.len()).as_bytes()));
        }
        let variables = launch.env.iter().flat_map(|(name, value)| [name, value]);
        let bytes =
            args.iter().chain(variables).fold(0_usize, |sum, piece| sum.saturating_add(piece.len()).saturating_add(1));
        if bytes > self.max_bytes {
            let what = format!("{bytes} bytes with the environment, {} at most", self.max_bytes);
            return Err(refused("arguments", what.as_bytes()));
        }
        Ok(())
    }

    /// The path to execute, which is that of the executable where one is named, and argv.
    fn program(&self, program: Program, executable: Option<ByteBuf>) -> Result<(CString, Vec<CString>), Failure> {
        let args = match program {
            Program::Direct(args) => args.into_iter().map(ByteBuf::into_vec).collect::<Vec<_>>(),
            Program::Shell(_) if !self.shell => return Err(refused("shell", b"write the command as a list")),
            Program::Shell(line) => vec![SHELL.into(), b"-c".to_vec(), line.into_vec()],
        };
        // CVE-2021-4034: a program without argv[0] takes its environment for its arguments (S-25).
        let Some(name) = args.first() else { return Err(refused("arguments", b"none, name the program")) };
        let path = self.programs.find(executable.as_ref().map_or(name.as_slice(), |executable| executable))?;
        let text = |arg: Vec<u8>| CString::new(arg).map_err(|error| refused("arguments", &error.into_vec()));
        Ok((path, args.into_iter().map(text).collect::<Result<_, _>>()?))
    }
}

fn working_folder(cwd: Option<ByteBuf>) -> Result<CString, Failure> {
    let cwd = cwd.map_or_else(|| b"/".to_vec(), ByteBuf::into_vec);
    if !cwd.starts_with(b"/") || cwd.len() >= LONGEST_PATH {
        return Err(refused("cwd", &cwd));
    }
    CString::new(cwd).map_err(|error| refused("cwd", &error.into_vec()))
}

/// A refusal by a rule; of what it was about so much as its frame holds, without control characters.
fn refused(rule: &str, what: &[u8]) -> Failure {
    let mut what = clean(what);
    if what.len() > LONGEST_QUOTE {
        what.truncate(what.floor_char_boundary(LONGEST_QUOTE));
        what.push_str("...");
    }
    Failure::Refused(rule.to_owned(), what)
}

/// The exec would fail with this errno.
const fn exec_fails(errno: nix::errno::Errno) -> Failure {
    Failure::Step(Step::Exec, errno as i32)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod option_tests;
#[cfg(test)]
mod tests;
