//! erluv-main, the privileged half of erluv: it knows the configuration, the policy and the cookie, connects to the
//! nodes, makes an unprivileged erluv-child for each, and launches and ends workers on child's request. It never
//! touches a byte that a worker reads or writes, and it reads the node's bytes only while there is no child.
//!
//! The start is a fixed ritual, below, from the arguments to the loop. [`daemon`] is the loop, [`serving`] one node and
//! its child, [`link`] the way to the node, [`half`] the child as a process, [`attendant`] what main says in its place.
//! [`settings`] and [`policy`] are what root has laid down, [`privileges`] what main keeps of root's, [`workers`] what
//! runs, [`launch`] and [`sys`] how it is started.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod args;
mod attendant;
mod audit;
mod cookie;
mod daemon;
mod exec;
mod exit;
mod explain;
mod half;
mod identity;
mod launch;
mod link;
mod log;
mod notify;
mod order;
mod pid_file;
mod policy;
mod privileges;
mod sandbox;
mod serving;
mod settings;
mod start_half;
mod sys;
mod terminal;
mod tokens;
mod tree;
mod worker;
mod workers;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use erluv_proto::ipc::About;
use thiserror::Error;

use args::{Args, ArgsError, Command, Exec};
use daemon::{Daemon, Reload};
use identity::{Roles, SystemAccounts};
use order::NodeIndex;
use pid_file::PidFile;
use policy::Policy;
use privileges::Needs;
use serving::Serving;
use settings::CgroupUse;
use settings::{ConfigError, Environment, SandboxNeed, Settings};
use start_half::{Become, HalfPlan, StartError};
use tree::{TreeError, Trees, UseCgroup};
use workers::Workers;

/// Workers are numbered from here: 1 is the process `erluv` itself.
const FIRST_WORKER: u64 = 2;

/// Why main does not run, or runs no more.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Prepare(#[from] sys::PrepareError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cookie(#[from] cookie::CookieFileError),
    #[error(transparent)]
    Child(#[from] StartError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(
        "profile.{0}: this system lacks: {1}: set on_missing = \"best_effort\" to do without, or take the profile out of \
         workers.profiles"
    )]
    Lacks(String, String),
    #[error("it needs {0}, which main gave up at its start: restart erluv for that")]
    GivenUp(String),
    #[error("pid_file: {0}")]
    PidFile(std::io::Error),
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Args(error) => error.exit_code(),
            Self::Prepare(sys::PrepareError::SetId) => exit::NOPERM,
            Self::Child(StartError::SelfTest(_)) => exit::OSERR,
            Self::Config(_) | Self::Cookie(_) | Self::Child(_) | Self::Tree(_) | Self::Lacks(..) | Self::GivenUp(_) => {
                exit::CONFIG
            }
            Self::Prepare(_) | Self::PidFile(_) | Self::Random(_) | Self::System(..) => exit::OSERR,
        }
    }
}

fn main() -> ExitCode {
    let code = match start() {
        Ok(code) => code,
        Err(Failure::Args(ArgsError::Answer(text))) => {
            log::answer(&text);
            exit::OK
        }
        Err(error) => {
            log::failure(&error.to_string());
            error.code()
        }
    };
    ExitCode::from(code)
}

/// The ritual: nothing is opened before the process is clean, nothing is forked before the configuration is right, and
/// no cookie is read before erluv-child is another program.
fn start() -> Result<u8, Failure> {
    let prepared = sys::prepare_process()?;
    let args = Args::parse_from_env()?;
    let environment = Environment::of_process(prepared.environment)?;
    let Configured { mut settings, roles, policies, plans } =
        configure(&args, &environment, prepared.descriptors, None)?;
    match &args.command {
        None => {}
        Some(Command::Explain(wanted)) => {
            log::answer(&explain::explain(wanted, &settings, &roles, &policies)?);
            return Ok(exit::OK);
        }
        Some(Command::Exec(exec)) => return run_one(exec.clone(), &args, &settings, policies),
    }
    if args.check {
        let lacks = policies.iter().flat_map(Policy::sandboxes).map(|sandbox| &sandbox.profile).flat_map(|profile| {
            let lacks = tree::foresee(use_cgroup(settings.cgroup), &profile.cgroup);
            let so = match profile.need {
                SandboxNeed::Required => ": started like this, erluv-main ends (on_missing = \"required\")",
                SandboxNeed::BestEffort => "",
            };
            lacks.into_iter().map(move |what| format!("profile.{}: {what}{so}", profile.name))
        });
        let lacks = lacks.collect::<Vec<_>>();
        settings.warnings.extend(lacks);
        for node in &settings.nodes {
            cookie::read_cookie(&node.cookie_file, &node.cookie_trust)?;
        }
        log::answer_check(&settings.warnings);
        return Ok(exit::OK);
    }
    for node in &settings.nodes {
        cookie::check_file(&node.cookie_file, &node.cookie_trust)?;
    }
    let starter = match args.foreground {
        true => None,
        false => Some(sys::detach().map_err(|error| Failure::System("becoming a daemon", error))?),
    };
    let journal = environment.vars.iter().any(|(name, _)| name == "JOURNAL_STREAM");
    log::init(args.foreground, args.verbose, journal).map_err(|error| Failure::System("log", error))?;
    let needs = Needs::of(&settings);
    for lacking in privileges::keep_only(&needs).map_err(gave_up)? {
        ::log::warn!("main was started without {lacking}");
    }
    let reload = move |servings: &mut [Serving], workers: &mut Workers| {
        reload(&args, &environment, prepared.descriptors, &needs, servings, workers);
    };
    serve(Box::new(reload), settings, policies, plans, starter).inspect_err(|error| ::log::error!("{error}"))
}

