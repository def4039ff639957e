//! The calls of the new mount API (Linux 5.12 for all of them), each as the kernel has it. Everything is mounted by
//! descriptors of what was opened once, so that no path is looked up twice. mount_setattr(2), open_tree(2).

use std::ffi::CStr;

use libc::{c_int, c_long};

use crate::sys::forked::{Called, check};
use crate::sys::os::called;

/// Attributes of mounts, mount_setattr(2).
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;

const AT_EMPTY_PATH: c_int = libc::AT_EMPTY_PATH;
const OPEN_TREE_CLONE: c_int = 1;
const MOVE_MOUNT_EMPTY_PATHS: c_long = 0x4 | 0x40;
const FSOPEN_CLOEXEC: c_long = 1;
const FSMOUNT_CLOEXEC: c_long = 1;
const FSCONFIG_SET_STRING: c_long = 1;
const FSCONFIG_CMD_CREATE: c_long = 6;

/// The kernel's `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    users: u64,
}

fn descriptor(result: c_long) -> Called<c_int> {
    check(c_int::try_from(result).map_err(|_| libc::EOVERFLOW)?)
}

/// What a path names, not opened for anything. With `links`, symbolic links are followed; /proc's magic ones never.
pub(super) fn open_place(path: &CStr, links: bool) -> Called<c_int> {
    let flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).unsigned_abs());
    let resolve = libc::RESOLVE_NO_MAGICLINKS | if links { 0 } else { libc::RESOLVE_NO_SYMLINKS };
    let how = OpenHow { flags, mode: 0, resolve };
    let (folder, size) = (c_long::from(libc::AT_FDCWD), size_of::<OpenHow>());
    // SAFETY: the path ends with NUL, and the struct is the kernel's.
    descriptor(unsafe { libc::syscall(libc::SYS_openat2, folder, path.as_ptr(), &raw const how, size) })
}

/// A copy of the mount at an open place, with all below it where `recursive`, attached nowhere.
pub(super) fn copy_mount(place: c_int, recursive: bool) -> Called<c_int> {
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = c_long::from(OPEN_TREE_CLONE | libc::O_CLOEXEC | AT_EMPTY_PATH | below);
    // SAFETY: the path is empty and ends with NUL.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, c_long::from(place), c"".as_ptr(), flags) })
}

/// Attaches a mount to an open place.
pub(super) fn attach(mount: c_int, place: c_int) -> Called {
    let (mount, place, empty) = (c_long::from(mount), c_long::from(place), c"".as_ptr());
    // SAFETY: both paths are empty and end with NUL.
    called(unsafe { libc::syscall(libc::SYS_move_mount, mount, empty, place, empty, MOVE_MOUNT_EMPTY_PATHS) })
}

/// Adds attributes to an open mount, with all below it where `recursive`.
pub(super) fn add_attributes(mount: c_int, set: u64, recursive: bool) -> Called {
    set_mount(mount, recursive, &MountAttributes { set, clear: 0, propagation: 0, users: 0 })
}

/// No mount goes from here to the host, and none comes from there.
pub(super) fn make_private(mount: c_int) -> Called {
    let propagation = libc::MS_PRIVATE;
    set_mount(mount, true, &MountAttributes { set: 0, clear: 0, propagation, users: 0 })
}

fn set_mount(mount: c_int, recursive: bool, attributes: &MountAttributes) -> Called {
    let flags = c_long::from(AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 });
    let (mount, size) = (c_long::from(mount), size_of::<MountAttributes>());
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: the path is empty and ends with NUL, and the struct is the kernel's.
    called(unsafe { libc::syscall(libc::SYS_mount_setattr, mount, c"".as_ptr(), flags, attributes, size) })
}

/// A new file system with options, mounted nowhere.
pub(super) fn new_mount<T: AsRef<CStr>>(kind: &CStr, options: &[(&CStr, T)], attributes: u64) -> Called<c_int> {
    // SAFETY: the kind ends with NUL.
    let fs = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (name, value) in options {
        configure(fs, FSCONFIG_SET_STRING, name.as_ptr(), value.as_ref().as_ptr())?;
    }
    configure(fs, FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    let attributes = c_long::try_from(attributes).map_err(|_| libc::EINVAL)?;
    // SAFETY: fsmount takes numbers.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, c_long::from(fs), FSMOUNT_CLOEXEC, attributes) };
    let mount = descriptor(mount);
    super::landlock::close(fs)?;
    mount
}

fn configure(fs: c_int, command: c_long, name: *const libc::c_char, value: *const libc::c_char) -> Called {
    // SAFETY: both texts are null or end with NUL, as the command has it.
    called(unsafe { libc::syscall(libc::SYS_fsconfig, c_long::from(fs), command, name, value, 0_i64) })
}

/// An open mount becomes the root, and nothing of the one before is left. pivot_root(2), under "pivot_root(".", ".")".
pub(super) fn enter(root: c_int) -> Called {
    // SAFETY: fchdir takes a number.
    check(unsafe { libc::fchdir(root) })?;
    let here = c".".as_ptr();
    // SAFETY: both paths end with NUL.
    called(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })?;
    // SAFETY: the path ends with NUL.
    check(unsafe { libc::umount2(here, libc::MNT_DETACH) })?;
    // SAFETY: the path ends with NUL.
    check(unsafe { libc::chdir(c"/".as_ptr()) }).map(|_| ())
}

/// A folder of exactly this mode. One that is there stays as it is.
pub(super) fn make_folder(path: &CStr, mode: libc::mode_t) -> Called {
    // SAFETY: the path ends with NUL.
    match check(unsafe { libc::mkdir(path.as_ptr(), mode) }) {
        Err(libc::EEXIST) => return Ok(()),
        answer => answer?,
    };
    // The umask is the worker's by now.
    // SAFETY: the path ends with NUL.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }).map(|_| ())
}

/// An empty file to mount on. One that is there stays as it is.
pub(super) fn make_file(path: &CStr) -> Called {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    let mode: libc::c_uint = 0o444;
    // SAFETY: the path ends with NUL.
    match check(unsafe { libc::open(path.as_ptr(), flags, mode) }) {
        Err(libc::EEXIST) => Ok(()),
        fd => super::landlock::close(fd?),
    }
}

/// A symbolic link.
pub(super) fn make_link(path: &CStr, to: &CStr) -> Called {
    // SAFETY: both paths end with NUL.
    check(unsafe { libc::symlink(to.as_ptr(), path.as_ptr()) }).map(|_| ())
}
