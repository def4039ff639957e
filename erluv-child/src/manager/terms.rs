//! Answers and reasons as terms. The cold ones are built with eetf, the rest is written as it goes out.

use eetf::{Atom, BigInteger, Binary, List, Map, Term};
use erluv_proto::etf::{self, put_atom, put_binary, put_integer, put_tuple};
use erluv_proto::ids::NodeName;
use erluv_proto::ipc::{ExitStatus, Failure, Hello};

use super::life::State;
use super::worker::Worker;
use crate::dispatcher::run::RunError;
use crate::dispatcher::text;

/// `normal`, `{exited, Code}` or `{signaled, Signal}`.
pub(crate) fn put_end(out: &mut Vec<u8>, status: ExitStatus) {
    match status {
        ExitStatus::Code(0) => put_atom(out, "normal"),
        ExitStatus::Code(code) => {
            put_tuple(out, 2);
            put_atom(out, "exited");
            put_integer(out, i64::from(code));
        }
        ExitStatus::Signal(number, _core) => {
            put_tuple(out, 2);
            put_atom(out, "signaled");
            match text::signal_name(number) {
                Some(name) => put_atom(out, &name),
                None => put_integer(out, i64::from(number)),
            }
        }
    }
}

/// `{launch_failed, Step, Errno}` or `{refused, {Rule, What}}`.
pub(crate) fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    match failure {
        Failure::Step(step, errno) => {
            put_tuple(out, 3);
            put_atom(out, "launch_failed");
            put_atom(out, step.name());
            match text::errno_name(*errno) {
                Some(name) => put_atom(out, &name),
                None => put_integer(out, i64::from(*errno)),
            }
        }
        Failure::Refused(rule, what) => put_refused(out, rule, what),
    }
}

/// `{refused, {Rule, What}}`.
pub(crate) fn put_refused(out: &mut Vec<u8>, rule: &str, what: &str) {
    put_tuple(out, 2);
    put_atom(out, "refused");
    put_tuple(out, 2);
    put_atom(out, rule);
    put_binary(out, what.as_bytes());
}

/// `{badopt, Option}`, `{badopt, Options}` or `{badcommand, Cmd}`.
pub(crate) fn put_run_error(out: &mut Vec<u8>, error: &RunError<'_>) {
    put_tuple(out, 2);
    match error {
        RunError::Command(command) => {
            put_atom(out, "badcommand");
            out.extend_from_slice(command.as_bytes());
        }
        RunError::Option(option) | RunError::Options(option) => {
            put_atom(out, "badopt");
            out.extend_from_slice(option.as_bytes());
        }
        RunError::Pair(key, value) => {
            put_atom(out, "badopt");
            put_tuple(out, 2);
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }
}

fn atom(name: &str) -> Term {
    Atom::from(name).into()
}

fn binary(bytes: &[u8]) -> Term {
    Binary::from(bytes.to_vec()).into()
}

fn number(value: u64) -> Term {
    BigInteger::from(value).into()
}

fn map(pairs: impl IntoIterator<Item = (&'static str, Term)>) -> Term {
    Map::from(pairs.into_iter().map(|(key, value)| (atom(key), value)).collect::<std::collections::HashMap<_, _>>())
        .into()
}

/// What every erluv tells who asks, and nobody can change.
pub(crate) fn info(hello: &Hello, peer: &NodeName, running: usize, now: u64) -> Term {
    let about = &hello.about;
    let users = about.worker_users.iter().map(|user| binary(user.as_bytes())).collect::<Vec<_>>();
    let limits = map([
        ("workers", number(u64::from(about.max_workers))),
        ("frame", number(u64::from(hello.max_frame))),
        ("input", number(u64::from(hello.input_cap))),
    ]);
    let mut pairs = vec![
        ("node", atom(hello.own.as_str())),
        ("serves", atom(peer.as_str())),
        ("version", binary(env!("CARGO_PKG_VERSION").as_bytes())),
        ("main_user", binary(about.main_user.as_bytes())),
        ("child_user", binary(about.child_user.as_bytes())),
        ("worker_users", List::from(users).into()),
        ("running", number(running as u64)),
        ("limits", limits),
        ("started", number(about.started)),
        ("uptime", number(now.saturating_sub(about.started))),
    ];
    if let Some(cookie) = &about.cookie {
        pairs.push(("cookie", binary(cookie)));
    }
    map(pairs)
}

/// One worker, for `workers` and `{info, Pid}`.
pub(crate) fn worker(worker: &Worker, pid: &[u8]) -> Term {
    let remote =
        |bytes: &[u8]| etf::Term::exactly(bytes).and_then(etf::Term::to_eetf).unwrap_or_else(|_| atom("undefined"));
    map([
        ("pid", remote(pid)),
        ("os_pid", number(u64::from(worker.os_pid))),
        ("user", worker.user.as_ref().map_or_else(|| atom("default"), |user| binary(user.as_bytes()))),
        ("command", binary(worker.command.as_bytes())),
        ("owner", remote(&worker.owner)),
        ("started", number(worker.started)),
        ("queued", number(worker.queued() as u64)),
        (
            "state",
            atom(match worker.state {
                State::Running => "running",
                State::Draining => "draining",
                State::Gone => "gone",
            }),
        ),
    ])
}