/// `exec`: one command under the policy of a node, without that node.
fn run_one(exec: Exec, args: &Args, settings: &Settings, policies: Vec<Policy>) -> Result<u8, Failure> {
    log::init(true, args.verbose, false).map_err(|error| Failure::System("log", error))?;
    if args.verbose == 0 {
        // It says itself on stderr what there is to say.
        ::log::set_max_level(::log::LevelFilter::Off);
    }
    for lacking in privileges::keep_only(&Needs::of(settings)).map_err(gave_up)? {
        ::log::info!("started without {lacking}");
    }
    let mut workers = Workers::new(Trees::open(use_cgroup(settings.cgroup))?, FIRST_WORKER);
    provide(&policies, &mut workers)?;
    let mut nodes = settings.nodes.iter().zip(policies).enumerate();
    let wanted = |peer: &str| exec.node.as_deref().is_none_or(|name| name == peer);
    let Some((index, (node, policy))) = nodes.find(|(_, (node, _))| wanted(node.peer.as_str())) else {
        let what = format!("{:?} is not served by this configuration", exec.node.unwrap_or_default());
        return Err(Failure::Config(ConfigError::rule("node", what)));
    };
    let place = exec::Place { node: NodeIndex(index), peer: &node.peer, grace: node.kill_timeout };
    exec::run(exec, &place, policy, workers).map_err(|error| Failure::System("poll", error))
}

fn gave_up(error: std::io::Error) -> Failure {
    Failure::System("giving capabilities up", error)
}

/// All that is decided by the configuration. The lists have an entry for each node.
struct Configured {
    settings: Settings,
    roles: Vec<Roles>,
    policies: Vec<Policy>,
    plans: Vec<HalfPlan>,
}

/// All that is decided by the configuration, checked against this machine.
///
/// `descriptors` are the limits that main was started with: workers get them, unless their profile says otherwise.
/// `had` is what main kept of its privileges at its start: a profile that needs more is not tried here in vain.
fn configure(
    args: &Args,
    environment: &Environment,
    descriptors: (u64, u64),
    had: Option<&Needs>,
) -> Result<Configured, Failure> {
    let mut settings = settings::load(args, environment)?;
    let more = had.map(|had| Needs::of(&settings).beyond(had)).unwrap_or_default();
    if !more.is_empty() {
        return Err(Failure::GivenUp(more.join(", ")));
    }
    for node in &mut settings.nodes {
        for profile in &mut node.workers.profiles {
            profile.profile.keep_descriptors(descriptors);
        }
    }
    if !sys::CAN_FORBID_NEW_PRIVILEGES {
        settings.warnings.push("no_new_privs: this system cannot keep a worker from set-user-id programs".to_owned());
    }
    let roles = identity::resolve(&settings, &SystemAccounts)?;
    let policies = policy::resolve(&settings, &roles)?;
    // Who wants to know what lacks is told, whatever it is.
    if !matches!(args.command, Some(Command::Explain(_))) {
        for policy in &policies {
            settings.warnings.extend(policy.lacks()?);
        }
    }
    let own = std::env::current_exe().map_err(|error| Failure::System("finding this program", error))?;
    let program = start_half::find_program(&own, environment.is_root())?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut plans = Vec::new();
    for (node, roles) in settings.nodes.iter().zip(&roles) {
        settings.warnings.extend(roles.warnings.iter().cloned());
        let about = About {
            main_user: roles.main_user.clone(),
            child_user: roles.child_user().to_owned(),
            worker_users: roles.worker_users(),
            profiles: node.workers.profiles.iter().map(|profile| profile.profile.name.to_string()).collect(),
            max_workers: node.workers.max,
            started,
            cookie: None,
        };
        let becomes =
            roles.child.as_ref().map(|child| Become { user: &child.name, gid: child.gid, chroot: &node.chroot });
        plans.push(HalfPlan::new(&program, becomes, about)?);
    }
    let mut said = BTreeSet::new();
    settings.warnings.retain(|warning| said.insert(warning.clone()));
    Ok(Configured { settings, roles, policies, plans })
}

