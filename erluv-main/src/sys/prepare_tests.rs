//! What main is after its preparation, whatever it was before. Each test runs in a process of its own with one thread.

use std::fs;
use std::os::fd::IntoRawFd;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use super::testing::{alone, alone_as_root};
use super::{PrepareError, prepare_process};
use crate::workers::bench::{NOBODY, descriptors, field};

fn own_descriptors() -> Vec<(i32, String)> {
    descriptors(i32::try_from(std::process::id()).unwrap())
}

#[test]
fn s17_standard_descriptors_are_open_and_s15_no_others_are() {
    alone(|| {
        for _ in 0..20 {
            assert!(fs::File::open("/dev/zero").unwrap().into_raw_fd() > 2);
        }
        for fd in [0, 1] {
            // SAFETY: close takes a number.
            unsafe { libc::close(fd) };
        }
        prepare_process().unwrap();
        let list = own_descriptors();
        assert_eq!(list[..2], [0, 1].map(|number| (number, "/dev/null".to_owned())));
        // The last is the one that looks.
        assert_eq!(list.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    });
}

#[test]
fn s27_the_environment_is_handed_over_once_and_then_gone() {
    alone(|| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("LD_PRELOAD", "/tmp/evil.so") };
        let prepared = prepare_process().unwrap();
        assert!(prepared.environment.iter().any(|(name, value)| name == "LD_PRELOAD" && value == "/tmp/evil.so"));
        let left: Vec<_> = std::env::vars().collect();
        assert_eq!(left, [("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]);
    });
}

#[test]
fn the_socket_of_the_service_manager_is_kept_for_the_word_that_main_is_ready() {
    alone(|| {
        let socket = ("NOTIFY_SOCKET".to_owned(), "/run/systemd/notify".to_owned());
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(&socket.0, &socket.1) };
        prepare_process().unwrap();
        let mut left: Vec<_> = std::env::vars().collect();
        left.sort();
        assert_eq!(left, [socket, ("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]);
    });
}

#[test]
fn s29_main_takes_sigchld_back_and_ignores_sigpipe_only() {
    alone(|| {
        for ignored in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: to ignore a signal runs no code.
            unsafe { signal(ignored, SigHandler::SigIgn) }.unwrap();
        }
        SigSet::all().thread_block().unwrap();
        prepare_process().unwrap();
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(field(&own, "SigIgn"), format!("{:016x}", 1 << (libc::SIGPIPE - 1)));
        assert_eq!(field(&own, "SigBlk"), "0000000000000000");
        assert_eq!(field(&own, "Umask"), "0077");
    });
}

#[test]
fn s36_s76_main_is_not_dumpable_and_leaves_no_core() {
    alone(|| {
        let limit = |name: &str| {
            let text = fs::read_to_string("/proc/self/limits").unwrap();
            let row = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            row.split_ascii_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = limit("Max open files");
        let prepared = prepare_process().unwrap();
        assert_eq!(limit("Max core file size"), ["0", "0"]);
        assert_eq!(prepared.descriptors.0.to_string(), before[0]);
        let after = limit("Max open files");
        assert_eq!(after, [before[1].clone(), before[1].clone()]);
        // SAFETY: this option takes nothing.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        assert!(rustix::process::child_subreaper().unwrap().is_some(), "orphans come to main");
    });
}

#[test]
fn s71_set_uid_and_set_gid_are_refused() {
    alone_as_root(|| {
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(Gid::from_raw(NOBODY), root.1, root.1).unwrap();
        assert!(matches!(prepare_process(), Err(PrepareError::SetId)));
        setresgid(root.1, root.1, root.1).unwrap();
        setresuid(Uid::from_raw(NOBODY), root.0, root.0).unwrap();
        assert!(matches!(prepare_process(), Err(PrepareError::SetId)));
    });
}
