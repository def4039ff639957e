//! The audit log: one line for every start, refusal and end, with who asked for it.
//!
//! `audit event=start node=shop@host asker=<0.42.0> worker=w7 ...`: keys and values without blanks. A value is made of
//! letters, digits and visible ASCII; blanks, `"`, `\`, `=`, control characters and all else are written as `\x20` (a
//! byte) or `\u{202e}` (a character), so that nothing in it can look like another key, another value or another line.
//! The arguments of a command are joined by commas, and a comma within one is `\x2c`. Each value has its longest
//! length; what was longer ends in `...`, and the key `cut` names it. Everything together stays below what a line of
//! the log may have.

use std::fmt::Write;

use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{ExitStatus, Exited, Failure, Launch, Program, Step};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::order::{Ending, Order};

/// The longest values, in bytes: those that come from the node are cut, the rest is never that long.
const LONGEST: usize = 64;
const LONGEST_NODE: usize = 96;
const LONGEST_WHAT: usize = 160;
const LONGEST_COMMAND: usize = 320;

/// Most lines are shorter.
const USUAL: usize = 256;

/// What stands at the end of a value that was longer.
const CUT: &str = "...";

/// Who asks, and for what: of a launch request, before policy has looked at it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `node=... asker=...`: what every line about it has first.
    who: String,
    user: Option<String>,
    profile: Option<String>,
    command: Value,
}

impl Asked {
    /// From a request of the child of this node.
    pub(crate) fn of(node: &str, launch: &Launch) -> Self {
        let mut who = Line::new();
        who.field("node", &Value::of(node.as_bytes(), LONGEST_NODE));
        who.field("asker", &Value::of(launch.asker.as_bytes(), LONGEST));
        let command = match &launch.program {
            Program::Direct(arguments) => Value::list(arguments.iter().map(AsRef::as_ref)),
            Program::Shell(line) => Value::list([b"/bin/sh".as_slice(), b"-c", line]),
        };
        Self { who: who.end(), user: launch.user.clone(), profile: launch.profile.clone(), command }
    }

    /// The line of a refusal: what was asked for, as it was asked, and the rule that says no. A launch that comes to no
    /// fork because of a step is one that failed.
    pub(crate) fn refused(&self, failure: &Failure) {
        log::warn!("{}", self.refused_line(failure));
    }

    fn refused_line(&self, failure: &Failure) -> String {
        let mut line = Line::begin(if matches!(failure, Failure::Refused(..)) { "refused" } else { "failed" });
        line.text(&self.who);
        for (key, value) in [("user", &self.user), ("profile", &self.profile)] {
            if let Some(value) = value {
                line.field(key, &Value::of(value.as_bytes(), LONGEST));
            }
        }
        line.field("command", &self.command);
        line.failure(failure);
        line.end()
    }

    /// The worker that came of it.
    pub(crate) fn worker(self, worker: WorkerId, order: &Order) -> Subject {
        let mut about = Line::new();
        about.text(&self.who);
        about.number("worker", worker);
        if let Some(identity) = &order.identity {
            about.field("user", &Value::of(identity.name.as_bytes(), LONGEST));
            about.number("uid", identity.uid);
        }
        about.field("profile", &Value::of(order.sandbox.profile.name.as_str().as_bytes(), LONGEST));
        let arguments = order.argv.iter().skip(1).map(|argument| argument.as_bytes());
        let command = Value::list(std::iter::once(order.path.as_bytes()).chain(arguments));
        let kill = match &order.ending {
            Ending::Signal | Ending::SignalGroup => None,
            // What its shell is told, behind "-c".
            Ending::Command(kill) => kill.argv.last().map(|line| Value::of(line.as_bytes(), LONGEST_WHAT)),
        };
        Subject { about: about.end().into_boxed_str(), commands: Some(Box::new(Commands { command, kill })) }
    }
}

/// A worker, for the lines about it.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Who asked, which worker, and what it is.
    about: Box<str>,
    /// Until they have been said.
    commands: Option<Box<Commands>>,
}

/// What is executed, and the command of its own that ends it.
#[derive(Debug)]
struct Commands {
    command: Value,
    kill: Option<Value>,
}

impl Subject {
    fn line(&self, event: &str, pid: Option<i32>) -> Line {
        let mut line = Line::begin(event);
        line.text(&self.about);
        if let Some(pid) = pid {
            line.number("pid", pid);
        }
        if let Some(Commands { command, kill }) = self.commands.as_deref() {
            line.field("command", command);
            if let Some(kill) = kill {
                line.field("kill", kill);
            }
        }
        line
    }

    /// Its program runs. The commands are not said again.
    pub(crate) fn started(&mut self, pid: i32) {
        log::info!("{}", self.line("start", Some(pid)).end());
        self.commands = None;
    }

    /// It came to no program.
    pub(crate) fn failed(&self, step: Step, errno: i32) {
        let mut line = self.line("failed", None);
        line.failure(&Failure::Step(step, errno));
        log::warn!("{}", line.end());
    }

