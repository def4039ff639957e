//! The group of one main, among those of others: which is whose, and which is nobody's any more.
//!
//! A main holds a lock, flock(2), on the folder of its group for as long as it lives. The kernel gives it up with the
//! process, however that ends, and knows nothing of pid namespaces: whoever gets the lock of a group has found what a
//! dead main left, and owns it. The folders are closed to other users, so that no worker can hold the lock of the group
//! that it is in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::procfs;

pub(super) const KILL: &str = "cgroup.kill";

/// How deep a worker may have made groups within its own, and how often and how long a killed group is waited for.
const DEEPEST: u32 = 16;
const LOOKS: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(10);

/// Mains of the same process id, in different pid namespaces, that share a base.
const NAMESAKES: u32 = 10_000;

/// The group of a main that lives.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) path: PathBuf,
    /// The lock, for life. Close-on-exec: what main executes does not hold it.
    _lock: OwnedFd,
}

impl Own {
    /// Makes the group of this main: `erluv.PID.N`, with the first N that is free.
    ///
    /// # Errors
    /// Those of mkdir(2), open(2) and flock(2).
    pub(super) fn claim(base: &Path) -> io::Result<Self> {
        for number in 0..NAMESAKES {
            let path = base.join(format!("erluv.{}.{number}", std::process::id()));
            match make_folder(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // None: before it was locked, another main that starts has taken it for a left-over.
            if let Some(lock) = lock(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Kills all in it, and removes it.
    pub(super) fn close(self) {
        clear(&self.path);
    }
}

/// Kills and removes what belongs to mains that are not there any more.
pub(super) fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_name)
            && let Ok(Some(_lock)) = lock(&entry.path())
        {
            clear(&entry.path());
        }
    }
}

/// Whether a folder has the name of a main's group.
fn is_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix("erluv.").and_then(|numbers| numbers.split_once('.'));
    numbers.is_some_and(|(pid, number)| digits(pid) && digits(number))
}

/// The lock of a group; `None` where somebody has it, or the group is gone.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = match open_folder(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        folder => File::from(folder?),
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    // It may have been removed before it was locked, and another made in its place.
    let there = fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()));
    let held = folder.metadata()?;
    Ok(there.is_ok_and(|there| there == (held.dev(), held.ino())).then(|| folder.into()))
}

/// A folder that others can go through but not open: a worker may read the limits of its own group (programs that fit
/// themselves to them do), and nobody else can lock it.
pub(super) const MODE: u32 = 0o711;

pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(MODE).create(path)
}

/// A folder, for clone3(2), openat(2) and flock(2).
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    options.open(path).map(OwnedFd::from)
}

pub(super) fn kill_all(path: &Path) -> io::Result<()> {
    File::options().write(true).open(path.join(KILL))?.write_all(b"1")
}

/// Kills all in a group, waits until it is empty, but not for ever, and removes it.
fn clear(path: &Path) {
    for _ in 0..LOOKS {
        match fs::read_to_string(path.join("cgroup.events")) {
            Ok(events) if procfs::is_populated(&events) => {
                // Again each time: something may have been forked into it meanwhile.
                let _ = kill_all(path);
                thread::sleep(BETWEEN);
            }
            Ok(_) | Err(_) => break,
        }
    }
    // What cannot be removed now is left to the next start.
    let _ = remove_tree(path);
}

/// Removes a group and those in it, which is possible where nothing lives.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_below(path, DEEPEST)
}

fn remove_below(path: &Path, depth: u32) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or(ErrorKind::ResourceBusy)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path(), depth)?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TestFolder;

    #[test]
    fn only_names_of_two_numbers_are_mains() {
        for name in ["erluv.12.345", "erluv.4294967296.0"] {
            assert!(is_name(name), "{name:?}");
        }
        for other in
            ["erluv.12", "erluv.12.", "erluv..5", "erluv.+1.5", "erluv.1.5.6", "erluv.1.x", "other.1.2", "erluv"]
        {
            assert!(!is_name(other), "{other:?}");
        }
    }

    #[test]
    fn a_group_is_a_left_over_only_once_its_main_lets_go() {
        let folder = TestFolder::new("own");
        let (one, two) = (Own::claim(&folder.0).unwrap(), Own::claim(&folder.0).unwrap());
        assert_ne!(one.path, two.path);
        remove_leftovers(&folder.0);
        assert!(one.path.exists() && two.path.exists());
        let Own { path, _lock } = one;
        drop(_lock);
        remove_leftovers(&folder.0);
        assert!(!path.exists() && two.path.exists());
    }

    #[test]
    fn workers_go_through_the_folders_of_groups_and_open_none() {
        let folder = TestFolder::new("own-mode");
        let own = Own::claim(&folder.0).unwrap();
        assert_eq!(own.path.metadata().unwrap().mode() & 0o777, 0o711);
    }

    #[test]
    fn a_group_that_was_removed_and_made_anew_is_not_taken_for_the_old_one() {
        let folder = TestFolder::new("own-anew");
        let path = folder.0.join("erluv.1.0");
        make_folder(&path).unwrap();
        let held = lock(&path).unwrap();
        assert!(held.is_some());
        assert!(lock(&path).unwrap().is_none());
        fs::remove_dir(&path).unwrap();
        assert!(lock(&path).unwrap().is_none());
        make_folder(&path).unwrap();
        assert!(lock(&path).unwrap().is_some());
    }
}
