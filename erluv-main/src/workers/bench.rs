//! For tests: a table of workers and a loop around it, in a process of its own ([`crate::sys::testing::alone`]).

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use erluv_proto::ids::{ProfileName, RequestId, WorkerId};
use erluv_proto::ipc::{ExitStatus, Exited, Failure, LaunchFailed, Launched, Program, Step};

use super::{LaunchOutcome, Purpose, Report, Workers};
use crate::audit::Asked;
use crate::order::{Ending, Identity, Input, NodeIndex, Order, Output, Rlimit};
use crate::sandbox::{Profile, Sandbox};
use crate::sys::Reaped;
use crate::tree::{Trees, UseCgroup};

pub(crate) const NODE: NodeIndex = NodeIndex(0);
pub(crate) const NOBODY: u32 = 65534;

/// Every wait ends here, and then the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn nobody() -> Identity {
    Identity { name: "nobody".into(), uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] }
}

/// An order as policy gives them by default: a program as nobody, nothing asked for.
pub(crate) fn order(argv: &[&str]) -> Order {
    let texts = |list: &[&str]| list.iter().map(|text| CString::new(*text).unwrap()).collect::<Vec<_>>();
    Order {
        node: NODE,
        request: RequestId(7),
        path: CString::new(argv.first().copied().unwrap_or("/bin/true")).unwrap(),
        pinned: None,
        argv: texts(argv),
        env: texts(&["PATH=/usr/bin:/bin"]),
        cwd: c"/".to_owned(),
        identity: Some(nobody()),
        stdin: Input::Null,
        stdout: Output::Null,
        stderr: Output::Null,
        terminal: None,
        umask: 0o077,
        rlimits: vec![Rlimit { resource: i32::try_from(libc::RLIMIT_CORE).unwrap(), soft: 0, hard: 0 }],
        nice: None,
        sandbox: sandbox(|_| {}),
        ending: Ending::Signal,
    }
}

/// A plain profile with a change.
pub(crate) fn sandbox(change: impl FnOnce(&mut Profile)) -> Rc<Sandbox> {
    let mut profile = Profile::plain(ProfileName::parse("default").unwrap());
    change(&mut profile);
    Rc::new(Sandbox::of(profile, true))
}

pub(crate) fn shell(line: &str) -> Order {
    order(&["/bin/sh", "-c", line])
}

/// A worker that runs.
pub(crate) struct Started {
    pub(crate) launched: Launched,
    pub(crate) pipes: Vec<OwnedFd>,
}

impl Started {
    pub(crate) fn id(&self) -> WorkerId {
        self.launched.worker
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.launched.os_pid).unwrap()
    }
}

pub(crate) struct Bench {
    pub(crate) workers: Workers,
    pub(crate) reports: Vec<Report>,
    pub(crate) others: Vec<Reaped>,
    pub(crate) pending: Vec<WorkerId>,
    /// From SIGTERM to SIGKILL, where main itself ends a worker.
    pub(crate) grace: Duration,
}

