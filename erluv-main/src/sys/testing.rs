//! For tests that make processes: `fork` wants a process with one thread, and `wait4(-1)` one without other children.
//! [`alone`] gives a test both: it executes the test program again for this one test, and forks there.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

/// Set in the process that was executed for one test.
const MARK: &str = "ERLUV_TEST_ALONE";

/// A test that hangs ends here.
const SECONDS: u32 = 60;

/// Runs the body of the test that calls this in a process of its own with one thread, and fails as it fails. Signals
/// are as a starter could leave them, standard descriptors are `/dev/null` but for stderr.
pub(crate) fn alone(body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return forked(body);
    }
    let test = std::thread::current().name().expect("a test's thread has the test's name").to_owned();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test} in its own process:\n{said}");
}

/// As [`alone`], for root only; others are told that the test was skipped.
pub(crate) fn alone_as_root(body: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        alone(body);
    } else {
        println!("skipped: needs root");
    }
}

/// Runs a body in a process that is forked from this one, and fails as it fails.
pub(crate) fn forked(body: impl FnOnce()) {
    // SAFETY: the only other thread of this process waits for this one, and holds no lock meanwhile.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: alarm takes a number.
            unsafe { libc::alarm(SECONDS) };
            let passed = catch_unwind(AssertUnwindSafe(body)).is_ok();
            let _ = std::io::stderr().flush();
            // SAFETY: _exit takes a number.
            unsafe { libc::_exit(if passed { 0 } else { 1 }) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: the place is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "wait status of the test's process");
        }
    }
}

/// Forks a main, lets it start something and say what, and kills it by SIGKILL. What it leaves behind becomes the
/// caller's children.
pub(crate) fn killed_main(start: impl FnOnce() -> String) -> String {
    rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT)).unwrap();
    let (mut answer, mut tell) = std::io::pipe().unwrap();
    match super::os::fork(None).unwrap() {
        super::Forked::Child { .. } => {
            tell.write_all(start().as_bytes()).unwrap();
            drop(tell);
            loop {
                nix::unistd::pause();
            }
        }
        super::Forked::Parent(main) => {
            drop(tell);
            let mut said = String::new();
            answer.read_to_string(&mut said).unwrap();
            main.signal(libc::SIGKILL).unwrap();
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(main.pid), None).unwrap();
            said
        }
    }
}

/// Descriptors as a careless starter leaves them: open, high and low, and not close-on-exec.
pub(super) fn leave_strays() {
    for _ in 0..20 {
        let fd = fs::File::open("/dev/zero").unwrap().into_raw_fd();
        // SAFETY: fcntl takes numbers for this command.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
    // SAFETY: dup2 takes numbers.
    unsafe { libc::dup2(1, 900) };
}
