//! What a node may ask beyond a program, its environment and its folder.

use erluv_proto::ipc::{self, InputFrom, OutputTo};
use nix::libc;

use super::tests::{launch, order, policy, rule, shell};
use super::*;
use crate::order::{OutputFile, Rlimit, Terminal};
use crate::sys;

fn bytes(text: &str) -> Option<ByteBuf> {
    Some(ByteBuf::from(text))
}

fn program() -> Launch {
    launch(&["/bin/sh"])
}

/// The order of a request to a policy.
fn with(rules: &str, launch: Launch) -> Result<Order, Failure> {
    order(&policy(0, rules), launch)
}

#[test]
fn s24_an_executable_is_what_is_looked_up_and_executed() {
    let rules = "[workers]\nprograms = ['/bin/sh', '/bin/cat']";
    let cat = std::fs::canonicalize("/bin/cat").unwrap();
    for executable in ["/bin/cat", "cat"] {
        let direct = Launch { executable: bytes(executable), ..launch(&["any name", "x"]) };
        let order = with(rules, direct).unwrap();
        assert_eq!(order.path.to_str(), Ok(cat.to_str().unwrap()));
        assert_eq!(order.argv, [c"any name".to_owned(), c"x".to_owned()]);
    }
    let order = with(rules, Launch { executable: bytes("/bin/cat"), ..shell("line") }).unwrap();
    assert_eq!((order.path.to_str(), order.argv[0].as_c_str()), (Ok(cat.to_str().unwrap()), c"/bin/sh"));
    for (executable, wanted) in [("/bin/ls", "programs"), ("./sh", "program_path"), ("", "program_path")] {
        assert_eq!(rule(with(rules, Launch { executable: bytes(executable), ..program() })), wanted);
        assert_eq!(rule(with(rules, Launch { executable: bytes(executable), ..shell("x") })), wanted);
    }
    let no_shell = format!("{rules}\nshell = false");
    assert_eq!(rule(with(&no_shell, Launch { executable: bytes("/bin/cat"), ..shell("x") })), "shell");
    assert_eq!(rule(with(rules, Launch { executable: bytes("/bin/cat"), ..launch(&[]) })), "arguments");
}

#[test]
fn s56_a_priority_is_lowered_freely_and_raised_as_far_as_the_policy_says() {
    let at = |rules: &str, nice| with(rules, Launch { nice: Some(nice), ..program() });
    for nice in [0, 1, 19] {
        assert_eq!(at("", nice).unwrap().nice, Some(i32::from(nice)));
    }
    for nice in [-1, -20, 20, i8::MIN, i8::MAX] {
        assert_eq!(rule(at("", nice)), "nice", "{nice}");
    }
    let rules = "[workers]\nnice_min = -5";
    assert_eq!(at(rules, -5).unwrap().nice, Some(-5));
    assert_eq!(rule(at(rules, -6)), "nice");
}

#[test]
fn s56_a_umask_is_permission_bits_and_a_group_is_one_s_own() {
    let rules = "[profile.default]\numask = '027'";
    let umask = |umask| with(rules, Launch { umask, ..program() });
    assert_eq!(umask(None).unwrap().umask, 0o027);
    assert_eq!(umask(Some(0)).unwrap().umask, 0);
    assert_eq!(umask(Some(0o777)).unwrap().umask, 0o777);
    assert_eq!(rule(umask(Some(0o1000))), "umask");
    let group = |group| with("", Launch { group, ..program() });
    assert!(group(Some(0)).is_ok());
    for other in [1, std::process::id(), u32::MAX] {
        assert_eq!(rule(group(Some(other))), "group");
    }
}

#[test]
fn s56_limits_are_the_profile_s_or_lower() {
    let rules = "[profile.default.limits]\nnofile = { soft = 10, hard = 100 }\ncpu = 'unlimited'";
    let limits = |list: &[(&str, Option<u64>)]| {
        let limits = list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        with(rules, Launch { limits, ..program() }).map(|order| order.rlimits)
    };
    let number = |resource: libc::__rlimit_resource_t| i32::try_from(resource).unwrap();
    let found = |list: &[Rlimit], resource| {
        let limit = list.iter().find(|limit| limit.resource == number(resource)).unwrap();
        (limit.soft, limit.hard)
    };
    let list = limits(&[("nofile", Some(100)), ("cpu", None), ("fsize", Some(0))]).unwrap();
    assert_eq!((list.len(), found(&list, libc::RLIMIT_NOFILE)), (4, (100, 100)));
    assert_eq!((found(&list, libc::RLIMIT_CORE), found(&list, libc::RLIMIT_FSIZE)), ((0, 0), (0, 0)));
    assert_eq!(found(&list, libc::RLIMIT_CPU), (libc::RLIM_INFINITY, libc::RLIM_INFINITY));
    assert!(limits(&[("core", Some(0))]).is_ok());
    for bad in [("nofile", Some(101)), ("nofile", None), ("core", Some(1)), ("NOFILE", Some(1)), ("", Some(1))] {
        assert!(matches!(limits(&[bad]), Err(Failure::Refused(rule, _)) if rule == "limits"), "{bad:?}");
    }
    assert!(limits(&[("nofile", Some(5)), ("nofile", Some(6))]).is_err(), "twice");
    // Where the profile says nothing, main's own.
    let (_, own) = sys::own_limit(number(libc::RLIMIT_STACK)).unwrap();
    assert_eq!(limits(&[("stack", None)]).is_ok(), own == libc::RLIM_INFINITY);
    assert!(limits(&[("stack", Some(own.min(1 << 20)))]).is_ok());
}