    /// It has ended.
    pub(crate) fn ended(&self, pid: i32, exited: &Exited) {
        log::info!("{}", self.end_line(pid, exited));
    }

    fn end_line(&self, pid: i32, exited: &Exited) -> String {
        let mut line = self.line("end", Some(pid));
        match exited.status {
            ExitStatus::Code(code) => line.number("code", code),
            ExitStatus::Signal(number, core) => {
                match Signal::try_from(i32::from(number)) {
                    Ok(signal) => line.number("signal", signal.as_str()),
                    Err(_) => line.number("signal", number),
                }
                line.number("core", yes(core));
            }
        }
        line.number("oom", yes(exited.oom));
        line.number("timeout", yes(exited.timeout));
        let usage = exited.usage;
        line.number("wall", Seconds(usage.wall));
        line.number("cpu", Seconds(usage.user.saturating_add(usage.system)));
        line.number("memory", usage.memory.saturating_mul(1024));
        line.end()
    }
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Microseconds, shown as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SECOND: u64 = 1_000_000;
        write!(f, "{}.{:06}", self.0 / SECOND, self.0 % SECOND)
    }
}

/// A line in the making.
#[derive(Debug)]
struct Line {
    text: String,
    /// Keys of values that were cut.
    cut: Vec<&'static str>,
}

impl Line {
    fn begin(event: &str) -> Self {
        let mut line = Self::new();
        line.number("audit event", event);
        line
    }

    fn new() -> Self {
        Self { text: String::with_capacity(USUAL), cut: Vec::new() }
    }

    /// Fields that are made already.
    fn text(&mut self, fields: &str) {
        self.separate();
        self.text.push_str(fields);
    }

    fn field(&mut self, key: &'static str, value: &Value) {
        self.separate();
        for piece in [key, "=", &value.text] {
            self.text.push_str(piece);
        }
        if value.cut {
            self.cut.push(key);
        }
    }

    /// A value of our own that needs no care: a number, a name of the system.
    fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.separate();
        // Writing into a String does not fail.
        let _ = write!(self.text, "{key}={value}");
    }

    fn failure(&mut self, failure: &Failure) {
        match failure {
            Failure::Step(step, errno) => {
                self.number("step", step.name());
                self.number("errno", format_args!("{:?}", Errno::from_raw(*errno)));
            }
            Failure::Refused(rule, what) => {
                self.field("rule", &Value::of(rule.as_bytes(), LONGEST));
                self.field("what", &Value::of(what.as_bytes(), LONGEST_WHAT));
            }
        }
    }

    fn separate(&mut self) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    fn end(mut self) -> String {
        if !self.cut.is_empty() {
            let cut = self.cut.join(",");
            self.number("cut", cut);
        }
        self.text
    }
}

/// A value, made harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Value {
    text: String,
    cut: bool,
}

impl Value {
    fn of(bytes: &[u8], longest: usize) -> Self {
        let mut value = Self::default();
        value.push(bytes, longest, false);
        value
    }

    /// Arguments, joined by commas.
    fn list<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut value = Self::default();
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                value.text.push(',');
            }
            value.push(item, LONGEST_COMMAND, true);
            if value.cut {
                break;
            }
        }
        value
    }

    fn push(&mut self, bytes: &[u8], longest: usize, in_list: bool) {
        let room = longest.saturating_sub(CUT.len());
        let fits = self.text.len().saturating_add(bytes.len()) <= room;
        if fits && bytes.iter().all(|byte| byte.is_ascii() && is_plain(char::from(*byte), in_list)) {
            // Nearly every value.
            self.text.push_str(&String::from_utf8_lossy(bytes));
            return;
        }
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid().chars().map(|character| escaped(character, in_list));
            let invalid = chunk.invalid().iter().map(|byte| Piece::Escape(format!("\\x{byte:02x}")));
            for piece in valid.chain(invalid) {
                let length = match &piece {
                    Piece::Plain(character) => character.len_utf8(),
                    Piece::Escape(text) => text.len(),
                };
                if self.text.len().saturating_add(length) > room {
                    self.text.push_str(CUT);
                    self.cut = true;
                    return;
                }
                match piece {
                    Piece::Plain(character) => self.text.push(character),
                    Piece::Escape(text) => self.text.push_str(&text),
                }
            }
        }
    }
}

enum Piece {
    Plain(char),
    Escape(String),
}

fn is_plain(character: char, in_list: bool) -> bool {
    let special = matches!(character, '"' | '\\' | '=') || (in_list && character == ',');
    (character.is_ascii_graphic() || character.is_alphanumeric()) && !special
}

fn escaped(character: char, in_list: bool) -> Piece {
    match character {
        _ if is_plain(character, in_list) => Piece::Plain(character),
        _ if character.is_ascii() => Piece::Escape(format!("\\x{:02x}", u32::from(character))),
        _ => Piece::Escape(format!("\\u{{{:x}}}", u32::from(character))),
    }
}

#[cfg(test)]
pub(crate) mod tests;
