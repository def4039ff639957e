//! The handshake, played against a peer that tells the truth and several that do not.

use super::*;

const CHALLENGE: u32 = 0xdead_beef;
const THEIRS: u32 = 7;
const FLAGS_27: u64 = 0xd_07df_7fbd;

fn cookie() -> Cookie {
    Cookie::new(b"0123456789abcdef".to_vec()).unwrap()
}

fn start() -> (Handshake, Vec<u8>) {
    start_with(false)
}

fn start_with(replaces: bool) -> (Handshake, Vec<u8>) {
    let own = NodeName::parse("erluv_1@127.0.0.1").unwrap();
    let peer = NodeName::parse("shop@127.0.0.1").unwrap();
    Handshake::start(&own, &peer, Creation::from_random(0x0102_0304), CHALLENGE, replaces)
}

fn challenge(flags: u64, name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    [
        b"N".as_slice(),
        &flags.to_be_bytes(),
        &THEIRS.to_be_bytes(),
        &99u32.to_be_bytes(),
        &length.to_be_bytes(),
        name.as_bytes(),
    ]
    .concat()
}

fn at_challenge() -> Handshake {
    let mut handshake = start().0;
    assert_eq!(handshake.receive(b"sok", &cookie()), Ok(Progress::Wait));
    handshake
}

fn at_ack() -> Handshake {
    let mut handshake = at_challenge();
    assert!(matches!(handshake.receive(&challenge(FLAGS_27, "shop@127.0.0.1"), &cookie()), Ok(Progress::Send(_))));
    handshake
}

fn ack(digest: [u8; 16]) -> Vec<u8> {
    [b"a".as_slice(), &digest].concat()
}

#[test]
fn the_first_frame_says_who_we_are() {
    let mut wanted = vec![0, 32, b'N', 0, 0, 0, 0x2d, 0x07, 0x5f, 0x5f, 0xbc, 1, 2, 3, 4, 0, 17];
    wanted.extend_from_slice(b"erluv_1@127.0.0.1");
    assert_eq!(start().1, wanted);
}

#[test]
fn the_whole_handshake() {
    let mut handshake = at_challenge();
    let reply = [b"\x00\x15r\xde\xad\xbe\xef".as_slice(), &cookie().digest(THEIRS)].concat();
    assert_eq!(handshake.receive(&challenge(FLAGS_27, "shop@127.0.0.1"), &cookie()), Ok(Progress::Send(reply)));
    let done = handshake.receive(&ack(cookie().digest(CHALLENGE)), &cookie());
    assert_eq!(done, Ok(Progress::Done { flags: flags::ERLUV & FLAGS_27, creation: 99 }));
    assert!(matches!(handshake.receive(b"sok", &cookie()), Err(HandshakeError::Malformed(_))));
}

#[test]
fn the_connection_of_another_with_our_name_is_left_to_it() {
    assert_eq!(start().0.receive(b"salive", &cookie()), Err(HandshakeError::Taken));
}

#[test]
fn an_old_connection_of_ours_is_replaced() {
    let mut handshake = start_with(true).0;
    assert_eq!(handshake.receive(b"salive", &cookie()), Ok(Progress::Send(b"\x00\x05strue".to_vec())));
    assert!(matches!(handshake.receive(&challenge(FLAGS_27, "shop@127.0.0.1"), &cookie()), Ok(Progress::Send(_))));
}

#[test]
fn a_simultaneous_attempt_that_we_win_goes_on() {
    assert_eq!(start().0.receive(b"sok_simultaneous", &cookie()), Ok(Progress::Wait));
}

#[test]
fn each_refusing_status_has_its_error() {
    let why = |frame: &[u8]| start().0.receive(frame, &cookie()).unwrap_err();
    assert_eq!(why(b"snok"), HandshakeError::Nok);
    assert_eq!(why(b"snot_allowed"), HandshakeError::NotAllowed);
    for malformed in [b"".as_slice(), b"s", b"sokay", b"snamed:", b"ok", b"N", b"SSH-2.0-OpenSSH"] {
        assert!(matches!(why(malformed), HandshakeError::Malformed(_)), "{malformed:?}");
    }
}

#[test]
fn s64_a_node_of_another_name_gets_no_digest() {
    for name in ["shop@127.0.0.2", "", "shop@127.0.0.1\n", "SHOP@127.0.0.1"] {
        let got = at_challenge().receive(&challenge(FLAGS_27, name), &cookie()).unwrap_err();
        let wanted = NodeName::parse("shop@127.0.0.1").unwrap();
        assert_eq!(got, HandshakeError::WrongName { wanted, got: name.escape_default().to_string() });
    }
}

