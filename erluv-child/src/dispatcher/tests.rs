use eetf::{Atom, Binary, ByteList, FixInteger, List, Map, Pid, Term as Built, Tuple};
use erluv_proto::dist::{Control, Message};
use erluv_proto::etf::{Term, put_atom, put_pid, put_term, put_tuple};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::Program;

use super::request::{Names, Request, SERVER, Target};
use super::run::{Asking, Output, Run, RunError, Source};
use super::server::{Filter, ServerCall};
use super::worker::{Input, Size, ToWorker, WorkerCall};
use crate::streams::Which;

const NAMES: Names<'static> = Names { own: "erluv@h", creation: 77, peer: "a@h" };

fn raw(built: impl Into<Built>) -> Vec<u8> {
    let mut out = Vec::new();
    put_term(&mut out, &built.into());
    out
}

fn term(raw: &[u8]) -> Term<'_> {
    Term::exactly(raw).unwrap()
}

fn atom(name: &str) -> Built {
    Atom::from(name).into()
}

fn binary(text: &str) -> Built {
    Binary::from(text.as_bytes().to_vec()).into()
}

fn string(text: &str) -> Built {
    ByteList::from(text.as_bytes().to_vec()).into()
}

fn number(value: i32) -> Built {
    FixInteger::from(value).into()
}

fn list(items: Vec<Built>) -> Built {
    List::from(items).into()
}

fn tuple(items: Vec<Built>) -> Built {
    Tuple::from(items).into()
}

fn remote() -> Built {
    Pid { node: Atom::from("a@h"), id: 5, serial: 0, creation: 1 }.into()
}

fn own(id: u64, creation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_pid(&mut out, "erluv@h", id, creation);
    out
}

fn cat() -> Built {
    list(vec![string("/bin/cat")])
}

/// What is read of `cat` with these options, checked by `check`.
fn with(options: &Built, check: impl FnOnce(Result<Run<'_>, RunError<'_>>)) {
    let (command, options, from) = (raw(cat()), raw(options.clone()), raw(remote()));
    check(Run::read(term(&command), Some(term(&options)), Asking { from: term(&from), peer: "a@h" }));
}

#[test]
fn a_list_is_a_program_and_a_text_is_a_line_for_the_shell() {
    let direct = raw(list(vec![string("/bin/echo"), binary("a b"), list(vec![])]));
    let from = raw(remote());
    let asking = Asking { from: term(&from), peer: "a@h" };
    match Run::read(term(&direct), None, asking).unwrap().program {
        Program::Direct(args) => assert_eq!(args, [b"/bin/echo".as_slice(), b"a b", b""]),
        Program::Shell(_) => panic!("a list went to the shell"),
    }
    for line in [string("echo $HOME"), binary("echo $HOME")] {
        let line = raw(line);
        let run = Run::read(term(&line), None, asking).unwrap();
        assert!(matches!(&run.program, Program::Shell(line) if line.as_slice() == b"echo $HOME"));
        assert_eq!(run.command(), "echo $HOME");
    }
}

#[test]
fn what_is_no_command_is_refused_with_itself() {
    for bad in [list(vec![]), string(""), binary(""), number(7), list(vec![string("")]), list(vec![atom("cat")])] {
        let (bad, from) = (raw(bad), raw(remote()));
        let asking = Asking { from: term(&from), peer: "a@h" };
        assert_eq!(Run::read(term(&bad), None, asking).unwrap_err(), RunError::Command(term(&bad)));
    }
}

#[test]
fn options_come_as_a_list_or_as_a_map() {
    let options = list(vec![
        atom("stdin"),
        atom("stdout"),
        tuple(vec![atom("stderr"), atom("stdout")]),
        tuple(vec![atom("env"), list(vec![tuple(vec![string("A"), string("1")]), string("B=2=3")])]),
        tuple(vec![atom("cd"), binary("/tmp")]),
        tuple(vec![atom("kill_timeout"), number(250)]),
        tuple(vec![atom("user"), atom("daemon")]),
        tuple(vec![atom("window"), number(65536)]),
    ]);
    let map = Map::from([
        (atom("stdin"), atom("true")),
        (atom("stdout"), atom("true")),
        (atom("stderr"), atom("stdout")),
        (atom("env"), Map::from([(binary("A"), binary("1")), (string("B"), string("2=3"))]).into()),
        (atom("cd"), string("/tmp")),
        (atom("kill_timeout"), number(250)),
        (atom("user"), string("daemon")),
        (atom("window"), number(65536)),
    ]);
    for options in [options, map.into()] {
        with(&options, |run| {
            let run = run.unwrap();
            assert_eq!(run.stdin, Source::Node);
            assert_eq!((run.stdout, run.stderr), (Output::Owner, Output::Other));
            let mut env: Vec<_> = run.env.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            env.sort();
            assert_eq!(env, [(b"A".as_slice(), b"1".as_slice()), (b"B", b"2=3")]);
            assert_eq!(run.cwd.as_deref().map(|cwd| cwd.as_slice()), Some(b"/tmp".as_slice()));
            assert_eq!((run.kill_timeout, run.window), (Some(250), Some(65536)));
            assert_eq!(run.user.as_deref(), Some("daemon"));
        });
    }
}

