//! Linux: calls that a confined erluv-child must not get anything from, for `--self-test` and for the tests of the
//! confinement. Each is whole, so that it would succeed, or nearly so, where nothing refused it, and harmless then.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_long};

/// One call.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What it is called in reports: of small letters, digits and dashes.
    pub(crate) name: &'static str,
    /// The number of the call.
    pub(crate) call: c_long,
    args: &'static [Arg],
}

/// An argument; those that are not named are 0, which is null where the call takes a pointer.
#[derive(Debug, Clone, Copy)]
enum Arg {
    Int(c_int),
    /// Of an unsigned type in the headers.
    Size(usize),
    Text(&'static CStr),
    /// A socket that is open.
    Socket,
    /// An address of IPv4, and its length.
    Address,
    AddressLength,
}

use Arg::{Address, AddressLength, Int, Size, Socket, Text};

static IPV4: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: 2,
    sin_port: 0x0900,
    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
    sin_zero: [0; 8],
};

const HERE: Arg = Int(libc::AT_FDCWD);
const EXEC: Arg = Int(libc::PROT_READ | libc::PROT_EXEC);

/// All of them.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    // Files.
    of("openat", libc::SYS_openat, &[HERE, Text(c"/")]),
    of("openat-etc-passwd", libc::SYS_openat, &[HERE, Text(c"/etc/passwd")]),
    of("openat-proc-self-mem", libc::SYS_openat, &[HERE, Text(c"/proc/self/mem"), Int(libc::O_RDWR)]),
    #[cfg(target_arch = "x86_64")]
    of("open", libc::SYS_open, &[Text(c"/")]),
    of("openat2", libc::SYS_openat2, &[HERE, Text(c"/"), Text(c""), Size(24)]),
    of("newfstatat", libc::SYS_newfstatat, &[HERE, Text(c"/")]),
    of("statx", libc::SYS_statx, &[HERE, Text(c"/")]),
    of("faccessat", libc::SYS_faccessat, &[HERE, Text(c"/")]),
    of("readlinkat", libc::SYS_readlinkat, &[HERE, Text(c"/")]),
    of("unlinkat", libc::SYS_unlinkat, &[HERE, Text(c"/x")]),
    of("mkdirat", libc::SYS_mkdirat, &[HERE, Text(c"/x"), Int(0o700)]),
    of("chroot", libc::SYS_chroot, &[Text(c"/")]),
    of("chdir", libc::SYS_chdir, &[Text(c"/")]),
    of("mount", libc::SYS_mount, &[Text(c"x"), Text(c"/"), Text(c"tmpfs")]),
    of("umount2", libc::SYS_umount2, &[Text(c"/"), Int(libc::MNT_DETACH)]),
    of("pivot-root", libc::SYS_pivot_root, &[Text(c"/"), Text(c"/")]),
    of("memfd-create", libc::SYS_memfd_create, &[Text(c"x")]),
    of("io-uring-setup", libc::SYS_io_uring_setup, &[Int(1)]),
    // The network.
    of("socket", libc::SYS_socket, &[Int(libc::AF_INET), Int(libc::SOCK_STREAM)]),
    of("socket-unix", libc::SYS_socket, &[Int(libc::AF_UNIX), Int(libc::SOCK_DGRAM)]),
    of("connect", libc::SYS_connect, &[Socket, Address, AddressLength]),
    of("bind", libc::SYS_bind, &[Socket, Address, AddressLength]),
    of("listen", libc::SYS_listen, &[Socket, Int(1)]),
    of("sendto-address", libc::SYS_sendto, &[Socket, Int(0), Int(0), Int(0), Address, AddressLength]),
    of("sendmsg-fast-open", libc::SYS_sendmsg, &[Socket, Int(0), Int(libc::MSG_FASTOPEN)]),
    of("getsockopt-tcp", libc::SYS_getsockopt, &[Socket, Int(libc::IPPROTO_TCP), Int(1)]),
    of("setsockopt", libc::SYS_setsockopt, &[Socket, Int(1), Int(2)]),
    // Processes.
    of("execve", libc::SYS_execve, &[Text(c"/bin/sh")]),
    of("execveat", libc::SYS_execveat, &[Int(0), Text(c""), Int(0), Int(0), Int(libc::AT_EMPTY_PATH)]),
    of("clone", libc::SYS_clone, &[Int(libc::SIGCHLD)]),
    of("clone3", libc::SYS_clone3, &[]),
    #[cfg(target_arch = "x86_64")]
    of("fork", libc::SYS_fork, &[]),
    of("kill", libc::SYS_kill, &[Int(1), Int(0)]),
    of("tgkill-other", libc::SYS_tgkill, &[Int(1), Int(1), Int(0)]),
    of("pidfd-open", libc::SYS_pidfd_open, &[Int(1)]),
    of("ptrace", libc::SYS_ptrace, &[Int(PTRACE_SEIZE), Int(1)]),
    of("process-vm-readv", libc::SYS_process_vm_readv, &[Int(1)]),
    // Privileges.
    of("setuid", libc::SYS_setuid, &[Int(0)]),
    of("setgid", libc::SYS_setgid, &[Int(0)]),
    of("setgroups", libc::SYS_setgroups, &[Int(0)]),
    of("unshare", libc::SYS_unshare, &[Int(libc::CLONE_NEWUSER)]),
    of("setns", libc::SYS_setns, &[Socket, Int(0)]),
    of("capset", libc::SYS_capset, &[]),
    of("prctl", libc::SYS_prctl, &[Int(libc::PR_SET_DUMPABLE), Int(1)]),
    of("prlimit", libc::SYS_prlimit64, &[]),
    of("seccomp", libc::SYS_seccomp, &[]),
    of("sigaction", libc::SYS_rt_sigaction, &[Int(libc::SIGSYS), Int(0), Int(0), Int(8)]),
    // The kernel.
    of("bpf", libc::SYS_bpf, &[]),
    of("keyctl", libc::SYS_keyctl, &[]),
    of("perf-event-open", libc::SYS_perf_event_open, &[]),
    of("userfaultfd", libc::SYS_userfaultfd, &[]),
    #[cfg(target_arch = "x86_64")]
    of("x32-getpid", 0x4000_0000 | libc::SYS_getpid, &[]),
    // Memory.
    of("mmap-exec", libc::SYS_mmap, &[Int(0), Int(4096), EXEC, PRIVATE_ANONYMOUS, Int(-1)]),
    of("mmap-file", libc::SYS_mmap, &[Int(0), Int(4096), Int(libc::PROT_READ), Int(libc::MAP_PRIVATE), Socket]),
    of("mprotect-exec", libc::SYS_mprotect, &[Int(0), Int(4096), EXEC]),
    // What is open.
    of("fcntl-setown", libc::SYS_fcntl, &[Socket, Int(libc::F_SETOWN), Int(1)]),
    of("ioctl-tiocsti", libc::SYS_ioctl, &[Int(0), Size(0x5412), Text(c"x")]),
    of("ioctl-tiocsctty", libc::SYS_ioctl, &[Int(0), Size(0x540e)]),
];

