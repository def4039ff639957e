//! What well-behaved peers send: the seeds of the mutations, one function for each target.

use std::iter::once;

use erluv_proto::dist::{Own, flags::ALTACT_SIG, send};
use erluv_proto::etf::{
    Term, put_atom, put_binary, put_integer, put_list, put_map, put_nil, put_pid, put_reference, put_tuple,
};
use erluv_proto::ids::{Creation, NodeName, RequestId, WorkerId};
use erluv_proto::ipc::{
    self, About, Connection, ExitStatus, Exited, Failure, Hello, InputFrom, Launch, LaunchFailed, Launched, OutputTo,
    Program, Ready, Signal, Step, Stop, ToChild, ToMain, Usage,
};

/// The node that the handshake of the harness dials.
pub const PEER: &str = "shop@127.0.0.1";

fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn pid() -> Vec<u8> {
    built(|out| put_pid(out, PEER, 99, 7))
}

fn reference() -> Vec<u8> {
    built(|out| put_reference(out, PEER, 7, [1, 2, 3]))
}

/// `[alias|Ref]`, with a reference of five words.
fn alias() -> Vec<u8> {
    built(|out| {
        put_list(out, 1);
        put_atom(out, "alias");
        out.extend_from_slice(b"Z\0\x05w\x03a@h\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05");
    })
}

/// `{'$gen_call', {From, Tag}, {run, [...], #{...}}}`.
fn call(tag: &[u8]) -> Vec<u8> {
    built(|out| {
        put_tuple(out, 3);
        put_atom(out, "$gen_call");
        put_tuple(out, 2);
        out.extend_from_slice(&pid());
        out.extend_from_slice(tag);
        put_tuple(out, 3);
        put_atom(out, "run");
        put_list(out, 2);
        out.extend_from_slice(b"k\0\x08/bin/cat");
        put_binary(out, b"-n");
        put_nil(out);
        put_map(out, 2);
        put_atom(out, "kill_timeout");
        put_integer(out, -5);
        put_atom(out, "limit");
        put_integer(out, i64::MAX);
    })
}

/// Terms, without the version byte.
pub fn etf() -> Vec<Vec<u8>> {
    let by_hand: &[&[u8]] = &[
        b"C\0\0\0\x01\0w\x01mw\x01rw\x01aa\x01",
        b"F\x3f\xf8\0\0\0\0\0\0",
        b"c1.50000000000000000000e+00\0\0\0\0\0",
        b"M\0\0\0\x02\x03\xff\xe0",
        b"h\x03d\0\x01as\x01bd\0\x01\xe5",
        b"gw\x03a@h\0\0\0\x01\0\0\0\0\x01",
        b"h\x02r\0\x02w\x03a@h\x01\0\0\0\x01\0\0\0\x02ew\x03a@h\0\0\0\x01\x01",
        b"h\x03fw\x03a@h\0\0\0\x01\x01xw\x03a@h\0\0\0\x01\0\0\0\x02\0\0\0\x03Yw\x03a@h\0\0\0\x01\0\0\0\x02",
        b"u\0\0\0\x01gw\x03a@h\0\0\0\x01\0\0\0\0\x01w\x01ma\x01b\0\0\0\x02k\0\x01x",
        b"p\0\0\0\x3e\x010123456789abcdef\0\0\0\0\0\0\0\x01w\x01m\
          a\0b\0\0\x05\0Xw\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x01w\x01x",
        b"qw\x05listsw\x03mapa\x02",
        b"n\x09\0\0\0\0\0\0\0\0\0\x01",
        b"o\0\0\0\x02\x01\xff\xff",
        b"i\0\0\0\x02jl\0\0\0\x01jj",
        b"l\0\0\0\x02k\0\x01al\0\0\0\x03aBm\0\0\0\x01cjjm\0\0\0\x01d",
        b"l\0\0\0\0a\x01",
        b"h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\0",
        b"y\0\0\0\0a\x01",
        b"P\0\0\0\x0ax\x9c\x63\0\0",
    ];
    by_hand.iter().map(|bytes| bytes.to_vec()).chain([call(&alias()), call(&reference()), alias()]).collect()
}

