//! The look at a program file: which one a path leads to, and whether it can be executed.

use std::ffi::CStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// A regular file that somebody may execute.
#[derive(Debug)]
pub(super) struct Looked {
    /// Its path without links, as its worker will see it.
    pub(super) path: PathBuf,
    /// Itself, as O_PATH, where it was opened for the look.
    pub(super) file: Option<OwnedFd>,
}

/// The file that a path leads to. With `pin` it is opened, and looked at by its descriptor; below a `root` of a
/// profile's own, too, because its links lead elsewhere there.
///
/// # Errors
/// What execve(2) would say of it.
pub(super) fn look(path: &Path, pin: bool, root: Option<&CStr>) -> Result<Looked, Errno> {
    match root {
        Some(root) => opened::below(root, path, pin),
        None if pin => opened::itself(path),
        None => {
            let path = fs::canonicalize(path).map_err(|error| errno(&error))?;
            let about = fs::metadata(&path).map_err(|error| errno(&error))?;
            check(about.is_file(), about.permissions().mode())?;
            Ok(Looked { path, file: None })
        }
    }
}

fn check(is_file: bool, mode: u32) -> Result<(), Errno> {
    if is_file && mode & 0o111 != 0 { Ok(()) } else { Err(Errno::EACCES) }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(target_os = "linux")]
mod opened {
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

    use super::{CStr, Errno, Looked, OwnedFd, Path, PathBuf, check, errno, fs};

    const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

    pub(super) fn itself(path: &Path) -> Result<Looked, Errno> {
        let file = openat(CWD, path, PATH, Mode::empty()).map_err(of)?;
        let path = path_of(&file)?;
        examine(&file)?;
        Ok(Looked { path, file: Some(file) })
    }

    pub(super) fn below(root: &CStr, path: &Path, pin: bool) -> Result<Looked, Errno> {
        let root = openat(CWD, root, PATH | OFlags::DIRECTORY, Mode::empty()).map_err(of)?;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(root.as_fd(), path, PATH, Mode::empty(), how).map_err(of)?;
        let whole = path_of(&file)?;
        let inner = whole.strip_prefix(path_of(&root)?).map_err(|_| Errno::ENOENT)?;
        examine(&file)?;
        Ok(Looked { path: Path::new("/").join(inner), file: pin.then_some(file) })
    }

    /// The path of an open file, proc_pid_fd(5).
    fn path_of(file: &OwnedFd) -> Result<PathBuf, Errno> {
        fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| errno(&error))
    }

    /// A file that was removed meanwhile has no path, but a text in its place.
    fn examine(file: &OwnedFd) -> Result<(), Errno> {
        let about = fstat(file).map_err(of)?;
        if about.st_nlink == 0 {
            return Err(Errno::ENOENT);
        }
        check(about.st_mode & libc::S_IFMT == libc::S_IFREG, about.st_mode)
    }

    fn of(error: rustix::io::Errno) -> Errno {
        Errno::from_raw(error.raw_os_error())
    }
}

/// Profiles have no root here, and policies no pin.
#[cfg(not(target_os = "linux"))]
mod opened {
    use super::{CStr, Errno, Looked, Path};

    pub(super) fn itself(_: &Path) -> Result<Looked, Errno> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn below(_: &CStr, _: &Path, _: bool) -> Result<Looked, Errno> {
        Err(Errno::ENOSYS)
    }
}
