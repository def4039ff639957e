//! What must hold of every parser for whatever bytes it is given. Each function takes bytes as an adversary would send
//! them and panics where a property does not hold; `tests/tests/fuzz_smoke.rs` runs them over mutations of the
//! [`corpus`], and the crate in `tests/fuzz` under libFuzzer.

pub mod corpus;

use erluv_proto::dist::{
    Control, Cookie, Handshake, MAX_HANDSHAKE_FRAME, Next, Own, Progress, epmd, flags, frame, handshake, parse,
    parse_head, send,
};
use erluv_proto::etf::{MAX_DEPTH, Term, put_integer, put_term};
use erluv_proto::ids::{Creation, NodeName};
use erluv_proto::ipc::{self, Frame, MAX_DATAGRAM, MAX_DESCRIPTORS, ToChild, ToMain};

/// The longest frame that [`control()`] takes, so that mutations reach the other path too.
const MAX_FRAME: usize = 2048;

/// Terms from the network: what the validator takes, every view can read and `eetf` can hold, and what is written back
/// is a term again.
pub fn etf(data: &[u8]) {
    let mut rest = data;
    let Ok(term) = Term::take(&mut rest) else {
        assert_eq!(rest, data, "a refused term must leave the input alone");
        return;
    };
    assert_eq!(term.as_bytes().len().saturating_add(rest.len()), data.len());
    assert_eq!(Term::exactly(term.as_bytes()), Ok(term));
    views(term, MAX_DEPTH.saturating_add(1));
    assert!(format!("{term:?}").len() <= 303);

    let mut flat = b"before".to_vec();
    match term.iodata(64, &mut flat) {
        Ok(()) => assert!(flat.len() <= 70),
        Err(_) => assert_eq!(flat, b"before"),
    }
    if let Ok(built) = term.to_eetf() {
        let mut again = Vec::new();
        put_term(&mut again, &built);
        assert!(Term::exactly(&again).is_ok(), "{term:?} came back as no term: {again:?}");
    }
}

/// Walks over all that a term shows, `levels` deep.
fn views(term: Term<'_>, levels: usize) {
    let Some(levels) = levels.checked_sub(1) else { return };
    if let Some(elements) = term.tuple().or_else(|| term.list()) {
        let announced = elements.len();
        assert_eq!(elements.clone().count(), announced);
        elements.for_each(|element| views(element, levels));
    }
    if let Some(pairs) = term.map() {
        assert_eq!(pairs.clone().count(), pairs.len());
        pairs.for_each(|(key, value)| {
            views(key, levels);
            views(value, levels);
        });
    }
    if let Some((first, tail)) = term.cons() {
        assert_eq!(term.first(), Some(first));
        assert_eq!(Term::exactly(tail.as_bytes()), Ok(tail));
    }
    if let Some(number) = term.integer() {
        let mut out = Vec::new();
        put_integer(&mut out, number);
        assert_eq!(Term::exactly(&out).ok().and_then(Term::integer), Some(number));
    }
    assert!(term.pid().is_none() || term.is_pid());
    assert!(term.atom().is_none_or(|name| term.is_atom(name)));
    assert!(term.string().is_none() || term.binary().is_none());
}

/// The stream of a connection after the handshake: frames end, known ones can be answered, and the head of a frame
/// says what the whole of it says.
pub fn control(data: &[u8]) {
    let mut stream = data;
    loop {
        let used = match frame::next(stream, MAX_FRAME) {
            Next::Tick { used } => used,
            Next::Frame { body, used } => {
                body_of(body);
                used
            }
            Next::Oversize { length, used } => {
                assert!(length > MAX_FRAME);
                let body = stream.get(used..).unwrap_or_default();
                // Only that it returns.
                drop(parse_head(body));
                used.saturating_add(length)
            }
            Next::More { wanted } => {
                assert!(wanted > stream.len());
                return;
            }
        };
        assert!(used >= 4);
        match stream.get(used..) {
            Some(rest) => stream = rest,
            None => return,
        }
    }
}

