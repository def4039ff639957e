//! From a request to a worker, or to the reason why there is none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use erluv_proto::dist::send;
use erluv_proto::etf::{Term, put_atom, put_integer, put_tuple};
use erluv_proto::ids::{RequestId, WorkerId};
use erluv_proto::ipc::{InputFrom, Launch, LaunchFailed, Launched, OutputTo, Stop, ToMain};

use super::life::State;
use super::timers::Alarm;
use super::worker::{Bytes, LastNames, Worker};
use super::{Manager, Outlet, own, owners, put_error, put_own_pid, terms};
use crate::dispatcher::request::{Caller, SERVER};
use crate::dispatcher::run::{Output as To, Run, RunError, Source, Telling};
use crate::streams::input::Input;
use crate::streams::output::{Handing, Output};

/// Bits of the flags of a SPAWN_REPLY: a link and a monitor were set up with the process.
const LINKED: u8 = 1;
const MONITORED: u8 = 2;

/// Bytes of requests that may wait for main: more than that is refused.
const WAITING_FOR_MAIN: usize = 4 * 1024 * 1024;

/// Workers that outlive the connection, at one time: what each holds for that is bounded by its window.
const MOST_KEPT: usize = 1000;

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
    owner: Option<Bytes>,
    stdout: Option<Bytes>,
    stderr: Option<Bytes>,
    handing: Handing,
    telling: Telling,
    kill_timeout: u32,
    timeout: Option<Duration>,
    keep: Option<Duration>,
    terminal: bool,
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
        if run.keep.is_some() && self.kept >= MOST_KEPT {
            return self.refuse(&asked, &from, outlet, |out| terms::put_refused(out, "keep", "too many are kept"));
        }
        let request = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        let (launch, pending) = split(run, request, asked, from, self.hello.kill_timeout);
        match outlet.main.try_send(&ToMain::Launch(launch)) {
            Ok(()) => {
                if pending.keep.is_some() {
                    self.kept = self.kept.saturating_add(1);
                }
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
            if pending.keep.is_some() {
                self.kept = self.kept.saturating_sub(1);
            }
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
        let (asked, from, worker) = worker(launched, pipes, pending, &mut self.names, outlet.now);
        let hello = &self.hello;
        let Ok(caller) = Term::exactly(&from) else { return };
        let out = &mut *outlet.node;
        let linked = match asked {
            Asked::Spawn { request, link, monitor } => {
                let Ok(request) = Term::exactly(&request) else { return };
                send::put_spawn_reply(out, own(hello), request, caller, spawn_flags(link, monitor), id.0);
                link
            }
            Asked::Call { tag } => {
                let Ok(tag) = Term::exactly(&tag) else { return };
                send::put_reply(out, own(hello), SERVER, caller, tag, self.flags, |out| {
                    put_tuple(out, 3);
                    put_atom(out, "ok");
                    put_own_pid(out, hello, id.0);
                    put_integer(out, i64::from(worker.os_pid));
                });
                false
            }
        };
        if worker.telling.link && !linked {
            send::put_link(out, own(hello), id.0, caller);
        }
        if let Some(owner) = worker.owner.as_deref()
            && let Ok(pid) = Term::exactly(owner)
            && let Some(monitor) = self.owners.add(owner, id)
        {
            send::put_monitor(out, own(hello), SERVER, pid, owners::words(monitor));
        }
        self.timers.set(worker.late, id, Alarm::Late);
        self.by_os_pid.insert(worker.os_pid, id);
        self.workers.insert(id, Box::new(worker));
        self.fresh.push(id);
    }

    /// At the end of each turn: has the poller tell of the output of workers that were started in it, but for those that
    /// have ended since and left none.
    pub(crate) fn watch_fresh(&mut self, outlet: &mut Outlet<'_>) {
        while let Some(id) = self.fresh.pop() {
            self.watch_outputs(id, outlet);
        }
    }
}