#[test]
fn a_bad_option_is_named_as_it_came() {
    let bad = [
        atom("stdot"),
        tuple(vec![atom("kill_timeout"), number(-1)]),
        tuple(vec![atom("window"), number(0)]),
        tuple(vec![atom("window"), binary("x")]),
        tuple(vec![atom("cd"), string("")]),
        tuple(vec![atom("stdout"), atom("stdout")]),
        tuple(vec![atom("stdin"), atom("stdout")]),
        tuple(vec![atom("env"), list(vec![string("=x")])]),
        tuple(vec![atom("env"), list(vec![tuple(vec![string("A=B"), string("x")])])]),
        number(5),
        tuple(vec![atom("user"), atom("a"), atom("b")]),
        tuple(vec![atom("timeout"), number(0)]),
        tuple(vec![atom("lines"), number(65_537)]),
        tuple(vec![atom("nice"), number(21)]),
        tuple(vec![atom("umask"), number(0o1000)]),
        tuple(vec![atom("success_exit_code"), number(256)]),
        tuple(vec![atom("owner"), atom("me")]),
        tuple(vec![atom("on_nodedown"), tuple(vec![atom("keep"), number(0)])]),
        tuple(vec![atom("limits"), list(vec![tuple(vec![atom("core"), number(-1)])])]),
        tuple(vec![atom("winsz"), tuple(vec![number(65_536), number(1)])]),
        tuple(vec![atom("report"), number(1)]),
    ];
    for bad in bad {
        let expected = raw(bad.clone());
        with(&list(vec![atom("stdin"), bad]), |run| {
            assert_eq!(run.unwrap_err(), RunError::Option(term(&expected)));
        });
    }
    with(&atom("stdin"), |run| assert!(matches!(run, Err(RunError::Options(_)))));
    with(&list(vec![atom("stdin"), atom("stdin")]), |run| assert!(matches!(run, Err(RunError::Option(_)))));
    with(&Map::from([(atom("stdot"), atom("true"))]).into(), |run| assert!(matches!(run, Err(RunError::Pair(..)))));
}

#[test]
fn output_goes_to_pids_of_this_node_alone() {
    with(&list(vec![tuple(vec![atom("stdout"), remote()])]), |run| {
        assert!(matches!(run.unwrap().stdout, Output::To(_)));
    });
    let foreign = Pid { node: Atom::from("b@h"), id: 5, serial: 0, creation: 1 };
    with(&list(vec![tuple(vec![atom("stdout"), foreign.into()])]), |run| assert!(run.is_err()));
}

