//! `erluv-main exec`: one command through the very path that a node's request takes (policy, launch, sys), without a
//! node: for a person who wants to see what a profile does to a program. The command has this process's own descriptors
//! 0 to 2, gets the signals that this process gets, and its end is this process's end.
//!
//! Runs in erluv-main with the privileges that it was started with, less those that the configuration does not need.
//! It is not erluv-child's confinement that holds the command, and no byte of its streams is read here.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use erluv_proto::ids::{NodeName, RequestId, WorkerId};
use erluv_proto::ipc::{ExitStatus, Failure, Launch, Program, Step};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use nix::libc;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use serde_bytes::ByteBuf;
use signal_hook_mio::v1_0::Signals;

use crate::args::Exec;
use crate::audit::Asked;
use crate::exit;
use crate::log::clean;
use crate::order::{Input, NodeIndex, Order, Output, Running};
use crate::policy::Policy;
use crate::tokens::{self, Source};
use crate::workers::{LaunchOutcome, Purpose, Report, Workers};

/// What a shell leaves with for a program that cannot be executed, and for one that is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What a shell adds to the number of a signal.
const SIGNALED: u8 = 128;

/// The signals that go on to the command.
const PASSED_ON: [i32; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH];

/// Whose policy it is.
#[derive(Debug)]
pub(crate) struct Place<'s> {
    pub(crate) node: NodeIndex,
    pub(crate) peer: &'s NodeName,
    /// Where the profile grants no longer life, from SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
}

/// Runs the command to its end and returns the code to leave with: that of the command, or 128 and its signal; 77 for a
/// refusal by the policy; 126, 127 or 71 where it did not start, by whether that was for the program or for another
/// step.
///
/// # Errors
/// Where there is no poller, or signals cannot be taken.
pub(crate) fn run(exec: Exec, place: &Place<'_>, mut policy: Policy, workers: Workers) -> io::Result<u8> {
    let launch = request(exec);
    let asked = Asked::of(place.peer.as_str(), &launch);
    let order = match policy.order(place.node, launch, &Running::default(), Instant::now()) {
        Ok(order) => order,
        Err(failure) => {
            asked.refused(&failure);
            workers.close();
            return Ok(failed(&failure));
        }
    };
    // The command may leave the terminal in a state of its own, and cannot set it right when it is killed.
    let before = tcgetattr(io::stdin()).ok();
    let purpose = Purpose { asked, grace: place.grace };
    let code = Session::new(place.node, workers)?.run(with_own_streams(order), purpose);
    restore(before.as_ref());
    code
}

fn restore(settings: Option<&Termios>) {
    // A terminal that has gone needs no setting.
    settings.map(|settings| tcsetattr(io::stdin(), SetArg::TCSANOW, settings));
}

/// The request that a node would send for it.
fn request(exec: Exec) -> Launch {
    let program = exec.command.into_iter().map(|word| ByteBuf::from(word.into_vec())).collect();
    let plain = Launch::plain(RequestId(0), Program::Direct(program), "exec");
    Launch { user: exec.user, profile: exec.profile, ..plain }
}

/// The one thing that no request can ask for.
fn with_own_streams(order: Order) -> Order {
    Order { stdin: Input::Own, stdout: Output::Own, stderr: Output::Own, ..order }
}

/// The command at work.
struct Session {
    poll: Poll,
    signals: Signals,
    workers: Workers,
    node: NodeIndex,
    /// The signal that came before the command was executed.
    called_off: Option<u8>,
}

