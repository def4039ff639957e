//! What a line may look like, whoever has a say in it.

use erluv_proto::ids::RequestId;
use erluv_proto::ipc::Usage;
use serde_bytes::ByteBuf;

use super::*;

/// A request that asks for nothing but a program.
pub(crate) fn launch(program: Program) -> Launch {
    Launch::plain(RequestId(7), program, "<1.2.3>")
}

fn value(text: &[u8]) -> String {
    Value::of(text, LONGEST).text
}

#[test]
fn s55_what_could_forge_a_field_or_a_line_is_written_out() {
    for (text, expected) in [
        (b"plain-1.0_/:@<0.42.0>".as_slice(), "plain-1.0_/:@<0.42.0>"),
        (b"a event=start user=root", r"a\x20event\x3dstart\x20user\x3droot"),
        (b"a\naudit event=end", r"a\x0aaudit\x20event\x3dend"),
        (br#"a\x20b "c""#, r"a\x5cx20b\x20\x22c\x22"),
        (b"\x1b[2J\x7f\t\r\0", r"\x1b[2J\x7f\x09\x0d\x00"),
        (
            "\u{202e}\u{2066}\u{200b}\u{feff}\u{9b}\u{a0}\u{2028}".as_bytes(),
            r"\u{202e}\u{2066}\u{200b}\u{feff}\u{9b}\u{a0}\u{2028}",
        ),
        (b"\xff\xc3", r"\xff\xc3"),
        ("Gr\u{fc}\u{df}e".as_bytes(), "Gr\u{fc}\u{df}e"),
        (b"", ""),
    ] {
        assert_eq!(value(text), expected);
    }
}

#[test]
fn s55_no_value_has_a_blank_a_quote_or_an_equals_sign_whatever_it_is_made_of() {
    let all = (0..=255).collect::<Vec<u8>>();
    for bytes in all.chunks(16) {
        let made = value(bytes);
        assert!(made.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '=')), "{made}");
    }
    for code in 0..=0x2fff {
        let made = value(char::from_u32(code).unwrap().to_string().as_bytes());
        assert_eq!(crate::log::clean(made.as_bytes()), made, "the log would write it otherwise");
    }
}

#[test]
fn arguments_are_told_apart() {
    let list = |items: &[&str]| Value::list(items.iter().map(|item| item.as_bytes())).text;
    assert_eq!(list(&["/bin/echo", "a b", "c,d", ""]), r"/bin/echo,a\x20b,c\x2cd,");
    assert_ne!(list(&["a", "b"]), list(&["a,b"]));
    assert_ne!(list(&["a b"]), list(&["a", "b"]));
}

#[test]
fn a_value_that_is_too_long_is_cut_at_no_escape_and_named() {
    for unit in ["a", " ", "\u{202e}", "\u{20ac}"] {
        let made = Value::of(unit.repeat(500).as_bytes(), LONGEST);
        assert!(made.cut && made.text.len() <= LONGEST && made.text.ends_with(CUT), "{made:?}");
        let text = made.text.trim_end_matches(CUT);
        assert!(text.len().is_multiple_of(value(unit.as_bytes()).len()), "{text}");
    }
    let mut line = Line::begin("start");
    line.field("asker", &Value::of(&b"x".repeat(500), LONGEST));
    line.field("command", &Value::list([b"x".repeat(500).as_slice(), b"y"]));
    assert!(line.end().ends_with("... cut=asker,command"));
    // Three dots of its own are no cut.
    assert_eq!(Value::of(b"a...", LONGEST), Value { text: "a...".to_owned(), cut: false });
}

fn exited(status: ExitStatus) -> Exited {
    let usage = Usage { user: 1_000_000, system: 500_000, memory: 2, wall: 61_000_001 };
    Exited { worker: WorkerId(7), status, usage, oom: false, timeout: true }
}

#[test]
fn an_end_says_how_and_what_it_has_used() {
    let subject = Subject { about: "node=n@h asker=<0.1.0> worker=w7".into(), commands: None };
    let line = subject.end_line(99, &exited(ExitStatus::Code(3)));
    let who = "audit event=end node=n@h asker=<0.1.0> worker=w7 pid=99";
    assert_eq!(line, format!("{who} code=3 oom=no timeout=yes wall=61.000001 cpu=1.500000 memory=2048"));
    let line = subject.end_line(99, &exited(ExitStatus::Signal(9, true)));
    assert!(line.contains(" signal=SIGKILL core=yes oom=no "), "{line}");
    // A signal without a name.
    assert!(subject.end_line(99, &exited(ExitStatus::Signal(64, false))).contains(" signal=64 core=no "));
}

#[test]
fn the_longest_line_is_no_longer_than_the_log_takes() {
    let long = "\u{1b}".repeat(2000);
    let launch = Launch {
        asker: long.clone(),
        user: Some(long.clone()),
        profile: Some(long.clone()),
        ..launch(Program::Shell(ByteBuf::from(long.clone())))
    };
    let asked = Asked::of(&long, &launch);
    let line = asked.refused_line(&Failure::Refused(long.clone(), long));
    assert!(line.len() <= 1024, "{}: {line}", line.len());
    assert_eq!(crate::log::clean(line.as_bytes()), line);
    assert!(line.ends_with(" cut=user,profile,command,rule,what"), "{line}");
}
