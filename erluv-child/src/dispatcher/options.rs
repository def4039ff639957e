//! The options of a `run` request, one by one.

use std::borrow::Cow;

use erluv_proto::etf::Term;
use serde_bytes::ByteBuf;

use super::places;
use super::run::{Run, RunError};
use super::text;

/// The longest grace between SIGTERM and SIGKILL that a request may ask for, and the longest that a worker is kept: a
/// day, in milliseconds.
const DAY: i64 = 86_400_000;

/// The largest window of an output stream, in bytes.
const LARGEST_WINDOW: i64 = 1 << 30;

/// The longest line that is put together, in bytes: no longer than a message.
const LONGEST_LINE: i64 = 1 << 16;

/// The most resource limits in one request: there are fewer names.
const MOST_LIMITS: usize = 32;

/// The options that a request has, each as it came.
#[derive(Debug, Default)]
pub(super) struct Seen<'a>(Vec<(&'a str, RunError<'a>)>);

impl<'a> Seen<'a> {
    /// Notes an option; `None` where it stands there twice.
    fn note(&mut self, name: &'a str, came: RunError<'a>) -> Option<()> {
        if self.0.iter().any(|(known, _)| *known == name) {
            return None;
        }
        self.0.push((name, came));
        Some(())
    }

    /// The option of that name is wrong beside the others.
    pub(super) fn bad(&self, name: &str) -> RunError<'a> {
        self.0.iter().find(|(known, _)| *known == name).map_or(RunError::Options(Term::NIL), |(_, came)| *came)
    }
}

/// What stands behind the name of an option.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// Nothing: the name stands alone.
    None,
    /// `{Name, Value}`.
    One(Term<'a>),
    /// `{Name, Value, More}`.
    Two(Term<'a>, Term<'a>),
}

impl<'a> Value<'a> {
    fn one(self) -> Option<Term<'a>> {
        match self {
            Self::One(value) => Some(value),
            Self::None | Self::Two(..) => None,
        }
    }

    /// An option that is there or not: `Name`, `{Name, true}` or `{Name, false}`.
    fn flag(self) -> Option<bool> {
        match self {
            Self::None => Some(true),
            Self::One(value) if value.is_atom("true") => Some(true),
            Self::One(value) if value.is_atom("false") => Some(false),
            Self::One(_) | Self::Two(..) => None,
        }
    }
}

/// Reads the options of one request.
pub(super) struct Reader<'a, 'p> {
    pub(super) run: Run<'a>,
    pub(super) seen: Seen<'a>,
    /// Rows and columns of the terminal.
    pub(super) size: (u16, u16),
    /// The terminal's echo.
    pub(super) echo: bool,
    pub(super) arg0: Option<ByteBuf>,
    peer: &'p str,
}

impl<'a, 'p> Reader<'a, 'p> {
    pub(super) fn new(run: Run<'a>, peer: &'p str) -> Self {
        Self { run, seen: Seen::default(), size: (0, 0), echo: false, arg0: None, peer }
    }

    /// An element of a list of options: an atom alone, or a tuple with one in front.
    ///
    /// # Errors
    /// [`RunError::Option`].
    pub(super) fn element(&mut self, option: Term<'a>) -> Result<(), RunError<'a>> {
        let came = RunError::Option(option);
        let (name, value) = if let Some(name) = option.atom() {
            (Some(name), Value::None)
        } else if let Some([name, value]) = option.tuple_of::<2>() {
            (name.atom(), Value::One(value))
        } else if let Some([name, value, more]) = option.tuple_of::<3>() {
            (name.atom(), Value::Two(value, more))
        } else {
            (None, Value::None)
        };
        name.and_then(|name| self.option(name, value, came)).ok_or(came)
    }

    /// A pair of a map of options.
    ///
    /// # Errors
    /// [`RunError::Pair`].
    pub(super) fn pair(&mut self, key: Term<'a>, value: Term<'a>) -> Result<(), RunError<'a>> {
        let came = RunError::Pair(key, value);
        key.atom().and_then(|name| self.option(name, Value::One(value), came)).ok_or(came)
    }

    fn option(&mut self, name: &'a str, value: Value<'a>, came: RunError<'a>) -> Option<()> {
        self.seen.note(name, came)?;
        match name {
            "stdin" | "stdout" | "stderr" | "pty" | "pty_echo" | "winsz" => self.stream(name, value),
            "monitor" | "link" | "report" | "erlexec" | "kill_group" | "setpgid" => self.flag(name, value.flag()?),
            "cd" | "user" | "profile" | "executable" | "arg0" | "kill" => self.text(name, named(value.one()?)?),
            _ => self.value(name, value.one()?),
        }
    }

    fn stream(&mut self, name: &str, value: Value<'a>) -> Option<()> {
        match name {
            "stdin" => self.run.stdin = places::source(value)?,
            "stdout" => self.run.stdout = places::output(value, "stderr", self.peer)?,
            "stderr" => self.run.stderr = places::output(value, "stdout", self.peer)?,
            "pty" => self.run.terminal = places::terminal(value)?,
            "pty_echo" => self.echo = value.flag()?,
            "winsz" => self.size = places::size(value.one()?)?,
            _ => return None,
        }
        Some(())
    }

    fn flag(&mut self, name: &str, is: bool) -> Option<()> {
        match name {
            "monitor" => self.run.telling.monitor = is,
            "link" => self.run.telling.link = is,
            "report" => self.run.telling.report = is,
            "erlexec" => self.run.telling.erlexec = is,
            "kill_group" => self.run.kill_group = is,
            // What every worker has anyway.
            "setpgid" => {}
            _ => return None,
        }
        Some(())
    }

