use super::*;
use crate::ids::{NodeName, RequestId, WorkerId};
use serde_bytes::ByteBuf;

fn launch() -> Launch {
    Launch {
        request: RequestId(7),
        program: Program::Direct(vec![ByteBuf::from(b"/bin/cat".to_vec()), ByteBuf::from(vec![0xff])]),
        env: vec![(ByteBuf::from(b"A".to_vec()), ByteBuf::from(b"1".to_vec()))],
        profile: Some("strict".to_owned()),
        cwd: None,
        user: Some("daemon".to_owned()),
        stdin: InputFrom::Pipe,
        stdout: OutputTo::Pipe,
        stderr: OutputTo::Other,
        executable: None,
        nice: Some(-20),
        umask: Some(0o022),
        group: Some(0),
        limits: vec![("core".to_owned(), Some(0)), ("nofile".to_owned(), None)],
        terminal: Some(Terminal { rows: 24, columns: 80, echo: true, settings: vec![("vintr".to_owned(), 3)] }),
        kill: Some(ByteBuf::from(b"true".to_vec())),
        kill_group: true,
        asker: "<0.85.0>".to_owned(),
    }
}

fn to_main() -> Vec<ToMain> {
    vec![
        ToMain::Ready(Ready { missing: vec!["landlock".to_owned()] }),
        ToMain::Launch(launch()),
        ToMain::Signal(Signal { worker: WorkerId(2), signal: 15 }),
        ToMain::Stop(Stop { worker: WorkerId(u64::MAX), grace: u32::MAX }),
        ToMain::Pong(u64::MAX),
        ToMain::Disconnected("closed".to_owned()),
    ]
}

fn to_child() -> Vec<ToChild> {
    let about = About {
        main_user: "root".to_owned(),
        child_user: "_erluv".to_owned(),
        worker_users: vec!["nobody".to_owned()],
        profiles: vec!["default".to_owned()],
        max_workers: 10_000,
        started: 1,
        cookie: None,
    };
    let own = NodeName::parse("erluv@h").unwrap();
    let hello = |tree_kill| Hello {
        tree_kill,
        own: own.clone(),
        creation: crate::ids::Creation::from_random(9),
        max_frame: 1,
        input_cap: 2,
        kill_timeout: 3,
        peer_timeout: 4,
        about: about.clone(),
    };
    let user = "nobody".to_owned();
    let (request, worker) = (RequestId(1), WorkerId(2));
    vec![
        ToChild::Hello(hello(true)),
        ToChild::Hello(hello(false)),
        ToChild::Connection(Connection { peer: own, flags: u64::MAX }),
        ToChild::Launched(Launched {
            request,
            worker,
            os_pid: 3,
            user,
            profile: "strict".to_owned(),
            output_limit: Some(1 << 40),
            stdin: true,
            stdout: false,
            stderr: true,
        }),
        ToChild::LaunchFailed(LaunchFailed { request, worker, failure: Failure::Step(Step::Exec, 2) }),
        ToChild::Exited(Exited {
            worker,
            status: ExitStatus::Signal(9, true),
            usage: Usage::default(),
            oom: true,
            timeout: false,
        }),
        ToChild::Ping(1),
        ToChild::Stopping(()),
    ]
}

fn survives<F: Frame + std::fmt::Debug>(frames: Vec<F>) {
    for frame in frames {
        let bytes = encode(&frame).unwrap();
        let again: F = decode(&bytes, frame.descriptors()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{frame:?}"));
    }
}

#[test]
fn every_frame_survives_the_way() {
    survives(to_main());
    survives(to_child());
}

#[test]
fn s49_a_frame_sent_the_wrong_way_does_not_decode() {
    for frame in to_child() {
        let bytes = encode(&frame).unwrap();
        assert!(matches!(decode::<ToMain>(&bytes, frame.descriptors()), Err(IpcError::Kind(_))));
    }
    for frame in to_main() {
        assert!(matches!(decode::<ToChild>(&encode(&frame).unwrap(), 0), Err(IpcError::Kind(_))));
    }
}

#[test]
fn s48_a_frame_is_consumed_to_its_last_byte() {
    for frame in to_main() {
        let bytes = encode(&frame).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<ToMain>(&bytes[..cut], 0).is_err(), "{frame:?} cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode::<ToMain>(&longer, 0).unwrap_err(), IpcError::Trailing(1));
        // The same byte too many, announced: the body itself is then too long.
        longer[4] = longer[4].wrapping_add(1);
        assert!(decode::<ToMain>(&longer, 0).is_err(), "{frame:?}");
    }
}

#[test]
fn s47_every_kind_has_a_limit_of_its_own() {
    let long = ToMain::Disconnected("x".repeat(600));
    assert!(matches!(encode(&long), Err(IpcError::Long { kind: 0x86, limit: 512, .. })));
    let mut forged = vec![VERSION, 0x85, 0, 0];
    forged.extend(17u32.to_le_bytes());
    forged.extend([0; 17]);
    assert!(matches!(decode::<ToMain>(&forged, 0), Err(IpcError::Long { kind: 0x85, length: 17, limit: 16 })));
    let mut huge = vec![VERSION, 0x82, 0, 0];
    huge.extend(u32::MAX.to_le_bytes());
    assert!(matches!(decode::<ToMain>(&huge, 0), Err(IpcError::Long { .. })));
}

#[test]
fn s47_a_length_inside_a_frame_that_is_a_lie_costs_nothing() {
    let mut bytes = encode(&ToMain::Launch(launch())).unwrap();
    // The count of arguments: variable-length, 253 announces eight bytes.
    bytes[HEADER + 2] = 253;
    assert!(decode::<ToMain>(&bytes, 0).is_err());
}

#[test]
fn s19_the_descriptors_are_those_that_the_content_asks_for() {
    for frame in to_child() {
        let (bytes, wanted) = (encode(&frame).unwrap(), frame.descriptors());
        assert!(wanted <= MAX_DESCRIPTORS);
        for got in (0..=4).filter(|got| *got != wanted) {
            let kind = frame.kind();
            assert_eq!(decode::<ToChild>(&bytes, got).unwrap_err(), IpcError::Descriptors { kind, got, wanted });
        }
    }
    for frame in to_main() {
        assert_eq!(frame.descriptors(), 0);
        assert!(matches!(decode::<ToMain>(&encode(&frame).unwrap(), 253), Err(IpcError::Descriptors { .. })));
    }
}

#[test]
fn s48_another_version_or_kind_is_an_error() {
    let good = encode(&ToMain::Pong(1)).unwrap();
    let mut other = good.clone();
    other[0] = 2;
    assert_eq!(decode::<ToMain>(&other, 0).unwrap_err(), IpcError::Version(2));
    for kind in 0..=u8::MAX {
        let mut other = good.clone();
        other[1] = kind;
        assert_eq!(decode::<ToMain>(&other, 0).is_ok(), kind == 0x85, "{kind:#x}");
    }
}

#[test]
fn the_longest_datagram_of_any_kind_fits_the_buffer() {
    for kind in 0..=u8::MAX {
        let limits = [ToMain::limit(kind), ToChild::limit(kind)];
        assert!(limits.into_iter().flatten().all(|limit| HEADER + limit <= MAX_DATAGRAM));
    }
}

#[test]
fn every_step_is_told_by_its_byte() {
    for step in Step::ALL {
        assert_eq!(Step::from_byte(step as u8), Some(step));
        assert!(step.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
    assert_eq!(Step::from_byte(0), None);
    assert_eq!(Step::from_byte(200), None);
}
