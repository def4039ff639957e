use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::net::{SocketFlags, socketpair};

use super::*;

/// Names to the re-executed test program what it is to do.
pub(crate) const ACTION: &str = "ERLUV_TEST_ACTION";

/// Where this test program is.
fn own() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Executes this test program anew for one ignored test alone.
pub(crate) fn alone(test: &str, action: &str) -> Command {
    alone_at(&own(), test, action)
}

fn alone_at(program: &Path, test: &str, action: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env_clear().env(ACTION, action);
    command
}

/// As [`alone`], with the descriptors that erluv-main gives: a shell turns its stdin into 3 and its stdout into 4.
pub(crate) fn as_main_does(test: &str, action: &str, control: OwnedFd, log: OwnedFd) -> Command {
    by_shell(AS_MAIN, alone(test, action), control, log)
}

const AS_MAIN: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

/// A shell that is to execute a program of [`alone`], with its arguments and its environment.
fn by_shell(script: &str, program: Command, control: impl Into<Stdio>, log: impl Into<Stdio>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(control).stdout(log);
    command
}

/// Runs this test program as the user nobody, who may not reach the folder it was built in (below /root, say): a copy
/// in a folder of its own, which goes with this value.
pub(crate) struct Reachable(PathBuf);

impl Reachable {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("erluv-reachable-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        // By a process of its own: a descriptor to write the copy that another test's fork had inherited would let its
        // execution fail.
        let copied = Command::new("cp").arg("-p").arg(own()).arg(folder.join("tests")).status().unwrap();
        assert!(copied.success());
        Self(folder)
    }

    /// As [`alone`]; the user is the caller's to set.
    pub(crate) fn alone(&self, test: &str, action: &str) -> Command {
        alone_at(&self.0.join("tests"), test, action)
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

const INSIDE: &str = "start::tests::inside";

#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[allow(clippy::exit, reason = "nothing of the test harness is to run after it")]
fn inside() {
    let Ok(line) = std::env::var(ACTION) else { return };
    match start(line.split_whitespace().map(OsString::from)) {
        Ok(_) => std::process::exit(0),
        Err(error) => {
            error.report();
            std::process::exit(error.status().into());
        }
    }
}

/// The arguments that fit the user that the tests run as.
fn good() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "erluv-child --user nobody --group 65534 --chroot /var/empty --worker-limit 10"
    } else {
        "erluv-child --worker-limit 10"
    }
}

/// The exit status, after checking that the one line on stderr helps.
fn status(mut command: Command) -> Option<i32> {
    let Output { status, stderr, .. } = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    match status.code() {
        Some(0) => assert_eq!(stderr, ""),
        Some(77) => {
            assert!(stderr.starts_with("erluv-child: started by erluv-main only: run erluv-main ("), "{stderr}")
        }
        _ => assert!(stderr.starts_with("erluv-child: "), "{stderr}"),
    }
    assert!(stderr.lines().count() <= 1, "{stderr}");
    status.code()
}

#[test]
fn it_starts_as_main_starts_it() {
    let (_main, child) = pair(SocketType::SEQPACKET);
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(status(as_main_does(INSIDE, good(), child, writer.into())), Some(0));
}

#[test]
fn s34_started_from_a_shell_it_refuses() {
    assert_eq!(status(alone(INSIDE, good())), Some(77));
    if nix::unistd::geteuid().is_root() {
        let reachable = Reachable::new();
        let mut as_user = reachable.alone(INSIDE, "erluv-child --worker-limit 10");
        as_user.uid(65534).gid(65534);
        assert_eq!(status(as_user), Some(77));
    }
}

#[test]
fn s34_a_control_socket_of_another_kind_is_refused() {
    let (_main, child) = pair(SocketType::STREAM);
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(status(as_main_does(INSIDE, good(), child, writer.into())), Some(77));
    let (reader, writer) = io::pipe().unwrap();
    assert_eq!(status(as_main_does(INSIDE, good(), reader.into(), writer.into())), Some(77));
}

#[test]
fn s34_a_log_that_is_no_pipe_is_refused() {
    let (main, child) = pair(SocketType::SEQPACKET);
    assert_eq!(status(as_main_does(INSIDE, good(), child, main)), Some(77));
}

#[test]
#[cfg(target_os = "linux")]
fn s34_a_socket_that_the_parent_has_not_made_is_refused() {
    let (_main, child) = pair(SocketType::SEQPACKET);
    let (_reader, writer) = io::pipe().unwrap();
    // The shell stays, and so is the parent.
    let script = "\"$@\" 3<&0 4>&1 </dev/null >/dev/null; exit $?";
    assert_eq!(status(by_shell(script, alone(INSIDE, good()), child, writer)), Some(77));
}

#[test]
#[cfg(target_os = "linux")]
fn s34_a_socket_that_another_user_has_made_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let (_main, child) = pair(SocketType::SEQPACKET);
    let (_reader, writer) = io::pipe().unwrap();
    let reachable = Reachable::new();
    let program = reachable.alone(INSIDE, "erluv-child --worker-limit 10");
    let mut command = by_shell(AS_MAIN, program, child, writer);
    command.uid(65534).gid(65534);
    assert_eq!(status(command), Some(77));
}

#[test]
fn s34_another_name_or_command_line_is_refused() {
    for (line, expected) in [("/usr/libexec/erluv/erluv-child --worker-limit 1", 77), ("erluv-child --help", 64)] {
        let (_main, child) = pair(SocketType::SEQPACKET);
        let (_reader, writer) = io::pipe().unwrap();
        assert_eq!(status(as_main_does(INSIDE, line, child, writer.into())), Some(expected), "{line}");
    }
}

fn parsed(line: &str, root: bool) -> Result<Start, StartError> {
    parse(line.split_whitespace().map(OsString::from), root)
}

#[test]
fn root_gives_what_to_become() {
    let start = parsed("--user _erluv --group 65534 --chroot /var/empty --worker-limit 10000", true).unwrap();
    let separation = Separation { user: "_erluv".into(), group: "65534".into(), chroot: "/var/empty".into() };
    assert_eq!(start, Start { separation: Some(separation), worker_limit: 10000 });
}

#[test]
fn an_ordinary_user_gives_only_the_limit() {
    assert_eq!(parsed("--worker-limit 7", false), Ok(Start { separation: None, worker_limit: 7 }));
}

#[test]
fn a_command_line_that_is_not_mains_is_refused() {
    for (line, root) in [
        ("", false),
        ("--worker-limit", false),
        ("--worker-limit +7", false),
        ("--worker-limit -7", false),
        ("--worker-limit 4294967296", false),
        ("--worker-limit 7 --worker-limit 7", false),
        ("--worker-limit 7 --help", false),
        ("--user a --worker-limit 7", false),
        ("--user a --group b --chroot /c --worker-limit 7", false),
        ("--worker-limit 7", true),
        ("--user a --chroot /c --worker-limit 7", true),
        ("--user a --group b --chroot /c", true),
    ] {
        let error = parsed(line, root).unwrap_err();
        assert_eq!((error.status(), matches!(error, StartError::Usage(_))), (64, true), "{line}");
    }
}
