//! Answers and reasons as terms. The cold ones are built with eetf, the rest is written as it goes out.

use eetf::{Atom, BigInteger, Binary, List, Map, Term};
use erluv_proto::dist::Own;
use erluv_proto::etf::{put_atom, put_binary, put_integer, put_map, put_tuple, put_unsigned};
use erluv_proto::ids::NodeName;
use erluv_proto::ipc::{ExitStatus, Failure, Hello};

use super::worker::{End, Stopped, Worker};
use crate::dispatcher::run::{RunError, Telling};
use crate::dispatcher::text;

/// `timeout`, `{output_limit, Bytes}`, `normal`, `{exited, Code}` or `{signaled, Signal}`; in erlexec's form `normal`
/// or `{exit_status, Status}`, the status as wait(2) has it.
pub(crate) fn put_end(out: &mut Vec<u8>, status: ExitStatus, stopped: Option<Stopped>, telling: Telling) {
    match (stopped, telling.erlexec) {
        (Some(Stopped::Timeout), _) => put_atom(out, "timeout"),
        (Some(Stopped::Output(most)), _) => {
            put_tuple(out, 2);
            put_atom(out, "output_limit");
            put_unsigned(out, most);
        }
        (Some(Stopped::Stop | Stopped::Owner), true) => put_atom(out, "normal"),
        (_, true) => match raw_status(status, telling.success) {
            0 => put_atom(out, "normal"),
            raw => {
                put_tuple(out, 2);
                put_atom(out, "exit_status");
                put_integer(out, i64::from(raw));
            }
        },
        (_, false) => put_status(out, status, telling.success),
    }
}

/// What wait(2) says of an end. erlexec tells its users the number for success itself in the place of 0.
fn raw_status(status: ExitStatus, success: u8) -> u16 {
    match status {
        ExitStatus::Code(0) => u16::from(success),
        ExitStatus::Code(code) => u16::from(code) << 8,
        ExitStatus::Signal(number, core) => u16::from(number) | if core { 0x80 } else { 0 },
    }
}

fn put_status(out: &mut Vec<u8>, status: ExitStatus, success: u8) {
    match status {
        ExitStatus::Code(0) if success == 0 => put_atom(out, "normal"),
        ExitStatus::Code(code) => {
            put_tuple(out, 2);
            put_atom(out, "exited");
            put_integer(out, i64::from(if code == 0 { success } else { code }));
        }
        ExitStatus::Signal(number, _core) => {
            put_tuple(out, 2);
            put_atom(out, "signaled");
            put_signal(out, number);
        }
    }
}

fn put_signal(out: &mut Vec<u8>, number: u8) {
    match text::signal_name(number) {
        Some(name) => put_atom(out, &name),
        None => put_integer(out, i64::from(number)),
    }
}

/// The map of `{report, Pid, Map}`: how a worker ended and what it used.
pub(crate) fn put_report(out: &mut Vec<u8>, worker: &Worker, end: &End) {
    let truth = |out: &mut Vec<u8>, is: bool| put_atom(out, if is { "true" } else { "false" });
    put_map(out, 12);
    let core = match end.status {
        ExitStatus::Code(code) => {
            put_atom(out, "code");
            put_integer(out, i64::from(if code == 0 { worker.telling.success } else { code }));
            false
        }
        ExitStatus::Signal(number, core) => {
            put_atom(out, "signal");
            put_signal(out, number);
            core
        }
    };
    for (name, is) in [("core", core), ("oom", end.oom), ("timeout", worker.stopped == Some(Stopped::Timeout))] {
        put_atom(out, name);
        truth(out, is);
    }
    put_atom(out, "stopped");
    put_atom(out, worker.stopped.map_or("false", Stopped::name));
    let [stdin, stdout, stderr] = worker.bytes();
    let usage = end.usage;
    for (name, value) in [
        ("user_time", usage.user),
        ("system_time", usage.system),
        ("wall_time", usage.wall),
        ("max_memory", usage.memory.saturating_mul(1024)),
        ("stdin", stdin),
        ("stdout", stdout),
        ("stderr", stderr),
    ] {
        put_atom(out, name);
        put_unsigned(out, value);
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
    let profiles = about.profiles.iter().map(|profile| binary(profile.as_bytes())).collect::<Vec<_>>();
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
        ("profiles", List::from(profiles).into()),
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
pub(crate) fn put_worker(out: &mut Vec<u8>, worker: &Worker, own: Own<'_>) {
    put_map(out, 9);
    put_atom(out, "pid");
    own.put_pid(out, worker.id.0);
    put_atom(out, "os_pid");
    put_unsigned(out, u64::from(worker.os_pid));
    put_atom(out, "user");
    match &worker.user {
        Some(user) => put_binary(out, user.as_bytes()),
        None => put_atom(out, "default"),
    }
    put_atom(out, "profile");
    put_binary(out, worker.profile.as_bytes());
    put_atom(out, "command");
    put_binary(out, worker.command.as_bytes());
    put_atom(out, "owner");
    match &worker.owner {
        // The bytes of a pid, which were checked when they came.
        Some(owner) => out.extend_from_slice(owner),
        None => put_atom(out, "none"),
    }
    put_atom(out, "started");
    put_unsigned(out, worker.started);
    put_atom(out, "queued");
    put_unsigned(out, worker.queued() as u64);
    put_atom(out, "state");
    put_atom(out, worker.state_name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use erluv_proto::etf;

    fn shown(status: ExitStatus, stopped: Option<Stopped>, erlexec: bool, success: u8) -> String {
        let mut out = Vec::new();
        put_end(&mut out, status, stopped, Telling { erlexec, success, ..Telling::default() });
        format!("{:?}", etf::Term::exactly(&out).unwrap())
    }

    #[test]
    fn the_reason_of_an_end_in_both_forms() {
        use ExitStatus::{Code, Signal};
        for (status, stopped, own, erlexec) in [
            (Code(0), None, "normal", "normal"),
            (Code(3), None, "{exited,3}", "{exit_status,768}"),
            (Signal(9, false), None, "{signaled,sigkill}", "{exit_status,9}"),
            (Signal(11, true), None, "{signaled,sigsegv}", "{exit_status,139}"),
            (Signal(15, false), Some(Stopped::Stop), "{signaled,sigterm}", "normal"),
            (Signal(9, false), Some(Stopped::Kill), "{signaled,sigkill}", "{exit_status,9}"),
            (Signal(15, false), Some(Stopped::Timeout), "timeout", "timeout"),
            (Signal(13, false), Some(Stopped::Output(99)), "{output_limit,99}", "{output_limit,99}"),
            (Code(0), Some(Stopped::Output(99)), "{output_limit,99}", "{output_limit,99}"),
        ] {
            assert_eq!(shown(status, stopped, false, 0), own);
            assert_eq!(shown(status, stopped, true, 0), erlexec);
        }
        assert_eq!(shown(Code(0), None, false, 7), "{exited,7}");
        assert_eq!(shown(Code(0), None, true, 7), "{exit_status,7}");
    }
}
