//! The OTP releases that the tests run against: the machine's own, and those that otp.sh puts in folders for chroot.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A release to run a node of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otp {
    /// The machine's own `erl`; 25 on Debian 12, which the project's own checks run on.
    V25,
    /// OTP 27 in the folder that otp.sh makes.
    V27,
    /// OTP 29 in the folder that otp.sh makes.
    V29,
}

impl Otp {
    /// The releases that can be used here, oldest first. One that cannot is left out with a line `left out: ...`, or is
    /// a failed test where `ERLUV_TEST_REQUIRE_OTP` is set, as run.sh does for root.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let present = [Self::V25, Self::V27, Self::V29].into_iter().filter(|otp| match otp.missing() {
            None => true,
            Some(why) => {
                assert!(std::env::var_os("ERLUV_TEST_REQUIRE_OTP").is_none(), "{why}");
                crate::tell("left out", &why);
                false
            }
        });
        present.collect()
    }

    /// The newest release that can be used here.
    #[must_use]
    pub fn newest() -> Self {
        *Self::all().last().expect("erl is not in PATH: install Erlang/OTP 25 or later")
    }

    /// The number of the release.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V25 => 25,
            Self::V27 => 27,
            Self::V29 => 29,
        }
    }

    /// The folder to chroot into; `None` for the machine's own release.
    #[must_use]
    pub fn root(self) -> Option<PathBuf> {
        match self {
            Self::V25 => None,
            Self::V27 | Self::V29 => Some(folder().join(format!("otp{}", self.number()))),
        }
    }

    /// Why the release cannot be used here; `None` when it can.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self.root() {
            None if in_path("erl") => None,
            None => Some("erl is not in PATH".to_owned()),
            Some(_) if !crate::is_root() => Some(format!("OTP {} needs root, for chroot", self.number())),
            Some(root) if root.join(".erluv-recipe").is_file() => None,
            Some(root) => {
                let number = self.number();
                Some(format!("OTP {number} is not in {}: make it with tests/otp.sh", root.display()))
            }
        }
    }

    /// The command that runs `erl` of this release, with an empty environment but for what the script itself needs;
    /// `home` is where a program in the release's file system finds its home.
    #[must_use]
    pub fn erl(self, home: &Path) -> Command {
        let mut command = match self.root() {
            None => Command::new("erl"),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg("/usr/bin/erl");
                command
            }
        };
        // No crash dumps beside the sources, where cargo runs the tests.
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let path =
            if self.root().is_none() { std::env::var("PATH").unwrap_or(path.to_owned()) } else { path.to_owned() };
        command.env_clear().env("HOME", home).env("PATH", path).env("ERL_CRASH_DUMP", "/dev/null");
        command
    }
}

/// The folder that otp.sh fills: `ERLUV_TEST_OTP_DIR`, else erluv-otp in the user's cache folder.
fn folder() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("ERLUV_TEST_OTP_DIR")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("erluv-otp")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/erluv-otp")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/erluv-otp"))
}

/// Whether a program of that name is in PATH.
pub(crate) fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
