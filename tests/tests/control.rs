//! What somebody who has taken erluv-child over could send to main: frames that are none, frames at the wrong time,
//! floods. Each costs child its life, and never main. What main refuses to do is in `requests.rs`.

use std::os::fd::AsFd;
use std::path::Path;

use erluv_proto::ids::{RequestId, WorkerId};
use erluv_proto::ipc::{self, Ready, Signal, Stop, ToChild, ToMain};
use erluv_tests::control::{FakeChild, launch, start};
use erluv_tests::daemon::Daemon;
use erluv_tests::proc;

const FAKE: &str = env!("CARGO_BIN_EXE_fake-child");

fn ready() -> (Daemon, FakeChild) {
    let (erluv, child) = start(Daemon::alone(), Path::new(FAKE));
    child.get_ready();
    (erluv, child)
}

/// Main has killed this child, says why, and lives: it ends as it is told to.
fn lost(mut erluv: Daemon, child: &FakeChild, why: &str) {
    child.wait_killed();
    erluv.wait_log(&format!("child lost: it broke the protocol: {why}"));
    assert_eq!(erluv.terminate(), 0);
}

#[test]
fn s50_a_frame_at_the_wrong_time_is_the_end_of_child() {
    let ready_frame = ToMain::Ready(Ready { missing: Vec::new() });
    for (frame, why) in [
        (ready_frame, "Ready in this state (Serving)"),
        (ToMain::Pong(77), "Pong without its ping"),
        (ToMain::Disconnected("gone".to_owned()), "Disconnected without a connection"),
    ] {
        let (erluv, child) = ready();
        child.say(&frame);
        lost(erluv, &child, why);
    }
}

#[test]
fn s50_nothing_is_launched_before_ready() {
    for frame in [ToMain::Launch(launch(&["/bin/sleep", "1000"])), ToMain::Stop(Stop { worker: WorkerId(2), grace: 0 })]
    {
        let (mut erluv, child) = start(Daemon::alone(), Path::new(FAKE));
        child.say(&frame);
        child.wait_killed();
        erluv.wait_log("in this state (Starting)");
        // A first child that never gets ready is the end by design: with the code for that, not by a crash.
        assert_eq!(erluv.wait(), 71);
        assert!(!erluv.log().contains("event=start"));
    }
}

#[test]
fn s47_s48_s49_s51_what_is_no_frame_is_the_end_of_child() {
    let good = ipc::encode(&ToMain::Stop(Stop { worker: WorkerId(2), grace: 0 })).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut long = changed(4, 0xff);
    long[5] = 0xff;
    let cases = [
        ("cut short", good[..good.len() - 1].to_vec()),
        ("one byte", vec![1]),
        ("bytes behind it", [good.clone(), vec![0]].concat()),
        ("a length that is not its own", long),
        ("another version", changed(0, 99)),
        ("an unknown kind", changed(1, 0xfe)),
        ("a frame of the other direction", ipc::encode(&ToChild::Ping(1)).unwrap()),
        ("descriptors that it has not", changed(2, 1)),
        ("noise", (0..=255).cycle().take(60_000).collect()),
    ];
    for (what, bytes) in cases {
        let (mut erluv, child) = ready();
        child.say_bytes(&bytes, &[]);
        child.wait_killed();
        let line = erluv.wait_log("child lost: it broke the protocol: ");
        assert!(line.contains("malformed"), "{what}: {line}");
        assert_eq!(erluv.terminate(), 0, "{what}");
    }
}

#[test]
fn s19_descriptors_with_a_frame_that_has_none_are_closed_and_the_end_of_child() {
    let (erluv, child) = ready();
    let before = proc::children(erluv.main_pid()).len();
    let null = std::fs::File::open("/dev/null").unwrap();
    let stop = ipc::encode(&ToMain::Stop(Stop { worker: WorkerId(2), grace: 0 })).unwrap();
    child.say_bytes(&stop, &[null.as_fd(); 8]);
    child.wait_killed();
    assert_eq!(before, 1);
    let held = || {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", erluv.main_pid())).unwrap();
        folder
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|to| to == Path::new("/dev/null"))
    };
    // Its stdin and stdout, and the one that it gives to workers.
    assert_eq!(held().count(), 3);
    lost(erluv, &child, "a frame with descriptors");
}

#[test]
fn s53_a_child_that_asks_and_never_reads_is_lost_and_main_stays_small() {
    let config = "[workers]\nmax = 10\nshell = false";
    let (erluv, child) = start(Daemon::alone().config(config), Path::new(FAKE));
    child.get_ready();
    let before = proc::rss_kib(erluv.main_pid());
    let refused = ipc::encode(&ToMain::Launch(launch(&["/no/such/program"]))).unwrap();
    for _ in 0..20_000 {
        child.say_bytes(&refused, &[]);
    }
    child.wait_killed();
    erluv.wait_log("frames wait for it");
    assert!(proc::rss_kib(erluv.main_pid()) < before + 8 * 1024);
    assert!(erluv.worker_pids().is_empty());
}

#[test]
fn s38_s57_numbers_that_name_no_worker_of_its_own_do_nothing() {
    let (mut erluv, child) = ready();
    child.say(&ToMain::Launch(launch(&["/bin/sleep", "1000"])));
    let Some(ToChild::Launched(launched)) = child.hear() else { panic!("not launched") };
    for worker in [0, 1, launched.worker.0 - 1, launched.worker.0 + 1, u64::from(launched.os_pid), u64::MAX] {
        if worker != launched.worker.0 {
            child.say(&ToMain::Signal(Signal { worker: WorkerId(worker), signal: 9 }));
            child.say(&ToMain::Stop(Stop { worker: WorkerId(worker), grace: 0 }));
        }
    }
    // S-40: none of the table.
    for signal in [0, 4, 11, 19 + 45, 255] {
        child.say(&ToMain::Signal(Signal { worker: launched.worker, signal }));
    }
    // Whatever came before it has been heard.
    let failed = child.fail(ipc::Launch { request: RequestId(8), ..launch(&["/no/such/program"]) });
    assert_eq!(failed.request, RequestId(8));
    assert_eq!(erluv.worker_pids(), [i32::try_from(launched.os_pid).unwrap()]);
    child.say(&ToMain::Stop(Stop { worker: launched.worker, grace: 0 }));
    assert!(matches!(child.hear(), Some(ToChild::Exited(exited)) if exited.worker == launched.worker));
    assert_eq!(erluv.terminate(), 0);
}