/// Frames after the handshake, with their lengths: several in each stream.
pub fn control() -> Vec<Vec<u8>> {
    let (them, reference, tag) = (pid(), reference(), alias());
    let (Ok(to), Ok(name), Ok(tag)) = (Term::exactly(&them), Term::exactly(&reference), Term::exactly(&tag)) else {
        return Vec::new();
    };
    // Built as a node builds them: here "own" is the node.
    let own = Own { node: PEER, creation: 7 };
    let yes = |out: &mut Vec<u8>| put_atom(out, "yes");
    let frames: Vec<Vec<u8>> = vec![
        built(send::put_tick),
        built(|out| send::put_send(out, own, 3, to, |out| out.extend_from_slice(&call(tag.as_bytes())))),
        built(|out| send::put_reg_send(out, own, 3, "erluv", |out| out.extend_from_slice(&call(name.as_bytes())))),
        built(|out| send::put_reply(out, own, 3, to, tag, ALTACT_SIG, yes)),
        built(|out| send::put_reply(out, own, 3, to, tag, 0, yes)),
        built(|out| send::put_exit(out, own, 3, to, yes)),
        built(|out| send::put_monitor_exit_of(out, own, 3, to, name, yes)),
        built(|out| send::put_monitor(out, own, 3, to, [1, 2, 3])),
        built(|out| send::put_demonitor(out, own, 3, to, [1, 2, 3])),
        built(|out| send::put_spawn_reply(out, own, name, to, 3, 4)),
        built(|out| send::put_unlink_ack(out, Term::TOO_LARGE, to, to)),
        built(|out| {
            let mark = send::data_prefix(out, own, 3, to, "stdin");
            out.extend_from_slice(&[b'x'; 2100]);
            send::finish_data(out, mark);
        }),
        spawn_request(to, name),
        plain(&[1, 35, 26, 3, 38], to, name),
    ];
    frames.iter().cloned().chain(once(frames.concat())).collect()
}

fn spawn_request(from: Term<'_>, request: Term<'_>) -> Vec<u8> {
    built(|out| {
        let mark = send::begin(out);
        out.extend_from_slice(b"\x83h\x06a\x1d");
        out.extend_from_slice(request.as_bytes());
        out.extend_from_slice(from.as_bytes());
        out.extend_from_slice(from.as_bytes());
        out.extend_from_slice(b"h\x03w\x05erluvw\x03runa\x01l\0\0\0\x02w\x04linkh\x02w\x07monitorjj");
        out.extend_from_slice(b"\x83l\0\0\0\x01l\0\0\0\x01k\0\x08/bin/catjj");
        send::finish(out, mark);
    })
}

/// Frames of those operations with three elements and a payload, which some of them have and some do not.
fn plain(operations: &[u8], pid: Term<'_>, reference: Term<'_>) -> Vec<u8> {
    let mut all = Vec::new();
    for operation in operations {
        let mark = send::begin(&mut all);
        all.extend_from_slice(&[131, 104, 4, 97, *operation]);
        let id: &[u8] = if *operation == 35 { b"a\x07" } else { pid.as_bytes() };
        all.extend_from_slice(id);
        all.extend_from_slice(pid.as_bytes());
        all.extend_from_slice(if *operation == 35 { pid.as_bytes() } else { reference.as_bytes() });
        all.extend_from_slice(b"\x83w\x04kill");
        send::finish(&mut all, mark);
    }
    all
}

/// What a node sends during the handshake, each frame with its length.
pub fn handshake() -> Vec<Vec<u8>> {
    let challenge: &[u8] = b"\x00\x21N\0\0\0\x0d\x07\xdf\x7f\xbd\0\0\0\x07\0\0\0\x63\0\x0eshop@127.0.0.1";
    let ack: &[u8] = b"\x00\x11a0123456789abcdef";
    let status = |status: &[u8]| {
        let length = u16::try_from(status.len()).unwrap_or(0).to_be_bytes();
        [length.as_slice(), status, challenge, ack].concat()
    };
    [b"sok".as_slice(), b"sok_simultaneous", b"salive", b"snok", b"snot_allowed", b"snamed:\0\x01a\0\0\0\x01"]
        .into_iter()
        .map(status)
        .chain(once(b"\x00\x03sok\x00\x0bn\x00\x05\0\0\0\0abcd".to_vec()))
        .collect()
}

