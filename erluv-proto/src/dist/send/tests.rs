//! Every frame that is built, in bytes written out, and read back by the parser.

use super::super::frame::{Next, next};
use super::super::{Control, Message, parse};
use super::*;

const OWN: Own<'static> = Own { node: "e@h", creation: 9 };

// `<a@h.1.0>` of creation 7, a reference of it in three words, and one in five.
const PID: &[u8] = b"X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x07";
const REF: &[u8] = b"Z\0\x03\x77\x03a@h\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03";
const REF5: &[u8] = b"Z\0\x05\x77\x03a@h\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
/// Our pid of number 2^32 + 5.
const OUR: &[u8] = b"X\x77\x03e@h\0\0\0\x05\0\0\0\x01\0\0\0\x09";
const ID: u64 = 0x1_0000_0005;
/// Our reference.
const OURREF: &[u8] = b"Z\0\x03\x77\x03e@h\0\0\0\x09\0\0\0\x0a\0\0\0\x0b\0\0\0\x0c";
const WORDS: [u32; 3] = [10, 11, 12];

fn term(bytes: &[u8]) -> Term<'_> {
    Term::exactly(bytes).unwrap()
}

fn hello(out: &mut Vec<u8>) {
    put_atom(out, "hello");
}

/// The one frame that `put` appends, without its length, which is checked.
fn body(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    put(&mut out);
    assert!(out.starts_with(b"before"));
    let frame = &out[6..];
    let Next::Frame { body, used } = next(frame, 1 << 20) else { panic!("no frame: {frame:?}") };
    assert_eq!(used, frame.len());
    assert!(parse(body).is_ok(), "{:?}", parse(body));
    body.to_vec()
}

fn check(put: impl FnOnce(&mut Vec<u8>), parts: &[&[u8]]) {
    assert_eq!(body(put), [b"p\x83".as_slice(), &parts.concat()].concat());
}

#[test]
fn a_tick_is_four_zero_bytes() {
    let mut out = vec![1];
    put_tick(&mut out);
    assert_eq!(out, [1, 0, 0, 0, 0]);
}

#[test]
fn sends_to_pids_and_names() {
    check(|out| put_send(out, OWN, ID, term(PID), hello), &[b"h\x03a\x16", OUR, PID, b"\x83w\x05hello"]);
    check(|out| put_reg_send(out, OWN, ID, "erluv", hello), &[b"h\x04a\x06", OUR, b"w\0w\x05erluv\x83w\x05hello"]);
}

#[test]
fn the_length_in_front_counts_the_body() {
    let mut out = Vec::new();
    put_unlink_ack(&mut out, term(b"a\x01"), term(b"X\x77\x01e\0\0\0\x01\0\0\0\0\0\0\0\x01"), term(PID));
    assert_eq!(out[..9], [0, 0, 0, 42, 112, 131, 104, 4, 97]);
    assert_eq!(out.len(), 46);
}

#[test]
fn a_reply_goes_to_the_alias_and_keeps_its_tag_improper() {
    let tag = [b"l\0\0\0\x01w\x05alias".as_slice(), REF5].concat();
    let payload = [b"\x83h\x02".as_slice(), &tag, b"w\x05hello"].concat();
    let reply = |negotiated| {
        let tag = tag.clone();
        move |out: &mut Vec<u8>| put_reply(out, OWN, ID, term(PID), term(&tag), negotiated, hello)
    };
    check(reply(0), &[b"h\x03a\x21", OUR, REF5, &payload]);
    check(reply(ALTACT_SIG), &[b"h\x04a\x25a\x04", OUR, REF5, &payload]);
    let sent = body(reply(0));
    let payload = parse(&sent).unwrap().payload.unwrap();
    let [echoed, _] = payload.tuple_of().unwrap();
    assert_eq!(echoed.as_bytes(), tag);
    assert!(echoed.list().is_none());
}

#[test]
fn a_reply_to_a_tag_with_more_than_an_alias_goes_to_the_alias_too() {
    // `[[alias|Ref]|x]` and `[[alias|Ref], x]`
    let alias = [b"l\0\0\0\x01w\x05alias".as_slice(), REF].concat();
    let improper = [b"l\0\0\0\x01".as_slice(), &alias, b"w\x01x"].concat();
    let proper = [b"l\0\0\0\x02".as_slice(), &alias, b"w\x01xj"].concat();
    for tag in [improper, proper] {
        let payload = [b"\x83h\x02".as_slice(), &tag, b"w\x05hello"].concat();
        check(|out| put_reply(out, OWN, ID, term(PID), term(&tag), 0, hello), &[b"h\x03a\x21", OUR, REF, &payload]);
    }
}

