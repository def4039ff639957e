//! What erluv-child is when it is executed, seen from outside. Each test runs in a process of its own with one thread.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::spawn_half;
use super::testing::{alone_as_root, killed_main, leave_strays};
use crate::workers::bench::{descriptors, field, until_asleep};

#[test]
fn a_half_outlives_main_to_kill_its_workers() {
    alone_as_root(|| {
        let argv = ["/bin/sleep", "1000"].map(|text| CString::new(text).unwrap());
        let half = killed_main(|| spawn_half(c"/bin/sleep", &argv, &[]).unwrap().pid.to_string());
        let half = Pid::from_raw(half.parse().unwrap());
        assert_eq!(kill(half, None), Ok(()));
        kill(half, Signal::SIGKILL).unwrap();
    });
}

#[test]
fn s15_a_half_has_exactly_what_it_is_given() {
    alone_as_root(|| {
        leave_strays();
        let (read, write) = io::pipe().unwrap();
        let argv = ["erluv-child", "1000"].map(|text| CString::new(text).unwrap());
        // Not in order, on purpose.
        let half = spawn_half(c"/bin/sleep", &argv, &[(write.as_fd(), 4), (read.as_fd(), 3)]).unwrap();
        until_asleep(half.pid);
        let list = descriptors(half.pid);
        assert_eq!(list[..3], [0, 1, 2].map(|number| (number, "/dev/null".to_owned())));
        assert_eq!(list.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (place, mode) in [(3, libc::O_RDONLY), (4, libc::O_WRONLY)] {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{place}", half.pid)).unwrap();
            let flags = i32::from_str_radix(field(&info, "flags"), 8).unwrap();
            assert_eq!(flags & (libc::O_ACCMODE | libc::O_CLOEXEC), mode);
        }
        assert_eq!(fs::read(format!("/proc/{}/environ", half.pid)).unwrap(), b"");
        let stat = fs::read_to_string(format!("/proc/{}/stat", half.pid)).unwrap();
        assert_eq!(stat.split_ascii_whitespace().nth(5).unwrap(), half.pid.to_string());
        half.signal(libc::SIGKILL).unwrap();
        let gap = spawn_half(c"/bin/sleep", &argv, &[(read.as_fd(), 4)]).unwrap_err();
        assert_eq!(gap.raw_os_error(), Some(libc::EINVAL));
        let missing = spawn_half(c"/nonexistent/erluv-child", &argv, &[]).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    });
}
