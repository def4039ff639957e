use super::*;

fn peer(max_frame: usize) -> (OwnedFd, Peer) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs.into(), Peer::new(ours.into(), max_frame, Duration::from_secs(90), Instant::now()))
}

fn frames(peer: &mut Peer) -> Vec<(bool, Vec<u8>)> {
    let mut got = Vec::new();
    while peer.is_readable() {
        let read = peer.read(Instant::now(), |frame, _| {
            got.push(match frame {
                Frame::Whole(body) => (true, body.to_vec()),
                Frame::Head(head) => (false, head.to_vec()),
                Frame::Begun(..) => return false,
                Frame::Part(_) | Frame::Last(_) => panic!("nothing was taken as it comes"),
            });
            true
        });
        read.unwrap();
    }
    got
}

#[test]
fn frames_come_whole_however_the_bytes_are_cut() {
    let (theirs, mut peer) = peer(1000);
    let bytes = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9];
    let mut got = Vec::new();
    for byte in bytes {
        rustix::io::write(&theirs, &[byte]).unwrap();
        peer.set_ready(true, false, false);
        got.extend(frames(&mut peer));
    }
    assert_eq!(got, [(true, vec![1, 2, 3]), (true, vec![9])]);
    assert!(peer.tick_owed && peer.unread().is_empty());
}

#[test]
fn what_a_long_frame_lacks_is_asked_for_in_one_go() {
    let (theirs, mut peer) = peer(1_000_000);
    let mut sent = 500_000u32.to_be_bytes().to_vec();
    sent.resize(500_004, 7);
    let mut got = Vec::new();
    for piece in sent.chunks(50_000) {
        rustix::io::write(&theirs, piece).unwrap();
        peer.set_ready(true, false, false);
        assert!(got.is_empty());
        got.extend(frames(&mut peer));
        assert!(got.is_empty() == (peer.wanted == sent.len()));
    }
    assert_eq!((got, peer.wanted), (vec![(true, sent.split_off(4))], 4));
}

#[test]
fn a_long_frame_that_is_taken_as_it_comes_needs_no_room_for_all_of_it() {
    let (theirs, mut peer) = peer(1_000_000);
    let body: Vec<u8> = (0..500_000u32).map(|i| (i % 251) as u8).collect();
    let mut sent = 500_000u32.to_be_bytes().to_vec();
    sent.extend(&body);
    sent.extend([0, 0, 0, 1, 9]);
    let (mut got, mut whole) = (Vec::new(), Vec::new());
    for piece in sent.chunks(50_000) {
        rustix::io::write(&theirs, piece).unwrap();
        peer.set_ready(true, false, false);
        while peer.is_readable() {
            let read = peer.read(Instant::now(), |frame, _| {
                match frame {
                    Frame::Begun(front, length) => {
                        assert!(got.is_empty() && length == body.len());
                        got.extend_from_slice(front);
                    }
                    Frame::Part(part) => got.extend_from_slice(part),
                    Frame::Last(part) => {
                        got.extend_from_slice(part);
                        assert_eq!(got.len(), body.len());
                    }
                    Frame::Whole(frame) => whole.extend_from_slice(frame),
                    Frame::Head(_) => panic!("none is too long"),
                }
                true
            });
            read.unwrap();
        }
        assert!(peer.unread().is_empty());
    }
    assert!(got == body && whole == [9] && peer.input.capacity() < 2 * PIECE);
}

#[test]
fn a_frame_over_the_limit_shows_its_head_and_costs_no_memory() {
    let (theirs, mut peer) = peer(10_000);
    let long = vec![7u8; 300_000];
    let mut sent = (300_000u32.to_be_bytes()).to_vec();
    sent.extend(&long);
    sent.extend([0, 0, 0, 1, 9]);
    let mut got = Vec::new();
    for piece in sent.chunks(50_000) {
        rustix::io::write(&theirs, piece).unwrap();
        peer.set_ready(true, false, false);
        got.extend(frames(&mut peer));
        assert!(peer.input.len() < HEAD + PIECE);
    }
    assert_eq!(got, [(false, vec![7; HEAD]), (true, vec![9])]);
}

#[test]
fn an_end_that_came_with_the_last_frame_is_seen_at_once() {
    let (theirs, mut peer) = peer(1000);
    rustix::io::write(&theirs, &[0, 0, 0, 1, 9]).unwrap();
    drop(theirs);
    peer.set_ready(true, true, true);
    assert!(peer.read(Instant::now(), |_, _| true).is_ok());
    assert!(peer.is_readable());
    assert!(matches!(peer.read(Instant::now(), |_, _| true), Err(PeerError::Closed)));
}

#[test]
fn what_has_not_gone_whole_is_known_from_its_start() {
    let (theirs, mut peer) = peer(1000);
    let frame = |fill: u8| {
        let mut frame = 100_000u32.to_be_bytes().to_vec();
        frame.extend(vec![fill; 100_000]);
        frame
    };
    for fill in 1..=30 {
        peer.out.extend(frame(fill));
    }
    let mut got = Vec::new();
    let mut piece = vec![0; 70_000];
    while got.len() < 1_500_000 {
        peer.set_ready(false, true, false);
        peer.flush(Instant::now()).unwrap();
        let n = rustix::io::read(&theirs, &mut piece[..]).unwrap();
        got.extend_from_slice(&piece[..n]);
    }
    let unsent = peer.unsent();
    assert!(!unsent.is_empty() && unsent.len() % 100_004 == 0);
    let first = 31 - u8::try_from(unsent.len() / 100_004).unwrap();
    assert_eq!(unsent[..100_004], frame(first));
}

#[test]
fn ticks_are_answered_but_not_without_end() {
    let (theirs, mut peer) = peer(1000);
    let start = Instant::now();
    rustix::io::write(&theirs, &[0; 4]).unwrap();
    frames(&mut peer);
    peer.tick(start).unwrap();
    assert_eq!(peer.waiting(), 0);
    peer.tick(start + TICK_PAUSE).unwrap();
    assert_eq!(peer.out, [0; 4]);
    peer.flush(start + TICK_PAUSE).unwrap();
    assert!(!peer.tick_owed);
    peer.tick(start + TICK_PAUSE + TICK).unwrap();
    assert_eq!(peer.out, [0; 4]);
    assert!(matches!(peer.tick(start + Duration::from_secs(91)), Err(PeerError::Silent(_))));
}
