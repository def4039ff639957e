//! Every operation, in bytes written out; then what hostile or newer peers send.

use super::*;
use crate::etf::{put_atom, put_integer, put_list, put_nil, put_tuple};

/// `<a@h.1.0>`, creation 7.
const PID: &[u8] = b"X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x07";
/// `<b@h.2.0>`, creation 8.
const OUR: &[u8] = b"X\x77\x03b@h\0\0\0\x02\0\0\0\0\0\0\0\x08";
/// A reference of three words.
const REF: &[u8] = b"Z\0\x03\x77\x03a@h\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03";
/// A reference of five words, as aliases have since OTP 27.
const REF5: &[u8] = b"Z\0\x05\x77\x03a@h\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
const EMPTY: &[u8] = b"w\0";
const TOKEN: &[u8] = b"h\x05a\0a\0a\0a\0a\0";
const NAME: &[u8] = b"w\x05erluv";
const KILL: &[u8] = b"w\x04kill";

fn term(bytes: &[u8]) -> Term<'_> {
    Term::exactly(bytes).unwrap()
}

/// A body: the operation, the elements behind it, the payload.
fn body(operation: i64, elements: &[&[u8]], payload: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![112, 131];
    put_tuple(&mut out, u8::try_from(elements.len() + 1).unwrap());
    put_integer(&mut out, operation);
    out.extend_from_slice(&elements.concat());
    if let Some(payload) = payload {
        out.push(131);
        out.extend_from_slice(payload);
    }
    out
}

fn check(bytes: &[u8], control: Control<'_>, payload: Option<&[u8]>) {
    assert_eq!(parse(bytes), Ok(Message { control, payload: payload.map(term) }));
}

#[test]
fn a_send_written_out_in_bytes() {
    let bytes =
        b"p\x83h\x03a\x16X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x07X\x77\x03b@h\0\0\0\x02\0\0\0\0\0\0\0\x08\x83w\x04kill";
    check(bytes, Control::Send { from: Some(term(PID)), to: term(OUR) }, Some(KILL));
}

#[test]
fn messages_with_and_without_token() {
    let (from, to, alias) = (term(PID), term(OUR), term(REF5));
    let some = Control::Send { from: Some(from), to };
    check(&body(2, &[EMPTY, OUR], Some(KILL)), Control::Send { from: None, to }, Some(KILL));
    check(&body(12, &[EMPTY, OUR, TOKEN], Some(KILL)), Control::Send { from: None, to }, Some(KILL));
    check(&body(22, &[PID, OUR], Some(KILL)), some, Some(KILL));
    check(&body(23, &[PID, OUR, TOKEN], Some(KILL)), some, Some(KILL));
    let named = Control::RegSend { from, name: "erluv" };
    check(&body(6, &[PID, EMPTY, NAME], Some(KILL)), named, Some(KILL));
    check(&body(16, &[PID, EMPTY, NAME, TOKEN], Some(KILL)), named, Some(KILL));
    check(&body(33, &[PID, REF5], Some(KILL)), Control::AliasSend { from, alias }, Some(KILL));
    check(&body(34, &[PID, REF5, TOKEN], Some(KILL)), Control::AliasSend { from, alias }, Some(KILL));
}

#[test]
fn links_and_unlinks() {
    let (from, to) = (term(PID), term(OUR));
    check(&body(1, &[PID, OUR], None), Control::Link { from, to }, None);
    check(&body(4, &[PID, OUR], None), Control::Unlink { from, to }, None);
    check(&body(36, &[b"a\x01", PID, OUR], None), Control::UnlinkIdAck, None);
    check(&body(7, &[PID, OUR], None), Control::GroupLeader, None);
}

#[test]
fn unlink_ids_keep_all_their_bytes() {
    for id in [b"a\x01".as_slice(), b"b\x7f\xff\xff\xff", b"n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let control = Control::UnlinkId { id: term(id), from: term(PID), to: term(OUR) };
        check(&body(35, &[id, PID, OUR], None), control, None);
    }
    assert_eq!(parse(&body(35, &[NAME, PID, OUR], None)), Err(ControlError::Shape(35)));
}

#[test]
fn exits_have_their_reason_wherever_it_came() {
    let (from, to, reason) = (term(PID), term(OUR), term(KILL));
    let exit = Control::Exit { from, to, reason };
    check(&body(3, &[PID, OUR, KILL], None), exit, None);
    check(&body(13, &[PID, OUR, TOKEN, KILL], None), exit, None);
    check(&body(24, &[PID, OUR], Some(KILL)), exit, None);
    check(&body(25, &[PID, OUR, TOKEN], Some(KILL)), exit, None);
    let exit2 = Control::Exit2 { from, to, reason };
    check(&body(8, &[PID, OUR, KILL], None), exit2, None);
    check(&body(18, &[PID, OUR, TOKEN, KILL], None), exit2, None);
    check(&body(26, &[PID, OUR], Some(KILL)), exit2, None);
    check(&body(27, &[PID, OUR, TOKEN], Some(KILL)), exit2, None);
}

