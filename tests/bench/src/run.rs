//! The run: modes, rounds, rows and systems, in turns.

use std::process::Command;
use std::time::Instant;

use erluv_tests::otp::Otp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::args::Args;
use crate::erlexec::Erlexec;
use crate::group::Group;
use crate::machine::{self, Machine};
use crate::plan::Plan;
use crate::programs::Programs;
use crate::results::{Mode, Results};
use crate::rows::{On, Row};
use crate::system::{Kind, Setup, System};
use crate::{json, say, svg, table};

/// Measures what the command line asks for, prints the table and writes the files. Returns how many measurements have
/// failed.
pub(crate) fn run(args: &Args) -> Result<usize, String> {
    if !erluv_tests::is_root() {
        return Err("run it as root: the daemon is measured as it runs on a host, with users of its own".to_owned());
    }
    raise_limit();
    let group = Group::enter();
    let programs = Programs::build(group.as_ref().map(Group::path))?;
    if args.parts {
        return parts(&programs, args.short).map(|()| 0);
    }
    let mut run = Run::new(args, programs)?;
    let machine = Machine::look(Otp::V25.number());
    let wanted = |mode: &Mode| args.mode.as_ref().is_none_or(|wanted| wanted == mode.name());
    let outcome = [Mode::One, Mode::All].into_iter().filter(wanted).try_for_each(|mode| run.mode(mode));
    // Also of a run that could not go on: what was measured until then.
    say(&table::table(&machine, &run.plan, &run.results, group.is_some()));
    let write = |file: &std::path::Path, text: String| {
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    };
    if let Some(file) = &args.json {
        write(file, json::text(&machine, &run.results)?)?;
    }
    if let Some(file) = &args.svg {
        write(file, svg::picture(&machine, &run.results))?;
    }
    outcome.map(|()| run.failures)
}

/// What each promise to a worker costs by itself: limits/parts.c, which prints a table of its own.
fn parts(programs: &Programs, short: bool) -> Result<(), String> {
    machine::pin(first(&machine::cores()?))?;
    let mut command = Command::new(programs.path("parts"));
    command.arg(programs.path("exit")).arg(if short { "400" } else { "6000" }).args(programs.held());
    let status = command.status().map_err(|error| format!("parts: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("parts: {status}")) }
}

/// The first of some cores.
fn first(cores: &str) -> &str {
    cores.split([',', '-']).next().unwrap_or("0")
}

/// Ten thousand ports have as many descriptors in their VM: as many as this system gives.
fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard {
        // Where it fails, so do the ports, and say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

struct Run {
    plan: Plan,
    rows: Vec<Row>,
    kinds: Vec<Kind>,
    setup: Setup,
    programs: Programs,
    cores: String,
    results: Results,
    failures: usize,
    started: Instant,
}

/// The profiles whose start is measured: one that holds a worker by its user and nothing else, and those built in, as far
/// as this system has them.
const PROFILES: &str = r#"
[workers]
profiles = ["default", "plain", "strict", "build"]
[profile.plain]
[profile.strict]
on_missing = "best_effort"
[profile.build]
on_missing = "best_effort"
[profile.build.mounts]
bind = ["/var/tmp"]
"#;

impl Run {
    fn new(args: &Args, programs: Programs) -> Result<Self, String> {
        let mut plan = if args.short { Plan::short() } else { Plan::full() };
        plan.rounds = args.rounds.unwrap_or(plan.rounds).max(1);
        if !args.profiles.is_empty() {
            plan.profiles.clone_from(&args.profiles);
        }
        let wanted = |row: &Row| args.only.is_empty() || args.only.iter().any(|only| row.name().starts_with(only));
        let rows = Row::all(&plan).into_iter().filter(wanted).collect::<Vec<_>>();
        if rows.is_empty() {
            let names = Row::all(&plan).iter().map(Row::name).collect::<Vec<_>>().join(", ");
            return Err(format!("there is no such row; there are {names}"));
        }
        let erlexec = args.erlexec.as_deref().map(|folder| Erlexec::of(folder, &programs)).transpose()?;
        let kind = |kind: &Kind| match kind {
            Kind::Erlexec => erlexec.is_some(),
            _ => args.systems.is_empty() || args.systems.iter().any(|name| name == kind.name()),
        };
        let kinds = Kind::STARTED.into_iter().filter(kind).collect();
        let config = match &args.config {
            Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
            None => PROFILES.to_owned(),
        };
        Ok(Self {
            plan,
            rows,
            kinds,
            setup: Setup { config, erl: args.erl.clone(), erlexec },
            programs,
            cores: machine::cores()?,
            results: Results::default(),
            failures: 0,
            started: Instant::now(),
        })
    }

    fn mode(&mut self, mode: Mode) -> Result<(), String> {
        machine::pin(match mode {
            Mode::One => first(&self.cores),
            Mode::All => &self.cores,
        })?;
        for round in 0..self.plan.rounds {
            self.round(mode, round)?;
        }
        machine::pin(&self.cores)
    }

    /// One round: all systems are started anew, do each row in turns, and end. Who is first moves on with the rounds.
    fn round(&mut self, mode: Mode, round: usize) -> Result<(), String> {
        let mut kinds = self.kinds.clone();
        let first = round.checked_rem(kinds.len()).unwrap_or_default();
        kinds.rotate_left(first);
        let start = |kind: &Kind| System::start(*kind, &self.programs, &self.setup);
        let systems = kinds.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        for row in self.rows.clone() {
            let number = round.saturating_add(1);
            let seconds = self.started.elapsed().as_secs();
            let of = self.plan.rounds;
            say(&format!("bench: {seconds:4} s: mode {}, round {number} of {of}: {}", mode.name(), row.name()));
            for _ in 0..row.times(mode, &self.plan) {
                systems.iter().for_each(|system| self.turn(mode, &row, system));
            }
        }
        for system in systems {
            system.end()?;
        }
        Ok(())
    }

    /// One system does one row.
    fn turn(&mut self, mode: Mode, row: &Row, system: &System) {
        match row.measure(&On { system, programs: &self.programs, plan: &self.plan }) {
            Ok(figures) => {
                let (name, title) = (row.name(), row.title(&self.plan));
                for (kind, figure, value) in figures {
                    self.results.add(mode, (&name, &title), &figure, kind, value);
                }
            }
            Err(error) => {
                say(&format!("bench: FAILED: {error}\n{}", system.log()));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}