fn body_of(body: &[u8]) {
    let head = parse_head(body);
    let Ok(message) = parse(body) else { return };
    let Ok(head) = head else { panic_with("a frame that parses has a head that does not", body) };
    let reason_in_payload = matches!(
        head.control,
        Control::Exit { reason: Term::TOO_LARGE, .. }
            | Control::Exit2 { reason: Term::TOO_LARGE, .. }
            | Control::MonitorExit { reason: Term::TOO_LARGE, .. }
    );
    assert!(reason_in_payload || head.control == message.control);
    if let Some((from, tag)) = head.call {
        for negotiated in [flags::ERLUV, 0] {
            let own = Own { node: "erluv@h", creation: 9 };
            let mut out = Vec::new();
            send::put_reply(&mut out, own, 1, from, tag, negotiated, |out| put_integer(out, 1));
            answer_is_whole(&out, tag);
        }
    }
}

/// The answer to a call is one frame, and its payload is `{tag, 1}` with the tag byte for byte.
fn answer_is_whole(answer: &[u8], tag: Term<'_>) {
    let Next::Frame { body, used } = frame::next(answer, usize::MAX) else {
        panic_with("an answer is no frame", answer)
    };
    assert_eq!(used, answer.len());
    let payload = parse(body).ok().and_then(|message| message.payload);
    let Some([echoed, _]) = payload.and_then(Term::tuple_of) else { panic_with("an answer is no pair", answer) };
    assert_eq!(echoed, tag);
}

/// The node's side of a handshake: whoever does not know the cookie gets no connection, and no more than one digest.
pub fn handshake(data: &[u8]) {
    let (Ok(own), Ok(peer), Ok(cookie)) = (
        NodeName::parse("erluv@127.0.0.1"),
        NodeName::parse(corpus::PEER),
        Cookie::new(b"never to be guessed by bytes".to_vec()),
    ) else {
        panic_with("the names of the harness are valid", data)
    };
    let (mut state, _) = Handshake::start(&own, &peer, Creation::from_random(1), 0xdead_beef, true);
    let mut stream = data;
    let mut digests = 0u32;
    while let Ok(Some((frame, used))) = handshake::next(stream) {
        assert!(frame.len() <= MAX_HANDSHAKE_FRAME);
        match state.receive(frame, &cookie) {
            Ok(Progress::Wait) => {}
            Ok(Progress::Send(bytes)) => {
                assert!(bytes.len() <= MAX_HANDSHAKE_FRAME);
                digests = digests.saturating_add(u32::from(bytes.get(2) == Some(&b'r')));
            }
            Ok(Progress::Done { .. }) => panic_with("connected without the cookie", data),
            Err(_) => {
                assert!(state.receive(b"sok", &cookie).is_err(), "goes on after an error");
                break;
            }
        }
        assert!(digests <= 1);
        stream = stream.get(used..).unwrap_or_default();
    }
}

/// The answer of an EPMD: what is decided of a part holds of the whole, and nothing endless is waited for.
pub fn epmd(data: &[u8]) {
    use epmd::{MAX_REPLY, PortReply, read_port_reply};
    let whole = read_port_reply(data);
    assert!(data.len() <= MAX_REPLY || whole != Ok(PortReply::More), "waits for ever");
    for end in 0..data.len().min(64) {
        let part = read_port_reply(data.get(..end).unwrap_or_default());
        assert!(part == Ok(PortReply::More) || part == whole, "{part:?} became {whole:?} after {end} bytes");
    }
    assert_ne!(whole, Ok(PortReply::Port(0)));
}

/// Datagrams of erluv-child, which may have been taken over.
pub fn ipc_to_main(data: &[u8]) {
    datagram::<ToMain>(data);
}

/// Datagrams of erluv-main.
pub fn ipc_to_child(data: &[u8]) {
    datagram::<ToChild>(data);
}

/// What decodes has the descriptors that it announces, encodes again, and to the same bytes from then on.
fn datagram<F: Frame>(data: &[u8]) {
    for descriptors in 0..=MAX_DESCRIPTORS {
        let Ok(frame) = ipc::decode::<F>(data, descriptors) else { continue };
        assert!(data.len() <= MAX_DATAGRAM);
        assert_eq!(frame.descriptors(), descriptors);
        let Ok(once) = ipc::encode(&frame) else { panic_with("decoded, but does not encode", data) };
        assert!(once.len() <= data.len(), "an encoding of ours is the shortest");
        let twice = ipc::decode::<F>(&once, descriptors).and_then(|again| ipc::encode(&again));
        assert_eq!(twice, Ok(once));
    }
}

/// Ends the run with the bytes that did it.
fn panic_with(what: &str, data: &[u8]) -> ! {
    // A property that fails must stop the fuzzer, and this is how libFuzzer and the test harness are told.
    std::panic::panic_any(format!("{what}: {data:02x?}"))
}
