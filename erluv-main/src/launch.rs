//! From an order of policy to a process on its way to its exec: pipes, terminal, plan, fork. Files are not opened here:
//! the forked process does that, as the worker's user.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use erluv_proto::ipc::Step;
use nix::unistd::{Gid, Uid, fchown};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::order::{Identity, Input, Order, Output};
use crate::sys::{Made, Plan, Process, Wanted, discard, room, spawn, spawn_and_wait, spawn_init, spawn_within, suits};
use crate::terminal::{self, Pair};

/// The step before the fork that failed, or the fork, and its errno.
pub(crate) type Unlaunched = (Step, i32);

/// How the exec of a process went.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its program runs, or a step failed.
    Known(Option<Unlaunched>),
    /// It will say so by its error pipe: the read end, not blocking.
    Pipe(OwnedFd),
}

/// A process that is made, and may be on its way to its exec yet.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) process: Process,
    /// The init of its process namespace, where it has one: a child of main, too, to be killed when the process has
    /// ended.
    pub(crate) init: Option<Process>,
    pub(crate) answer: Answer,
    /// The node's ends of its streams, not blocking.
    pub(crate) ends: Ends,
}

/// The node's ends of a worker's streams: of a pipe each, or copies of the side of its terminal that it does not see.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// To write its stdin to.
    pub(crate) stdin: Option<OwnedFd>,
    /// To read its stdout from; of a terminal, stderr, too.
    pub(crate) stdout: Option<OwnedFd>,
    /// To read its stderr from.
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

/// What is asked for: a worker by an order, on Linux in this group.
type Asked<'o> = (&'o Order, Option<BorrowedFd<'o>>);