    fn text(&mut self, name: &str, text: Cow<'a, [u8]>) -> Option<()> {
        let text = text.into_owned();
        match name {
            "cd" => self.run.cwd = Some(ByteBuf::from(text)),
            "user" => self.run.user = Some(String::from_utf8(text).ok()?),
            "profile" => self.run.profile = Some(String::from_utf8(text).ok()?),
            "executable" => self.run.executable = Some(ByteBuf::from(text)),
            "arg0" => self.arg0 = Some(ByteBuf::from(text)),
            "kill" => self.run.kill = Some(ByteBuf::from(text)),
            _ => return None,
        }
        Some(())
    }

    fn value(&mut self, name: &str, value: Term<'a>) -> Option<()> {
        let run = &mut self.run;
        match name {
            "env" => run.env = environment(value)?,
            "limits" => run.limits = limits(value)?,
            "kill_timeout" => run.kill_timeout = Some(within(value, 0, DAY)?),
            "timeout" => run.timeout = Some(within(value, 1, i64::from(u32::MAX))?),
            "window" => run.window = Some(within(value, 1, LARGEST_WINDOW)?),
            "lines" => run.lines = Some(within(value, 1, LONGEST_LINE)?),
            "group" => run.group = Some(within(value, 0, i64::from(i32::MAX))?),
            "umask" => run.umask = u16::try_from(within(value, 0, 0o777)?).ok(),
            "success_exit_code" => run.telling.success = u8::try_from(within(value, 0, 255)?).ok()?,
            "nice" => run.nice = Some(nice(value)?),
            "owner" => run.owner = owner(value, self.peer)?,
            "on_nodedown" => run.keep = on_nodedown(value)?,
            _ => return None,
        }
        Some(())
    }
}

/// A text that is not empty.
fn named(value: Term<'_>) -> Option<Cow<'_, [u8]>> {
    text::bytes(value).filter(|name| !name.is_empty())
}

fn within(value: Term<'_>, least: i64, most: i64) -> Option<u32> {
    value.integer().filter(|number| (least..=most).contains(number)).and_then(|number| u32::try_from(number).ok())
}

/// -20 to 20. The system has no 20 and takes it for 19, and so do we.
fn nice(value: Term<'_>) -> Option<i8> {
    value.integer().filter(|number| (-20..=20).contains(number)).and_then(|number| i8::try_from(number.min(19)).ok())
}

/// A pid of the node that we are connected with, or `none`.
fn owner<'a>(value: Term<'a>, peer: &str) -> Option<Option<Term<'a>>> {
    if value.is_atom("none") {
        return Some(None);
    }
    value.pid().filter(|pid| pid.node == peer).map(|_| Some(value))
}

/// `stop` or `{keep, Seconds}`.
fn on_nodedown(value: Term<'_>) -> Option<Option<u32>> {
    if value.is_atom("stop") {
        return Some(None);
    }
    let [what, seconds] = value.tuple_of::<2>()?;
    what.is_atom("keep").then(|| within(seconds, 1, DAY / 1000))?.map(Some)
}

/// `{Name, Number | unlimited}` pairs in a list, or a map of them. Which names there are is main's to say.
fn limits(value: Term<'_>) -> Option<Vec<(String, Option<u64>)>> {
    let limit = |name: Term<'_>, value: Term<'_>| -> Option<(String, Option<u64>)> {
        let name = String::from_utf8(named(name)?.into_owned()).ok()?;
        if value.is_atom("unlimited") {
            return Some((name, None));
        }
        Some((name, Some(u64::try_from(value.integer()?).ok()?)))
    };
    let limits: Option<Vec<_>> = if let Some(map) = value.map() {
        map.map(|(name, value)| limit(name, value)).collect()
    } else {
        let pair = |element: Term<'_>| element.tuple_of::<2>().and_then(|[name, value]| limit(name, value));
        value.list()?.map(pair).collect()
    };
    limits.filter(|limits| limits.len() <= MOST_LIMITS)
}

/// A map, or a list of `{Name, Value}` pairs and `"Name=Value"` texts. `clear` and `{Name, false}` are what erlexec's
/// users write to take names out: here there is nothing to take out but what stands before it in the list.
fn environment(value: Term<'_>) -> Option<Vec<(ByteBuf, ByteBuf)>> {
    let mut env: Vec<(ByteBuf, ByteBuf)> = Vec::new();
    let mut set = |name: Cow<'_, [u8]>, value: Option<Cow<'_, [u8]>>| {
        env.retain(|(known, _)| known.as_slice() != name.as_ref());
        if let Some(value) = value {
            env.push((ByteBuf::from(name.into_owned()), ByteBuf::from(value.into_owned())));
        }
    };
    let pair = |name: Term<'_>, value: Term<'_>| -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let name = named(name).filter(|name| !name.contains(&b'='))?.into_owned();
        let value = if value.is_atom("false") { None } else { Some(text::bytes(value)?.into_owned()) };
        Some((name, value))
    };
    if let Some(map) = value.map() {
        for (name, value) in map {
            let (name, value) = pair(name, value)?;
            set(name.into(), value.map(Cow::from));
        }
        return Some(env);
    }
    for element in value.list()? {
        if let Some([name, value]) = element.tuple_of::<2>() {
            let (name, value) = pair(name, value)?;
            set(name.into(), value.map(Cow::from));
        } else if !element.is_atom("clear") {
            let text = text::bytes(element)?;
            let at = text.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
            let (name, value) = text.split_at_checked(at)?;
            set(name.into(), Some(value.get(1..)?.into()));
        }
    }
    Some(env)
}
