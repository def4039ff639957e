//! Where the streams of a worker may come from and go to. A file needs no rule of its own: the worker's user opens it,
//! after the drop of privileges (S-28), so a request reaches no more than the worker's program would.

use std::ffi::CString;

use erluv_proto::ipc::{self, Failure, InputFrom, OutputTo};
use erluv_proto::terminal;

use super::{LONGEST_PATH, refused};
use crate::order::{Input, Output, OutputFile, Terminal};

/// What passes.
pub(super) struct Streams {
    pub(super) stdin: Input,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) terminal: Option<Terminal>,
}

/// What a request says of its streams and its terminal.
///
/// # Errors
/// Refused by `stdin`, `stdout` or `stderr`: a path or mode that is none, or outputs in a circle. By `terminal`: a
/// stream that is one where there is none, or a setting that is none.
pub(super) fn check(
    stdin: InputFrom,
    stdout: OutputTo,
    stderr: OutputTo,
    wanted: Option<ipc::Terminal>,
) -> Result<Streams, Failure> {
    if stdout == OutputTo::Other && stderr == OutputTo::Other {
        return Err(refused("stdout", b"stdout and stderr each go to the other"));
    }
    let stdin = input(stdin)?;
    let (stdout, stderr) = (output("stdout", stdout)?, output("stderr", stderr)?);
    let used = stdin == Input::Terminal || [&stdout, &stderr].contains(&&Output::Terminal);
    let terminal = match wanted.map(checked).transpose()? {
        None if used => return Err(refused("terminal", b"a stream is one, and there is none")),
        // Nobody would ever read what the worker writes to it.
        wanted => wanted.filter(|_| used),
    };
    Ok(Streams { stdin, stdout, stderr, terminal })
}

fn input(from: InputFrom) -> Result<Input, Failure> {
    Ok(match from {
        InputFrom::Null => Input::Null,
        InputFrom::Pipe => Input::Pipe,
        InputFrom::File(path) => Input::File(self::path("stdin", path.into_vec())?),
        InputFrom::Terminal => Input::Terminal,
    })
}

fn output(rule: &str, to: OutputTo) -> Result<Output, Failure> {
    Ok(match to {
        OutputTo::Null => Output::Null,
        OutputTo::Pipe => Output::Pipe,
        OutputTo::Other => Output::Other,
        OutputTo::File(file) if file.mode > 0o7777 => {
            return Err(refused(rule, format!("mode {:o}, write 7777 at most", file.mode).as_bytes()));
        }
        OutputTo::File(file) => Output::File(OutputFile {
            path: path(rule, file.path.into_vec())?,
            append: file.append,
            mode: u32::from(file.mode),
        }),
        OutputTo::Terminal => Output::Terminal,
    })
}

fn path(rule: &str, path: Vec<u8>) -> Result<CString, Failure> {
    if path.is_empty() || path.len() >= LONGEST_PATH {
        return Err(refused(rule, &path));
    }
    CString::new(path).map_err(|error| refused(rule, &error.into_vec()))
}

fn checked(wanted: ipc::Terminal) -> Result<Terminal, Failure> {
    let ipc::Terminal { rows, columns, echo, settings } = wanted;
    match settings.iter().find(|(name, value)| !terminal::check(name, *value)) {
        Some((name, value)) => Err(refused("terminal", format!("{name} {value}").as_bytes())),
        None => Ok(Terminal { rows, columns, echo, settings }),
    }
}
