//! From a request to a worker, or to the reason why there is none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};

use erluv_proto::dist::send;
use erluv_proto::etf::{Term, put_atom, put_integer, put_tuple};
use erluv_proto::ids::{RequestId, WorkerId};
use erluv_proto::ipc::{InputFrom, Launch, LaunchFailed, Launched, OutputTo, Stop, ToMain};
use mio::Interest;
use mio::unix::SourceFd;

use super::life::State;
use super::worker::{Bytes, Worker};
use super::{Manager, Outlet, own, owners, put_error, put_own_pid, terms};
use crate::dispatcher::request::{Caller, SERVER};
use crate::dispatcher::run::{Output as To, Run, RunError};
use crate::streams::input::Input;
use crate::streams::output::Output;
use crate::streams::{Which, token};

/// Bits of the flags of a SPAWN_REPLY: a link and a monitor were set up with the process.
const LINKED: u8 = 1;
const MONITORED: u8 = 2;

/// Bytes of requests that may wait for main: more than that is refused.
const WAITING_FOR_MAIN: usize = 4 * 1024 * 1024;

/// How a worker was asked for.
#[derive(Debug)]
pub(super) enum Asked {
    /// By SPAWN_REQUEST: its reference, and what is to be set up.
    Spawn { request: Bytes, link: bool, monitor: bool },
    /// By a call, whose tag this is.
    Call { tag: Bytes },
}

/// A request that main has not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    asked: Asked,
    from: Bytes,
    stdout: Option<Bytes>,
    stderr: Option<Bytes>,
    window: Option<u32>,
    kill_timeout: u32,
    command: String,
}

impl Manager {
    /// A SPAWN_REQUEST for `erluv:run`.
    pub(super) fn spawn(
        &mut self,
        request: Term<'_>,
        from: Term<'_>,
        link: bool,
        monitor: bool,
        run: Result<Run<'_>, RunError<'_>>,
        outlet: &mut Outlet<'_>,
    ) {
        let asked = Asked::Spawn { request: request.as_bytes().into(), link, monitor };
        self.ask(asked, from, run, outlet);
    }

    /// A SPAWN_REQUEST whose arguments could not be read.
    pub(super) fn refuse_spawn(
        &mut self,
        request: Term<'_>,
        from: Term<'_>,
        link: bool,
        monitor: bool,
        why: &str,
        outlet: &mut Outlet<'_>,
    ) {
        let asked = Asked::Spawn { request: request.as_bytes().into(), link, monitor };
        self.refuse(&asked, from.as_bytes(), outlet, |out| terms::put_refused(out, why, "the arguments"));
    }

    /// A call `{run, Cmd, Options}`.
    pub(super) fn run(&mut self, caller: Caller<'_>, run: Result<Run<'_>, RunError<'_>>, outlet: &mut Outlet<'_>) {
        let asked = Asked::Call { tag: caller.tag.as_bytes().into() };
        self.ask(asked, caller.from, run, outlet);
    }

    fn ask(&mut self, asked: Asked, from: Term<'_>, run: Result<Run<'_>, RunError<'_>>, outlet: &mut Outlet<'_>) {
        let from: Bytes = from.as_bytes().into();
        let run = match run {
            Ok(run) => run,
            Err(error) => return self.refuse(&asked, &from, outlet, |out| terms::put_run_error(out, &error)),
        };
        if self.stopping {
            return self.refuse(&asked, &from, outlet, |out| terms::put_refused(out, "stopping", "main is going away"));
        }
        if outlet.main.waiting() > WAITING_FOR_MAIN {
            return self.refuse(&asked, &from, outlet, |out| terms::put_refused(out, "busy", "too many requests wait"));
        }
        let request = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        let (launch, pending) = split(run, request, asked, from, self.hello.kill_timeout);
        match outlet.main.try_send(&ToMain::Launch(launch)) {
            Ok(()) => {
                self.pending.insert(request, pending);
            }
            Err(error) => {
                let what = error.to_string();
                self.refuse(&pending.asked, &pending.from, outlet, |out| terms::put_refused(out, "arguments", &what));
            }
        }
    }

    /// Tells who asked that there is no worker: the reason is that of a process that ended at once, or the answer.
    fn refuse(&mut self, asked: &Asked, from: &[u8], outlet: &mut Outlet<'_>, reason: impl Fn(&mut Vec<u8>)) {
        self.next_phantom = self.next_phantom.saturating_add(1);
        let phantom = WorkerId(self.next_phantom);
        self.tell_refusal(asked, from, phantom, outlet, reason);
    }

    fn tell_refusal(
        &self,
        asked: &Asked,
        from: &[u8],
        id: WorkerId,
        outlet: &mut Outlet<'_>,
        reason: impl Fn(&mut Vec<u8>),
    ) {
        let Ok(from) = Term::exactly(from) else { return };
        let (own, out) = (own(&self.hello), &mut *outlet.node);
        match asked {
            Asked::Call { tag } => {
                let Ok(tag) = Term::exactly(tag) else { return };
                send::put_reply(out, own, SERVER, from, tag, self.flags, |out| put_error(out, reason));
            }
            Asked::Spawn { request, link, monitor } => {
                let Ok(request) = Term::exactly(request) else { return };
                send::put_spawn_reply(out, own, request, from, spawn_flags(*link, *monitor), id.0);
                if *link {
                    send::put_exit(out, own, id.0, from, &reason);
                }
                if *monitor {
                    send::put_monitor_exit_of(out, own, id.0, from, request, &reason);
                }
            }
        }
    }

