use std::os::fd::OwnedFd;

use erluv_proto::ids::{NodeName, WorkerId};
use erluv_proto::ipc::{self, Connection, Ready, Signal, Stop};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;

/// A half without a process behind it, and the end of its control socket that a child would have.
fn half() -> (OwnedFd, Half) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let (log, _) = io::pipe().unwrap();
    let process = Process {
        pid: 0,
        #[cfg(target_os = "linux")]
        pidfd: None,
    };
    (theirs, Half::new(process, Channel::new(ours, 8), log, Instant::now()))
}

fn send(to: &OwnedFd, frame: &ToMain) {
    rustix::net::send(to, &ipc::encode(frame).unwrap(), rustix::net::SendFlags::empty()).unwrap();
}

fn requests() -> [ToMain; 3] {
    let worker = WorkerId(2);
    [
        ToMain::Signal(Signal { worker, signal: 15 }),
        ToMain::Stop(Stop { worker, grace: 0 }),
        ToMain::Disconnected("closed".to_owned()),
    ]
}

#[test]
fn s50_what_may_not_come_now_is_the_end_of_child() {
    for request in requests() {
        let (child, mut half) = half();
        send(&child, &request);
        assert!(matches!(half.hear(State::Starting), Err(Loss::Protocol(_))), "{request:?}");
    }
    let (child, mut half) = half();
    send(&child, &ToMain::Ready(Ready { missing: Vec::new() }));
    assert!(matches!(half.hear(State::Starting), Ok(Some(ToMain::Ready(_)))));
    let connection = Connection { peer: NodeName::parse("a@b").unwrap(), flags: 0 };
    half.say(&ToChild::Connection(connection), Vec::new()).unwrap();
    for request in requests() {
        send(&child, &request);
        assert!(matches!(half.hear(State::Serving), Ok(Some(_))), "{request:?}");
    }
    assert!(matches!(half.hear(State::Serving), Ok(None)));
    send(&child, &ToMain::Ready(Ready { missing: Vec::new() }));
    assert!(matches!(half.hear(State::Serving), Err(Loss::Protocol(_))));
}

#[test]
fn s50_a_pong_answers_the_ping_that_is_out_and_no_other() {
    let (second, patience) = (Duration::from_secs(1), Duration::from_secs(10));
    let (child, mut half) = half();
    let start = Instant::now();
    half.heartbeat(start, second, patience).unwrap();
    send(&child, &ToMain::Pong(1));
    assert!(matches!(half.hear(State::Starting), Ok(Some(ToMain::Pong(1)))));
    assert_eq!(half.heartbeat(start + patience, second, patience), Ok(()));
    send(&child, &ToMain::Pong(1));
    assert!(matches!(half.hear(State::Starting), Err(Loss::Protocol(_))));
}

#[test]
fn a_ping_that_is_not_answered_is_a_hang() {
    let (second, patience) = (Duration::from_secs(1), Duration::from_secs(10));
    let (_child, mut half) = half();
    let start = Instant::now();
    half.heartbeat(start, second, patience).unwrap();
    half.heartbeat(start + second * 9, second, patience).unwrap();
    assert_eq!(half.heartbeat(start + patience, second, patience), Err(Loss::Hung(patience)));
    assert_eq!(half.next_deadline(patience), Some(start + patience));
}

#[test]
fn a_child_that_still_says_something_does_not_hang() {
    let (second, patience) = (Duration::from_secs(1), Duration::from_secs(10));
    let (child, mut half) = half();
    let start = Instant::now();
    half.heartbeat(start, second, patience).unwrap();
    send(&child, &ToMain::Ready(Ready { missing: Vec::new() }));
    assert!(matches!(half.hear(State::Starting), Ok(Some(ToMain::Ready(_)))));
    assert_eq!(half.heartbeat(start + patience, second, patience), Ok(()));
    assert_eq!(half.heartbeat(start + patience * 2, second, patience), Err(Loss::Hung(patience)));
}

#[test]
fn s51_a_malformed_frame_is_the_end_of_child_and_no_more() {
    let good = ipc::encode(&ToMain::Ready(Ready { missing: Vec::new() })).unwrap();
    let mut trailing = good.clone();
    trailing.push(0);
    for bad in [vec![0], vec![9; 8], good[..good.len() - 1].to_vec(), trailing, vec![0xff; 100_000]] {
        let (child, mut half) = half();
        rustix::net::send(&child, &bad, rustix::net::SendFlags::empty()).unwrap();
        assert!(matches!(half.hear(State::Starting), Err(Loss::Protocol(_))));
    }
    let (child, mut half) = half();
    drop(child);
    assert_eq!(half.hear(State::Starting).unwrap_err(), Loss::Ended);
}

#[test]
fn s53_a_child_that_does_not_read_is_lost_before_main_grows() {
    let (_child, mut half) = half();
    let (poll, token) = (mio::Poll::new().unwrap(), Token(0));
    half.channel.watch(poll.registry(), token).unwrap();
    let filled = (0..100_000).find(|_| {
        let said = half.say(&ToChild::Ping(1), Vec::new()).and_then(|()| half.flush(poll.registry(), token));
        matches!(said, Err(Loss::Protocol(_)))
    });
    assert!(filled.is_some());
}
