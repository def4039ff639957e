//! The cookie file. Read by erluv-main alone, again for each handshake, so that main holds the cookie no longer than
//! one digest takes (S-59 to S-62).

use std::path::Path;

use erluv_proto::dist::{Cookie, CookieError};
use thiserror::Error;

use crate::settings::{FileError, Trust, open_trusted, read_trusted};

/// The longest file: the longest cookie, and an end of line.
const LONGEST: usize = 260;

/// What a cookie file has to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CookieTrust {
    /// Who starts erluv.
    pub(crate) owner: u32,
    /// Takes cookies that can be guessed, too (`weak_cookie`).
    pub(crate) weak: bool,
}

impl CookieTrust {
    fn of_file(self) -> Trust {
        Trust { owner: self.owner, forbidden: 0o077, longest: LONGEST }
    }
}

/// Why there is no cookie. Says nothing of its bytes.
#[derive(Debug, Error)]
pub(crate) enum CookieFileError {
    /// The file is not there or not to be trusted.
    #[error("cookie file {0}")]
    File(#[from] FileError),
    /// What is in it is no cookie.
    #[error("cookie file {0:?}: {1}")]
    Cookie(std::path::PathBuf, CookieError),
    /// It can be guessed (S-60).
    #[error("cookie file {0:?}: can be guessed: write 16 characters or more, or set weak_cookie = true")]
    Weak(std::path::PathBuf),
}

/// Whether the file is there and to be trusted. Nothing is read: for the start, when erluv-child is still to be made.
///
/// # Errors
/// [`CookieFileError::File`].
pub(crate) fn check_file(path: &Path, trust: &CookieTrust) -> Result<(), CookieFileError> {
    open_trusted(path, &trust.of_file()).map(drop).map_err(CookieFileError::File)
}

/// Reads a cookie: a regular file of the owner's, without a link, closed to group and others, of 1 to 255 printable
/// bytes; blanks and ends of line after them do not count.
///
/// # Errors
/// [`CookieFileError`], which tells what to change.
pub(crate) fn read_cookie(path: &Path, trust: &CookieTrust) -> Result<Cookie, CookieFileError> {
    let mut bytes = read_trusted(path, &trust.of_file())?;
    let kept = bytes.trim_ascii_end().len();
    bytes.truncate(kept);
    // What is taken out here is overwritten by the cookie, errors included.
    let cookie = Cookie::new(std::mem::take(&mut *bytes));
    let cookie = cookie.map_err(|error| CookieFileError::Cookie(path.to_owned(), error))?;
    if cookie.is_weak() && !trust.weak {
        return Err(CookieFileError::Weak(path.to_owned()));
    }
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use nix::unistd::geteuid;

    use super::*;
    use crate::settings::TestFolder as Folder;

    fn trust(weak: bool) -> CookieTrust {
        CookieTrust { owner: geteuid().as_raw(), weak }
    }

    #[test]
    fn s59_a_cookie_is_what_stands_before_the_end_of_line() {
        let folder = Folder::new("cookie");
        for (name, end) in [("none", ""), ("lf", "\n"), ("crlf", "\r\n"), ("blank", "  \n")] {
            let path = folder.file(name, &format!("ABCDEFGHIJKLMNOPQRST{end}"), 0o400);
            let cookie = read_cookie(&path, &trust(false)).ok().unwrap();
            assert_eq!(cookie.expose(), b"ABCDEFGHIJKLMNOPQRST", "{name}");
        }
        let two = folder.file("two", "ABCDEFGHIJKLMNOPQRST\nmore\n", 0o400);
        assert!(matches!(read_cookie(&two, &trust(false)).err(), Some(CookieFileError::Cookie(..))));
        let empty = folder.file("empty", "\n", 0o400);
        assert!(matches!(read_cookie(&empty, &trust(false)).err(), Some(CookieFileError::Cookie(..))));
    }

    #[test]
    fn s59_a_cookie_that_others_can_read_is_refused() {
        let folder = Folder::new("cookie-mode");
        for mode in [0o440, 0o404, 0o640, 0o644, 0o601] {
            let path = folder.file("cookie", "ABCDEFGHIJKLMNOPQRST", mode);
            let error = read_cookie(&path, &trust(false)).err().unwrap().to_string();
            assert!(error.contains("chmod 0600"), "{error}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn s60_a_cookie_that_can_be_guessed_is_refused_unless_the_configuration_says_so() {
        let folder = Folder::new("cookie-weak");
        let path = folder.file("cookie", "monster\n", 0o600);
        assert!(matches!(read_cookie(&path, &trust(false)).err(), Some(CookieFileError::Weak(_))));
        assert_eq!(read_cookie(&path, &trust(true)).ok().unwrap().expose(), b"monster");
    }

    #[test]
    fn s59_no_error_has_a_byte_of_the_cookie_in_it() {
        let folder = Folder::new("cookie-quiet");
        let path = folder.file("file", "monster", 0o600);
        let error = read_cookie(&path, &trust(false)).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("monster"));
        let path = folder.file("bad", "monster\u{1}monster", 0o600);
        let error = read_cookie(&path, &trust(false)).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("monster"));
    }
}
