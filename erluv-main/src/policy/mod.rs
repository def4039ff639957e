//! What a node may ask. Every launch request of erluv-child is held against it by erluv-main, whole and anew, whatever
//! child has looked at before (S-56); what passes becomes an [`Order`]. A node can only ask for less than this.

mod bounds;
mod env;
mod folders;
mod held;
mod looked;
mod programs;
mod rate;
mod streams;

use std::ffi::{CStr, CString};
use std::rc::Rc;
use std::time::Instant;

use erluv_proto::ipc::{Failure, Launch, Program, Step};
use serde_bytes::ByteBuf;

use crate::identity::Roles;
use crate::log::clean;
use crate::order::{Ending, Input, NodeIndex, Order, Output, Running};
use crate::sandbox::Sandbox;
use crate::settings::{ConfigError, SandboxNeed, Settings, WorkersSettings};
use env::EnvRules;
use folders::Folders;
use held::{Held, Member};
use programs::{Found, Programs};
use rate::Rate;

pub(crate) use env::check_pattern as check_env_pattern;
pub(crate) use env::is_name as is_env_name;
pub(crate) use programs::check_pattern as check_path_pattern;

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
    /// What may be asked for, the first by default.
    profiles: Vec<Held>,
    ceilings: Ceilings,
    programs: Programs,
    shell: bool,
    folders: Folders,
    env: EnvRules,
    /// The bytes of arguments and environment together, each with its NUL.
    max_bytes: usize,
    nice_min: i8,
}

