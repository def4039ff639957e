//! The cookie: known to erluv-main alone (S-59 to S-62).

use md5::{Digest, Md5};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why bytes are no cookie. Says nothing of the bytes.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum CookieError {
    /// No bytes.
    #[error("cookie: empty, write 1 to 255 printable characters into its file")]
    Empty,
    /// Over 255 bytes, the most that an atom has.
    #[error("cookie: longer than 255 bytes, shorten it")]
    Long,
    /// A byte that is no printable ASCII.
    #[error("cookie: a byte that is no printable ASCII, use letters and digits")]
    Unprintable,
}

/// The secret of the cluster. Has neither `Debug` nor `Clone` nor `Display`, and is overwritten when dropped.
pub struct Cookie(Zeroizing<Vec<u8>>);

impl Cookie {
    /// A cookie of 1 to 255 bytes of printable ASCII, 0x20 to 0x7e. Ends of line are the reader's to cut off.
    ///
    /// # Errors
    /// [`CookieError`]; the bytes are overwritten then too.
    pub fn new(bytes: Vec<u8>) -> Result<Self, CookieError> {
        let bytes = Zeroizing::new(bytes);
        if bytes.is_empty() {
            Err(CookieError::Empty)
        } else if bytes.len() > 255 {
            Err(CookieError::Long)
        } else if !bytes.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
            Err(CookieError::Unprintable)
        } else {
            Ok(Self(bytes))
        }
    }

    /// What proves to a peer that we know the cookie: MD5 of the cookie and the peer's challenge in decimal digits
    /// (OTP document "Distribution Protocol", the handshake).
    pub fn digest(&self, challenge: u32) -> [u8; 16] {
        Md5::new().chain_update(self.0.as_slice()).chain_update(challenge.to_string()).finalize().into()
    }

    /// The bytes themselves, only for `share_cookie`.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether it can be guessed: shorter than 16 bytes, as are all those that everybody tries first (S-60).
    pub fn is_weak(&self) -> bool {
        self.0.len() < 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_md5_of_cookie_and_decimal_challenge() {
        let hex = |digest: [u8; 16]| digest.map(|byte| format!("{byte:02x}")).concat();
        // The last line of RFC 1321, A.5: eighty digits, of which the last ten are the challenge here.
        let digits = Cookie::new(b"1234567890123456789012345678901234567890123456789012345678901234567890".to_vec());
        assert_eq!(hex(digits.unwrap().digest(1_234_567_890)), "57edf4a22be3c955ac49da2e2107b67a");
        // printf '%s' secret4294967295 | md5sum
        let secret = Cookie::new(b"secret".to_vec()).unwrap();
        assert_eq!(hex(secret.digest(u32::MAX)), "5dfd181e69aa587cc812eb333e6536b6");
        assert_eq!(hex(secret.digest(0)), "175ec77a7f63082590987d0d8b051aff");
    }

    #[test]
    fn s59_only_printable_cookies_of_a_sane_length_pass() {
        let why = |bytes: &[u8]| Cookie::new(bytes.to_vec()).err();
        assert_eq!(why(b""), Some(CookieError::Empty));
        assert_eq!(why(&[b'a'; 256]), Some(CookieError::Long));
        assert_eq!(why(b"a\n"), Some(CookieError::Unprintable));
        assert_eq!(why(b"a\x7f"), Some(CookieError::Unprintable));
        assert_eq!(why(b"\xc3\xa4"), Some(CookieError::Unprintable));
        assert_eq!(why(&[b'~'; 255]), None);
        assert_eq!(why(b" "), None);
    }

    #[test]
    fn s60_weak_cookies_are_known() {
        for weak in ["monster", "nocookie", "secret", "cookie", "test", "changeme", "fifteen_bytes_x"] {
            assert!(Cookie::new(weak.into()).unwrap().is_weak(), "{weak}");
        }
        assert!(!Cookie::new("sixteen_bytes_xx".into()).unwrap().is_weak());
    }
}
