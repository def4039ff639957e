//! Putting the filter of system calls in force, seccomp(2).

use libc::c_int;
use seccompiler::{BpfProgram, sock_filter};

use crate::sys::forked::Called;
use crate::sys::os::{called, control};

const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;

/// What a process with a filter is told of itself, PR_GET_SECCOMP.
const SECCOMP_MODE_FILTER: c_int = 2;

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: libc::c_ushort,
    first: *const sock_filter,
}

/// For good, and for all that the process executes. Without no_new_privs it needs CAP_SYS_ADMIN.
pub(in crate::sys) fn load_filter(filter: Option<&BpfProgram>) -> Called {
    let Some(filter) = filter else { return Ok(()) };
    let length = libc::c_ushort::try_from(filter.len()).map_err(|_| libc::E2BIG)?;
    let program = Program { length, first: filter.as_ptr() };
    // SAFETY: the struct is the kernel's, and the instructions that it points to live for as long as the filter.
    called(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0_i64, &raw const program) })
}

/// Nothing where a filter is in force for this process, else `EPERM`. In a container that may be its own.
pub(super) fn is_filtered() -> Called {
    if control(libc::PR_GET_SECCOMP, 0, 0)? == SECCOMP_MODE_FILTER { Ok(()) } else { Err(libc::EPERM) }
}

/// Whether the kernel knows filters: it refuses a null pointer with EFAULT.
pub(super) fn has_filters() -> bool {
    let mode: c_int = libc::PR_GET_SECCOMP;
    // SAFETY: this option takes nothing.
    let own = unsafe { libc::prctl(mode) };
    let nothing = std::ptr::null::<Program>();
    // SAFETY: the kernel reads a program from the address, and there is none.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0_i64, nothing) };
    own >= 0 && result == -1 && crate::sys::forked::errno() == libc::EFAULT
}
