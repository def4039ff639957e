//! What main does not start, whoever has taken erluv-child over: the requests come over its control socket, past all
//! checks of child. Each is refused and logged, and nothing runs.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use erluv_proto::ipc::{Failure, InputFrom, Launch, OutputFile, OutputTo, Program, Step, ToChild, ToMain};
use erluv_tests::control::{FakeChild, launch, start};
use erluv_tests::daemon::Daemon;
use erluv_tests::folder::Folder;
use erluv_tests::{needs_root, proc};

const FAKE: &str = env!("CARGO_BIN_EXE_fake-child");

fn under(config: &str) -> (Daemon, FakeChild) {
    let (erluv, child) = start(Daemon::alone().config(config), Path::new(FAKE));
    child.get_ready();
    (erluv, child)
}

/// Each of these is refused by that rule, and logged with it; nothing was started in the end.
fn refused(mut erluv: Daemon, child: &FakeChild, cases: Vec<(&str, Launch)>) {
    for (time, (rule, launch)) in cases.into_iter().enumerate() {
        let shown = format!("{launch:?}");
        match child.fail(launch).failure {
            Failure::Refused(by, _) => assert_eq!(by, rule, "{shown}"),
            other => panic!("{other:?}: {shown}"),
        }
        let line = erluv.wait_log_times("audit event=refused ", time + 1);
        assert!(line.contains(&format!(" rule={rule} ")), "{line}");
    }
    assert!(!erluv.log().contains("event=start"));
    assert_eq!(erluv.worker_pids(), Vec::<i32>::new());
    assert_eq!(erluv.terminate(), 0);
}

fn sleep() -> Launch {
    launch(&["/bin/sleep", "1000"])
}

#[test]
fn s05_s06_s07_other_users_and_root_by_any_spelling() {
    needs_root!();
    let (erluv, child) = under("[workers]\nusers = ['daemon']");
    let names = [
        "root",
        "0",
        "-1",
        "4294967295",
        "4294967296",
        "+0",
        "00",
        "0x0",
        "-0",
        " 0",
        "0 ",
        "1",
        "nobody",
        "65534",
        "bin",
        "",
        "daemon ",
        "daemon\0",
        "Daemon",
        "../root",
        "root\nx",
        "daemon:root",
    ];
    let cases = names.map(|name| ("users", Launch { user: Some(name.to_owned()), ..sleep() }));
    refused(erluv, &child, cases.into());
}

#[test]
fn s24_programs_outside_of_the_patterns_by_any_way() {
    let folder = Folder::new();
    let sh = std::fs::canonicalize("/bin/sh").unwrap();
    let link = folder.path().join("sleep");
    symlink(&sh, &link).unwrap();
    let hard = folder.path().join("hard");
    // Where the folder is another file system's there is no such link, and nothing to refuse.
    let linked = std::fs::hard_link(&sh, &hard).is_ok();
    let (erluv, child) = under("[workers]\nprograms = ['/usr/bin/sleep', '/bin/sleep']\nshell = false");
    let link = link.to_str().unwrap();
    let mut cases: Vec<(&str, Launch)> =
        ["/bin/sh", "/usr/bin/../bin/sh", "/bin/./sh", "//bin//sh", "/proc/self/root/bin/sh", link, "/proc/self/exe"]
            .into_iter()
            .map(|path| ("programs", launch(&[path, "-c", "sleep 1000"])))
            .collect();
    if linked {
        cases.push(("programs", launch(&[hard.to_str().unwrap(), "-c", "sleep 1000"])));
    }
    // What is executed counts, not what it is called.
    let executable = |path: &str| Launch { executable: Some(path.as_bytes().to_vec().into()), ..sleep() };
    cases.push(("programs", executable("/bin/sh")));
    cases.push(("programs", executable(link)));
    cases.push(("shell", Launch { program: Program::Shell(b"sleep 1000".to_vec().into()), ..launch(&[]) }));
    refused(erluv, &child, cases);
}

#[test]
fn s26_names_that_make_a_loader_or_a_language_run_other_code() {
    let (erluv, child) = under("[workers]\nenv = ['*']");
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "LD_",
        "DYLD_INSERT_LIBRARIES",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "MALLOC_CHECK_",
        "BASH_ENV",
        "ENV",
        "IFS",
        "PERL5OPT",
        "PYTHONSTARTUP",
        "RUBYOPT",
        "NODE_OPTIONS",
        "ERL_FLAGS",
        "LOCALDOMAIN",
        "RES_OPTIONS",
        "A=LD_PRELOAD",
        "",
        "a b",
        "LD_PRELOAD\0",
    ];
    let with = |name: &str, value: &str| vec![(name.as_bytes().to_vec().into(), value.as_bytes().to_vec().into())];
    let mut cases: Vec<_> =
        names.iter().map(|name| ("env", Launch { env: with(name, "/tmp/x.so"), ..sleep() })).collect();
    cases.push(("env", Launch { env: with("A", "x\0LD_PRELOAD=/tmp/x.so"), ..sleep() }));
    refused(erluv, &child, cases);
}

