//! Where workers may start. It says where they start and not where they can go, which is for their user and their
//! profile to say; so a link that is changed after the look gives nobody anything.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use erluv_proto::ipc::{Failure, Step};
use globset::{GlobSet, GlobSetBuilder};
use nix::errno::Errno;

use super::programs::{canonical_pattern, glob};
use super::{LONGEST_PATH, refused};

/// Which folders pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Folders {
    /// `None` is any.
    patterns: Option<GlobSet>,
}

impl Folders {
    /// By patterns of canonical paths.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub(super) fn new(patterns: Option<&[String]>) -> Result<Self, String> {
        let Some(patterns) = patterns else { return Ok(Self::default()) };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(glob(pattern)?);
            set.add(glob(&canonical_pattern(pattern))?);
        }
        Ok(Self { patterns: Some(set.build().map_err(|error| error.to_string())?) })
    }

    /// The folder where a worker starts. Where there are patterns it is looked up, unless it is below a root of the
    /// profile's own (`elsewhere`), where main cannot look: then it is compared as it is written.
    ///
    /// # Errors
    /// Refused by `cwd` (no absolute path) or `folders` (no pattern admits it), or the errno that chdir(2) would have.
    pub(super) fn find(&self, cwd: Option<Vec<u8>>, elsewhere: bool) -> Result<CString, Failure> {
        let Some(cwd) = cwd else { return Ok(c"/".to_owned()) };
        if !cwd.starts_with(b"/") || cwd.len() >= LONGEST_PATH {
            return Err(refused("cwd", &cwd));
        }
        let text = CString::new(cwd.clone()).map_err(|error| refused("cwd", &error.into_vec()))?;
        let Some(patterns) = &self.patterns else { return Ok(text) };
        let path = Path::new(OsStr::from_bytes(&cwd));
        if cwd.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(refused("folders", &cwd));
        }
        if elsewhere {
            return if patterns.is_match(path) { Ok(text) } else { Err(refused("folders", &cwd)) };
        }
        let found = fs::canonicalize(path).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
            // What is in folders that do not pass is not told.
            if patterns.is_match(path) { Failure::Step(Step::Chdir, errno) } else { refused("folders", &cwd) }
        })?;
        if !patterns.is_match(&found) {
            return Err(refused("folders", &cwd));
        }
        CString::new(found.into_os_string().into_vec()).map_err(|_| refused("cwd", &cwd))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::TestFolder;

    fn find(patterns: Option<&[String]>, cwd: &str, elsewhere: bool) -> Result<String, String> {
        match Folders::new(patterns).unwrap().find(Some(cwd.into()), elsewhere) {
            Ok(found) => Ok(found.into_string().unwrap()),
            Err(Failure::Refused(rule, _)) => Err(rule),
            Err(Failure::Step(step, errno)) => Err(format!("{} {errno}", step.name())),
        }
    }

    #[test]
    fn without_patterns_every_absolute_path_passes_unseen() {
        assert_eq!(find(None, "/none/such", false).unwrap(), "/none/such");
        assert_eq!(Folders::default().find(None, false), Ok(c"/".to_owned()));
        for bad in ["", "tmp", "./tmp", "/a\0b"] {
            assert_eq!(find(None, bad, false).unwrap_err(), "cwd", "{bad:?}");
        }
    }

    #[test]
    fn s56_a_folder_is_what_its_links_lead_to() {
        let folder = TestFolder::new("policy-folders");
        let base = folder.0.display().to_string();
        std::fs::create_dir_all(folder.0.join("in/deep")).unwrap();
        std::fs::create_dir(folder.0.join("out")).unwrap();
        symlink(folder.0.join("out"), folder.0.join("in/away")).unwrap();
        symlink(folder.0.join("in"), folder.0.join("way")).unwrap();
        let patterns = [format!("{base}/way/**"), format!("{base}/in")];
        let found = |cwd: &str| find(Some(&patterns), &format!("{base}/{cwd}"), false);
        assert_eq!(found("in/deep").unwrap(), format!("{base}/in/deep"));
        assert_eq!(found("way/deep").unwrap(), format!("{base}/in/deep"));
        assert_eq!(found("in").unwrap(), format!("{base}/in"));
        for bad in ["in/away", "out", "", "in/../out", "in/deep/..", "none"] {
            assert_eq!(found(bad).unwrap_err(), "folders", "{bad}");
        }
        assert_eq!(found("in/none").unwrap_err(), format!("chdir {}", nix::libc::ENOENT));
    }

    #[test]
    fn below_another_root_a_folder_is_compared_as_it_is_written() {
        let patterns = ["/data/**".to_owned()];
        assert_eq!(find(Some(&patterns), "/data/none", true).unwrap(), "/data/none");
        for bad in ["/data/../etc", "/etc", "/"] {
            assert_eq!(find(Some(&patterns), bad, true).unwrap_err(), "folders", "{bad}");
        }
    }
}
