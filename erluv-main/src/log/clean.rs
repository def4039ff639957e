//! Making text harmless that somebody else has written: for a terminal, for a log, and for who reads either (S-55).

use std::fmt::Write;

/// The longest text, in bytes.
const LONGEST: usize = 1024;

/// What stands at the end of a text that was longer.
const CUT: &str = "...";

/// The text as UTF-8 of at most 1 KiB: control characters and bytes that are no UTF-8 become `\x1b`, characters that
/// turn the direction of writing or break the line `\u{202e}`. A text that is clean comes back as it was.
pub(crate) fn clean(text: &[u8]) -> String {
    if text.len() <= LONGEST && text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        // Nearly every line of main's own.
        return String::from_utf8_lossy(text).into_owned();
    }
    let mut clean = String::new();
    // How far the text still has room for the mark that it was cut.
    let mut safe = 0;
    let mut room = |clean: &String| {
        if clean.len() <= LONGEST.saturating_sub(CUT.len()) {
            safe = clean.len();
        }
        if clean.len() <= LONGEST { None } else { Some(safe) }
    };
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut clean, character);
            if let Some(safe) = room(&clean) {
                return cut(clean, safe);
            }
        }
        for byte in chunk.invalid() {
            push_escaped(&mut clean, u32::from(*byte));
            if let Some(safe) = room(&clean) {
                return cut(clean, safe);
            }
        }
    }
    clean
}

fn cut(mut clean: String, safe: usize) -> String {
    clean.truncate(safe);
    clean.push_str(CUT);
    clean
}

fn push(clean: &mut String, character: char) {
    if character.is_control() || misleads(character) {
        push_escaped(clean, u32::from(character));
    } else {
        clean.push(character);
    }
}

fn push_escaped(clean: &mut String, code: u32) {
    // Writing into a String does not fail.
    let _ = if code <= 0xff { write!(clean, "\\x{code:02x}") } else { write!(clean, "\\u{{{code:x}}}") };
}

/// Marks of direction, separators of lines, and what is not seen at all.
const fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s55_what_a_terminal_or_a_log_would_obey_is_written_out() {
        for (text, expected) in [
            (b"a\nb\r\t\0".as_slice(), r"a\x0ab\x0d\x09\x00"),
            (b"\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
            ("\u{9b}31m".as_bytes(), r"\x9b31m"),
            (b"\x9b31m", r"\x9b31m"),
            ("a\u{202e}b\u{2066}c\u{200f}\u{61c}".as_bytes(), r"a\u{202e}b\u{2066}c\u{200f}\u{61c}"),
            ("\u{2028}\u{feff}".as_bytes(), r"\u{2028}\u{feff}"),
            (b"\xff\xfe \xe2\x82", r"\xff\xfe \xe2\x82"),
            ("Gr\u{fc}\u{df}e %s %n {} \\".as_bytes(), "Gr\u{fc}\u{df}e %s %n {} \\"),
            (b"", ""),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn s55_a_line_has_no_more_than_1024_bytes() {
        for (unit, end) in [("a", "..."), ("\u{1b}", "..."), ("\u{20ac}", "..."), ("\u{202e}", "...")] {
            let text = clean(unit.repeat(5000).as_bytes());
            assert!((1012..=1024).contains(&text.len()), "{unit:?}: {}", text.len());
            assert!(text.ends_with(end) && !text.ends_with("\\..."), "{text}");
        }
        let full = "a".repeat(1024);
        assert_eq!(clean(full.as_bytes()), full);
        assert_eq!(clean(format!("{full}a").as_bytes()).len(), 1024);
        // No escape is cut in two.
        let text = clean(&b"\x1b".repeat(5000));
        assert_eq!(text.trim_end_matches("...").len() % 4, 0);
    }

    #[test]
    fn s55_what_is_clean_stays_as_it_is() {
        let bytes = (0..=255).collect::<Vec<u8>>();
        let once = clean(&bytes);
        assert_eq!(clean(once.as_bytes()), once);
        let once = clean(&bytes.repeat(100));
        assert_eq!(clean(once.as_bytes()), once);
    }
}