#[test]
fn the_whole_life_of_a_worker_is_said_by_options() {
    let options = list(vec![
        tuple(vec![atom("arg0"), string("-cat")]),
        tuple(vec![atom("nice"), number(20)]),
        tuple(vec![atom("umask"), number(0o27)]),
        tuple(vec![atom("group"), number(0)]),
        tuple(vec![atom("limits"), list(vec![tuple(vec![atom("core"), atom("unlimited")])])]),
        tuple(vec![atom("kill"), string("kill $CHILD_PID")]),
        atom("kill_group"),
        tuple(vec![atom("timeout"), number(500)]),
        tuple(vec![atom("lines"), number(100)]),
        tuple(vec![atom("on_nodedown"), tuple(vec![atom("keep"), number(30)])]),
        tuple(vec![atom("owner"), atom("none")]),
        atom("monitor"),
        tuple(vec![atom("report"), atom("true")]),
        atom("erlexec"),
        tuple(vec![atom("success_exit_code"), number(7)]),
        tuple(vec![atom("stdin"), string("/in")]),
        tuple(vec![atom("stdout"), binary("/out"), list(vec![atom("append"), tuple(vec![atom("mode"), number(384)])])]),
        tuple(vec![atom("stderr"), atom("close")]),
    ]);
    with(&options, |run| {
        let run = run.unwrap();
        assert!(matches!(&run.program, Program::Direct(args) if args[0].as_slice() == b"-cat"));
        assert_eq!(run.executable.as_ref().map(|path| path.as_slice()), Some(b"/bin/cat".as_slice()));
        assert_eq!((run.nice, run.umask, run.group), (Some(19), Some(0o27), Some(0)));
        assert_eq!(run.limits, [("core".to_owned(), None)]);
        assert_eq!(run.kill.as_ref().map(|kill| kill.as_slice()), Some(b"kill $CHILD_PID".as_slice()));
        assert_eq!((run.timeout, run.lines, run.keep, run.owner), (Some(500), Some(100), Some(30), None));
        assert!(run.kill_group && run.telling.monitor && run.telling.report && run.telling.erlexec);
        assert!(!run.telling.link && run.telling.success == 7);
        assert!(matches!(&run.stdin, Source::File(path) if path.as_slice() == b"/in"));
        let Output::File(file) = &run.stdout else { panic!("{:?}", run.stdout) };
        assert_eq!((file.path.as_slice(), file.append, file.mode), (b"/out".as_slice(), true, 0o600));
        assert_eq!(run.stderr, Output::Null);
    });
}

#[test]
fn options_that_do_not_go_together_are_refused_by_the_one_that_is_wrong() {
    let keep = || tuple(vec![atom("on_nodedown"), tuple(vec![atom("keep"), number(30)])]);
    let window = || tuple(vec![atom("window"), number(1 << 20)]);
    let file = || tuple(vec![atom("stderr"), string("/tmp/x")]);
    for (options, bad) in [
        (vec![window(), keep()], window()),
        (vec![keep(), window()], window()),
        (vec![atom("pty"), atom("stdout"), file()], file()),
        (vec![file(), atom("pty"), tuple(vec![atom("stdout"), atom("stderr")])], file()),
    ] {
        let expected = raw(bad);
        with(&list(options), |run| assert_eq!(run.unwrap_err(), RunError::Option(term(&expected))));
    }
    // With a line for the shell there is no argument to put in front.
    let (line, from) = (raw(string("true")), raw(remote()));
    let options = raw(list(vec![tuple(vec![atom("arg0"), string("x")])]));
    let asking = Asking { from: term(&from), peer: "a@h" };
    assert!(matches!(Run::read(term(&line), Some(term(&options)), asking), Err(RunError::Option(_))));
}

#[test]
fn a_terminal_has_one_output_and_its_settings_have_names() {
    let settings = list(vec![tuple(vec![atom("vintr"), number(3)]), tuple(vec![atom("icanon"), atom("false")])]);
    let options = list(vec![
        tuple(vec![atom("pty"), settings]),
        atom("pty_echo"),
        tuple(vec![atom("winsz"), tuple(vec![number(24), number(80)])]),
        tuple(vec![atom("stderr"), remote()]),
    ]);
    with(&options, |run| {
        let run = run.unwrap();
        let terminal = run.terminal.unwrap();
        assert_eq!((terminal.rows, terminal.columns, terminal.echo), (24, 80, true));
        assert_eq!(terminal.settings, [("vintr".to_owned(), 3), ("icanon".to_owned(), 0)]);
        assert_eq!(run.stdout, Output::Owner);
    });
    let bad = list(vec![tuple(vec![atom("vintr"), number(256)])]);
    with(&list(vec![tuple(vec![atom("pty"), bad])]), |run| assert!(run.is_err()));
}

#[test]
fn names_are_taken_out_of_the_environment_as_erlexec_means_it() {
    let env = list(vec![
        string("A=1"),
        atom("clear"),
        string("B=2"),
        tuple(vec![string("B"), atom("false")]),
        tuple(vec![string("C"), string("")]),
    ]);
    with(&list(vec![tuple(vec![atom("env"), env])]), |run| {
        let env = run.unwrap().env;
        assert_eq!(env.iter().map(|(name, _)| name.as_slice()).collect::<Vec<_>>(), [b"A".as_slice(), b"C"]);
    });
}