const PRIVATE_ANONYMOUS: Arg = Int(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

/// Attaches without stopping what is traced, ptrace(2).
const PTRACE_SEIZE: c_int = 0x4206;

const fn of(name: &'static str, call: c_long, args: &'static [Arg]) -> Attempt {
    Attempt { name, call, args }
}

/// Makes the call in this process. Where it forks, the new process is over at once.
///
/// # Errors
/// The errno of the call. Where a filter ends the process there is no return.
pub(crate) fn make(attempt: &Attempt, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut words = [0_usize; 6];
    for (word, arg) in words.iter_mut().zip(attempt.args) {
        *word = match arg {
            Int(number) => sign_extended(*number),
            Size(size) => *size,
            Text(text) => text.as_ptr().expose_provenance(),
            Socket => sign_extended(socket.as_raw_fd()),
            Address => (&raw const IPV4).expose_provenance(),
            AddressLength => size_of::<libc::sockaddr_in>(),
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: the table gives what each call takes, text and address live for ever, and where the kernel would write
    // there stands null.
    match unsafe { libc::syscall(attempt.call, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        0 if [libc::SYS_clone, FORK].contains(&attempt.call) => {
            // SAFETY: _exit takes a number and runs nothing of this process.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

#[cfg(target_arch = "x86_64")]
const FORK: c_long = libc::SYS_fork;
#[cfg(not(target_arch = "x86_64"))]
const FORK: c_long = libc::SYS_clone;

/// As the C library does: the sign goes into the upper half.
fn sign_extended(number: c_int) -> usize {
    // The same bits in another type; of 32 bits or more on all processors that Linux is built for.
    isize::try_from(number).unwrap_or_default().cast_unsigned()
}
