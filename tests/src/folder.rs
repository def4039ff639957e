//! Folders that end with their test, and random text.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of its own for one test, removed with all that it holds when this value is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder of mode 0755 in the system's temporary folder, owned by who runs the test.
    #[must_use]
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A new folder of mode 0755 in `parent`.
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        let path = parent.join(format!("erluv-test-{}", random_hex(8)));
        Self::make(&path, 0o755);
        Self(path)
    }

    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder `name` in this one, of exactly that mode, and returns its path.
    #[must_use]
    pub fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        Self::make(&path, mode);
        path
    }

    /// Writes a new file `name` in this folder, of exactly that mode from its start, and returns its path.
    pub fn file(&self, name: &str, mode: u32, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
        file.write_all(content).unwrap();
        set_mode(&path, mode);
        path
    }

    fn make(path: &Path, mode: u32) {
        DirBuilder::new().mode(mode).create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_mode(path, mode);
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that cannot be removed is litter, not a failed test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sets a mode whatever the umask has made of it.
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Random text of `bytes` bytes as hexadecimal digits.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    to_hex(&random)
}

/// Bytes as small hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits; `None` for anything else.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn hexadecimal_text_comes_back_as_it_went() {
        assert_eq!(from_hex(&to_hex(&[0, 9, 0xfe])), Some(vec![0, 9, 0xfe]));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }

    #[test]
    fn a_folder_and_its_files_have_the_modes_asked_for_and_end_with_the_value() {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let file = folder.file("a", 0o400, b"x");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o400);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        drop(folder);
        assert!(!path.exists());
    }
}
