use eetf::{Atom, Binary, ByteList, FixInteger, List, Map, Pid, Term as Built, Tuple};
use erluv_proto::dist::{Control, Message};
use erluv_proto::etf::{Term, put_atom, put_pid, put_term, put_tuple};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::Program;

use super::request::{Input, Names, Request, SERVER, ServerCall, Stream, Target, ToWorker, WorkerCall};
use super::run::{Output, Run, RunError};

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
    let (command, options) = (raw(cat()), raw(options.clone()));
    check(Run::read(term(&command), Some(term(&options)), "a@h"));
}

#[test]
fn a_list_is_a_program_and_a_text_is_a_line_for_the_shell() {
    let direct = raw(list(vec![string("/bin/echo"), binary("a b"), list(vec![])]));
    match Run::read(term(&direct), None, "a@h").unwrap().program {
        Program::Direct(args) => assert_eq!(args, [b"/bin/echo".as_slice(), b"a b", b""]),
        Program::Shell(_) => panic!("a list went to the shell"),
    }
    for line in [string("echo $HOME"), binary("echo $HOME")] {
        let line = raw(line);
        let run = Run::read(term(&line), None, "a@h").unwrap();
        assert!(matches!(&run.program, Program::Shell(line) if line.as_slice() == b"echo $HOME"));
        assert_eq!(run.command(), "echo $HOME");
    }
}

#[test]
fn what_is_no_command_is_refused_with_itself() {
    for bad in [list(vec![]), string(""), binary(""), number(7), list(vec![string("")]), list(vec![atom("cat")])] {
        let bad = raw(bad);
        assert_eq!(Run::read(term(&bad), None, "a@h").unwrap_err(), RunError::Command(term(&bad)));
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
            assert!(run.stdin);
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
    asked("erluv", atom("workers"), &|call| matches!(call, ServerCall::Workers));
    asked("erluv", atom("respawn"), &|call| matches!(call, ServerCall::Respawn));
    asked("erluv", tuple(vec![atom("run"), cat()]), &|call| matches!(call, ServerCall::Run(Ok(_))));
    asked(
        "erluv",
        tuple(vec![atom("run"), cat(), list(vec![atom("stdin")])]),
        &|call| matches!(call, ServerCall::Run(Ok(run)) if run.stdin),
    );
    asked("erluv", tuple(vec![atom("run"), number(1)]), &|call| matches!(call, ServerCall::Run(Err(_))));
    asked("erluv", tuple(vec![atom("info"), remote()]), &|call| matches!(call, ServerCall::WorkerInfo(Target::Nobody)));
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
        matches!(request, Request::Message { message: ToWorker::Ack(Stream::Stderr, 7), .. })
    });
    for (question, known) in [(atom("info"), true), (atom("stop"), true), (atom("dance"), false)] {
        sent(&gen_call(question), &|request| {
            let Request::Message { message: ToWorker::Call(_, call), .. } = request else { return false };
            !matches!(call, WorkerCall::Unknown(_)) == known
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
