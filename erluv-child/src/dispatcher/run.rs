//! `run` requests: a command and its options -> what main and the manager need to know.

use std::borrow::Cow;

use erluv_proto::etf::Term;
use erluv_proto::ipc::Program;
use serde_bytes::ByteBuf;

use super::text;

/// The longest grace between SIGTERM and SIGKILL that a request may ask for: a day, in milliseconds.
const LONGEST_GRACE: i64 = 86_400_000;

/// The largest window of an output stream, in bytes.
const LARGEST_WINDOW: i64 = 1 << 30;

/// Where an output stream of the worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output<'a> {
    /// Nowhere: `/dev/null`.
    Null,
    /// To whoever owns the worker.
    Owner,
    /// To this pid.
    To(Term<'a>),
    /// Into the other output stream.
    Other,
}

/// A request for a worker, well-formed. Whether policy lets it is main's to say.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) program: Program,
    pub(crate) env: Vec<(ByteBuf, ByteBuf)>,
    pub(crate) cwd: Option<ByteBuf>,
    pub(crate) user: Option<String>,
    /// The node writes the worker's stdin; without it, it is `/dev/null`.
    pub(crate) stdin: bool,
    pub(crate) stdout: Output<'a>,
    pub(crate) stderr: Output<'a>,
    /// Bytes of each output stream in flight before an `ack` is due; `None`: no limit but the connection's own.
    pub(crate) window: Option<u32>,
    /// Milliseconds from SIGTERM to SIGKILL; `None`: the configured time.
    pub(crate) kill_timeout: Option<u32>,
}

/// What is wrong with a request; the parts stand in it as they came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RunError<'a> {
    /// No command: neither a text nor a list of texts with a program in front.
    Command(Term<'a>),
    /// The options are neither a list nor a map.
    Options(Term<'a>),
    /// An element of the list of options: unknown, of a bad value, or repeated.
    Option(Term<'a>),
    /// A pair of the map of options: unknown, or of a bad value.
    Pair(Term<'a>, Term<'a>),
}

impl<'a> Run<'a> {
    /// Reads a command and, where there are any, its options.
    ///
    /// # Errors
    /// [`RunError`], with the very part that is wrong.
    pub(crate) fn read(command: Term<'a>, options: Option<Term<'a>>, peer: &str) -> Result<Self, RunError<'a>> {
        let program = program(command).ok_or(RunError::Command(command))?;
        let mut reader = Reader { run: Self::new(program), seen: Vec::new(), peer };
        let Some(options) = options else { return Ok(reader.run) };
        if let Some(map) = options.map() {
            for (key, value) in map {
                let good = key.atom().and_then(|name| reader.option(name, Some(value)));
                good.ok_or(RunError::Pair(key, value))?;
            }
        } else if let Some(list) = options.list() {
            for option in list {
                reader.element(option).ok_or(RunError::Option(option))?;
            }
        } else {
            return Err(RunError::Options(options));
        }
        Ok(reader.run)
    }

    fn new(program: Program) -> Self {
        Self {
            program,
            env: Vec::new(),
            cwd: None,
            user: None,
            stdin: false,
            stdout: Output::Null,
            stderr: Output::Null,
            window: None,
            kill_timeout: None,
        }
    }

    /// The command on one line, for lists of workers: at most 200 bytes, in UTF-8.
    pub(crate) fn command(&self) -> String {
        let line = match &self.program {
            Program::Shell(line) => line.to_vec(),
            Program::Direct(args) => args.iter().map(|arg| arg.as_slice()).collect::<Vec<_>>().join(&b' '),
        };
        String::from_utf8_lossy(line.get(..200).unwrap_or(&line)).into_owned()
    }
}

/// A text is a line for the shell; a list of texts is a program with its arguments.
fn program(command: Term<'_>) -> Option<Program> {
    if command.binary().is_some() || text::is_string(command) {
        let line = text::bytes(command)?;
        return (!line.is_empty()).then(|| Program::Shell(ByteBuf::from(line.into_owned())));
    }
    let mut args = Vec::new();
    for arg in command.list()? {
        if arg.atom().is_some() {
            return None;
        }
        args.push(ByteBuf::from(text::bytes(arg)?.into_owned()));
    }
    args.first().is_some_and(|program| !program.is_empty()).then_some(Program::Direct(args))
}

struct Reader<'a, 'p> {
    run: Run<'a>,
    seen: Vec<&'a str>,
    peer: &'p str,
}

impl<'a> Reader<'a, '_> {
    /// An element of a list of options: an atom alone, or a pair.
    fn element(&mut self, option: Term<'a>) -> Option<()> {
        if let Some(name) = option.atom() {
            return self.option(name, None);
        }
        let [name, value] = option.tuple_of::<2>()?;
        self.option(name.atom()?, Some(value))
    }

    fn option(&mut self, name: &'a str, value: Option<Term<'a>>) -> Option<()> {
        if self.seen.contains(&name) {
            return None;
        }
        self.seen.push(name);
        match (name, value) {
            ("stdin", value) => self.run.stdin = input(value)?,
            ("stdout", value) => self.run.stdout = self.output(value, "stderr")?,
            ("stderr", value) => self.run.stderr = self.output(value, "stdout")?,
            ("env", Some(value)) => self.run.env = environment(value)?,
            ("cd", Some(value)) => self.run.cwd = Some(ByteBuf::from(named(value)?.into_owned())),
            ("user", Some(value)) => self.run.user = Some(String::from_utf8(named(value)?.into_owned()).ok()?),
            ("kill_timeout", Some(value)) => self.run.kill_timeout = Some(within(value, 0, LONGEST_GRACE)?),
            ("window", Some(value)) => self.run.window = Some(within(value, 1, LARGEST_WINDOW)?),
            _ => return None,
        }
        Some(())
    }

    fn output(&self, value: Option<Term<'a>>, other: &str) -> Option<Output<'a>> {
        let Some(value) = value else { return Some(Output::Owner) };
        if let Some(pid) = value.pid() {
            // We talk with this node alone: nothing could be sent to a pid of another.
            return (pid.node == self.peer).then_some(Output::To(value));
        }
        match value.atom()? {
            "null" | "false" => Some(Output::Null),
            "true" => Some(Output::Owner),
            name if name == other => Some(Output::Other),
            _ => None,
        }
    }
}

fn input(value: Option<Term<'_>>) -> Option<bool> {
    match value.map(Term::atom) {
        None | Some(Some("true")) => Some(true),
        Some(Some("null" | "false")) => Some(false),
        Some(_) => None,
    }
}

/// A text that is not empty.
fn named(value: Term<'_>) -> Option<Cow<'_, [u8]>> {
    text::bytes(value).filter(|name| !name.is_empty())
}

fn within(value: Term<'_>, least: i64, most: i64) -> Option<u32> {
    value.integer().filter(|number| (least..=most).contains(number)).and_then(|number| u32::try_from(number).ok())
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
