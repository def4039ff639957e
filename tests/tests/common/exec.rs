//! `erluv-main exec` for tests: a configuration and the programs in a folder of their own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use erluv_tests::daemon::bin;
use erluv_tests::folder::Folder;
use erluv_tests::is_root;

/// A configuration that names no user but those that every system has, and the programs beside it.
pub struct Place(pub Folder);

impl Place {
    /// With these lines behind `[workers]` and its users.
    pub fn new(more: &str) -> Self {
        let folder = Folder::new();
        let cookie = folder.file("cookie", 0o400, b"a-cookie-of-these-tests\n");
        let root = format!("user = \"nobody\"\nchroot = {:?}\n", folder.folder("empty", 0o755));
        let users = if is_root() { "users = [\"daemon\"]\n" } else { "" };
        let top = if is_root() { root.as_str() } else { "" };
        let text = format!("node = \"a@127.0.0.1\"\ncookie_file = {cookie:?}\n{top}[workers]\n{users}{more}");
        folder.file("erluv.conf", 0o600, text.as_bytes());
        // By a process of its own, so that no descriptor to write them is open in another test's fork.
        let copied = Command::new("cp").args([bin("erluv-main"), bin("erluv-child")]).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        Self(folder)
    }

    /// The program.
    pub fn main(&self) -> PathBuf {
        self.0.path().join("erluv-main")
    }

    /// `erluv-main exec OPTIONS -- COMMAND`, with nothing to read.
    pub fn exec(&self, options: &[&str], command: &[&str]) -> Command {
        let mut exec = Command::new(self.main());
        exec.arg("exec").arg("-f").arg(self.0.path().join("erluv.conf")).args(options).arg("--").args(command);
        exec.stdin(Stdio::null());
        exec
    }

    /// Runs it: the exit code, stdout and stderr.
    pub fn run(&self, options: &[&str], command: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.exec(options, command).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code(), text(stdout), text(stderr))
    }

    /// The same, of which only the code matters.
    pub fn code(&self, options: &[&str], command: &[&str]) -> i32 {
        self.run(options, command).0.unwrap()
    }
}