/// What main has to know, and what is kept until it answers.
fn split(run: Run<'_>, request: RequestId, asked: Asked, from: Bytes, kill_timeout: u32) -> (Launch, Pending) {
    let (command, asker) = (run.command(), asker(&from));
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let terminal = run.terminal.is_some();
    // Mostly it is the caller who owns the worker, too.
    let kept = |pid: &[u8]| if pid == &*from { Rc::clone(&from) } else { pid.into() };
    let owner = run.owner.map(|owner| kept(owner.as_bytes()));
    let recipient = |to: &To<'_>| match to {
        To::To(pid) => Some(kept(pid.as_bytes())),
        To::Null | To::Owner | To::Other | To::File(_) => None,
    };
    let (stdout, stderr) = (recipient(&run.stdout), recipient(&run.stderr));
    let pending = Pending {
        asked,
        from,
        owner,
        stdout,
        stderr,
        handing: Handing { window: run.window, lines: run.lines, keep: run.keep.is_some() },
        telling: run.telling,
        kill_timeout: run.kill_timeout.unwrap_or(kill_timeout),
        timeout: run.timeout.map(|timeout| Duration::from_millis(u64::from(timeout))),
        keep: run.keep.map(seconds),
        terminal,
        command,
    };
    let launch = Launch {
        request,
        program: run.program,
        env: run.env,
        cwd: run.cwd,
        user: run.user,
        profile: run.profile,
        stdin: match run.stdin {
            Source::Null => InputFrom::Null,
            Source::Node if terminal => InputFrom::Terminal,
            Source::Node => InputFrom::Pipe,
            Source::File(path) => InputFrom::File(path),
        },
        stdout: place(run.stdout, terminal),
        stderr: place(run.stderr, terminal),
        executable: run.executable,
        nice: run.nice,
        umask: run.umask,
        group: run.group,
        limits: run.limits,
        terminal: run.terminal,
        kill: run.kill,
        kill_group: run.kill_group,
        asker,
    };
    (launch, pending)
}

/// Where an output stream goes, in main's words. On a terminal, both that come to the node are one.
fn place(to: To<'_>, terminal: bool) -> OutputTo {
    match to {
        To::Null => OutputTo::Null,
        To::Owner | To::To(_) | To::Other if terminal => OutputTo::Terminal,
        To::Owner | To::To(_) => OutputTo::Pipe,
        To::Other => OutputTo::Other,
        To::File(file) => OutputTo::File(file),
    }
}

/// A worker of what was asked and what main has sent, and who asked.
fn worker(
    launched: Launched,
    pipes: Vec<OwnedFd>,
    pending: Pending,
    names: &mut LastNames,
    now: Instant,
) -> (Asked, Bytes, Worker) {
    let id = launched.worker;
    let mut pipes = pipes.into_iter();
    let mut next = |there: bool| there.then(|| pipes.next()).flatten();
    let (stdin, stdout, stderr) = (next(launched.stdin), next(launched.stdout), next(launched.stderr));
    let Pending { asked, from, telling, terminal, handing, .. } = pending;
    let (mut links, mut monitors) = (HashSet::new(), HashMap::new());
    if telling.link {
        links.insert(from.clone());
    }
    if let Asked::Spawn { request, link, monitor } = &asked {
        if *link {
            links.insert(from.clone());
        }
        if *monitor {
            monitors.insert(request.clone(), from.clone());
        }
    }
    let worker = Worker {
        id,
        os_pid: launched.os_pid,
        owner: pending.owner,
        // As in erlexec, a link says it all.
        watcher: (telling.monitor && !telling.link).then(|| from.clone()),
        telling,
        user: names.user(&launched.user),
        profile: names.profile(&launched.profile),
        command: pending.command.into(),
        started: super::unix_now(),
        kill_timeout: pending.kill_timeout,
        drained: None,
        late: pending.timeout.and_then(|timeout| now.checked_add(timeout)),
        keep: pending.keep,
        kept_until: None,
        links,
        monitors,
        stdin: stdin.map(|pipe| Input::new(pipe, terminal)),
        stdout: stdout.map(|pipe| Output::new(pipe, pending.stdout, handing)),
        stderr: stderr.map(|pipe| Output::new(pipe, pending.stderr, handing)),
        past: None,
        terminal,
        read: [0; 2],
        output_limit: launched.output_limit,
        written: 0,
        waiting: VecDeque::new(),
        mourners: Vec::new(),
        state: State::Running,
        stopped: None,
        end: None,
    };
    (asked, from, worker)
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
