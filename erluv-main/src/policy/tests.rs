use erluv_proto::ids::RequestId;
use erluv_proto::ipc::{InputFrom, LaunchFailed, OutputTo, ToChild, encode};

use super::*;
use crate::identity::tests::Machine;
use crate::settings::scenarios::settings;

pub(super) fn policy(euid: u32, text: &str) -> Policy {
    let settings = settings(euid, text).unwrap();
    let roles = crate::identity::resolve(&settings, &Machine).unwrap();
    resolve(&settings, &roles).unwrap().remove(0)
}

pub(super) fn launch(args: &[&str]) -> Launch {
    let program = Program::Direct(args.iter().map(|arg| ByteBuf::from(*arg)).collect());
    let plain = Launch::plain(RequestId(7), program, "<1.2.3>");
    Launch { stdin: InputFrom::Pipe, stdout: OutputTo::Pipe, stderr: OutputTo::Other, ..plain }
}

pub(super) fn shell(line: &str) -> Launch {
    Launch { program: Program::Shell(ByteBuf::from(line)), ..launch(&[]) }
}

pub(super) fn order(policy: &Policy, launch: Launch) -> Result<Order, Failure> {
    policy.clone().order(NodeIndex(3), launch, &Running::default(), Instant::now())
}

pub(super) fn rule(result: Result<Order, Failure>) -> String {
    match result {
        Err(Failure::Refused(rule, _)) => rule,
        other => format!("{other:?}"),
    }
}

#[test]
fn what_passes_becomes_an_order_with_nothing_added() {
    let policy = policy(0, "[workers]\nusers = ['worker', 'nobody']\n[profile.default]\numask = '027'");
    let order = order(&policy, launch(&["/bin/sh", "-c", "x \u{1b}"])).unwrap();
    let sh = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(order.path.to_str(), Ok(sh.to_str().unwrap()));
    assert_eq!(order.argv, [c"/bin/sh".to_owned(), c"-c".to_owned(), c"x \x1b".to_owned()]);
    assert!(order.env.is_empty());
    assert_eq!((order.node, order.request, order.cwd.as_c_str()), (NodeIndex(3), RequestId(7), c"/"));
    assert_eq!((order.stdin, order.stdout, order.stderr), (Input::Pipe, Output::Pipe, Output::Other));
    assert_eq!((order.umask, order.sandbox.profile.no_new_privs, order.rlimits.len()), (0o027, true, 1));
    assert!(order.nice.is_none() && order.terminal.is_none() && matches!(order.ending, Ending::Signal));
    assert_eq!(order.identity.unwrap().groups, [1000, 4, 27]);
}

#[test]
fn s56_users_pass_by_the_names_of_the_policy_alone() {
    let policy = policy(0, "[workers]\nusers = ['worker', 'nobody']");
    let with = |user: &str| order(&policy, Launch { user: Some(user.to_owned()), ..launch(&["/bin/sh"]) });
    assert_eq!(with("nobody").unwrap().identity.unwrap().uid, 65534);
    for user in ["root", "0", "1000", "", "_erluv", "nobody ", "NOBODY", "nobody\0"] {
        assert_eq!(rule(with(user)), "users", "{user}");
    }
}

#[test]
fn s71_without_root_workers_run_as_main_does() {
    let policy = policy(1000, "");
    let with = |user: &str| order(&policy, Launch { user: Some(user.to_owned()), ..launch(&["/bin/sh"]) });
    assert_eq!(order(&policy, launch(&["/bin/sh"])).unwrap().identity, None);
    assert_eq!(with("worker").unwrap().identity, None);
    assert_eq!(rule(with("nobody")), "users");
}

#[test]
fn s44_no_more_workers_than_the_policy_has() {
    let mut policy = policy(0, "[workers]\nmax = 2");
    let mut with = |all| {
        let running = Running { all, ..Running::default() };
        policy.order(NodeIndex(0), launch(&["/bin/sh"]), &running, Instant::now())
    };
    assert!(with(1).is_ok());
    for running in [2, 3, usize::MAX] {
        assert_eq!(rule(with(running)), "max");
    }
}

#[test]
fn s25_there_is_a_first_argument_and_no_nul_in_any() {
    let policy = policy(0, "");
    assert_eq!(rule(order(&policy, launch(&[]))), "arguments");
    assert_eq!(rule(order(&policy, launch(&["/bin/sh", "a\0b"]))), "arguments");
    assert_eq!(rule(order(&policy, shell("a\0b"))), "arguments");
    assert_eq!(rule(order(&policy, launch(&["", "x"]))), "program_path");
    let bytes =
        Launch { program: Program::Direct(vec![ByteBuf::from("/bin/sh"), ByteBuf::from([0xff, 1])]), ..launch(&[]) };
    assert_eq!(order(&policy, bytes).unwrap().argv[1].to_bytes(), [0xff, 1]);
}

