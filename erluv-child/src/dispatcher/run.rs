//! `run` requests: a command and its options -> what main and the manager need to know.

use erluv_proto::etf::Term;
use erluv_proto::ipc::{OutputFile, Program, Terminal};
use serde_bytes::ByteBuf;

use super::options::{Reader, Seen};
use super::text;

/// The largest window of an output stream of a worker that outlives the connection: so much is kept of each stream
/// until it is acknowledged.
const LARGEST_KEPT_WINDOW: u32 = 1 << 18;

/// Who asks for a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a, 'n> {
    /// The pid that asked: the owner, where the options do not name another.
    pub(crate) from: Term<'a>,
    /// The node that we are connected with.
    pub(crate) peer: &'n str,
}

/// Where the worker's stdin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `/dev/null`.
    Null,
    /// The node writes it.
    Node,
    /// A file.
    File(ByteBuf),
}

/// Where an output stream of the worker goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output<'a> {
    /// Nowhere: `/dev/null`.
    Null,
    /// To whoever owns the worker.
    Owner,
    /// To this pid.
    To(Term<'a>),
    /// Into the other output stream.
    Other,
    /// Into a file.
    File(OutputFile),
}

impl Output<'_> {
    /// Whether it comes to a process of the node.
    fn is_told(&self) -> bool {
        matches!(self, Output::Owner | Output::To(_))
    }
}

/// In what form the node is told of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Telling {
    /// `{'DOWN', OsPid, process, Pid, Reason}` to who asked.
    pub(crate) monitor: bool,
    /// The worker's pid links with who asked.
    pub(crate) link: bool,
    /// `{report, Pid, Map}` before the end.
    pub(crate) report: bool,
    /// Output and reasons in erlexec's form.
    pub(crate) erlexec: bool,
    /// What an exit status of 0 is told as.
    pub(crate) success: u8,
}

/// A request for a worker, well-formed. Whether policy lets it is main's to say.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) program: Program,
    /// Executed in place of the program, or of the shell.
    pub(crate) executable: Option<ByteBuf>,
    pub(crate) env: Vec<(ByteBuf, ByteBuf)>,
    pub(crate) cwd: Option<ByteBuf>,
    pub(crate) user: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) nice: Option<i8>,
    pub(crate) umask: Option<u16>,
    pub(crate) group: Option<u32>,
    pub(crate) limits: Vec<(String, Option<u64>)>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) stdin: Source,
    pub(crate) stdout: Output<'a>,
    pub(crate) stderr: Output<'a>,
    /// Who gets its output and answers with its life; `None`: nobody.
    pub(crate) owner: Option<Term<'a>>,
    /// Bytes of each output stream in flight before an `ack` is due; `None`: no limit but the connection's own.
    pub(crate) window: Option<u32>,
    /// Output goes out by lines of at most so many bytes.
    pub(crate) lines: Option<u32>,
    /// Milliseconds from SIGTERM to SIGKILL; `None`: the configured time.
    pub(crate) kill_timeout: Option<u32>,
    /// The command in place of SIGTERM.
    pub(crate) kill: Option<ByteBuf>,
    pub(crate) kill_group: bool,
    /// The longest that it may run, in milliseconds.
    pub(crate) timeout: Option<u32>,
    /// Seconds that it goes on without a connection; `None`: it is stopped.
    pub(crate) keep: Option<u32>,
    pub(crate) telling: Telling,
}

/// What is wrong with a request; the parts stand in it as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(crate) fn read(
        command: Term<'a>,
        options: Option<Term<'a>>,
        asking: Asking<'a, '_>,
    ) -> Result<Self, RunError<'a>> {
        let program = program(command).ok_or(RunError::Command(command))?;
        let mut reader = Reader::new(Self::new(program, asking.from), asking.peer);
        let Some(options) = options else { return Ok(reader.run) };
        if let Some(map) = options.map() {
            for (key, value) in map {
                reader.pair(key, value)?;
            }
        } else if let Some(list) = options.list() {
            for option in list {
                reader.element(option)?;
            }
        } else {
            return Err(RunError::Options(options));
        }
        let Reader { mut run, seen, size, echo, arg0, .. } = reader;
        run.fit(&seen, arg0)?;
        if let Some(terminal) = &mut run.terminal {
            (terminal.rows, terminal.columns) = size;
            terminal.echo = echo;
        }
        Ok(run)
    }

    fn new(program: Program, from: Term<'a>) -> Self {
        Self {
            program,
            executable: None,
            env: Vec::new(),
            cwd: None,
            user: None,
            profile: None,
            nice: None,
            umask: None,
            group: None,
            limits: Vec::new(),
            terminal: None,
            stdin: Source::Null,
            stdout: Output::Null,
            stderr: Output::Null,
            owner: Some(from),
            window: None,
            lines: None,
            kill_timeout: None,
            kill: None,
            kill_group: false,
            timeout: None,
            keep: None,
            telling: Telling::default(),
        }
    }

    /// What one option says about another.
    fn fit(&mut self, seen: &Seen<'a>, arg0: Option<ByteBuf>) -> Result<(), RunError<'a>> {
        if let Some(arg0) = arg0 {
            match &mut self.program {
                Program::Direct(args) => {
                    if let Some(first) = args.first_mut() {
                        let program = std::mem::replace(first, arg0);
                        self.executable.get_or_insert(program);
                    }
                }
                Program::Shell(_) => return Err(seen.bad("arg0")),
            }
        }
        if self.keep.is_some() && self.window.is_some_and(|window| window > LARGEST_KEPT_WINDOW) {
            return Err(seen.bad("window"));
        }
        if self.terminal.is_some() {
            // A terminal has but one stream of output.
            match (&self.stderr, self.owner) {
                (Output::Owner, _) => self.stdout = Output::Owner,
                (Output::To(pid), Some(owner)) if *pid == owner => self.stdout = Output::Owner,
                (Output::Null, _) => {}
                (Output::Other, _) if self.stdout.is_told() => {}
                (Output::To(_) | Output::Other | Output::File(_), _) => return Err(seen.bad("stderr")),
            }
            if self.stdout == Output::Other {
                if !self.stderr.is_told() {
                    return Err(seen.bad("stdout"));
                }
                self.stdout = Output::Owner;
            }
        }
        Ok(())
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