impl Session {
    fn new(node: NodeIndex, workers: Workers) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new(PASSED_ON.iter().chain(&[libc::SIGCHLD, libc::SIGTSTP]))?;
        poll.registry().register(&mut signals, tokens::SIGNALS, Interest::READABLE)?;
        Ok(Self { poll, signals, workers, node, called_off: None })
    }

    fn run(mut self, order: Order, purpose: Purpose) -> io::Result<u8> {
        let wanted = self.workers.want(order, purpose);
        let Some(outcome) = self.workers.launch(vec![wanted], Instant::now()).pop() else { return Ok(exit::OSERR) };
        let worker = match outcome {
            LaunchOutcome::Failed(report) => {
                let code = end_of(&report).unwrap_or(exit::OSERR);
                self.workers.close();
                return Ok(code);
            }
            LaunchOutcome::Answered { worker, report } => {
                if let Some(code) = report.as_ref().and_then(end_of) {
                    self.wait_until_empty(&mut Events::with_capacity(16))?;
                    self.workers.close();
                    return Ok(code);
                }
                worker
            }
            LaunchOutcome::Pending { worker } => {
                if let Some(raw) = self.workers.error_pipe(worker).map(|pipe| pipe.as_raw_fd()) {
                    self.poll.registry().register(&mut SourceFd(&raw), tokens::exec(worker), Interest::READABLE)?;
                }
                worker
            }
        };
        let mut events = Events::with_capacity(16);
        let code = loop {
            if let Some(code) = self.turn(&mut events, worker)? {
                break code;
            }
        };
        self.wait_until_empty(&mut events)?;
        self.workers.close();
        Ok(code)
    }

    /// A command that failed before its program is still to be reaped.
    fn wait_until_empty(&mut self, events: &mut Events) -> io::Result<()> {
        while !self.workers.is_empty(self.node) {
            self.turn(events, WorkerId(0))?;
        }
        Ok(())
    }

    /// The code to leave with, once it is known.
    fn turn(&mut self, events: &mut Events, worker: WorkerId) -> io::Result<Option<u8>> {
        let patience = self.workers.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        let mut reports = Vec::new();
        for event in events.iter() {
            match tokens::source(event.token()) {
                Some(Source::Exec(worker)) => reports.extend(self.workers.exec_answered(worker, now)),
                Some(Source::Signals) => self.hear_signals(worker, now, &mut reports),
                Some(Source::Ended | Source::Control(_) | Source::Log(_) | Source::Link(_)) | None => {}
            }
        }
        self.workers.due(now, |report| reports.push(report));
        Ok(reports.iter().find_map(|report| match (report, self.called_off) {
            // There was no program that could have ended by it.
            (Report::Failed(..), Some(signal)) => Some(SIGNALED.saturating_add(signal)),
            (Report::Failed(..) | Report::Launched(..) | Report::Exited(..), _) => end_of(report),
        }))
    }

    fn hear_signals(&mut self, worker: WorkerId, now: Instant, reports: &mut Vec<Report>) {
        let heard = self.signals.pending().collect::<Vec<_>>();
        for signal in heard {
            match signal {
                libc::SIGCHLD => {
                    // Orphans of the command among them: what is left of it is killed with it.
                    let _others = self.workers.reaped(now, |report| reports.push(report));
                }
                libc::SIGTSTP => self.stop_with_it(worker),
                signal => {
                    // Its exec may be over and not be heard of yet.
                    reports.extend(self.workers.exec_answered(worker, now));
                    self.pass_on(worker, signal, now);
                }
            }
        }
    }

    fn pass_on(&mut self, worker: WorkerId, signal: i32, now: Instant) {
        let number = u8::try_from(signal).unwrap_or(0);
        if !self.workers.signal(self.node, worker, number) && signal != libc::SIGWINCH {
            // Before its exec there is nobody who could hear it.
            self.called_off.get_or_insert(number);
            self.workers.stop(self.node, worker, Duration::ZERO, now);
        }
    }

    /// `^Z`: the command is in a session of its own, where the terminal does not stop it.
    fn stop_with_it(&mut self, worker: WorkerId) {
        let mut tell = |signal: i32| self.workers.signal(self.node, worker, u8::try_from(signal).unwrap_or(0));
        if tell(libc::SIGSTOP) {
            // It comes back when the shell continues this process. There is nothing to do where it fails.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            tell(libc::SIGCONT);
        }
    }
}

/// The code that a report ends it with.
fn end_of(report: &Report) -> Option<u8> {
    match report {
        Report::Launched(..) => None,
        Report::Failed(_, launch) => Some(failed(&launch.failure)),
        Report::Exited(_, exited) => Some(match exited.status {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(number, _core) => SIGNALED.saturating_add(number),
        }),
    }
}

/// Says on stderr why there is no command; the code to leave with.
fn failed(failure: &Failure) -> u8 {
    match failure {
        Failure::Refused(rule, what) => {
            crate::log::failure(&format!("refused by {rule}: {}", clean(what.as_bytes())));
            exit::NOPERM
        }
        Failure::Step(step, errno) => {
            let error = io::Error::from_raw_os_error(*errno);
            crate::log::failure(&format!("not started: {}: {error}", step.name()));
            match (step, *errno) {
                (Step::Exec, libc::ENOENT) => NOT_FOUND,
                (Step::Exec, _) => NOT_EXECUTABLE,
                _ => exit::OSERR,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_start_leaves_as_a_shell_would() {
        let step = |step, errno| failed(&Failure::Step(step, errno));
        assert_eq!(step(Step::Exec, libc::ENOENT), 127);
        assert_eq!(step(Step::Exec, libc::EACCES), 126);
        assert_eq!(step(Step::Setuid, libc::EPERM), 71);
        assert_eq!(failed(&Failure::Refused("users".to_owned(), "root".to_owned())), 77);
    }
}
