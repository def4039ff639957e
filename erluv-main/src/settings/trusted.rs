//! Files that main lets itself be told things by: the configuration and the cookie. Each is opened once, without
//! following a link, below its open folder, and looked at by descriptor, so that nothing can be put in its place
//! between the look and the read (S-59, S-69). Runs in erluv-main with the rights it was started with.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use thiserror::Error;
use zeroize::Zeroizing;

/// What a file has to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Who may own it beside root, and its folder.
    pub(crate) owner: u32,
    /// Bits of its mode that have to be clear.
    pub(crate) forbidden: u32,
    /// The most bytes.
    pub(crate) longest: usize,
}

/// Why a file is not read.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// It cannot be opened or read.
    #[error("{0:?}: {1}")]
    Io(PathBuf, io::Error),
    /// It is not there.
    #[error("{0:?}: no such file")]
    Missing(PathBuf),
    /// A folder, a device, a pipe or a link.
    #[error("{0:?}: not a regular file: put the file itself there, links are not followed")]
    Kind(PathBuf),
    /// Somebody else could have written it.
    #[error("{path:?}: owned by uid {uid}: chown it to uid {wanted}")]
    Owner {
        /// The file, or the folder that it is in.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Whose it has to be.
        wanted: u32,
    },
    /// Its mode gives too much away.
    #[error("{path:?}: mode {mode:04o}: chmod {wanted} {path:?}")]
    Mode {
        /// The file, or the folder that it is in.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What chmod(1) is to be told.
        wanted: &'static str,
    },
    /// More bytes than it may have.
    #[error("{0:?}: longer than {1} bytes")]
    Long(PathBuf, usize),
}

/// Reads a file, no more than `trust.longest` bytes, after it and its folder were looked at. The bytes are overwritten
/// when they are dropped.
///
/// # Errors
/// [`FileError`].
pub(crate) fn read(path: &Path, trust: &Trust) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_all(path, open_trusted(path, trust)?, trust.longest)
}

/// Opens a file after it and its folder were looked at; reads nothing of it.
///
/// # Errors
/// [`FileError`], but for [`FileError::Long`].
pub(crate) fn open_trusted(path: &Path, trust: &Trust) -> Result<File, FileError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FileError::Kind(path.to_owned()));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let opened = |path: &Path, errno: Errno| match errno {
        Errno::ENOENT => FileError::Missing(path.to_owned()),
        // What O_NOFOLLOW says of a link: ELOOP by POSIX, EMLINK on FreeBSD, EFTYPE on NetBSD.
        Errno::ELOOP | Errno::EMLINK => FileError::Kind(path.to_owned()),
        other => FileError::Io(path.to_owned(), other.into()),
    };
    let directory = open(folder, flags | OFlag::O_DIRECTORY, Mode::empty()).map_err(|errno| opened(folder, errno))?;
    let about = fstat(&directory).map_err(|errno| FileError::Io(folder.to_owned(), errno.into()))?;
    check(folder, about.st_uid, mode_of(&about), trust.owner, 0o022)?;

    let file = openat(&directory, name, flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(|e| opened(path, e))?;
    let about = fstat(&file).map_err(|errno| FileError::Io(path.to_owned(), errno.into()))?;
    if kind_of(&about) != SFlag::S_IFREG {
        return Err(FileError::Kind(path.to_owned()));
    }
    check(path, about.st_uid, mode_of(&about), trust.owner, trust.forbidden)?;
    Ok(File::from(file))
}

fn kind_of(about: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT
}

/// Its permission bits.
fn mode_of(about: &FileStat) -> u32 {
    // mode_t has 16 bits on some systems.
    #[allow(clippy::useless_conversion, reason = "the type differs between systems")]
    let mode = u32::from(about.st_mode);
    mode & 0o7777
}

fn check(path: &Path, uid: u32, mode: u32, owner: u32, forbidden: u32) -> Result<(), FileError> {
    if uid != 0 && uid != owner {
        return Err(FileError::Owner { path: path.to_owned(), uid, wanted: owner });
    }
    if mode & forbidden != 0 {
        let wanted = if forbidden & 0o044 != 0 { "0600" } else { "go-w" };
        return Err(FileError::Mode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn read_all(path: &Path, file: File, longest: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let most = longest.saturating_add(1);
    // Twice the room, so that the bytes are never moved and no copy of a secret stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.saturating_mul(2)));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| FileError::Io(path.to_owned(), error))?;
    if bytes.len() > longest {
        return Err(FileError::Long(path.to_owned(), longest));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::geteuid;

    use super::*;

    /// A folder of our own, gone with the value.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("erluv-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            Self(path.canonicalize().unwrap())
        }

        pub(crate) fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn own() -> Trust {
        Trust { owner: geteuid().as_raw(), forbidden: 0o022, longest: 100 }
    }

    #[test]
    fn s69_only_regular_files_that_nobody_else_can_write_are_read() {
        let folder = Folder::new("trusted");
        let good = folder.file("good", "text", 0o644);
        assert_eq!(read(&good, &own()).unwrap().as_slice(), b"text");
        let open = folder.file("open", "text", 0o664);
        assert!(matches!(read(&open, &own()), Err(FileError::Mode { mode: 0o664, .. })));
        let secret = Trust { forbidden: 0o077, ..own() };
        assert!(matches!(read(&good, &secret), Err(FileError::Mode { wanted: "0600", .. })));
        let link = folder.0.join("link");
        symlink(&good, &link).unwrap();
        assert!(matches!(read(&link, &own()), Err(FileError::Kind(_))));
        fs::create_dir(folder.0.join("folder")).unwrap();
        assert!(matches!(read(&folder.0.join("folder"), &own()), Err(FileError::Kind(_))));
        nix::unistd::mkfifo(&folder.0.join("pipe"), Mode::S_IRUSR).unwrap();
        assert!(matches!(read(&folder.0.join("pipe"), &own()), Err(FileError::Kind(_))));
        assert!(matches!(read(&folder.0.join("none"), &own()), Err(FileError::Missing(_))));
    }

    #[test]
    fn s69_files_have_a_longest_length() {
        let folder = Folder::new("trusted-long");
        let full = folder.file("full", &"x".repeat(100), 0o600);
        assert_eq!(read(&full, &own()).unwrap().len(), 100);
        let more = folder.file("more", &"x".repeat(101), 0o600);
        assert!(matches!(read(&more, &own()), Err(FileError::Long(_, 100))));
    }

    #[test]
    fn s69_a_folder_that_others_can_write_is_not_trusted() {
        let folder = Folder::new("trusted-folder");
        let file = folder.file("file", "text", 0o600);
        fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
        match read(&file, &own()) {
            Err(FileError::Mode { path, .. }) => assert_eq!(path, folder.0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn s69_a_file_of_somebody_else_is_not_trusted() {
        let of = |uid, owner| check(Path::new("/f"), uid, 0o600, owner, 0o022);
        assert!(of(0, 0).is_ok() && of(1000, 1000).is_ok() && of(0, 1000).is_ok());
        assert!(matches!(of(1000, 0), Err(FileError::Owner { uid: 1000, wanted: 0, .. })));
        assert!(matches!(of(1001, 1000), Err(FileError::Owner { uid: 1001, wanted: 1000, .. })));
    }
}
