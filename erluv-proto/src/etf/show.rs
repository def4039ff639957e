//! Terms in words, for logs and failing tests: Erlang's notation, cut at a few hundred bytes, nothing unprintable.

use std::fmt::{self, Write};

use super::{Term, tag};

/// The most bytes that `Debug` writes of a term, before the dots that say it was cut.
const MAX_TEXT: usize = 300;

impl fmt::Debug for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = Bounded { out: f, left: MAX_TEXT, cut: false };
        let done = show(*self, &mut bounded);
        if bounded.cut { f.write_str("...") } else { done }
    }
}

/// Passes on so many bytes, then fails, which ends the walk.
struct Bounded<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    cut: bool,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                self.out.write_str(text)
            }
            None => {
                self.cut = true;
                Err(fmt::Error)
            }
        }
    }
}

/// Recursion is bounded by the validator's depth.
fn show(term: Term<'_>, out: &mut Bounded<'_, '_>) -> fmt::Result {
    if let Some(name) = term.atom() {
        return show_atom(name, out);
    }
    if let Some(pid) = term.pid() {
        return write!(out, "{pid}");
    }
    if let Some(number) = term.integer() {
        return write!(out, "{number}");
    }
    if let Some(bytes) = term.binary() {
        out.write_str("<<")?;
        show_bytes(bytes, out)?;
        return out.write_str(">>");
    }
    if let Some(elements) = term.tuple() {
        out.write_char('{')?;
        show_all(elements, out)?;
        return out.write_char('}');
    }
    if let Some(pairs) = term.map() {
        out.write_str("#{")?;
        for (place, (key, value)) in pairs.enumerate() {
            out.write_str(if place == 0 { "" } else { "," })?;
            show(key, out)?;
            out.write_str(" => ")?;
            show(value, out)?;
        }
        return out.write_char('}');
    }
    match term.open() {
        (tag::NIL, _) => out.write_str("[]"),
        (tag::STRING, body) => show_bytes(body.0.get(2..).unwrap_or_default(), out),
        (tag::LIST, _) => show_list(term, out),
        (tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE, _) => show_reference(term, out),
        (kind, body) => write!(out, "#tag{}<{} bytes>", kind, body.0.len()),
    }
}

fn show_atom(name: &str, out: &mut Bounded<'_, '_>) -> fmt::Result {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'@');
    if plain && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        out.write_str(name)
    } else {
        write!(out, "'{}'", name.escape_debug())
    }
}

fn show_bytes(bytes: &[u8], out: &mut Bounded<'_, '_>) -> fmt::Result {
    out.write_char('"')?;
    for byte in bytes {
        write!(out, "{}", byte.escape_ascii())?;
    }
    out.write_char('"')
}

fn show_all<'a>(terms: impl Iterator<Item = Term<'a>>, out: &mut Bounded<'_, '_>) -> fmt::Result {
    for (place, term) in terms.enumerate() {
        out.write_str(if place == 0 { "" } else { "," })?;
        show(term, out)?;
    }
    Ok(())
}

fn show_list(term: Term<'_>, out: &mut Bounded<'_, '_>) -> fmt::Result {
    out.write_char('[')?;
    let tail = match term.open_list() {
        Some(mut elements) => {
            show_all(elements.by_ref(), out)?;
            Term::exactly(elements.rest).ok()
        }
        None => None,
    };
    if let Some(tail) = tail.filter(|tail| *tail != Term::NIL) {
        out.write_char('|')?;
        show(tail, out)?;
    }
    out.write_char(']')
}

/// The words, which are what tells references apart.
fn show_reference(term: Term<'_>, out: &mut Bounded<'_, '_>) -> fmt::Result {
    let (kind, mut body) = term.open();
    let count = if kind == tag::REFERENCE { 1 } else { usize::from(body.u16().map_err(|_| fmt::Error)?) };
    let bytes = body.0;
    // Before OTP 23's form, the creation stood behind the words of the oldest one: one byte, which is dropped.
    let bytes =
        if kind == tag::REFERENCE { bytes.get(..bytes.len().saturating_sub(1)).unwrap_or_default() } else { bytes };
    let words = bytes.get(bytes.len().saturating_sub(count.saturating_mul(4))..).unwrap_or_default();
    out.write_str("#Ref<")?;
    for (place, word) in words.as_chunks::<4>().0.iter().enumerate() {
        write!(out, "{}{}", if place == 0 { "" } else { "." }, u32::from_be_bytes(*word))?;
    }
    out.write_char('>')
}
