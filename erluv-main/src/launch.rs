//! From an order of policy to a process on its way to its exec: pipes, plan, fork.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use erluv_proto::ipc::{InputFrom, OutputTo, Step};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::order::Order;
use crate::sys::{Plan, Process, spawn};

/// The step before the fork that failed, or the fork, and its errno.
pub(crate) type Unlaunched = (Step, i32);

/// A process that is forked and has not told yet how its exec went.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) process: Process,
    /// The read end of its error pipe, not blocking.
    pub(crate) error: OwnedFd,
    /// The node's ends of its pipes, not blocking.
    pub(crate) ends: Ends,
}

/// The node's ends of a worker's pipes.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// The write end of its stdin.
    pub(crate) stdin: Option<OwnedFd>,
    /// The read end of its stdout.
    pub(crate) stdout: Option<OwnedFd>,
    /// The read end of its stderr.
    pub(crate) stderr: Option<OwnedFd>,
}

impl Ends {
    /// In the order of [`erluv_proto::ipc::Launched`].
    pub(crate) fn into_list(self) -> Vec<OwnedFd> {
        [self.stdin, self.stdout, self.stderr].into_iter().flatten().collect()
    }
}

/// `/dev/null`, opened once for the life of main.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from)
}

/// Forks the worker of an order, on Linux into `cgroup`. The worker's ends are closed here, whatever comes of it, so
/// that its end is the end of its streams (S-21).
///
/// # Errors
/// The step that failed in this process; those of the forked one come by [`Forked::error`].
pub(crate) fn launch(
    order: &Order,
    null: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Forked, Unlaunched> {
    let at = |step| move |error: io::Error| (step, error.raw_os_error().unwrap_or(libc::EIO));
    let (answer, error) = pipe().map_err(at(Step::Pipe))?;
    let Streams { ends, stdin, stdout, stderr } = Streams::open(order).map_err(at(Step::Pipe))?;
    unblock(&answer).map_err(at(Step::Pipe))?;
    let (own_out, own_err) = (stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd));
    let descriptors = vec![
        stdin.as_ref().map_or(null, AsFd::as_fd),
        target(order.stdout, own_out, own_err).unwrap_or(null),
        target(order.stderr, own_err, own_out).unwrap_or(null),
    ];
    let plan = Plan::worker(order, descriptors, error.as_fd()).map_err(at(Step::Fork))?;
    let process = spawn(&plan, cgroup).map_err(at(Step::Fork))?;
    Ok(Forked { process, error: answer, ends })
}

/// The worker's end that an output stream goes to; `None` is `/dev/null`.
fn target<'f>(to: OutputTo, own: Option<BorrowedFd<'f>>, other: Option<BorrowedFd<'f>>) -> Option<BorrowedFd<'f>> {
    match to {
        OutputTo::Null => None,
        OutputTo::Pipe => own,
        OutputTo::Other => other,
    }
}

/// Both sides of a worker's streams, where they are pipes.
struct Streams {
    ends: Ends,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    fn open(order: &Order) -> io::Result<Self> {
        let mut ends = Ends::default();
        let stdin = match order.stdin {
            InputFrom::Null => None,
            InputFrom::Pipe => {
                let (read, write) = pipe()?;
                unblock(&write)?;
                ends.stdin = Some(write);
                Some(read)
            }
        };
        let stdout = output(order.stdout, &mut ends.stdout)?;
        let stderr = output(order.stderr, &mut ends.stderr)?;
        Ok(Self { ends, stdin, stdout, stderr })
    }
}

fn output(to: OutputTo, end: &mut Option<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match to {
        OutputTo::Null | OutputTo::Other => Ok(None),
        OutputTo::Pipe => {
            let (read, write) = pipe()?;
            unblock(&read)?;
            *end = Some(read);
            Ok(Some(write))
        }
    }
}

/// A pipe, read end first, both ends close-on-exec from the start (S-14).
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// This end only: the other end of a pipe has flags of its own, and a worker expects to be blocked.
fn unblock(end: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(end)?;
    Ok(fcntl_setfl(end, flags | OFlags::NONBLOCK)?)
}