/// Makes the workers of orders: what came of each, in their order. Those that can be made in main's memory go their way at
/// the same time. The workers' ends are closed here, whatever comes of it, so that the end of a worker is the end of its
/// streams (S-21).
///
/// # Errors
/// Each by itself: the step that failed in this process; those of the new one come by [`Forked::answer`].
pub(crate) fn launch_all(asked: &[Asked<'_>], null: BorrowedFd<'_>) -> Vec<Result<Forked, Unlaunched>> {
    let streams = asked.iter().map(|(order, _)| Streams::of(order)).collect::<Vec<_>>();
    let opened = asked.iter().zip(&streams).map(|((order, cgroup), streams)| {
        let descriptors = streams.as_ref().ok()?.descriptors(order, null);
        Some(Ready { order, descriptors, cgroup: *cgroup })
    });
    let ready = opened.collect::<Vec<_>>();
    let answers = wait_for(&ready);
    let forked = ready.into_iter().zip(answers).map(|(ready, answer)| match (ready, answer) {
        (Some(_), Some((process, failed))) => Some(Ok((process, None, Answer::Known(failed)))),
        (Some(ready), None) => Some(fork(ready.order, ready.descriptors, ready.cgroup, None)),
        (None, _) => None,
    });
    let forked = forked.collect::<Vec<_>>();
    let joined = streams.into_iter().zip(forked).map(|(streams, forked)| {
        let ends = streams?.ends;
        let (process, init, answer) = forked.unwrap_or(Err((Step::Fork, libc::EIO)))?;
        Ok(Forked { process, init, answer, ends })
    });
    joined.collect()
}

/// As [`launch_all`], for one process that goes where a worker is already: its group and, where there is an init, the
/// process namespace of that. Main does not wait for its exec, as it does not know how that worker's group fares.
///
/// # Errors
/// As those of [`launch_all`].
pub(crate) fn launch_beside(
    order: &Order,
    null: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    init: Option<&Process>,
) -> Result<Forked, Unlaunched> {
    let streams = Streams::of(order)?;
    let (process, init, answer) = fork(order, streams.descriptors(order, null), cgroup, init)?;
    Ok(Forked { process, init, answer, ends: streams.ends })
}

/// A worker whose streams are open.
struct Ready<'o> {
    order: &'o Order,
    descriptors: [BorrowedFd<'o>; 3],
    cgroup: Option<BorrowedFd<'o>>,
}

/// Makes what can be made in main's memory, and waits for the execs. Nothing of those where that did not come to anything:
/// fork is the way then.
fn wait_for(ready: &[Option<Ready<'_>>]) -> Vec<Option<(Process, Option<Unlaunched>)>> {
    let mut answers = ready.iter().map(|_| None).collect::<Vec<_>>();
    let mut left = answers.iter_mut().zip(ready).filter_map(|(answer, ready)| Some((answer, ready.as_ref()?)));
    loop {
        let suiting = left.by_ref().filter(|(_, ready)| suits(ready.order));
        let planned = suiting.filter_map(|(answer, ready)| Some((answer, ready.plan()?)));
        // Main may wait for each batch, and thinks otherwise of whom it makes this way after it.
        let (places, wanted): (Vec<_>, Vec<_>) = planned.take(room()).unzip();
        if places.is_empty() {
            break;
        }
        for (place, made) in places.into_iter().zip(spawn_and_wait(wanted)) {
            if let Ok(Made::Answered(process, failed)) = made {
                *place = Some((process, failed));
            }
        }
    }
    answers
}

impl<'o> Ready<'o> {
    /// Without an error pipe.
    fn plan(&self) -> Option<Wanted<'o>> {
        let plan = Plan::worker(self.order, self.descriptors.to_vec(), None).ok()?;
        Some(Wanted { plan, cgroup: self.cgroup })
    }
}

/// Forks a process and, where its profile has a process namespace and none is there, the init of one.
fn fork(
    order: &Order,
    descriptors: [BorrowedFd<'_>; 3],
    cgroup: Option<BorrowedFd<'_>>,
    init: Option<&Process>,
) -> Result<(Process, Option<Process>, Answer), Unlaunched> {
    // Nobody waits at either end: what is said there is one short write into an empty pipe.
    let (answer, error) =
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|errno| at(Step::Pipe)(errno.into()))?;
    let plan = Plan::worker(order, descriptors.to_vec(), Some(error.as_fd())).map_err(at(Step::Fork))?;
    let wanted = order.sandbox.profile.namespaces.pid && init.is_none();
    let ready = wanted.then(pipe).transpose().map_err(at(Step::Pipe))?;
    let plan = match &ready {
        Some((wait, tell)) => plan.waiting(wait.as_fd(), tell.as_fd()),
        None => plan,
    };
    let made = wanted.then(|| spawn_init(&plan, cgroup)).transpose().map_err(at(Step::Init))?;
    let forked = match made.as_ref().or(init) {
        None => spawn(&plan, cgroup),
        Some(init) => spawn_within(&plan, cgroup, init),
    };
    if let (Err(_), Some(init)) = (&forked, &made) {
        discard(init);
    }
    Ok((forked.map_err(at(Step::Fork))?, made, Answer::Pipe(answer)))
}

/// A pipe that is its user's the worker can open by its name, too: `/dev/stdout` and its like.
fn give_to_user(pipes: [&Option<OwnedFd>; 3], identity: Option<&Identity>) -> io::Result<()> {
    let Some(identity) = identity else { return Ok(()) };
    for pipe in pipes.into_iter().flatten() {
        fchown(pipe, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?;
    }
    Ok(())
}

/// What an output stream is by itself; `mains` is the same stream of this process. For a file, `/dev/null` keeps the
/// place until the worker opens it.
fn own<'f>(
    to: &Output,
    pipe: Option<&'f OwnedFd>,
    slave: Option<BorrowedFd<'f>>,
    mains: BorrowedFd<'f>,
) -> Option<BorrowedFd<'f>> {
    match to {
        Output::Null | Output::Other | Output::File(_) => None,
        Output::Pipe => pipe.map(AsFd::as_fd),
        Output::Terminal => slave,
        Output::Own => Some(mains),
    }
}