    /// Main: no worker came of a request.
    pub(crate) fn launch_failed(&mut self, failed: &LaunchFailed, outlet: &mut Outlet<'_>) {
        if let Some(pending) = self.pending.remove(&failed.request) {
            self.tell_refusal(&pending.asked, &pending.from, failed.worker, outlet, |out| {
                terms::put_failure(out, &failed.failure);
            });
        }
    }

    /// Main: a worker runs, and these are the ends of its pipes.
    pub(crate) fn launched(&mut self, launched: Launched, pipes: Vec<OwnedFd>, outlet: &mut Outlet<'_>) {
        let Some(pending) = self.pending.remove(&launched.request) else {
            // Asked for over a connection that is gone.
            return outlet.main.send(&ToMain::Stop(Stop { worker: launched.worker, grace: 0 }));
        };
        let id = launched.worker;
        let (asked, worker) = worker(launched, pipes, pending, outlet);
        let hello = &self.hello;
        let Ok(owner) = Term::exactly(&worker.owner) else { return };
        let out = &mut *outlet.node;
        match asked {
            Asked::Spawn { request, link, monitor } => {
                let Ok(request) = Term::exactly(&request) else { return };
                send::put_spawn_reply(out, own(hello), request, owner, spawn_flags(link, monitor), id.0);
            }
            Asked::Call { tag } => {
                let Ok(tag) = Term::exactly(&tag) else { return };
                send::put_reply(out, own(hello), SERVER, owner, tag, self.flags, |out| {
                    put_tuple(out, 3);
                    put_atom(out, "ok");
                    put_own_pid(out, hello, id.0);
                    put_integer(out, i64::from(worker.os_pid));
                });
            }
        }
        if let Some(monitor) = self.owners.add(&worker.owner, id) {
            send::put_monitor(out, own(hello), SERVER, owner, owners::words(monitor));
        }
        self.workers.insert(id, worker);
    }
}

/// What main has to know, and what is kept until it answers.
fn split(run: Run<'_>, request: RequestId, asked: Asked, from: Bytes, kill_timeout: u32) -> (Launch, Pending) {
    let (command, asker) = (run.command(), asker(&from));
    let recipient = |to: To<'_>| match to {
        To::To(pid) => Some(pid.as_bytes().into()),
        To::Null | To::Owner | To::Other => None,
    };
    let place = |to: To<'_>| match to {
        To::Null => OutputTo::Null,
        To::Owner | To::To(_) => OutputTo::Pipe,
        To::Other => OutputTo::Other,
    };
    let pending = Pending {
        asked,
        from,
        stdout: recipient(run.stdout),
        stderr: recipient(run.stderr),
        window: run.window,
        kill_timeout: run.kill_timeout.unwrap_or(kill_timeout),
        command,
    };
    let launch = Launch {
        request,
        program: run.program,
        env: run.env,
        cwd: run.cwd,
        user: run.user,
        stdin: if run.stdin { InputFrom::Pipe } else { InputFrom::Null },
        stdout: place(run.stdout),
        stderr: place(run.stderr),
        executable: None,
        nice: None,
        umask: None,
        group: None,
        limits: Vec::new(),
        terminal: None,
        kill: None,
        kill_group: false,
        asker,
    };
    (launch, pending)
}

/// A worker of what was asked and what main has sent; its output streams are known to the poller.
fn worker(launched: Launched, pipes: Vec<OwnedFd>, pending: Pending, outlet: &mut Outlet<'_>) -> (Asked, Worker) {
    let id = launched.worker;
    let mut pipes = pipes.into_iter();
    let mut next = |there: bool| there.then(|| pipes.next()).flatten();
    let (stdin, stdout, stderr) = (next(launched.stdin), next(launched.stdout), next(launched.stderr));
    for (pipe, which) in [(&stdout, Which::Stdout), (&stderr, Which::Stderr)] {
        let Some(pipe) = pipe else { continue };
        let added = outlet.registry.register(&mut SourceFd(&pipe.as_raw_fd()), token(id, which), Interest::READABLE);
        if let Err(error) = added {
            ::log::error!("{id}: watching its {which:?}: {error}");
            outlet.main.send(&ToMain::Stop(Stop { worker: id, grace: 0 }));
        }
    }
    let owner = pending.from;
    let (links, monitors) = match &pending.asked {
        Asked::Spawn { request, link, monitor } => (
            link.then(|| owner.clone()).into_iter().collect(),
            monitor.then(|| (request.clone(), owner.clone())).into_iter().collect(),
        ),
        Asked::Call { .. } => (HashSet::new(), HashMap::new()),
    };
    let worker = Worker {
        id,
        os_pid: launched.os_pid,
        owner,
        user: Some(launched.user).filter(|user| !user.is_empty()),
        command: pending.command,
        started: super::unix_now(),
        kill_timeout: pending.kill_timeout,
        links,
        monitors,
        stdin: stdin.map(Input::new),
        stdout: stdout.map(|pipe| Output::new(pipe, pending.stdout, pending.window)),
        stderr: stderr.map(|pipe| Output::new(pipe, pending.stderr, pending.window)),
        waiting: VecDeque::new(),
        state: State::Running,
        stopped: false,
        status: None,
    };
    (pending.asked, worker)
}

fn spawn_flags(link: bool, monitor: bool) -> u8 {
    (if link { LINKED } else { 0 }) | (if monitor { MONITORED } else { 0 })
}

/// A pid as the node prints it to its own users, `<0.85.0>`, for main's log.
fn asker(from: &[u8]) -> String {
    match Term::exactly(from).ok().and_then(Term::pid) {
        Some(pid) => format!("<0.{}.{}>", pid.id, pid.serial),
        None => "?".to_owned(),
    }
}