/// Answers of an EPMD.
pub fn epmd() -> Vec<Vec<u8>> {
    let port = b"\x77\x00\x1f\x90\x4d\x00\x00\x06\x00\x05\x00\x04shop\x00\x03abc";
    vec![port.to_vec(), vec![119, 1], b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()]
}

fn encoded<F: ipc::Frame>(frames: &[F]) -> Vec<Vec<u8>> {
    frames.iter().filter_map(|frame| ipc::encode(frame).ok()).collect()
}

/// Datagrams from erluv-child.
pub fn ipc_to_main() -> Vec<Vec<u8>> {
    let bytes = |text: &str| text.as_bytes().to_vec().into();
    let launch = |program| Launch {
        request: RequestId(7),
        program,
        env: vec![(bytes("LANG"), bytes("C"))],
        cwd: Some(bytes("/tmp")),
        user: Some("nobody".to_owned()),
        profile: Some("strict".to_owned()),
        stdin: InputFrom::Pipe,
        stdout: OutputTo::Pipe,
        stderr: OutputTo::Other,
        asker: "<shop@127.0.0.1.99.0>".to_owned(),
        executable: None,
        nice: Some(5),
        umask: Some(0o22),
        group: None,
        limits: vec![("nofile".to_owned(), Some(64))],
        terminal: None,
        kill: None,
        kill_group: false,
    };
    encoded(&[
        ToMain::Ready(Ready { missing: vec!["landlock".to_owned()] }),
        ToMain::Launch(launch(Program::Direct(vec![bytes("/bin/cat"), bytes("-n")]))),
        ToMain::Launch(launch(Program::Shell(bytes("exec cat")))),
        ToMain::Signal(Signal { worker: WorkerId(300), signal: 15 }),
        ToMain::Stop(Stop { worker: WorkerId(u64::MAX), grace: 5000 }),
        ToMain::Pong(70_000),
        ToMain::Disconnected("closed by the node".to_owned()),
    ])
}

/// Datagrams from erluv-main.
pub fn ipc_to_child() -> Vec<Vec<u8>> {
    let (Ok(own), Ok(peer)) = (NodeName::parse("erluv_1@127.0.0.1"), NodeName::parse(PEER)) else { return Vec::new() };
    let about = About {
        main_user: "root".to_owned(),
        child_user: "_erluv".to_owned(),
        worker_users: vec!["nobody".to_owned()],
        profiles: vec!["default".to_owned()],
        max_workers: 10_000,
        started: 1_700_000_000,
        cookie: Some(b"shared".to_vec().into()),
    };
    let hello = |tree_kill| Hello {
        tree_kill,
        own: own.clone(),
        creation: Creation::from_random(77),
        max_frame: 1 << 20,
        input_cap: 1 << 20,
        kill_timeout: 5000,
        peer_timeout: 90_000,
        about: about.clone(),
    };
    let failed = |failure| LaunchFailed { request: RequestId(7), worker: WorkerId(8), failure };
    let exited = |status| Exited { worker: WorkerId(8), status, usage: Usage::default(), oom: false, timeout: false };
    encoded(&[
        ToChild::Hello(hello(true)),
        ToChild::Hello(hello(false)),
        ToChild::Connection(Connection { peer, flags: 0x2d_075f_5fbc }),
        ToChild::Launched(Launched {
            request: RequestId(7),
            worker: WorkerId(8),
            os_pid: 4711,
            user: "nobody".to_owned(),
            profile: "default".to_owned(),
            output_limit: None,
            stdin: true,
            stdout: true,
            stderr: false,
        }),
        ToChild::LaunchFailed(failed(Failure::Step(Step::Exec, 2))),
        ToChild::LaunchFailed(failed(Failure::Refused("programs".to_owned(), "/bin/sh".to_owned()))),
        ToChild::Exited(exited(ExitStatus::Code(1))),
        ToChild::Exited(exited(ExitStatus::Signal(11, true))),
        ToChild::Ping(1),
        ToChild::Stopping(()),
    ])
}