/// The worker's end that an output stream goes to; `None` is `/dev/null`.
fn target<'f>(to: &Output, own: Option<BorrowedFd<'f>>, other: Option<BorrowedFd<'f>>) -> Option<BorrowedFd<'f>> {
    match to {
        Output::Other => other,
        Output::Null | Output::Pipe | Output::File(_) | Output::Terminal | Output::Own => own,
    }
}

/// Both sides of a worker's streams.
struct Streams {
    ends: Ends,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    slave: Option<OwnedFd>,
}

/// A step of main's that failed.
fn at(step: Step) -> impl Fn(io::Error) -> Unlaunched {
    move |error| (step, error.raw_os_error().unwrap_or(libc::EIO))
}

impl Streams {
    /// Those of an order, the worker's ends its user's.
    fn of(order: &Order) -> Result<Self, Unlaunched> {
        let pair = order.terminal.as_ref().map(|wanted| terminal::open(wanted, order.identity.as_ref()));
        let streams = Self::open(order, pair.transpose().map_err(at(Step::Terminal))?).map_err(at(Step::Pipe))?;
        let Self { stdin, stdout, stderr, .. } = &streams;
        give_to_user([stdin, stdout, stderr], order.identity.as_ref()).map_err(at(Step::Pipe))?;
        Ok(streams)
    }

    /// What becomes descriptors 0 to 2 of the worker.
    fn descriptors<'f>(&'f self, order: &Order, null: BorrowedFd<'f>) -> [BorrowedFd<'f>; 3] {
        let slave = self.slave.as_ref().map(AsFd::as_fd);
        let own_in = match &order.stdin {
            Input::Null | Input::File(_) => None,
            Input::Pipe => self.stdin.as_ref().map(AsFd::as_fd),
            Input::Terminal => slave,
            Input::Own => Some(rustix::stdio::stdin()),
        };
        let own_out = own(&order.stdout, self.stdout.as_ref(), slave, rustix::stdio::stdout());
        let own_err = own(&order.stderr, self.stderr.as_ref(), slave, rustix::stdio::stderr());
        [
            own_in.unwrap_or(null),
            target(&order.stdout, own_out, own_err).unwrap_or(null),
            target(&order.stderr, own_err, own_out).unwrap_or(null),
        ]
    }

    fn open(order: &Order, pair: Option<Pair>) -> io::Result<Self> {
        let (master, slave) = pair.map(|pair| (pair.master, pair.slave)).unzip();
        let copy = || master.as_ref().map(OwnedFd::try_clone).transpose();
        let mut ends = Ends::default();
        let stdin = match order.stdin {
            Input::Null | Input::File(_) | Input::Own => None,
            Input::Pipe => {
                let (read, write) = pipe()?;
                unblock(&write)?;
                ends.stdin = Some(write);
                Some(read)
            }
            Input::Terminal => {
                ends.stdin = copy()?;
                None
            }
        };
        let stdout = output(&order.stdout, &mut ends.stdout)?;
        let stderr = output(&order.stderr, &mut ends.stderr)?;
        // One reader is enough for a terminal, whichever streams it is.
        match (&order.stdout, &order.stderr) {
            (Output::Terminal, _) => ends.stdout = copy()?,
            (_, Output::Terminal) => ends.stderr = copy()?,
            (_, _) => {}
        }
        Ok(Self { ends, stdin, stdout, stderr, slave })
    }
}

fn output(to: &Output, end: &mut Option<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match to {
        Output::Null | Output::Other | Output::File(_) | Output::Terminal | Output::Own => Ok(None),
        Output::Pipe => {
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

/// This end only, which is new and has no other flag that can be changed: the other end of a pipe has flags of its own,
/// and a worker expects to be blocked.
pub(crate) fn unblock(end: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(end, OFlags::NONBLOCK)?)
}