#[test]
fn s56_s58_limits_beyond_the_profile_and_numbers_without_sense() {
    let (erluv, child) = under("[workers]\nnice_min = 0\n[profile.default.limits]\nnofile = 64\ncore = 0");
    let limit = |name: &str, value| Launch { limits: vec![(name.to_owned(), value)], ..sleep() };
    let cases = vec![
        ("limits", limit("nofile", Some(65))),
        ("limits", limit("nofile", None)),
        ("limits", limit("core", Some(1))),
        ("limits", limit("core", Some(u64::MAX))),
        ("limits", limit("no_such_limit", Some(1))),
        ("nice", Launch { nice: Some(-1), ..sleep() }),
        ("nice", Launch { nice: Some(-20), ..sleep() }),
        ("nice", Launch { nice: Some(127), ..sleep() }),
        ("umask", Launch { umask: Some(0o1777), ..sleep() }),
        ("group", Launch { group: Some(1), ..sleep() }),
    ];
    refused(erluv, &child, cases);
}

#[test]
fn s25_arguments_and_folders_that_no_program_can_have() {
    let (erluv, child) = under("[workers]\nmax_args_bytes = 4096");
    let folder = |path: &[u8]| Launch { cwd: Some(path.to_vec().into()), ..sleep() };
    let cases = vec![
        ("arguments", launch(&[])),
        ("arguments", launch(&["/bin/sleep", "a\0b"])),
        ("arguments", launch(&["/bin/sleep", &"x".repeat(5000)])),
        ("cwd", folder(b"relative")),
        ("cwd", folder(b"/tmp\0/x")),
        ("cwd", folder(b"")),
    ];
    refused(erluv, &child, cases);
}

#[test]
fn s56_profiles_that_are_not_listed() {
    let (erluv, child) = under("");
    let names = ["no_such", "", "../default", "Default", "default ", "a/b"];
    let cases = names.map(|name| ("profiles", Launch { profile: Some(name.to_owned()), ..sleep() }));
    refused(erluv, &child, cases.into());
}

#[test]
fn s28_redirects_are_opened_as_the_worker_s_user_and_follow_no_link() {
    needs_root!();
    let folder = Folder::new();
    let open = folder.folder("open", 0o755);
    chown(&open, Some(1), Some(1)).unwrap();
    let closed = folder.folder("closed", 0o700);
    let secret = folder.file("secret", 0o600, b"secret");
    let inside = |name: &str| open.join(name);
    std::fs::hard_link(&secret, inside("hard")).unwrap();
    symlink(&secret, inside("soft")).unwrap();
    symlink("/etc/passwd", inside("passwd")).unwrap();
    let (mut erluv, child) = under("[workers]\nusers = ['daemon']");
    let bytes = |path: &Path| path.to_str().unwrap().as_bytes().to_vec().into();
    let file = |path: &Path| OutputTo::File(OutputFile { path: bytes(path), append: false, mode: 0o666 });
    let targets = [closed.join("new"), inside("hard"), inside("soft"), inside("passwd"), "/root/erluv-test".into()];
    for target in &targets {
        for launch in [Launch { stdout: file(target), ..sleep() }, Launch { stderr: file(target), ..sleep() }] {
            assert!(matches!(child.fail(launch).failure, Failure::Step(Step::Redirect, _)), "{}", target.display());
        }
    }
    for source in [&secret, &inside("hard"), &inside("soft")] {
        let launch = Launch { stdin: InputFrom::File(bytes(source)), ..sleep() };
        assert!(matches!(child.fail(launch).failure, Failure::Step(Step::Redirect, _)), "{}", source.display());
    }
    assert_eq!(erluv.log().matches("audit event=failed ").count(), 2 * targets.len() + 3);
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert!(!closed.join("new").exists() && !Path::new("/root/erluv-test").exists());
    assert_eq!(erluv.terminate(), 0);
}

#[test]
fn s24_a_link_that_is_swapped_while_main_looks_leads_to_no_other_program() {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (link, marker) = (folder.path().join("link"), folder.path().join("marker"));
    let allowed = std::fs::canonicalize("/bin/true").unwrap();
    symlink(&allowed, &link).unwrap();
    let (mut erluv, child) = under(&format!("[workers]\nprograms = ['{}']", allowed.display()));
    let over = AtomicBool::new(false);
    let mut ran = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = folder.path().join("other");
            for target in [Path::new("/bin/touch"), &allowed].into_iter().cycle() {
                symlink(target, &other).unwrap();
                std::fs::rename(&other, &link).unwrap();
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..300 {
            child.say(&ToMain::Launch(launch(&[link.to_str().unwrap(), marker.to_str().unwrap()])));
            match child.hear() {
                Some(ToChild::Launched(_)) => {
                    ran += 1;
                    assert!(matches!(child.hear(), Some(ToChild::Exited(_))));
                }
                Some(ToChild::LaunchFailed(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(ran > 0, "the race was never even run");
    assert!(!marker.exists(), "touch has run");
    assert!(!erluv.log().contains("command=/usr/bin/touch,"));
    proc::wait_until("nothing runs", || erluv.worker_pids().is_empty());
    assert_eq!(erluv.terminate(), 0);
}
