//! The rows of the benchmark: what each of them does with a system, and the figures that come of it.

use crate::bare::{self, Starts};
use crate::idle::BEFORE;
use crate::plan::Plan;
use crate::programs::Programs;
use crate::results::Mode;
use crate::system::{Kind, System, Values};

/// One kind of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Start and end of `/bin/true`.
    True,
    /// Start and end of a program without libc.
    Static,
    /// The same, and echoes, while workers idle.
    Idle,
    /// What workers write.
    Stdout,
    /// What a worker reads.
    Stdin,
    /// 64 bytes there and back.
    Echo,
    /// Many that sleep.
    Sleepers(usize),
    /// A consumer, and a worker, that do not read.
    Unread,
    /// Many commands in a row.
    Commands,
    /// The start in a profile.
    Profile(String),
}

impl Row {
    /// All rows of a plan, in the order of the table.
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        // Those first that look for growth: what other rows have left in a heap would take it up unseen.
        let mut rows = vec![Self::Unread, Self::Commands];
        rows.extend([Self::True, Self::Static, Self::Idle, Self::Stdout, Self::Stdin, Self::Echo]);
        rows.extend(plan.sleepers.iter().map(|count| Self::Sleepers(*count)));
        rows.extend(plan.profiles.iter().cloned().map(Self::Profile));
        rows
    }

    /// Its short name, for `--only` and JSON.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::True => "true".to_owned(),
            Self::Static => "static".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Stdout => "stdout".to_owned(),
            Self::Stdin => "stdin".to_owned(),
            Self::Echo => "echo".to_owned(),
            Self::Sleepers(count) => format!("sleepers-{count}"),
            Self::Unread => "unread".to_owned(),
            Self::Commands => "commands".to_owned(),
            Self::Profile(name) => format!("profile-{name}"),
        }
    }

    /// Its title in the table.
    pub(crate) fn title(&self, plan: &Plan) -> String {
        match self {
            Self::True => "start and end of /bin/true".to_owned(),
            Self::Static => "start and end of a program without libc".to_owned(),
            Self::Idle => format!("while {} workers idle", plan.idle),
            Self::Stdout => "stdout into the VM".to_owned(),
            Self::Stdin => "stdin of wc -c".to_owned(),
            Self::Echo => "echo of 64 bytes through cat".to_owned(),
            Self::Sleepers(count) => format!("{count} sleepers"),
            Self::Unread => "nobody reads".to_owned(),
            Self::Commands => format!("{} commands in a row", plan.commands),
            Self::Profile(name) => format!("start and end in profile {name}"),
        }
    }

    /// How often a round does it with each system, in turns.
    pub(crate) fn times(&self, mode: Mode, plan: &Plan) -> usize {
        match (self, mode) {
            (Self::True | Self::Static | Self::Stdout | Self::Stdin | Self::Echo, Mode::All) => plan.draws,
            // On one core nothing is chosen, but what else the machine does falls on one more than on the other. The
            // row idle is judged by a difference of some percent, and takes long; a start of all sleepers is short.
            (Self::True | Self::Static | Self::Stdout | Self::Stdin | Self::Echo, Mode::One)
            | (Self::Idle | Self::Sleepers(_), _) => plan.draws.min(3),
            _ => 1,
        }
    }

    /// Does the work once with one system. No figures is what a system does not have.
    pub(crate) fn measure(&self, on: &On<'_>) -> Result<Vec<(Kind, String, f64)>, String> {
        let values = match (self, on.system.kind) {
            (row, Kind::Erlexec) if !row.is_erlexecs(on.plan) => Vec::new(),
            (Self::True, _) => on.starts("/bin/true", on.plan.trues)?,
            (Self::Static, _) => on.starts(&on.static_program(), on.plan.statics)?,
            // Where a second process costs a start something, it costs it as much while workers idle.
            (Self::Idle, Kind::Apart | Kind::Twice) => Vec::new(),
            (Self::Idle, Kind::Limit | Kind::Held) if !on.plan.limits_idle => Vec::new(),
            (Self::Idle, _) => on.idle()?,
            // The filter of system calls is passed by each write of a program that is held.
            (Self::Stdout, Kind::Held) => on.own(on.stdout()?),
            // To what else they do it makes no difference.
            (_, Kind::Held | Kind::BareHeld | Kind::Apart | Kind::Twice) => Vec::new(),
            (Self::Stdout, _) => on.own(on.stdout()?),
            (Self::Stdin, _) => on.stdin()?,
            (Self::Echo, _) => on.echo()?,
            // The C program has no such thing: what it would need for it is what is measured in the others.
            (Self::Sleepers(_) | Self::Unread | Self::Commands | Self::Profile(_), Kind::Limit | Kind::Bare) => {
                Vec::new()
            }
            (Self::Sleepers(count), _) => on.own(on.sleepers(*count)?),
            (Self::Unread, _) => on.own(on.unread()?),
            (Self::Commands, _) => on.own(on.commands()?),
            (Self::Profile(_), Kind::Port) => Vec::new(),
            (Self::Profile(name), _) => on.own(on.profile(name)?),
        };
        Ok(values)
    }

    /// Whether erlexec can do it.
    fn is_erlexecs(&self, plan: &Plan) -> bool {
        match self {
            Self::Sleepers(count) => *count <= ERLEXECS,
            // Each of the callers beside them has a worker with two pipes.
            Self::Idle => plan.idle.saturating_add(100) <= ERLEXECS,
            // What waits when its worker's pipe is full can be lost at the end of input, and stay there without one.
            Self::Stdin => false,
            Self::Unread | Self::Profile(_) => false,
            Self::True | Self::Static | Self::Stdout | Self::Echo | Self::Commands => true,
        }
    }
}