#[test]
fn monitors_of_pids_and_names() {
    let (from, reference) = (term(PID), term(REF));
    for target in [OUR, NAME] {
        let monitor = Control::Monitor { from, target: term(target), reference };
        check(&body(19, &[PID, target, REF], None), monitor, None);
        let demonitor = Control::Demonitor { from, target: term(target), reference };
        check(&body(20, &[PID, target, REF], None), demonitor, None);
        let exit = Control::MonitorExit { from: term(target), to: from, reference, reason: term(KILL) };
        check(&body(21, &[target, PID, REF, KILL], None), exit, None);
        check(&body(28, &[target, PID, REF], Some(KILL)), exit, None);
    }
}

/// `{erluv, run, 1}`.
const MFA: &[u8] = b"h\x03w\x05erluvw\x03runa\x01";

#[test]
fn spawn_requests_with_and_without_link_and_monitor() {
    let wanted = |link, monitor| {
        let (request, from) = (term(REF), term(PID));
        Control::SpawnRequest { request, from, module: "erluv", function: "run", arity: 1, link, monitor }
    };
    let arguments = b"l\0\0\0\x01k\0\x01xj".as_slice();
    let options = |atoms: &[&str]| {
        let mut out = Vec::new();
        put_list(&mut out, u32::try_from(atoms.len()).unwrap());
        atoms.iter().for_each(|atom| put_atom(&mut out, atom));
        put_nil(&mut out);
        out
    };
    let sent = |options: &[u8]| body(29, &[REF, PID, PID, MFA, options], Some(arguments));
    check(&sent(b"j"), wanted(false, false), Some(arguments));
    check(&sent(&options(&["link"])), wanted(true, false), Some(arguments));
    check(&sent(&options(&["monitor", "link"])), wanted(true, true), Some(arguments));
    // `[{priority, high}, {monitor, []}, newer]`
    let tuples = b"l\0\0\0\x03h\x02w\x08priorityw\x04highh\x02w\x07monitorjw\x05newerj";
    check(&sent(tuples), wanted(false, true), Some(arguments));
    check(&body(30, &[REF, PID, PID, MFA, b"j", TOKEN], Some(arguments)), wanted(false, false), Some(arguments));
    check(&body(31, &[REF, PID, b"a\0", OUR], None), Control::SpawnReply, None);
    check(&body(32, &[REF, PID, b"a\0", OUR, TOKEN], None), Control::SpawnReply, None);
    assert_eq!(parse(&sent(NAME)), Err(ControlError::Shape(29)));
}

#[test]
fn operation_37_becomes_what_it_stands_for() {
    let (from, to, alias) = (term(PID), term(OUR), term(REF5));
    let send = |flags: &[u8], to: &[u8], more: &[&[u8]]| {
        let mut elements = vec![flags, PID, to];
        elements.extend_from_slice(more);
        body(37, &elements, Some(KILL))
    };
    check(&send(b"a\0", OUR, &[]), Control::Send { from: Some(from), to }, Some(KILL));
    check(&send(b"a\x01", OUR, &[]), Control::Send { from: Some(from), to }, Some(KILL));
    check(&send(b"a\x03", OUR, &[TOKEN]), Control::Send { from: Some(from), to }, Some(KILL));
    check(&send(b"a\x04", REF5, &[]), Control::AliasSend { from, alias }, Some(KILL));
    check(&send(b"a\x08", NAME, &[]), Control::RegSend { from, name: "erluv" }, Some(KILL));
    check(&send(b"a\x10", OUR, &[]), Control::Exit2 { from, to, reason: term(KILL) }, None);
    check(&send(b"a\x14", REF5, &[]), Control::Exit2 { from, to: alias, reason: term(KILL) }, None);
    // A later OTP may have more elements than we keep.
    check(&send(b"a\0", OUR, &[TOKEN; 9]), Control::Send { from: Some(from), to }, Some(KILL));
    assert_eq!(parse(&send(b"a\x04", OUR, &[])), Err(ControlError::Shape(37)));
}

#[test]
fn an_unknown_operation_is_named_and_its_payload_left_alone() {
    for operation in [0, 5, 9, 38, 99, -1, i64::MAX] {
        check(&body(operation, &[PID], Some(b"\xff")), Control::Unknown(operation), None);
    }
}

#[test]
fn a_known_operation_of_another_shape_is_an_error_of_its_own() {
    for operation in [1, 2, 3, 4, 6, 8, 12, 13, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33, 34, 35, 37]
    {
        assert_eq!(parse(&body(operation, &[], Some(KILL))), Err(ControlError::Shape(operation)), "{operation}");
        let many = [KILL; 7];
        assert_eq!(parse(&body(operation, &many, Some(KILL))), Err(ControlError::Shape(operation)), "{operation}");
    }
    assert_eq!(parse(&body(22, &[PID, REF], Some(KILL))), Err(ControlError::Shape(22)));
    assert_eq!(parse(&body(19, &[PID, REF, REF], None)), Err(ControlError::Shape(19)));
    assert_eq!(parse(&body(33, &[PID, PID], Some(KILL))), Err(ControlError::Shape(33)));
}