#[test]
fn a_pid_of_an_earlier_incarnation_is_nobody() {
    let (ours, old, server) = (own(9, 77), own(9, 76), own(SERVER, 77));
    assert_eq!(NAMES.target(term(&ours)), Target::Worker(WorkerId(9)));
    assert_eq!(NAMES.target(term(&own((3 << 32) | 9, 77))), Target::Worker(WorkerId((3 << 32) | 9)));
    assert_eq!(NAMES.target(term(&old)), Target::Nobody);
    assert_eq!(NAMES.target(term(&server)), Target::Server);
    assert_eq!(NAMES.target(term(&raw(remote()))), Target::Nobody);
    assert_eq!(NAMES.target(term(&raw(atom("erluv")))), Target::Server);
    assert_eq!(NAMES.target(term(&raw(atom("rex")))), Target::Nobody);
}

fn gen_call(question: Built) -> Vec<u8> {
    let tag = atom("tag");
    raw(tuple(vec![atom("$gen_call"), tuple(vec![remote(), tag]), question]))
}

#[test]
fn a_call_to_a_pid_of_an_earlier_incarnation_has_somebody_who_waits() {
    let (from, old) = (raw(remote()), own(9, 76));
    let sent = |payload: &[u8]| {
        let control = Control::Send { from: Some(term(&from)), to: term(&old) };
        format!("{:?}", NAMES.read(&Message { control, payload: Some(term(payload)) }))
    };
    assert!(sent(&gen_call(atom("info"))).starts_with("CallToNobody("));
    assert_eq!(sent(&raw(tuple(vec![atom("stdin"), atom("eof")]))), "Ignore(\"message to nobody\")");
}

#[test]
fn calls_to_the_server_are_understood() {
    let from = raw(remote());
    let asked = |name: &'static str, question: Built, check: &dyn Fn(&ServerCall<'_>) -> bool| {
        let payload = gen_call(question);
        let control = Control::RegSend { from: term(&from), name };
        match NAMES.read(&Message { control, payload: Some(term(&payload)) }) {
            Request::Call(_, call) => assert!(check(&call), "{call:?}"),
            other => panic!("{other:?}"),
        }
    };
    asked("net_kernel", tuple(vec![atom("is_auth"), atom("a@h")]), &|call| matches!(call, ServerCall::IsAuth));
    asked("erluv", atom("info"), &|call| matches!(call, ServerCall::Info));
    asked(
        "erluv",
        atom("workers"),
        &|call| matches!(call, ServerCall::Workers(filter) if *filter == Filter::default()),
    );
    asked("erluv", atom("respawn"), &|call| matches!(call, ServerCall::Respawn));
    asked("erluv", tuple(vec![atom("run"), cat()]), &|call| matches!(call, ServerCall::Run(run) if run.is_ok()));
    asked(
        "erluv",
        tuple(vec![atom("run"), cat(), list(vec![atom("stdin")])]),
        &|call| matches!(call, ServerCall::Run(run) if matches!(&**run, Ok(run) if run.stdin == Source::Node)),
    );
    asked("erluv", tuple(vec![atom("run"), number(1)]), &|call| matches!(call, ServerCall::Run(run) if run.is_err()));
    asked("erluv", tuple(vec![atom("info"), remote()]), &|call| matches!(call, ServerCall::WorkerInfo(Target::Nobody)));
    asked("erluv", tuple(vec![atom("adopt"), remote()]), &|call| matches!(call, ServerCall::Adopt(Target::Nobody)));
    asked("erluv", tuple(vec![atom("find"), number(77)]), &|call| matches!(call, ServerCall::Find(77)));
    asked("erluv", tuple(vec![atom("find"), number(-7)]), &|call| matches!(call, ServerCall::Find(0)));
    let filter = Map::from([(atom("command"), string("cat")), (atom("state"), atom("kept"))]);
    asked("erluv", tuple(vec![atom("workers"), filter.into()]), &|call| match call {
        ServerCall::Workers(filter) => {
            filter.admits(None, None, "/bin/cat -n", "kept")
                && !filter.admits(None, None, "/bin/cat -n", "running")
                && !filter.admits(None, None, "/bin/dd", "kept")
        }
        _ => false,
    });
    let filter = Map::from([(atom("colour"), atom("red"))]);
    asked("erluv", tuple(vec![atom("workers"), filter.into()]), &|call| matches!(call, ServerCall::Unknown(_)));
    asked("erluv", atom("shutdown"), &|call| matches!(call, ServerCall::Unknown(_)));
}

