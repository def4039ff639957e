//! The pid file, for init systems that want one. It is written anew beside its place and moved there, so that a link
//! planted in its place is replaced and never followed, and it is never read back (S-70).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A pid file that is ours; it goes when main does.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes our process id.
    ///
    /// # Errors
    /// What the system says; the folder has to exist.
    pub(crate) fn write(path: &Path) -> io::Result<Self> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        writeln!(file, "{}", std::process::id())?;
        fs::rename(&new, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("{}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s70_a_planted_link_is_replaced_and_not_followed() {
        let folder = std::env::temp_dir().join(format!("erluv-pid-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (victim, place) = (folder.join("victim"), folder.join("erluv.pid"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &place).unwrap();
        std::os::unix::fs::symlink(&victim, folder.join("erluv.pid.new")).unwrap();
        let file = PidFile::write(&place).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&place).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!place.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