#[test]
fn s25_arguments_and_environment_have_a_size() {
    let policy = policy(0, "[workers]\nmax_args_bytes = 256");
    // "/bin/sh" and the text with a NUL each.
    let fits = "x".repeat(256 - 8 - 1);
    assert!(order(&policy, launch(&["/bin/sh", &fits])).is_ok());
    assert_eq!(rule(order(&policy, launch(&["/bin/sh", &format!("{fits}x")]))), "arguments");
    let env = vec![(ByteBuf::from("A"), ByteBuf::from("1"))];
    assert_eq!(rule(order(&policy, Launch { env, ..launch(&["/bin/sh", &fits]) })), "arguments");
    let many = vec![""; MOST_ARGUMENTS + 1];
    assert_eq!(rule(order(&self::policy(0, ""), launch(&many))), "arguments");
}

#[test]
fn s24_a_string_runs_under_the_shell_where_the_policy_says_so() {
    let order_of = |text: &str| order(&policy(0, text), shell("echo $HOME"));
    let order = order_of("").unwrap();
    assert_eq!(order.argv, [c"/bin/sh".to_owned(), c"-c".to_owned(), c"echo $HOME".to_owned()]);
    assert_eq!(rule(order_of("[workers]\nshell = false")), "shell");
    assert_eq!(rule(order_of("[workers]\nprograms = '/usr/bin/true'")), "programs");
    assert!(order_of("[workers]\nprograms = '/bin/sh'").is_ok());
}

#[test]
fn s56_programs_pass_by_the_patterns_of_the_policy() {
    let policy = policy(0, "[workers]\nprograms = ['/usr/bin/true', '/opt/**']");
    assert!(order(&policy, launch(&["true"])).is_ok());
    assert!(order(&policy, launch(&["/usr/bin/true"])).is_ok());
    assert_eq!(rule(order(&policy, launch(&["/bin/sh"]))), "programs");
    assert_eq!(rule(order(&policy, launch(&["./true"]))), "program_path");
    let missing = order(&policy, launch(&["/opt/none/such"])).unwrap_err();
    assert_eq!(missing, Failure::Step(Step::Exec, nix::libc::ENOENT));
}

#[test]
fn s56_the_environment_passes_by_the_names_of_the_policy() {
    let with = |rules: &str, name: &str| {
        let env = vec![(ByteBuf::from(name), ByteBuf::from("1"))];
        order(&policy(0, rules), Launch { env, ..launch(&["/bin/sh"]) })
    };
    assert_eq!(with("", "APP").unwrap().env, [c"APP=1".to_owned()]);
    assert_eq!(rule(with("", "LD_PRELOAD")), "env");
    assert!(with("[workers]\nenv = ['LD_PRELOAD']", "LD_PRELOAD").is_ok());
    assert_eq!(rule(with("[workers]\nenv = []", "APP")), "env");
}

#[test]
fn s56_the_working_folder_is_absolute() {
    let policy = policy(0, "");
    let with = |cwd: &str| order(&policy, Launch { cwd: Some(ByteBuf::from(cwd)), ..launch(&["/bin/sh"]) });
    assert_eq!(with("/tmp").unwrap().cwd.as_c_str(), c"/tmp");
    for cwd in ["", "tmp", "./tmp", "/a\0b", &format!("/{}", "x".repeat(5000))] {
        assert_eq!(rule(with(cwd)), "cwd", "{cwd:?}");
    }
}

#[test]
fn the_outputs_do_not_go_in_a_circle() {
    let policy = policy(0, "");
    let circle = Launch { stdout: OutputTo::Other, ..launch(&["/bin/sh"]) };
    assert_eq!(rule(order(&policy, circle)), "stdout");
}

#[test]
fn s55_a_refusal_fits_its_frame_and_has_no_control_characters() {
    let policy = policy(0, "");
    for long in [
        format!("./{}", "\u{1b}[31m".repeat(700)),
        format!("./{}", "\u{202e}".repeat(1300)),
        format!("a/{}", "\u{e4}".repeat(1900)),
    ] {
        let failure = order(&policy, launch(&[&long])).unwrap_err();
        let Failure::Refused(rule, what) = &failure else { panic!("{failure:?}") };
        assert_eq!(rule, "program_path");
        assert!(!what.chars().any(|c| c.is_control() || c == '\u{202e}'), "{what}");
        let worker = erluv_proto::ids::WorkerId(u64::MAX);
        let frame = ToChild::LaunchFailed(LaunchFailed { request: RequestId(u64::MAX), worker, failure });
        assert!(encode(&frame).is_ok());
    }
}
