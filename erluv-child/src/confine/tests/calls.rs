//! Calls that child must not make, each tried in a process of its own: with the filter, and without it on the layers
//! beneath.

use nix::errno::Errno;

use super::*;

/// A call by its name here, its number and its arguments.
type Call = (&'static str, c_long, [usize; 6]);

fn number(value: i32) -> usize {
    // As the C library does: the sign goes into the upper half.
    i64::from(value).cast_unsigned().try_into().unwrap()
}

fn address<T: ?Sized>(of: &'static T) -> usize {
    (&raw const *of).cast::<u8>().addr()
}

static IPV4: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: 2,
    sin_port: 0x0900,
    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
    sin_zero: [0; 8],
};

/// The descriptor that [`after`] has ready for the calls that need a socket.
const SOCKET: usize = 9;

/// What ends the process.
fn fatal() -> Vec<Call> {
    let exec = number(libc::PROT_READ | libc::PROT_EXEC);
    let private = number(libc::MAP_PRIVATE);
    let anonymous = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    vec![
        ("socket", libc::SYS_socket, [number(libc::AF_INET), number(libc::SOCK_STREAM), 0, 0, 0, 0]),
        ("socket-unix", libc::SYS_socket, [number(libc::AF_UNIX), number(libc::SOCK_DGRAM), 0, 0, 0, 0]),
        ("connect", libc::SYS_connect, [SOCKET, address(&IPV4), 16, 0, 0, 0]),
        ("bind", libc::SYS_bind, [SOCKET, address(&IPV4), 16, 0, 0, 0]),
        ("sendto-address", libc::SYS_sendto, [SOCKET, 0, 0, 0, address(&IPV4), 16]),
        ("sendmsg-fast-open", libc::SYS_sendmsg, [SOCKET, 0, number(libc::MSG_FASTOPEN), 0, 0, 0]),
        ("getsockopt-tcp", libc::SYS_getsockopt, [SOCKET, number(libc::IPPROTO_TCP), 1, 0, 0, 0]),
        ("setsockopt", libc::SYS_setsockopt, [SOCKET, 1, 2, 0, 0, 0]),
        ("execve", libc::SYS_execve, [address(c"/bin/sh"), 0, 0, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [0, address(c""), 0, 0, number(libc::AT_EMPTY_PATH), 0]),
        ("clone", libc::SYS_clone, [number(libc::SIGCHLD), 0, 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 6]),
        #[cfg(target_arch = "x86_64")]
        ("fork", libc::SYS_fork, [0; 6]),
        #[cfg(target_arch = "x86_64")]
        ("x32-getpid", 0x4000_0000 | libc::SYS_getpid, [0; 6]),
        ("kill", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
        ("tgkill-other", libc::SYS_tgkill, [1, 1, number(libc::SIGABRT), 0, 0, 0]),
        ("pidfd-open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [number(libc::PTRACE_ATTACH.cast_signed()), 1, 0, 0, 0, 0]),
        ("process-vm-readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [address(c"/"), 0, 0, 0, 0, 0]),
        ("chdir", libc::SYS_chdir, [address(c"/"), 0, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [address(c"x"), address(c"/"), address(c"tmpfs"), 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [0; 6]),
        ("setuid", libc::SYS_setuid, [0; 6]),
        ("setgid", libc::SYS_setgid, [0; 6]),
        ("setgroups", libc::SYS_setgroups, [0; 6]),
        ("prctl", libc::SYS_prctl, [number(libc::PR_SET_DUMPABLE), 1, 0, 0, 0, 0]),
        ("prlimit", libc::SYS_prlimit64, [0; 6]),
        ("seccomp", libc::SYS_seccomp, [0; 6]),
        ("bpf", libc::SYS_bpf, [0; 6]),
        ("io-uring-setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        ("memfd-create", libc::SYS_memfd_create, [address(c"x"), 0, 0, 0, 0, 0]),
        ("mmap-exec", libc::SYS_mmap, [0, 4096, exec, anonymous, usize::MAX, 0]),
        ("mmap-file", libc::SYS_mmap, [0, 4096, 1, private, SOCKET, 0]),
        ("mprotect-exec", libc::SYS_mprotect, [0, 4096, exec, 0, 0, 0]),
        ("fcntl-setown", libc::SYS_fcntl, [SOCKET, number(libc::F_SETOWN), 1, 0, 0, 0]),
        ("ioctl-tiocsti", libc::SYS_ioctl, [0, 0x5412, address(c"x"), 0, 0, 0]),
        ("ioctl-tiocsctty", libc::SYS_ioctl, [0, 0x540e, 0, 0, 0, 0]),
        ("openat2", libc::SYS_openat2, [0; 6]),
        ("unlinkat", libc::SYS_unlinkat, [number(libc::AT_FDCWD), address(c"/x"), 0, 0, 0, 0]),
        ("sigaction", libc::SYS_rt_sigaction, [number(libc::SIGSYS), 0, 0, 8, 0, 0]),
    ]
}

/// What is answered with EACCES.
fn refused() -> Vec<Call> {
    let here = number(libc::AT_FDCWD);
    let path = address(c"/");
    vec![
        ("openat", libc::SYS_openat, [here, path, 0, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        ("open", libc::SYS_open, [path, 0, 0, 0, 0, 0]),
        ("newfstatat", libc::SYS_newfstatat, [here, path, 0, 0, 0, 0]),
        ("statx", libc::SYS_statx, [here, path, 0, 0, 0, 0]),
        ("faccessat", libc::SYS_faccessat, [here, path, 0, 0, 0, 0]),
        ("readlinkat", libc::SYS_readlinkat, [here, path, 0, 0, 0, 0]),
    ]
}

/// What the layers beneath the filter answer, where they answer at all.
fn beneath() -> Vec<(&'static str, Errno)> {
    vec![
        ("openat", Errno::EACCES),
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
    let (_, call, args) = fatal().into_iter().chain(refused()).find(|call| call.0 == name).unwrap();
    #[allow(unsafe_code, reason = "a test of what the kernel refuses")]
    // SAFETY: the tables above give what the calls take; null stands where a pointer would be written through.
    let result = unsafe { sys::raw_call(call, args) };
    let errno = result.map_or_else(|error| Errno::from_raw(error.raw_os_error().unwrap()), |_| Errno::UnknownErrno);
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
    for (name, ..) in fatal() {
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
    for (name, ..) in refused() {
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
