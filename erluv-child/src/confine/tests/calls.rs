//! Calls that child must not make, each tried in a process of its own: with the filter, and without it on the layers
//! beneath.

use nix::errno::Errno;

use super::*;
use crate::sys::attempts::{self, ATTEMPTS, Attempt};

/// The descriptor that [`after`] has ready for the calls that need a socket.
const SOCKET: i32 = 9;

/// Whether the filter answers it with EACCES instead of ending the process.
fn is_probe(attempt: &&Attempt) -> bool {
    syscalls::PROBES.contains(&attempt.call)
}

/// What the layers beneath the filter answer, where they answer at all.
fn beneath() -> Vec<(&'static str, Errno)> {
    vec![
        ("openat", Errno::EACCES),
        ("openat-etc-passwd", Errno::ENOENT),
        ("connect", Errno::EACCES),
        ("bind", Errno::EACCES),
        ("execve", Errno::ENOENT),
        ("clone", Errno::EAGAIN),
        ("kill", Errno::EPERM),
        ("ptrace", Errno::EPERM),
        ("chroot", Errno::EPERM),
        ("mount", Errno::EPERM),
        ("setuid", Errno::EPERM),
        ("setgid", Errno::EPERM),
        ("setgroups", Errno::EPERM),
    ]
}

/// Makes the call of a name in this process, which is confined by now, and prints its errno.
pub(super) fn after(confined: Result<(), ConfineError>, name: &str) {
    confined.unwrap();
    let attempt = ATTEMPTS.iter().find(|attempt| attempt.name == name).unwrap();
    #[allow(unsafe_code, reason = "a test takes the descriptor that its parent has placed")]
    // SAFETY: `tried` has placed a socket there, and nobody closes it; those that need none do not look at it.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(SOCKET) };
    let result = attempts::make(attempt, socket);
    let errno = result.map_or_else(|error| Errno::from_raw(error.raw_os_error().unwrap()), |()| Errno::UnknownErrno);
    println!("\n{name}: {errno:?}");
}

/// Runs the action for a call, with an unconnected TCP socket at [`SOCKET`].
fn tried(action: &str, name: &str, folder: &Folder) -> Output {
    // Close-on-exec: a test beside this one looks which descriptors its own process has.
    let (family, flags) = (rustix::net::AddressFamily::INET, rustix::net::SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
    let program = alone(INSIDE, &format!("{action} {name}"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$@\" 9<&0 </dev/null", "sh"]).arg(program.get_program()).args(program.get_args());
    command.env_clear().env(ACTION, format!("{action} {name}")).env("FOLDER", &folder.0);
    command.stdin(socket).output().unwrap()
}

#[test]
fn s73_what_child_must_not_do_ends_it() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    for Attempt { name, .. } in ATTEMPTS.iter().filter(|attempt| !is_probe(attempt)) {
        let output = tried("call", name, &folder);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{name}: {output:?}");
    }
}

#[test]
fn s73_a_look_at_files_is_refused_and_harmless() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    let probes = ATTEMPTS.iter().filter(is_probe).collect::<Vec<_>>();
    assert!(probes.len() > 5);
    for Attempt { name, .. } in probes {
        let output = tried("call", name, &folder);
        assert_eq!(told(&output, &format!("{name}:")), Some("EACCES".into()), "{name}: {output:?}");
    }
}

#[test]
fn s73_the_layers_beneath_the_filter_refuse_too() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    for (name, errno) in beneath() {
        let output = tried("beneath", name, &folder);
        assert_eq!(told(&output, &format!("{name}:")), Some(format!("{errno:?}")), "{name}: {output:?}");
    }
}
