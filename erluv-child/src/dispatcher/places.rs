//! Where the streams of a worker come from and go to: the node, files, a terminal.

use erluv_proto::etf::Term;
use erluv_proto::ipc::{OutputFile, Terminal};
use erluv_proto::terminal;
use serde_bytes::ByteBuf;

use super::options::Value;
use super::run::{Output, Source};
use super::text;

/// The mode of a new file where the request names none.
const NEW_FILE: u16 = 0o644;

/// The most settings of a terminal in one request: there are fewer names.
const MOST_SETTINGS: usize = 128;

/// `stdin`, `{stdin, null | close}` or `{stdin, File}`.
pub(super) fn source(value: Value<'_>) -> Option<Source> {
    let value = match value {
        Value::None => return Some(Source::Node),
        Value::One(value) => value,
        Value::Two(..) => return None,
    };
    match value.atom() {
        Some("true") => Some(Source::Node),
        Some("null" | "close" | "false") => Some(Source::Null),
        Some(_) => None,
        None => file(value).map(Source::File),
    }
}

/// The value of `stdout` or `stderr`; `other` is the name of the other one.
pub(super) fn output<'a>(value: Value<'a>, other: &str, peer: &str) -> Option<Output<'a>> {
    let value = match value {
        Value::None => return Some(Output::Owner),
        Value::One(value) => value,
        Value::Two(path, options) => return into_file(path, options),
    };
    if let Some(pid) = value.pid() {
        // We talk with this node alone: nothing could be sent to a pid of another.
        return (pid.node == peer).then_some(Output::To(value));
    }
    if let Some([path, options]) = value.tuple_of::<2>() {
        return into_file(path, options);
    }
    match value.atom() {
        Some("null" | "close" | "false") => Some(Output::Null),
        Some("true") => Some(Output::Owner),
        Some(name) if name == other => Some(Output::Other),
        Some(_) => None,
        None => into_file(value, Term::NIL),
    }
}

/// A path and `[append | {mode, Mode}]`.
fn into_file<'a>(path: Term<'a>, options: Term<'a>) -> Option<Output<'a>> {
    let mut place = OutputFile { path: file(path)?, append: false, mode: NEW_FILE };
    for option in options.list()? {
        if option.is_atom("append") {
            place.append = true;
        } else {
            let [what, mode] = option.tuple_of::<2>()?;
            let mode = u16::try_from(mode.integer()?).ok().filter(|mode| *mode <= 0o7777)?;
            place.mode = what.is_atom("mode").then_some(mode)?;
        }
    }
    Some(Output::File(place))
}

/// A path: a binary or a string, no atom, not empty.
fn file(path: Term<'_>) -> Option<ByteBuf> {
    if path.atom().is_some() {
        return None;
    }
    text::bytes(path).filter(|path| !path.is_empty()).map(|path| ByteBuf::from(path.into_owned()))
}

/// `pty`, `{pty, true | false}` or `{pty, Settings}`. Size and echo are options of their own.
pub(super) fn terminal(value: Value<'_>) -> Option<Option<Terminal>> {
    let settings = match value {
        Value::None => Vec::new(),
        Value::One(value) if value.is_atom("true") => Vec::new(),
        Value::One(value) if value.is_atom("false") => return Some(None),
        Value::One(value) => settings(value).ok()?,
        Value::Two(..) => return None,
    };
    Some(Some(Terminal { rows: 0, columns: 0, echo: false, settings }))
}

/// A list of `{Name, Value}`, the names those that erlexec has, a value a number or a truth.
///
/// # Errors
/// The elements that are wrong; none of them where the whole is no list, or too long.
pub(crate) fn settings(value: Term<'_>) -> Result<Vec<(String, u32)>, Vec<Term<'_>>> {
    let list = value.list().filter(|list| list.len() <= MOST_SETTINGS).ok_or_else(Vec::new)?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for element in list {
        match setting(element) {
            Some(setting) => good.push(setting),
            None => bad.push(element),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

fn setting(element: Term<'_>) -> Option<(String, u32)> {
    let [name, value] = element.tuple_of::<2>()?;
    let name = name.atom()?;
    let value = match value.atom() {
        Some("true") => 1,
        Some("false") => 0,
        Some(_) => return None,
        None => u32::try_from(value.integer()?).ok()?,
    };
    terminal::check(name, value).then(|| (name.to_owned(), value))
}

/// `{Rows, Columns}`.
pub(super) fn size(value: Term<'_>) -> Option<(u16, u16)> {
    let [rows, columns] = value.tuple_of::<2>()?;
    dimensions(rows, columns)
}

/// Rows and columns of a terminal, each up to 65535.
pub(crate) fn dimensions(rows: Term<'_>, columns: Term<'_>) -> Option<(u16, u16)> {
    Some((u16::try_from(rows.integer()?).ok()?, u16::try_from(columns.integer()?).ok()?))
}
