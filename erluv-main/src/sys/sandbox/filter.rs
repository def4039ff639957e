//! Putting the filter of system calls in force, seccomp(2).

use libc::c_int;
use seccompiler::{BpfProgram, sock_filter};

use crate::sys::call::{address, call, control};
use crate::sys::forked::Called;

const SECCOMP_SET_MODE_FILTER: usize = 1;

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
    unsafe { call(libc::SYS_seccomp, [SECCOMP_SET_MODE_FILTER, 0, address(&program)]) }.map(|_| ())
}

/// Nothing where a filter is in force for this process, else `EPERM`. In a container that may be its own.
pub(super) fn is_filtered() -> Called {
    if control(libc::PR_GET_SECCOMP, 0, 0)? == SECCOMP_MODE_FILTER { Ok(()) } else { Err(libc::EPERM) }
}

/// Whether the kernel knows filters: it refuses a null pointer with EFAULT.
pub(super) fn has_filters() -> bool {
    let nothing = 0;
    // SAFETY: the kernel reads a program from the address, and there is none.
    let result = unsafe { call(libc::SYS_seccomp, [SECCOMP_SET_MODE_FILTER, 0, nothing]) };
    control(libc::PR_GET_SECCOMP, 0, 0).is_ok() && result == Err(libc::EFAULT)
}
