//! System calls that leave errno alone, and any other thread-local memory: what is between fork and exec may be in main's
//! memory, where that is main's, and of all others that are there.
//!
//! For the same reason that code calls nothing of the C library. What rustix offers in a form that fits is called there:
//! on Linux that makes its calls itself, too.

use libc::{c_int, c_long};

use super::forked::Called;

/// A number as an argument; a negative one stays so.
pub(super) fn word(number: c_int) -> usize {
    (number as isize).cast_unsigned()
}

/// The address of what is read.
pub(super) fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<u8>().expose_provenance()
}

/// A system call by its number, of arguments as the kernel takes them in its registers; those that are not given are 0.
///
/// # Safety
/// An address that the call reads or writes is one of memory that may be read or written there for its length.
pub(super) unsafe fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Called<usize> {
    const { assert!(N <= 6, "no call has more") };
    let mut all = [0; 6];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = argument;
    }
    // SAFETY: as the caller's.
    unsafe { made(number, all) }
}

#[cfg(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "loongarch64"
))]
unsafe fn made(number: c_long, [first, second, third, fourth, fifth, sixth]: [usize; 6]) -> Called<usize> {
    let number = usize::try_from(number).map_err(|_| libc::ENOSYS)?;
    // SAFETY: as the caller's.
    let result = unsafe { syscalls::raw::syscall6(number, first, second, third, fourth, fifth, sixth) };
    syscalls::Errno::from_ret(result).map_err(syscalls::Errno::into_raw)
}

/// Where nothing is made in main's memory, and the process that was forked has an errno of its own.
#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "loongarch64"
)))]
unsafe fn made(number: c_long, [first, second, third, fourth, fifth, sixth]: [usize; 6]) -> Called<usize> {
    // SAFETY: as the caller's.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    usize::try_from(result).map_err(|_| super::errno())
}

/// As [`call`], of a call that answers with a descriptor.
///
/// # Safety
/// As for [`call`].
pub(super) unsafe fn descriptor<const N: usize>(number: c_long, arguments: [usize; N]) -> Called<c_int> {
    // SAFETY: as the caller's.
    let fd = unsafe { call(number, arguments) }?;
    c_int::try_from(fd).map_err(|_| libc::EOVERFLOW)
}

/// prctl(2), for the options that take numbers.
pub(super) fn control(option: c_int, argument: c_int, second: c_int) -> Called<c_int> {
    // SAFETY: the options used here take numbers only.
    let answer = unsafe { call(libc::SYS_prctl, [word(option), word(argument), word(second)]) }?;
    c_int::try_from(answer).map_err(|_| libc::EOVERFLOW)
}

/// Ends this process, and runs nothing of it.
pub(super) fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: exit_group takes a number.
        let _: Called<usize> = unsafe { call(libc::SYS_exit_group, [word(status)]) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_tells_its_error_and_leaves_errno_alone() {
        const UNTOUCHED: c_int = 9999;
        // SAFETY: the function takes nothing and tells where this thread's errno is.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: the place is this thread's.
        unsafe { *errno = UNTOUCHED };
        // SAFETY: close takes a number.
        assert_eq!(unsafe { call(libc::SYS_close, [word(-1)]) }, Err(libc::EBADF));
        let (folder, path) = (word(libc::AT_FDCWD), address(c"/no/such/file"));
        // SAFETY: the path ends with NUL.
        assert_eq!(unsafe { descriptor(libc::SYS_openat, [folder, path, 0, 0]) }, Err(libc::ENOENT));
        assert_eq!(control(-1, 0, 0), Err(libc::EINVAL));
        assert_eq!(rustix::process::chdir(c"/no/such/folder"), Err(rustix::io::Errno::NOENT));
        // SAFETY: the place is this thread's.
        assert_eq!(unsafe { *errno }, UNTOUCHED);
    }

    #[test]
    fn all_six_arguments_come_to_the_kernel_in_their_order() {
        let mut file = std::fs::File::options();
        let path = std::env::temp_dir().join(format!("erluv-call-{}", std::process::id()));
        let file = file.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"0123456789", 0).unwrap();
        let fd = word(std::os::fd::AsRawFd::as_raw_fd(&file));
        let (mut from, mut to) = (2_i64, 20_i64);
        let places = [&raw mut from, &raw mut to].map(<*mut i64>::expose_provenance);
        // SAFETY: both places are ours.
        let copied = unsafe { call(libc::SYS_copy_file_range, [fd, places[0], fd, places[1], 3, 0]) };
        assert_eq!((copied, from, to), (Ok(3), 5, 23));
        // SAFETY: as above; there are no flags yet.
        let refused = unsafe { call(libc::SYS_copy_file_range, [fd, places[0], fd, places[1], 3, 1]) };
        assert_eq!(refused, Err(libc::EINVAL));
    }
}