#[test]
fn messages_to_a_worker_are_understood() {
    let (to, from) = (own(9, 77), raw(remote()));
    let sent = |payload: &[u8], check: &dyn Fn(&Request<'_>) -> bool| {
        let control = Control::Send { from: Some(term(&from)), to: term(&to) };
        let request = NAMES.read(&Message { control, payload: Some(term(payload)) });
        assert!(check(&request), "{request:?}");
    };
    sent(
        &raw(tuple(vec![atom("stdin"), binary("abc")])),
        &|request| matches!(request, Request::Message { message: ToWorker::Stdin(Input::Bytes(bytes)), .. } if &**bytes == b"abc"),
    );
    sent(
        &raw(tuple(vec![atom("stdin"), list(vec![binary("ab"), string("cd"), number(10)])])),
        &|request| matches!(request, Request::Message { message: ToWorker::Stdin(Input::Bytes(b)), .. } if &**b == b"abcd\n"),
    );
    sent(&raw(tuple(vec![atom("stdin"), atom("eof")])), &|request| {
        matches!(request, Request::Message { message: ToWorker::Stdin(Input::Eof), .. })
    });
    sent(&raw(tuple(vec![atom("signal"), atom("sighup")])), &|request| {
        matches!(request, Request::Message { message: ToWorker::Signal(1), .. })
    });
    sent(&raw(tuple(vec![atom("ack"), atom("stderr"), number(7)])), &|request| {
        matches!(request, Request::Message { message: ToWorker::Ack(Which::Stderr, 7), .. })
    });
    sent(&raw(tuple(vec![atom("close"), atom("stdout")])), &|request| {
        matches!(request, Request::Message { message: ToWorker::Close(Which::Stdout), .. })
    });
    sent(&raw(tuple(vec![atom("winsz"), number(24), number(80)])), &|request| {
        matches!(request, Request::Message { message: ToWorker::Size(Size(24, 80)), .. })
    });
    let settings = tuple(vec![atom("pty_opts"), list(vec![tuple(vec![atom("echo"), number(1)])])]);
    let no_signal = tuple(vec![atom("signal"), atom("sigfoo")]);
    for (question, known) in [
        (atom("info"), true),
        (atom("stop"), true),
        (atom("stop_and_wait"), true),
        (settings, true),
        (no_signal, true),
        (atom("dance"), false),
    ] {
        sent(&gen_call(question), &|request| {
            let Request::Message { message: ToWorker::Call(_, call), .. } = request else { return false };
            matches!(call, WorkerCall::Unknown(_)) != known
        });
    }
    for nonsense in [atom("hello"), tuple(vec![atom("ack"), atom("stdin"), number(1)]), tuple(vec![]), number(3)] {
        sent(&raw(nonsense), &|request| matches!(request, Request::Ignore(_)));
    }
}

#[test]
fn only_erluv_run_of_one_or_two_arguments_is_spawned() {
    let (request, from) = (raw(atom("ref")), raw(remote()));
    let asked = |module, function, args: Vec<Built>| {
        let arity = i64::try_from(args.len()).unwrap();
        let payload = raw(list(args));
        let control = Control::SpawnRequest {
            request: term(&request),
            from: term(&from),
            module,
            function,
            arity,
            link: true,
            monitor: false,
        };
        matches!(NAMES.read(&Message { control, payload: Some(term(&payload)) }), Request::Spawn { .. })
    };
    assert!(asked("erluv", "run", vec![cat()]));
    assert!(asked("erluv", "run", vec![cat(), list(vec![])]));
    assert!(!asked("erluv", "run", vec![cat(), list(vec![]), list(vec![])]));
    assert!(!asked("erluv", "run", vec![]));
    assert!(!asked("erpc", "execute_call", vec![cat()]));
}

#[test]
fn the_tag_of_a_caller_is_kept_as_it_came() {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 3);
    put_atom(&mut payload, "$gen_call");
    put_tuple(&mut payload, 2);
    payload.extend(raw(remote()));
    // [alias | Ref] with a reference of five words.
    let mut tag = vec![108, 0, 0, 0, 1, 119, 5];
    tag.extend(b"alias");
    tag.extend([90, 0, 5, 119, 3]);
    tag.extend(b"a@h");
    tag.extend([0, 0, 0, 1]);
    tag.extend([7; 20]);
    payload.extend(&tag);
    put_atom(&mut payload, "info");
    let (caller, question) = super::request::call(term(&payload)).unwrap();
    assert_eq!(caller.tag.as_bytes(), tag);
    assert!(question.is_atom("info"));
}