#[test]
fn what_is_no_control_message_is_an_error() {
    assert_eq!(parse(b""), Err(ControlError::Type));
    assert_eq!(parse(b"\x83h\x01a\x01"), Err(ControlError::Type));
    assert_eq!(parse(b"p"), Err(ControlError::Control(EtfError::Truncated)));
    assert_eq!(parse(b"p\x82h\x01a\x01"), Err(ControlError::Control(EtfError::Version(0x82))));
    for tag in [68, 69, 80, 82, 121] {
        assert_eq!(parse(&[112, 131, tag, 0]), Err(ControlError::Control(EtfError::Tag(tag))));
    }
    for other in [b"p\x83a\x01".as_slice(), b"p\x83h\0", b"p\x83h\x01w\x01a", b"p\x83j"] {
        assert_eq!(parse(other), Err(ControlError::NotControl));
    }
}

#[test]
fn a_payload_must_be_there_where_the_operation_has_one() {
    let lacking = |error| Err(ControlError::Payload { operation: 22, error });
    assert_eq!(parse(&body(22, &[PID, OUR], None)), lacking(EtfError::Truncated));
    assert_eq!(parse(&body(22, &[PID, OUR], Some(b"P"))), lacking(EtfError::Tag(80)));
    let mut unversioned = body(22, &[PID, OUR], None);
    unversioned.extend_from_slice(KILL);
    assert_eq!(parse(&unversioned), lacking(EtfError::Version(119)));
}

#[test]
fn bytes_behind_the_payload_are_ignored() {
    let mut bytes = body(22, &[PID, OUR], Some(KILL));
    bytes.extend_from_slice(&[1, 2, 3]);
    check(&bytes, Control::Send { from: Some(term(PID)), to: term(OUR) }, Some(KILL));
    let mut bytes = body(1, &[PID, OUR], None);
    bytes.push(80);
    check(&bytes, Control::Link { from: term(PID), to: term(OUR) }, None);
}

/// The start of `{'$gen_call', {From, [alias|Ref]}, <<...>>}` of a binary of a gigabyte.
fn long_call(tag: &[u8]) -> Vec<u8> {
    [b"h\x03w\x09$gen_callh\x02".as_slice(), PID, tag, b"m\x40\0\0\0begin"].concat()
}

#[test]
fn the_head_of_an_oversize_call_shows_who_waits() {
    let alias = [b"l\0\0\0\x01w\x05alias".as_slice(), REF5].concat();
    for tag in [alias.as_slice(), REF] {
        let bytes = body(6, &[PID, EMPTY, NAME], Some(&long_call(tag)));
        assert!(parse(&bytes).is_err());
        let head = parse_head(&bytes).unwrap();
        assert_eq!(head.control, Control::RegSend { from: term(PID), name: "erluv" });
        assert_eq!(head.call, Some((term(PID), term(tag))));
    }
}

#[test]
fn the_head_of_other_oversize_messages_shows_their_control() {
    let bytes = body(22, &[PID, OUR], Some(b"h\x02w\x05stdinm\x40\0\0\0begin"));
    let control = Control::Send { from: Some(term(PID)), to: term(OUR) };
    assert_eq!(parse_head(&bytes), Ok(Head { control, call: None }));
    let bytes = body(28, &[PID, OUR, REF], Some(b"m\x40\0\0\0begin"));
    let (from, to, reference) = (term(PID), term(OUR), term(REF));
    let control = Control::MonitorExit { from, to, reference, reason: Term::TOO_LARGE };
    assert_eq!(parse_head(&bytes), Ok(Head { control, call: None }));
    // Cut within the tag: whoever waits cannot be answered.
    let cut = long_call(REF);
    let bytes = body(6, &[PID, EMPTY, NAME], Some(&cut[..40]));
    assert_eq!(parse_head(&bytes).unwrap().call, None);
    assert!(parse_head(&bytes[..20]).is_err());
}

#[test]
fn input_that_has_begun_is_known_by_its_front_and_its_length() {
    let control = Control::Send { from: Some(term(PID)), to: term(OUR) };
    let plain = b"h\x02w\x05stdinm\0\0\x10\0begin".as_slice();
    let call = [b"h\x03w\x09$gen_callh\x02", PID, REF, plain].concat();
    for (payload, call) in [(plain, None), (call.as_slice(), Some((term(PID), term(REF))))] {
        let bytes = body(22, &[PID, OUR], Some(payload));
        let length = bytes.len() + 4096 - 5;
        assert_eq!(parse_open(&bytes, length), Some(Open { control, call, name: "stdin", data: b"begin" }));
        // Something else is to follow the binary, or less of it than it says.
        for wrong in [length - 1, length + 1, bytes.len(), 0] {
            assert_eq!(parse_open(&bytes, wrong), None);
        }
        for cut in 0..bytes.len() - 5 {
            assert_eq!(parse_open(&bytes[..cut], length), None);
        }
    }
    let list = body(22, &[PID, OUR], Some(b"h\x02w\x05stdinl\0\0\0\x01m\0\0\x10\0begin"));
    assert_eq!(parse_open(&list, list.len() + 4096 - 5), None);
}
