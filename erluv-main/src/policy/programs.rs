//! Which programs may be executed, and where a name without a folder is looked for. The file that is looked at is the
//! file that is executed: its canonical path, with no link on the way that could lead elsewhere later.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use erluv_proto::ipc::Failure;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use nix::errno::Errno;

use super::looked::{Looked, look};
use super::{LONGEST_PATH, exec_fails, refused};

/// What makes a path a pattern.
const MARKS: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Which programs pass.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    patterns: GlobSet,
    path: Vec<PathBuf>,
    pin: bool,
}

/// A program that passes.
#[derive(Debug)]
pub(super) struct Found {
    /// Canonical, as its worker will see it.
    pub(super) path: CString,
    /// The very file, where the policy pins it.
    pub(super) pinned: Option<OwnedFd>,
}

impl Programs {
    /// By patterns of canonical paths; `path` are the folders of the look-up, absolute; with `pin`, what was looked at
    /// is kept open to be executed.
    ///
    /// # Errors
    /// What is wrong with a pattern, or that this system cannot pin.
    pub(super) fn new(patterns: &[String], path: &[PathBuf], pin: bool) -> Result<Self, String> {
        if pin && !cfg!(target_os = "linux") {
            return Err("this system cannot pin programs: leave workers.pin away".to_owned());
        }
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(glob(pattern)?);
            set.add(glob(&canonical_pattern(pattern))?);
        }
        Ok(Self { patterns: set.build().map_err(|error| error.to_string())?, path: path.to_vec(), pin })
    }

    /// A program by its absolute path or its name, below `root` where the profile has one.
    ///
    /// # Errors
    /// Refused by `program_path` (a path that is not absolute) or `programs` (no pattern admits it), or the errno that
    /// execve(2) would have.
    pub(super) fn find(&self, name: &[u8], root: Option<&CStr>) -> Result<Found, Failure> {
        if name.is_empty() || name.len() >= LONGEST_PATH || name.contains(&0) {
            return Err(refused("program_path", name));
        }
        let Looked { path, file } = match name.first() {
            Some(b'/') => look(Path::new(OsStr::from_bytes(name)), self.pin, root).map_err(exec_fails)?,
            _ if name.contains(&b'/') => return Err(refused("program_path", name)),
            _ => self.look_up(name, root).map_err(exec_fails)?,
        };
        if !self.patterns.is_match(&path) {
            return Err(refused("programs", path.as_os_str().as_bytes()));
        }
        let path = CString::new(path.into_os_string().into_vec()).map_err(|_| refused("program_path", name))?;
        Ok(Found { path, pinned: file })
    }

    /// The folders of the look-up with colons between.
    pub(super) fn folders(&self) -> Vec<u8> {
        self.path.iter().map(|folder| folder.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b':')
    }

    /// The same as an environment has them.
    ///
    /// # Errors
    /// Refused by `program_path`: one of them has a NUL, which the configuration does not let through.
    pub(super) fn variable(&self) -> Result<CString, Failure> {
        let text = [b"PATH=".as_slice(), &self.folders()].concat();
        CString::new(text).map_err(|error| refused("program_path", &error.into_vec()))
    }

    /// The first program of that name; a file that is there but cannot be executed is passed over, as execvp(3) does.
    fn look_up(&self, name: &[u8], root: Option<&CStr>) -> Result<Looked, Errno> {
        let mut errno = Errno::ENOENT;
        for folder in &self.path {
            match look(&folder.join(OsStr::from_bytes(name)), self.pin, root) {
                Ok(found) => return Ok(found),
                Err(Errno::EACCES) => errno = Errno::EACCES,
                Err(_) => {}
            }
        }
        Err(errno)
    }
}

/// Whether a text of the configuration is a pattern.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_pattern(text: &str) -> Result<(), String> {
    glob(text).map(|_| ())
}

pub(super) fn glob(pattern: &str) -> Result<Glob, String> {
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| error.to_string())
}