#[test]
fn s28_files_are_paths_and_modes() {
    let file = |path: &str, mode| ipc::OutputFile { path: ByteBuf::from(path), append: true, mode };
    let launch = Launch {
        stdin: InputFrom::File(ByteBuf::from("in")),
        stdout: OutputTo::File(file("/tmp/out", 0o640)),
        ..program()
    };
    let order = with("", launch).unwrap();
    assert_eq!((order.stdin, order.stderr), (Input::File(c"in".to_owned()), Output::Other));
    assert_eq!(order.stdout, Output::File(OutputFile { path: c"/tmp/out".to_owned(), append: true, mode: 0o640 }));
    for path in ["", "a\0b", &"x".repeat(LONGEST_PATH)] {
        let stdin = InputFrom::File(ByteBuf::from(path));
        assert_eq!(rule(with("", Launch { stdin, ..program() })), "stdin");
        let stdout = OutputTo::File(file(path, 0o644));
        assert_eq!(rule(with("", Launch { stdout, ..program() })), "stdout");
        let stderr = OutputTo::File(file(path, 0o644));
        assert_eq!(rule(with("", Launch { stderr, ..program() })), "stderr");
    }
    assert_eq!(rule(with("", Launch { stdout: OutputTo::File(file("x", 0o10000)), ..program() })), "stdout");
}

#[test]
fn a_terminal_is_there_for_the_streams_that_are_one() {
    let terminal = |settings: &[(&str, u32)]| {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Some(ipc::Terminal { rows: 24, columns: 80, echo: false, settings })
    };
    let on =
        |terminal| with("", Launch { stdin: InputFrom::Terminal, stdout: OutputTo::Terminal, terminal, ..program() });
    let order = on(terminal(&[("vintr", 3), ("icanon", 0)])).unwrap();
    assert_eq!((&order.stdin, &order.stdout, &order.stderr), (&Input::Terminal, &Output::Terminal, &Output::Other));
    let settings = vec![("vintr".to_owned(), 3), ("icanon".to_owned(), 0)];
    assert_eq!(order.terminal, Some(Terminal { rows: 24, columns: 80, echo: false, settings }));
    for bad in [("vintr", 256), ("icanon", 2), ("none", 1), ("tty_op_ispeed", 1)] {
        assert_eq!(rule(on(terminal(&[bad]))), "terminal", "{bad:?}");
    }
    assert_eq!(rule(on(None)), "terminal");
    let unused = with("", Launch { terminal: terminal(&[]), ..program() }).unwrap();
    assert_eq!(unused.terminal, None);
}

#[test]
fn s56_a_command_to_end_a_worker_is_held_like_the_worker_and_needs_a_shell() {
    let rules = "[workers]\nusers = ['worker', 'nobody']\npath = '/usr/bin:/bin'\n[profile.default]\numask = '027'";
    let launch = Launch {
        kill: bytes("kill $CHILD_PID"),
        user: Some("nobody".to_owned()),
        umask: Some(0o022),
        limits: vec![("nofile".to_owned(), Some(20))],
        kill_group: true,
        ..program()
    };
    let worker = with(rules, launch.clone()).unwrap();
    let Ending::Command(command) = worker.ending else { panic!("{:?}", worker.ending) };
    assert_eq!(command.argv, [c"/bin/sh".to_owned(), c"-c".to_owned(), c"kill $CHILD_PID".to_owned()]);
    assert_eq!(command.env, [c"PATH=/usr/bin:/bin".to_owned()]);
    assert_eq!((&command.stdin, &command.stdout, &command.stderr), (&Input::Null, &Output::Null, &Output::Null));
    assert_eq!((command.umask, &command.rlimits, &command.identity), (0o022, &worker.rlimits, &worker.identity));
    assert!(command.sandbox.profile.no_new_privs && command.node == worker.node);
    assert_eq!(rule(with("[workers]\nshell = false", launch.clone())), "shell");
    assert_eq!(
        rule(with("[workers]\nprograms = '/bin/cat'", Launch { kill: bytes("x"), ..self::launch(&["cat"]) })),
        "programs"
    );
    assert_eq!(rule(with("", Launch { kill: bytes("a\0b"), ..program() })), "arguments");
    assert_eq!(
        rule(with("[workers]\nmax_args_bytes = 256", Launch { kill: bytes(&"x".repeat(257)), ..program() })),
        "arguments"
    );
    let group = with("", Launch { kill_group: true, ..program() }).unwrap();
    assert!(matches!(group.ending, Ending::SignalGroup));
}