impl Bench {
    pub(crate) fn new(use_cgroup: UseCgroup) -> Self {
        // As main's preparation does it; any number but 0 means yes.
        rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT)).unwrap();
        let trees = Trees::open(use_cgroup).unwrap();
        let workers = Workers::new(trees, 2);
        Self { workers, reports: Vec::new(), others: Vec::new(), pending: Vec::new(), grace: Duration::from_secs(3600) }
    }

    /// Forks; the loop finds out what becomes of it.
    pub(crate) fn launch(&mut self, order: Order) -> Option<WorkerId> {
        self.launch_together(vec![order]).pop().flatten()
    }

    /// The same of several that are wanted at the same time.
    pub(crate) fn launch_together(&mut self, orders: Vec<Order>) -> Vec<Option<WorkerId>> {
        let wanted = orders.into_iter().map(|order| {
            let asked = Asked::of("node@127.0.0.1", &crate::audit::tests::launch(Program::Direct(Vec::new())));
            self.workers.want(order, Purpose { asked, grace: self.grace })
        });
        let wanted = wanted.collect();
        let outcomes = self.workers.launch(wanted, Instant::now());
        outcomes.into_iter().map(|outcome| self.take_down(outcome)).collect()
    }

    fn take_down(&mut self, outcome: LaunchOutcome) -> Option<WorkerId> {
        match outcome {
            LaunchOutcome::Pending { worker } => {
                assert!(self.workers.error_pipe(worker).is_some());
                self.pending.push(worker);
                Some(worker)
            }
            LaunchOutcome::Answered { worker, report } => {
                self.reports.extend(report);
                Some(worker)
            }
            LaunchOutcome::Failed(report) => {
                self.reports.push(report);
                None
            }
        }
    }

    /// One turn of the loop at a time that is given.
    pub(crate) fn turn_at(&mut self, now: Instant) {
        for worker in std::mem::take(&mut self.pending) {
            self.reports.extend(self.workers.exec_answered(worker, now));
            self.pending.push(worker);
        }
        self.others.extend(self.workers.reaped(now, |report| self.reports.push(report)));
        self.workers.due(now, |report| self.reports.push(report));
        self.workers.tidy();
    }

    /// Turns the loop until something is found.
    pub(crate) fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.turn_at(Instant::now());
            if let Some(found) = found(self) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; reports: {:?}", self.reports);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Launches a worker that is expected to run.
    pub(crate) fn start(&mut self, order: Order) -> Started {
        let worker = self.launch(order).unwrap_or_else(|| panic!("not forked: {:?}", self.reports));
        self.until("a program that runs", |bench| {
            let news =
                |report: &Report| matches!(report, Report::Launched(_, launched, _) if launched.worker == worker);
            let place = bench.reports.iter().position(news)?;
            match bench.reports.remove(place) {
                Report::Launched(_, launched, pipes) => Some(Started { launched, pipes }),
                Report::Failed(..) | Report::Exited(..) => None,
            }
        })
    }

    /// Launches a worker that is expected to fail, and waits until nothing is left of it.
    pub(crate) fn refuse(&mut self, order: Order) -> (Step, i32) {
        self.launch(order);
        let failure = self.until("a launch that fails", |bench| {
            let place = bench.reports.iter().position(|report| matches!(report, Report::Failed(..)))?;
            match bench.reports.remove(place) {
                Report::Failed(_, failed) => Some(failed.failure),
                Report::Launched(..) | Report::Exited(..) => None,
            }
        });
        self.until("an empty table", |bench| bench.workers.is_empty(NODE).then_some(()));
        assert!(self.reports.is_empty(), "a failed launch is told once: {:?}", self.reports);
        match failure {
            Failure::Step(step, errno) => (step, errno),
            Failure::Refused(..) => panic!("{failure:?}: no policy is at work here"),
        }
    }

    /// Launches a worker that is expected not to come to a fork.
    pub(crate) fn refuse_at_once(&mut self, order: Order) -> (Step, i32) {
        assert_eq!(self.launch(order), None);
        match self.reports.pop() {
            Some(Report::Failed(_, LaunchFailed { failure: Failure::Step(step, errno), .. })) => (step, errno),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end of a worker.
    pub(crate) fn end(&mut self, worker: WorkerId) -> Exited {
        self.until("the end of a worker", |bench| {
            bench.reports.iter().find_map(|report| match report {
                Report::Exited(_, exited) if exited.worker == worker => Some(exited.clone()),
                Report::Exited(..) | Report::Launched(..) | Report::Failed(..) => None,
            })
        })
    }

    /// Runs a program to its successful end; what it wrote to stdout.
    pub(crate) fn output(&mut self, order: Order) -> String {
        let mut started = self.start(Order { stdout: Output::Pipe, ..order });
        let text = self.read(&started.pipes.remove(0));
        assert_eq!(self.end(started.id()).status, ExitStatus::Code(0), "{text}");
        text
    }

    /// Reads a pipe to its end.
    pub(crate) fn read(&mut self, pipe: &OwnedFd) -> String {
        let mut text = Vec::new();
        self.until("the end of a stream", |_| {
            let mut part = [0; 4096];
            loop {
                match rustix::io::read(pipe, &mut part) {
                    Ok(0) => return Some(()),
                    Ok(length) => text.extend_from_slice(&part[..length]),
                    Err(error) => {
                        assert_eq!(error, rustix::io::Errno::AGAIN);
                        return None;
                    }
                }
            }
        });
        String::from_utf8(text).unwrap()
    }
}

/// A line of /proc/PID/status, or of what `cat` has shown of it.
pub(crate) fn field<'t>(status: &'t str, name: &str) -> &'t str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim()
}

/// Which descriptors a process has, and what they are.
pub(crate) fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let mut list: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (number, fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default())
        })
        .collect();
    list.sort();
    list
}

/// Processes that live and have this text as their last argument. setsid(1), on its way to another program, is none
/// yet.
pub(crate) fn alive(mark: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let arguments: Vec<_> = line.trim_end_matches('\0').split('\0').collect();
        arguments.last() == Some(&mark) && arguments[0] != "setsid"
    })
    .collect()
}

/// A text that stands in no other process's arguments, and that sleep(1) takes for very long.
pub(crate) fn mark(number: u32) -> String {
    format!("9{number:02}{:07}", std::process::id())
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Waits until a process is in a call. Before that, sleep(1) runs its loader, which has libraries open for a moment.
pub(crate) fn until_in_call(pid: i32, call: libc::c_long) {
    let (now, wanted) = (format!("/proc/{pid}/syscall"), format!("{call} "));
    while !fs::read_to_string(&now).unwrap_or_default().starts_with(&wanted) {
        std::thread::yield_now();
    }
}

pub(crate) fn until_asleep(pid: i32) {
    until_in_call(pid, libc::SYS_clock_nanosleep);
}