/// How many workers may run, and how many may start.
#[derive(Debug, Clone)]
struct Ceilings {
    all: usize,
    each_user: usize,
    each_profile: usize,
    starts: Option<Rate>,
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
        let most = |max: Option<u32>| max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let rule = |key: &'static str| move |what: String| ConfigError::rule(key, what);
        let programs =
            Programs::new(&workers.programs, &workers.path, workers.pin).map_err(rule("workers.programs"))?;
        let path = programs.folders();
        let held = workers.profiles.iter().zip(&roles.workers);
        Ok(Self {
            profiles: held.map(|(profile, people)| Held::new(profile, people, &path)).collect::<Result<_, _>>()?,
            ceilings: Ceilings {
                all: most(Some(workers.max)),
                each_user: most(workers.max_per_user),
                each_profile: most(workers.max_per_profile),
                starts: workers.starts_per_second.map(Rate::new),
            },
            programs,
            shell: workers.shell,
            folders: Folders::new(workers.folders.as_deref()).map_err(rule("workers.folders"))?,
            env: EnvRules::new(&workers.env).map_err(rule("workers.env"))?,
            max_bytes: workers.max_args_bytes,
            nice_min: workers.nice_min,
        })
    }

    /// The profiles that may be asked for, the first by default.
    pub(crate) fn sandboxes(&self) -> impl Iterator<Item = &Sandbox> {
        self.profiles.iter().map(|held| &*held.sandbox)
    }

    /// What the profile at this place puts into the environment of its first user's workers.
    pub(crate) fn added_environment(&self, place: usize) -> Vec<String> {
        let user = self.profiles.get(place).and_then(|held| held.user(None).ok());
        let variables = user.into_iter().flat_map(Member::variables);
        variables.map(|text| clean(text.to_bytes())).collect()
    }

    /// What this system lacks of the profiles that may do without, in words.
    ///
    /// # Errors
    /// Where a profile may not do without (S-74), or its mounts start from what is not there.
    pub(crate) fn lacks(&self) -> Result<Vec<String>, ConfigError> {
        self.profiles.iter().try_for_each(Held::check_paths)?;
        let mut lacks = Vec::new();
        for Sandbox { profile, missing, .. } in self.sandboxes() {
            let key = format!("profile.{}", profile.name);
            match profile.need {
                SandboxNeed::Required if !missing.is_empty() => {
                    let what = format!(
                        "this system lacks: {}: set on_missing = \"best_effort\" to do without, or take the profile \
                         out of workers.profiles",
                        missing.join("; ")
                    );
                    return Err(ConfigError::rule(&key, what));
                }
                SandboxNeed::Required => {}
                SandboxNeed::BestEffort => {
                    lacks.extend(missing.iter().map(|what| format!("{key}: this system lacks: {what}")));
                }
            }
        }
        Ok(lacks)
    }

    /// What a request comes to; `running` are this node's workers. What passes counts as a start.
    ///
    /// # Errors
    /// The rule that says no, or the step at which the launch would fail.
    pub(crate) fn order(
        &mut self,
        node: NodeIndex,
        launch: Launch,
        running: &Running,
        now: Instant,
    ) -> Result<Order, Failure> {
        let held = self.profile(launch.profile.as_deref())?;
        let user = held.user(launch.user.as_deref())?;
        let starts = self.ceilings.check(running, user, held.name(), now)?;
        let order = self.order_for(node, launch, held, user)?;
        self.ceilings.starts = starts;
        Ok(order)
    }

    fn profile(&self, name: Option<&str>) -> Result<&Held, Failure> {
        let found = match name {
            None => self.profiles.first(),
            Some(name) => self.profiles.iter().find(|held| held.name() == name),
        };
        found.ok_or_else(|| refused("profiles", name.unwrap_or_default().as_bytes()))
    }

    fn order_for(&self, node: NodeIndex, launch: Launch, held: &Held, user: &Member) -> Result<Order, Failure> {
        let profile = &held.sandbox.profile;
        bounds::group(launch.group)?;
        self.check_size(&launch)?;
        let env = launch.env.into_iter();
        let mut env = self.env.check(env.map(|(name, value)| (name.into_vec(), value.into_vec())))?;
        let root = root_of(&held.sandbox);
        let cwd = self.folders.find(launch.cwd.map(ByteBuf::into_vec), root.is_some())?;
        let (Found { path, pinned }, argv) = self.program(launch.program, launch.executable, root)?;
        let streams::Streams { stdin, stdout, stderr, terminal } =
            streams::check(launch.stdin, launch.stdout, launch.stderr, launch.terminal)?;
        user.complete(&mut env, terminal.is_some());
        let order = Order {
            node,
            request: launch.request,
            path,
            pinned,
            argv,
            env,
            cwd,
            identity: user.identity.clone(),
            stdin,
            stdout,
            stderr,
            terminal,
            umask: bounds::umask(launch.umask, profile.umask)?,
            rlimits: bounds::limits(&profile.rlimits, launch.limits)?,
            nice: bounds::nice(launch.nice, self.nice_min, profile.nice)?,
            sandbox: Rc::clone(&held.sandbox),
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
        let (Found { path, pinned }, argv) = self.program(Program::Shell(line), None, root_of(&worker.sandbox))?;
        Ok(Ending::Command(Box::new(Order {
            node: worker.node,
            request: worker.request,
            path,
            pinned,
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

    /// What to execute, which is the executable where one is named, and argv.
    fn program(
        &self,
        program: Program,
        executable: Option<ByteBuf>,
        root: Option<&CStr>,
    ) -> Result<(Found, Vec<CString>), Failure> {
        let args = match program {
            Program::Direct(args) => args.into_iter().map(ByteBuf::into_vec).collect::<Vec<_>>(),
            Program::Shell(_) if !self.shell => return Err(refused("shell", b"write the command as a list")),
            Program::Shell(line) => vec![SHELL.into(), b"-c".to_vec(), line.into_vec()],
        };
        // CVE-2021-4034: a program without argv[0] takes its environment for its arguments (S-25).
        let Some(name) = args.first() else { return Err(refused("arguments", b"none, name the program")) };
        let found = self.programs.find(executable.as_ref().map_or(name.as_slice(), |executable| executable), root)?;
        let text = |arg: Vec<u8>| CString::new(arg).map_err(|error| refused("arguments", &error.into_vec()));
        Ok((found, args.into_iter().map(text).collect::<Result<_, _>>()?))
    }
}

impl Ceilings {
    /// What is left of the starts of this second after one more.
    ///
    /// # Errors
    /// The ceiling that is reached.
    fn check(&self, running: &Running, user: &Member, profile: &str, now: Instant) -> Result<Option<Rate>, Failure> {
        let of = |counts: &std::collections::HashMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
        // As they are counted: without privileges by no name.
        let by_user = of(&running.by_user, user.identity.as_ref().map_or("", |identity| &identity.name));
        let by_profile = of(&running.by_profile, profile);
        let ceilings = [
            ("max", running.all, self.all, "", ""),
            ("max_per_user", by_user, self.each_user, " of user ", user.name.as_str()),
            ("max_per_profile", by_profile, self.each_profile, " of profile ", profile),
        ];
        if let Some((rule, run, may, of, whose)) = ceilings.into_iter().find(|(_, run, may, ..)| run >= may) {
            return Err(refused(rule, format!("{run} workers{of}{whose} run, {may} may").as_bytes()));
        }
        let Some(starts) = self.starts else { return Ok(None) };
        let left = starts.take(now);
        left.map(Some).ok_or_else(|| refused("starts_per_second", b"as many as may have started: wait a moment"))
    }
}

/// Where the workers of a profile see their "/".
fn root_of(sandbox: &Sandbox) -> Option<&CStr> {
    sandbox.profile.mounts.as_ref()?.root.as_deref()
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
mod profile_tests;
#[cfg(test)]
mod tests;
