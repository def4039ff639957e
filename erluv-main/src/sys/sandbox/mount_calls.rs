//! The calls of the new mount API (Linux 5.12 for all of them), each as the kernel has it. Everything is mounted by
//! descriptors of what was opened once, so that no path is looked up twice. mount_setattr(2), open_tree(2).

use std::ffi::CStr;

use libc::c_int;
use rustix::fs::{Mode, chmod, mkdir, symlink};
use rustix::io::Errno;

use crate::sys::call::{address, call, descriptor, word};
use crate::sys::forked::{Called, borrowed, close, open};

/// Attributes of mounts, mount_setattr(2).
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;

const AT_EMPTY_PATH: c_int = libc::AT_EMPTY_PATH;
const OPEN_TREE_CLONE: c_int = 1;
const MOVE_MOUNT_EMPTY_PATHS: usize = 0x4 | 0x40;
const FSOPEN_CLOEXEC: usize = 1;
const FSMOUNT_CLOEXEC: usize = 1;
const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;

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

/// What a path names, not opened for anything. With `links`, symbolic links are followed; /proc's magic ones never.
pub(super) fn open_place(path: &CStr, links: bool) -> Called<c_int> {
    let flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).unsigned_abs());
    let resolve = libc::RESOLVE_NO_MAGICLINKS | if links { 0 } else { libc::RESOLVE_NO_SYMLINKS };
    let how = OpenHow { flags, mode: 0, resolve };
    let (folder, size) = (word(libc::AT_FDCWD), size_of::<OpenHow>());
    // SAFETY: the path ends with NUL, and the struct is the kernel's.
    unsafe { descriptor(libc::SYS_openat2, [folder, address(path), address(&how), size]) }
}

/// A copy of the mount at an open place, with all below it where `recursive`, attached nowhere.
pub(super) fn copy_mount(place: c_int, recursive: bool) -> Called<c_int> {
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = word(OPEN_TREE_CLONE | libc::O_CLOEXEC | AT_EMPTY_PATH | below);
    // SAFETY: the path is empty and ends with NUL.
    unsafe { descriptor(libc::SYS_open_tree, [word(place), address(c""), flags]) }
}

/// Attaches a mount to an open place.
pub(super) fn attach(mount: c_int, place: c_int) -> Called {
    let (mount, place, empty) = (word(mount), word(place), address(c""));
    // SAFETY: both paths are empty and end with NUL.
    unsafe { call(libc::SYS_move_mount, [mount, empty, place, empty, MOVE_MOUNT_EMPTY_PATHS]) }.map(|_| ())
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
    let flags = word(AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 });
    let size = size_of::<MountAttributes>();
    // SAFETY: the path is empty and ends with NUL, and the struct is the kernel's.
    unsafe { call(libc::SYS_mount_setattr, [word(mount), address(c""), flags, address(attributes), size]) }.map(|_| ())
}

/// A new file system with options, mounted nowhere.
pub(super) fn new_mount<T: AsRef<CStr>>(kind: &CStr, options: &[(&CStr, T)], attributes: u64) -> Called<c_int> {
    // SAFETY: the kind ends with NUL.
    let fs = unsafe { descriptor(libc::SYS_fsopen, [address(kind), FSOPEN_CLOEXEC]) }?;
    for (name, value) in options {
        configure(fs, FSCONFIG_SET_STRING, Some((name, value.as_ref())))?;
    }
    configure(fs, FSCONFIG_CMD_CREATE, None)?;
    let attributes = usize::try_from(attributes).map_err(|_| libc::EINVAL)?;
    // SAFETY: fsmount takes numbers.
    let mount = unsafe { descriptor(libc::SYS_fsmount, [word(fs), FSMOUNT_CLOEXEC, attributes]) };
    close(fs)?;
    mount
}

fn configure(fs: c_int, command: usize, option: Option<(&CStr, &CStr)>) -> Called {
    let (name, value) = option.map_or((0, 0), |(name, value)| (address(name), address(value)));
    // SAFETY: both texts are null or end with NUL, as the command has it.
    unsafe { call(libc::SYS_fsconfig, [word(fs), command, name, value, 0]) }.map(|_| ())
}

/// An open mount becomes the root, and nothing of the one before is left. pivot_root(2), under "pivot_root(".", ".")".
pub(super) fn enter(root: c_int) -> Called {
    rustix::process::fchdir(borrowed(root)?).map_err(Errno::raw_os_error)?;
    rustix::process::pivot_root(c".", c".").map_err(Errno::raw_os_error)?;
    // SAFETY: the path ends with NUL.
    unsafe { call(libc::SYS_umount2, [address(c"."), word(libc::MNT_DETACH)]) }?;
    rustix::process::chdir(c"/").map_err(Errno::raw_os_error)
}

/// A folder of exactly this mode. One that is there stays as it is.
pub(super) fn make_folder(path: &CStr, mode: libc::mode_t) -> Called {
    let mode = Mode::from_raw_mode(mode);
    match mkdir(path, mode) {
        Err(Errno::EXIST) => return Ok(()),
        answer => answer.map_err(Errno::raw_os_error)?,
    }
    // The umask is the worker's by now.
    chmod(path, mode).map_err(Errno::raw_os_error)
}

/// An empty file to mount on. One that is there stays as it is.
pub(super) fn make_file(path: &CStr) -> Called {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    match open(path, flags, 0o444) {
        Err(libc::EEXIST) => Ok(()),
        fd => close(fd?),
    }
}

/// A symbolic link.
pub(super) fn make_link(path: &CStr, to: &CStr) -> Called {
    symlink(to, path).map_err(Errno::raw_os_error)
}