#[test]
fn a_reply_to_any_other_tag_goes_to_the_caller() {
    for tag in [REF, b"w\x05alias", b"j", b"l\0\0\0\x01w\x05aliasj", b"l\0\0\0\x02w\x05aliasw\x01xj"] {
        let payload = [b"\x83h\x02".as_slice(), tag, b"w\x05hello"].concat();
        check(
            |out| put_reply(out, OWN, ID, term(PID), term(tag), ALTACT_SIG, hello),
            &[b"h\x03a\x16", OUR, PID, &payload],
        );
    }
}

#[test]
fn exits_of_ours_and_of_a_pid_as_it_came() {
    let rest = [PID, b"\x83w\x05hello"].concat();
    check(|out| put_exit(out, OWN, ID, term(PID), hello), &[b"h\x03a\x18", OUR, &rest]);
    check(|out| put_exit_from(out, term(OUR), term(PID), hello), &[b"h\x03a\x18", OUR, &rest]);
}

#[test]
fn monitors_that_end() {
    let rest = [PID, REF5, b"\x83w\x05hello"].concat();
    check(|out| put_monitor_exit_of(out, OWN, ID, term(PID), term(REF5), hello), &[b"h\x04a\x1c", OUR, &rest]);
    let name = b"w\x06nosuch".as_slice();
    check(|out| put_monitor_exit(out, term(name), term(PID), term(REF5), hello), &[b"h\x04a\x1c", name, &rest]);
}

#[test]
fn monitors_of_ours() {
    check(|out| put_monitor(out, OWN, ID, term(PID), WORDS), &[b"h\x04a\x13", OUR, PID, OURREF]);
    check(|out| put_demonitor(out, OWN, ID, term(PID), WORDS), &[b"h\x04a\x14", OUR, PID, OURREF]);
}

#[test]
fn answers_to_spawn_requests() {
    check(|out| put_spawn_reply(out, OWN, term(REF), term(PID), 3, ID), &[b"h\x05a\x1f", REF, PID, b"a\x03", OUR]);
    check(|out| put_spawn_error(out, term(REF), term(PID), "notsup"), &[b"h\x05a\x1f", REF, PID, b"a\0w\x06notsup"]);
}

#[test]
fn an_unlink_is_acknowledged_with_the_id_as_it_came() {
    let id = b"n\x08\0\xff\xff\xff\xff\xff\xff\xff\x7f";
    check(|out| put_unlink_ack(out, term(id), term(OUR), term(PID)), &[b"h\x04a\x24", id, OUR, PID]);
}

#[test]
fn data_has_both_its_lengths_patched() {
    let put = |out: &mut Vec<u8>| {
        let mark = data_prefix(out, OWN, ID, term(PID), "stdout");
        out.extend_from_slice(&[7; 300]);
        finish_data(out, mark);
    };
    check(put, &[b"h\x03a\x16", OUR, PID, b"\x83h\x03w\x06stdout", OUR, b"m\0\0\x01\x2c", &[7; 300]]);
    let sent = body(put);
    let Ok(Message { control: Control::Send { to, .. }, payload: Some(payload) }) = parse(&sent) else { panic!() };
    assert_eq!(to.as_bytes(), PID);
    let [stream, from, data] = payload.tuple_of().unwrap();
    assert!(stream.is_atom("stdout"));
    assert_eq!(from.pid().unwrap().number(), ID);
    assert_eq!(data.binary(), Some([7; 300].as_slice()));
}

#[test]
fn several_frames_stand_behind_each_other() {
    let mut out = Vec::new();
    put_send(&mut out, OWN, 1, term(PID), hello);
    put_tick(&mut out);
    put_exit(&mut out, OWN, 1, term(PID), hello);
    let Next::Frame { used, .. } = next(&out, 1000) else { panic!() };
    assert_eq!(next(&out[used..], 1000), Next::Tick { used: 4 });
    let Next::Frame { body, used: last } = next(&out[used + 4..], 1000) else { panic!() };
    assert!(matches!(parse(body), Ok(Message { control: Control::Exit { .. }, payload: None })));
    assert_eq!(used + 4 + last, out.len());
}