fn serve(
    reload: Reload,
    settings: Settings,
    policies: Vec<Policy>,
    plans: Vec<HalfPlan>,
    starter: Option<sys::Starter>,
) -> Result<u8, Failure> {
    let _pid_file = settings.pid_file.as_deref().map(PidFile::write).transpose().map_err(Failure::PidFile)?;
    for warning in &settings.warnings {
        ::log::warn!("{warning}");
    }
    let mut workers = Workers::new(Trees::open(use_cgroup(settings.cgroup))?, FIRST_WORKER);
    provide(&policies, &mut workers)?;
    if settings.euid == 0 && settings.nodes.iter().any(|node| node.chroot == Path::new(settings::MADE_CHROOT)) {
        start_half::make_chroot(Path::new(settings::MADE_CHROOT)).map_err(|error| Failure::System("chroot", error))?;
    }
    for (node, plan) in settings.nodes.iter().zip(&plans) {
        if node.sandbox == SandboxNeed::Required {
            start_half::self_test(plan)?;
        }
    }
    ::log::info!("erluv-main {} starts; {}", env!("CARGO_PKG_VERSION"), workers.about());
    let now = Instant::now();
    let mut servings = Vec::new();
    for (index, ((node, policy), plan)) in settings.nodes.into_iter().zip(policies).zip(plans).enumerate() {
        let creation = start_half::random_creation()?;
        servings.push(Serving::new(NodeIndex(index), node, policy, plan, creation, now));
    }
    let daemon = Daemon::new(servings, workers, reload).map_err(|error| Failure::System("poll", error))?;
    if let Some(starter) = starter {
        starter.release().map_err(|error| Failure::System("becoming a daemon", error))?;
    }
    let code = daemon.run().map_err(|error| Failure::System("poll", error))?;
    ::log::info!("erluv-main ends with {code}");
    Ok(code)
}

const fn use_cgroup(setting: CgroupUse) -> UseCgroup {
    match setting {
        CgroupUse::Auto => UseCgroup::Auto,
        CgroupUse::Required => UseCgroup::Required,
        CgroupUse::Never => UseCgroup::Never,
    }
}

/// Has control groups count what profiles limit. What a profile may do without is said in the log (S-74).
fn provide(policies: &[Policy], workers: &mut Workers) -> Result<(), Failure> {
    for profile in policies.iter().flat_map(Policy::sandboxes).map(|sandbox| &sandbox.profile) {
        let lacks = workers.provide(&profile.cgroup);
        if profile.need == SandboxNeed::Required && !lacks.is_empty() {
            return Err(Failure::Lacks(profile.name.to_string(), lacks.join("; ")));
        }
        for what in lacks {
            ::log::warn!("profile.{}: this system lacks: {what}", profile.name);
        }
    }
    Ok(())
}

/// SIGHUP: a changed file is taken in, a bad one changes nothing. What runs keeps what it has.
fn reload(
    args: &Args,
    environment: &Environment,
    descriptors: (u64, u64),
    needs: &Needs,
    servings: &mut [Serving],
    workers: &mut Workers,
) {
    let Configured { settings, policies, .. } = match configure(args, environment, descriptors, Some(needs)) {
        Ok(configured) => configured,
        Err(error) => return ::log::error!("not reloaded: {error}"),
    };
    let names = |node: &settings::NodeSettings| (node.peer.clone(), node.own.clone());
    let served = servings.iter().map(|serving| names(serving.node()));
    if !served.eq(settings.nodes.iter().map(names)) {
        return ::log::error!("not reloaded: the nodes or our names have changed: restart erluv for that");
    }
    // Those of profiles that are gone with the rest: workers that run keep theirs.
    sys::end_spawners();
    if let Err(error) = provide(&policies, workers) {
        return ::log::error!("not reloaded: {error}");
    }
    for (serving, (node, policy)) in servings.iter_mut().zip(settings.nodes.iter().cloned().zip(policies)) {
        serving.reload(node, policy);
    }
    for warning in &settings.warnings {
        ::log::warn!("{warning}");
    }
    ::log::info!("configuration reloaded");
}