/// How many workers erlexec can have: it has a descriptor of each, and waits by select(2), which takes none above 1023.
const ERLEXECS: usize = 1000;

/// A system and what is done with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On<'a> {
    pub(crate) system: &'a System,
    pub(crate) programs: &'a Programs,
    pub(crate) plan: &'a Plan,
}

type Figures = Vec<(Kind, String, f64)>;

/// `WHAT.NAME` for each value.
fn named(what: &str, values: Values) -> impl Iterator<Item = (String, f64)> {
    values.into_iter().map(move |(name, value)| (format!("{what}.{name}"), value))
}

impl On<'_> {
    fn own(&self, values: Values) -> Figures {
        values.into_iter().map(|(name, value)| (self.system.kind, name, value)).collect()
    }

    fn work(&self, work: &str, arguments: &[&str]) -> Result<Values, String> {
        self.system.work(work, &arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    /// One at a time, then 32 callers with the processor time of all halves; of the limits also without a node.
    fn starts(&self, program: &str, counts: (usize, usize)) -> Result<Figures, String> {
        let (term, many) = (format!("\"{program}\""), counts.1);
        let mut values = self.work("one", &[&term, &counts.0.to_string(), "[]"])?;
        let before = self.system.cpu();
        values.extend(self.work("many", &[&term, &many.to_string()])?);
        let after = self.system.cpu();
        let mut all = 0.0;
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            let each = (after - before) / many as f64;
            values.push((format!("{name}.cpu"), each));
            all += each;
        }
        values.push(("all together.cpu".to_owned(), all));
        let mut figures = self.own(values);
        figures.extend(bare::starts(self.system.kind, self.programs, Starts { program, counts, idle: 0 })?);
        Ok(figures)
    }

    fn static_program(&self) -> String {
        self.programs.path("exit").display().to_string()
    }

    fn stdout(&self) -> Result<Values, String> {
        let (one, eight) = self.plan.output;
        let mut values = Vec::new();
        for (what, bytes, parallel) in
            [("head", one, 1), ("head, eight", eight, 8), ("dd", one, 1), ("dd, eight", eight, 8)]
        {
            let command = match what.starts_with("head") {
                true => format!("[\"/usr/bin/head\", \"-c\", \"{bytes}\", \"/dev/zero\"]"),
                false => format!(
                    "[\"/bin/dd\", \"if=/dev/zero\", \"bs=1M\", \"count={}\", \"status=none\"]",
                    bytes.checked_div(1 << 20).unwrap_or_default()
                ),
            };
            let (bytes, parallel) = (bytes.to_string(), parallel.to_string());
            values.extend(named(what, self.work("output", &[&command, &bytes, &parallel, "[]"])?));
            if matches!(self.system.kind, Kind::Erluv | Kind::Limit | Kind::Held) {
                let windowed = self.work("output", &[&command, &bytes, &parallel, "[window]"])?;
                values.extend(named(&format!("{what} with a window"), windowed));
            }
        }
        Ok(values)
    }

    /// Of the limit also what it reads without handing it to a worker.
    fn stdin(&self) -> Result<Figures, String> {
        let mut figures = Vec::new();
        let total = self.plan.input.to_string();
        for (what, piece) in [("pieces of 64 KiB", "65536"), ("pieces of 1 MiB", "1048576")] {
            let counter = self.programs.text("count");
            let values = named(what, self.work("feed", &[&counter, piece, &total, "[]"])?).collect();
            figures.extend(self.own(values));
            if self.system.kind == Kind::Limit {
                let dropped = named(what, self.work("drop", &[piece, &total])?);
                figures.extend(dropped.map(|(name, value)| (Kind::Bare, name, value)));
            }
        }
        Ok(figures)
    }

    fn echo(&self) -> Result<Figures, String> {
        let count = self.plan.echoes.to_string();
        let mut figures = self.own(self.work("echo", &["\"/bin/cat\"", &count])?);
        if self.system.kind == Kind::Limit {
            let direct = self.work("direct", &[&count])?;
            figures.extend(direct.into_iter().map(|(name, value)| (Kind::Bare, name, value)));
        }
        Ok(figures)
    }

    fn hold(&self, count: usize) -> Result<Values, String> {
        self.work("hold", &[&self.programs.text("pause"), &count.to_string()])
    }

    /// The same just before workers idle and while they do, so that both are of the same minute.
    fn idle(&self) -> Result<Figures, String> {
        let before = self.beside(0)?.into_iter().map(|(kind, name, value)| (kind, format!("{BEFORE}{name}"), value));
        let mut figures = before.collect::<Figures>();
        figures.extend(self.beside(self.plan.idle)?);
        Ok(figures)
    }

    /// Starts and echoes while `idle` workers idle; of the limits also without a node, once those behind the node are no
    /// more.
    fn beside(&self, idle: usize) -> Result<Figures, String> {
        let programs = [
            ("/bin/true", "/bin/true".to_owned(), self.plan.trues),
            ("without libc", self.static_program(), self.plan.statics),
        ];
        let mut values = Vec::new();
        if idle > 0 {
            self.hold(idle)?;
        }
        for (what, program, (one, many)) in &programs {
            let program = format!("\"{program}\"");
            values.extend(named(what, self.work("one", &[&program, &one.to_string(), "[]"])?));
            values.extend(named(what, self.work("many", &[&program, &many.to_string()])?));
        }
        // How programs are held makes no difference to it.
        if self.system.kind != Kind::Held {
            values.extend(named("echo", self.work("echo", &["\"/bin/cat\"", &self.plan.echoes.to_string()])?));
        }
        if idle > 0 {
            self.work("release", &[])?;
        }
        let mut figures = self.own(values);
        for (what, program, counts) in &programs {
            let bare = bare::starts(self.system.kind, self.programs, Starts { program, counts: *counts, idle })?;
            figures.extend(bare.into_iter().map(|(kind, name, value)| (kind, format!("{what}.{name}"), value)));
        }
        Ok(figures)
    }

    fn sleepers(&self, count: usize) -> Result<Values, String> {
        self.system.collect()?;
        let before = self.system.memory()?;
        let mut values = self.hold(count)?;
        self.system.collect()?;
        let grown = self.system.grown(&before)?;
        values.extend(self.work("list", &[&count.to_string()])?);
        values.extend(self.work("release", &[])?);
        let mut halves = 0.0;
        for (name, grown) in grown {
            let each = grown / count as f64;
            values.push((format!("{name}.each"), each));
            if matches!(name, "main" | "child") {
                halves += each;
            }
        }
        if matches!(self.system.kind, Kind::Erluv | Kind::App) {
            values.push(("main and child.each".to_owned(), halves));
        }
        Ok(values)
    }

    fn unread(&self) -> Result<Values, String> {
        let wait = self.plan.unread.to_string();
        let head = "[\"/usr/bin/head\", \"-c\", \"268435456\", \"/dev/zero\"]";
        let mut values = self.growth("while the consumer does not read", "deaf", &[head, &wait])?;
        let pause = self.programs.text("pause");
        values.extend(self.growth("while the worker does not read", "stuck", &[&pause, "4096", &wait])?);
        Ok(values)
    }

    fn growth(&self, when: &str, work: &str, arguments: &[&str]) -> Result<Values, String> {
        self.system.collect()?;
        let before = self.system.memory()?;
        self.work(work, arguments)?;
        let after = self.system.memory()?;
        self.system.values("leave", "")?;
        let grown = before.iter().zip(&after);
        Ok(grown.map(|((name, before), (_, after))| (format!("{name} {when}.growth"), after - before)).collect())
    }

    fn commands(&self) -> Result<Values, String> {
        let program = self.programs.text("exit");
        let count = self.plan.commands.to_string();
        // What is allocated once, and buffers that grow to their size, are no growth.
        self.work("many", &[&program, "1000", "1"])?;
        self.system.collect()?;
        let before = self.system.memory()?;
        let mut values = self.work("many", &[&program, &count, "1"])?;
        self.system.collect()?;
        let after = self.system.memory()?;
        let grown = before.iter().zip(&after);
        values.extend(grown.map(|((name, before), (_, after))| (format!("{name}.growth"), after - before)));
        Ok(values)
    }

    fn profile(&self, name: &str) -> Result<Values, String> {
        let option = if name == "default" { "[]".to_owned() } else { format!("[{{profile, <<\"{name}\">>}}]") };
        let (one, _) = self.plan.trues;
        // A program of the system's: the strict ones execute no other.
        match self.work("one", &["\"/bin/true\"", &one.to_string(), &option]) {
            Err(error) if ["badopt", "refused", "invalid_option"].iter().any(|no| error.contains(no)) => {
                crate::say(&format!("bench: profile {name} is left out: {error}"));
                Ok(Vec::new())
            }
            other => other,
        }
    }
}