#[test]
fn a_node_that_lacks_flags_is_told_which() {
    let lacking = FLAGS_27 & !(flags::V4_NC | flags::UNLINK_ID);
    let got = at_challenge().receive(&challenge(lacking, "shop@127.0.0.1"), &cookie());
    assert_eq!(got, Err(HandshakeError::MissingFlags("UNLINK_ID, V4_NC".to_owned())));
}

#[test]
fn the_digest_of_otp_25s_flags_is_enough() {
    let mut handshake = at_challenge();
    let few = flags::MANDATORY_25_DIGEST | flags::V4_NC | flags::UNLINK_ID;
    assert!(handshake.receive(&challenge(few, "shop@127.0.0.1"), &cookie()).is_ok());
    let done = handshake.receive(&ack(cookie().digest(CHALLENGE)), &cookie()).unwrap();
    assert_eq!(done, Progress::Done { flags: 0x4_0707_0f94, creation: 99 });
}

#[test]
fn the_old_handshake_is_refused() {
    let got = at_challenge().receive(b"n\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00shop@127.0.0.1", &cookie());
    assert_eq!(got, Err(HandshakeError::Old));
}

#[test]
fn bytes_behind_the_name_are_for_later_versions() {
    let frame = [challenge(FLAGS_27, "shop@127.0.0.1"), b"later".to_vec()].concat();
    assert!(matches!(at_challenge().receive(&frame, &cookie()), Ok(Progress::Send(_))));
}

#[test]
fn a_challenge_cut_short_is_malformed() {
    let whole = challenge(FLAGS_27, "shop@127.0.0.1");
    for end in 0..whole.len() {
        let got = at_challenge().receive(&whole[..end], &cookie());
        assert!(matches!(got, Err(HandshakeError::Malformed(_))), "{end}");
    }
}

#[test]
fn s64_a_wrong_proof_is_no_connection() {
    let wrong = Cookie::new(b"another".to_vec()).unwrap().digest(CHALLENGE);
    assert_eq!(at_ack().receive(&ack(wrong), &cookie()), Err(HandshakeError::BadDigest));
    let mut last_bit = cookie().digest(CHALLENGE);
    last_bit[15] ^= 1;
    assert_eq!(at_ack().receive(&ack(last_bit), &cookie()), Err(HandshakeError::BadDigest));
    // Our own digest sent back proves nothing.
    assert_eq!(at_ack().receive(&ack(cookie().digest(THEIRS)), &cookie()), Err(HandshakeError::BadDigest));
    for malformed in [b"".as_slice(), b"a", &[b'a'; 16], &[b'a'; 18], b"sok"] {
        assert!(matches!(at_ack().receive(malformed, &cookie()), Err(HandshakeError::Malformed(_))));
    }
}

#[test]
fn nothing_is_taken_after_an_error() {
    let mut handshake = start().0;
    assert!(handshake.receive(b"snok", &cookie()).is_err());
    assert!(handshake.receive(b"sok", &cookie()).is_err());
    let mut handshake = at_ack();
    assert!(handshake.receive(&ack([0; 16]), &cookie()).is_err());
    assert!(handshake.receive(&ack(cookie().digest(CHALLENGE)), &cookie()).is_err());
}

#[test]
fn a_close_is_told_by_when_it_comes() {
    assert!(matches!(start().0.closed(), HandshakeError::Closed(_)));
    assert!(matches!(at_challenge().closed(), HandshakeError::Closed(_)));
    assert_eq!(at_ack().closed(), HandshakeError::Refused);
}

#[test]
fn frames_are_split_by_their_two_bytes_of_length() {
    assert_eq!(next(b""), Ok(None));
    assert_eq!(next(b"\x00\x03so"), Ok(None));
    assert_eq!(next(b"\x00\x03sok\x00"), Ok(Some((b"sok".as_slice(), 5))));
    assert_eq!(next(b"\x02\x01"), Err(HandshakeError::Long(513)));
    assert_eq!(start().0.receive(&[b's'; 513], &cookie()), Err(HandshakeError::Long(513)));
}

#[test]
fn no_message_shows_the_cookie() {
    let mut handshake = at_ack();
    let error = handshake.receive(&ack([0; 16]), &cookie()).unwrap_err();
    assert!(!format!("{error} {error:?} {handshake:?}").contains("0123456789abcdef"));
}