/// The pattern with those of its folders that are no patterns made canonical, so that `/bin/*` means what is found
/// there where `/bin` is a link, too.
pub(super) fn canonical_pattern(pattern: &str) -> String {
    let marked = pattern.find(MARKS).unwrap_or(pattern.len());
    let (plain, rest) = match pattern.split_at(marked) {
        (plain, "") => (plain, ""),
        (plain, _) => pattern.split_at(plain.rfind('/').map_or(0, |slash| slash.saturating_add(1))),
    };
    match Path::new(plain).canonicalize().ok().as_deref().and_then(Path::to_str) {
        None => pattern.to_owned(),
        Some(found) if rest.is_empty() => globset::escape(found),
        Some(found) => format!("{}/{rest}", globset::escape(found.trim_end_matches('/'))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::TestFolder;

    fn find(patterns: &[&str], path: &[&Path], name: &str) -> Result<PathBuf, Failure> {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        let path = path.iter().map(|folder| (*folder).to_owned()).collect::<Vec<_>>();
        let found = Programs::new(&patterns, &path, false).unwrap().find(name.as_bytes(), None)?;
        Ok(PathBuf::from(OsStr::from_bytes(found.path.to_bytes())))
    }

    #[test]
    fn s24_a_name_is_looked_up_in_the_configured_folders_alone() {
        let (one, two) = (TestFolder::new("programs-one"), TestFolder::new("programs-two"));
        let deaf = one.file("prog", "", 0o644);
        let good = two.file("prog", "", 0o700);
        std::fs::create_dir(one.0.join("more")).unwrap();
        two.file("more", "", 0o600);
        let path = [one.0.as_path(), two.0.as_path()];
        assert_eq!(find(&["/**"], &path, "prog"), Ok(good));
        assert_eq!(find(&["/**"], &path, "more"), Err(exec_fails(Errno::EACCES)));
        assert_eq!(find(&["/**"], &path, "none"), Err(exec_fails(Errno::ENOENT)));
        assert_eq!(find(&["/**"], &path, deaf.to_str().unwrap()), Err(exec_fails(Errno::EACCES)));
        assert_eq!(find(&["/**"], &path, "/none/such"), Err(exec_fails(Errno::ENOENT)));
        for bad in ["./prog", "bin/prog", "../prog", "", "prog\0", &"x".repeat(5000)] {
            let refused = find(&["/**"], &path, bad);
            assert!(
                matches!(refused, Err(Failure::Refused(ref rule, _)) if rule == "program_path"),
                "{bad} {refused:?}"
            );
        }
        for folder in [".", ".."] {
            assert_eq!(find(&["/**"], &path, folder), Err(exec_fails(Errno::EACCES)));
        }
    }

    #[test]
    fn s24_a_link_is_what_it_leads_to() {
        let folder = TestFolder::new("programs-link");
        let good = folder.file("good", "", 0o755);
        let away = folder.0.join("away");
        symlink("/bin/sh", &away).unwrap();
        let own = format!("{}/*", folder.0.display());
        assert_eq!(find(&[&own], &[], good.to_str().unwrap()), Ok(good.clone()));
        assert!(matches!(find(&[&own], &[], away.to_str().unwrap()), Err(Failure::Refused(..))));
        let around = format!("{}/../{}/good", folder.0.display(), folder.0.file_name().unwrap().to_str().unwrap());
        assert_eq!(find(&[&own], &[], &around), Ok(good));
    }

    #[test]
    fn a_pattern_means_what_is_found_behind_its_links() {
        let folder = TestFolder::new("programs-behind");
        std::fs::create_dir(folder.0.join("real")).unwrap();
        let good = folder.file("real/good", "", 0o755);
        symlink(folder.0.join("real"), folder.0.join("link")).unwrap();
        let base = folder.0.display();
        for pattern in
            [format!("{base}/link/*"), format!("{base}/link/good"), format!("{base}/link/g*"), format!("{base}/**")]
        {
            assert_eq!(find(&[&pattern], &[], &format!("{base}/link/good")), Ok(good.clone()), "{pattern}");
        }
        for pattern in
            [format!("{base}/*"), format!("{base}/link"), format!("{base}/link/goo"), format!("{base}/link/?")]
        {
            let refused = find(&[&pattern], &[], &format!("{base}/link/good"));
            assert!(
                matches!(refused, Err(Failure::Refused(ref rule, _)) if rule == "programs"),
                "{pattern} {refused:?}"
            );
        }
        assert!(find(&[], &[], "/bin/sh").is_err());
    }
}
