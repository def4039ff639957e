//! Texts as Erlang writes them -> bytes as the system takes them.

use std::borrow::Cow;
use std::str::FromStr;

use erluv_proto::etf::Term;
use erluv_proto::ipc::SIGNALS;
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// The bytes of a text: a binary as it is, a string or a list of characters in UTF-8, an atom by its name.
/// `None` for anything else, and for a text with a NUL in it.
pub(crate) fn bytes(term: Term<'_>) -> Option<Cow<'_, [u8]>> {
    let text = if let Some(binary) = term.binary() {
        Cow::Borrowed(binary)
    } else if let Some(string) = term.string() {
        // STRING_EXT holds code points below 256, no bytes.
        if string.is_ascii() {
            Cow::Borrowed(string)
        } else {
            Cow::Owned(string.iter().copied().map(char::from).collect::<String>().into_bytes())
        }
    } else if let Some(list) = term.list() {
        let character = |item: Term<'_>| char::from_u32(u32::try_from(item.integer()?).ok()?);
        Cow::Owned(list.map(character).collect::<Option<String>>()?.into_bytes())
    } else {
        Cow::Borrowed(term.atom()?.as_bytes())
    };
    (!text.contains(&0)).then_some(text)
}

/// Whether a term is a string: a STRING_EXT, or a list of nothing but characters. The empty list is none.
pub(crate) fn is_string(term: Term<'_>) -> bool {
    match term.list() {
        Some(mut list) if list.len() > 0 => list.all(|item| item.integer().is_some()),
        _ => term.string().is_some_and(|string| !string.is_empty()),
    }
}

/// Whether main sends this signal (S-40): who asks for another is told at once. Main looks for itself.
pub(crate) fn may_be_sent(signal: u8) -> bool {
    SIGNALS.contains(&i32::from(signal))
}

/// The number of a signal that is named (`sigterm`) or numbered. Which signals may be sent is main's to say (S-40).
pub(crate) fn signal(term: Term<'_>) -> Option<u8> {
    if let Some(name) = term.atom() {
        let signal = Signal::from_str(&name.to_ascii_uppercase()).ok()?;
        return name.starts_with("sig").then(|| u8::try_from(signal as i32).ok())?;
    }
    u8::try_from(term.integer()?).ok().filter(|number| (1..=64).contains(number))
}

/// The atom of a signal, as `erlexec` names them: `sigterm`. `None` for a signal without a name: its number stands for
/// it.
pub(crate) fn signal_name(number: u8) -> Option<String> {
    Signal::try_from(i32::from(number)).ok().map(|signal| signal.as_str().to_ascii_lowercase())
}

/// The atom of an errno: `enoent`. `None` for one that this system does not name.
pub(crate) fn errno_name(errno: i32) -> Option<String> {
    let errno = Errno::from_raw(errno);
    (errno != Errno::UnknownErrno).then(|| format!("{errno:?}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use erluv_proto::etf::{put_atom, put_binary, put_integer, put_list, put_nil};

    fn term(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        build(&mut out);
        out
    }

    fn bytes_of(raw: &[u8]) -> Option<Vec<u8>> {
        bytes(Term::exactly(raw).unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn strings_become_utf8_and_binaries_stay_as_they_are() {
        assert_eq!(bytes_of(&term(|out| put_binary(out, &[0xe9, 0xff]))), Some(vec![0xe9, 0xff]));
        assert_eq!(bytes_of(&[107, 0, 2, b'a', 0xe9]), Some("aé".into()));
        let wide = term(|out| {
            put_list(out, 2);
            put_integer(out, 0x20ac);
            put_integer(out, 97);
            put_nil(out);
        });
        assert_eq!(bytes_of(&wide), Some("€a".into()));
        assert_eq!(bytes_of(&term(put_nil)), Some(vec![]));
    }

    #[test]
    fn s25_a_nul_is_no_text() {
        assert_eq!(bytes_of(&term(|out| put_binary(out, b"a\0b"))), None);
        assert_eq!(bytes_of(&[107, 0, 2, b'a', 0]), None);
    }

    #[test]
    fn what_is_no_character_is_no_text() {
        let surrogate = term(|out| {
            put_list(out, 1);
            put_integer(out, 0xd800);
            put_nil(out);
        });
        assert_eq!(bytes_of(&surrogate), None);
        assert_eq!(bytes_of(&term(|out| put_integer(out, 7))), None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let named = |name: &str| signal(Term::exactly(&term(|out| put_atom(out, name))).unwrap());
        assert_eq!(named("sigterm"), Some(15));
        assert_eq!(named("sigusr1"), Some(10));
        assert_eq!(named("SIGTERM"), None);
        assert_eq!(named("term"), None);
        let numbered = |number: i64| signal(Term::exactly(&term(|out| put_integer(out, number))).unwrap());
        assert_eq!((numbered(9), numbered(0), numbered(-1), numbered(65)), (Some(9), None, None, None));
        assert_eq!(signal_name(9).as_deref(), Some("sigkill"));
        assert_eq!(errno_name(2).as_deref(), Some("enoent"));
        assert_eq!(errno_name(99_999), None);
    }
}
