//! What a process is to become, with everything that the forked process needs laid out before the fork: it must not
//! allocate, lock or look anything up (S-10, S-23).

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

use erluv_proto::ipc::Step;

use super::sandbox::capabilities;
#[cfg(target_os = "linux")]
use super::sandbox::namespaces::Maps;
use crate::order::{Identity, Input, Order, Output, Rlimit};
use crate::sandbox::Sandbox;

/// The most descriptors that a process is given.
pub(super) const MOST_DESCRIPTORS: usize = 8;

/// The type of `RLIMIT_*` on this system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) type Resource = libc::__rlimit_resource_t;
/// The type of `RLIMIT_*` on this system.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) type Resource = libc::c_int;

/// A process to be.
pub(crate) struct Plan<'a> {
    pub(super) path: &'a CStr,
    /// The file that is executed in its place.
    pub(super) pinned: Option<BorrowedFd<'a>>,
    pub(super) argv: Strings<'a>,
    pub(super) env: Strings<'a>,
    pub(super) cwd: &'a CStr,
    /// What becomes descriptor 0, 1, 2 and so on. Nothing else stays open.
    pub(super) descriptors: Vec<BorrowedFd<'a>>,
    /// The write end of the error pipe, close-on-exec; `None` where `told` is shared with the process.
    pub(super) error: Option<BorrowedFd<'a>>,
    /// The step that failed, and its errno, as far as this is main's memory.
    pub(super) told: Cell<Option<(Step, libc::c_int)>>,
    /// A pipe by which the init of the process namespace tells the worker that it is one.
    pub(super) ready: Option<Ready<'a>>,
    pub(super) ids: Option<Ids>,
    pub(super) limits: Vec<(Resource, libc::rlimit)>,
    pub(super) umask: libc::mode_t,
    pub(super) nice: Option<libc::c_int>,
    /// Which of its descriptors becomes the controlling terminal.
    pub(super) terminal: Option<libc::c_int>,
    /// What takes the places of descriptors 0 to 2 at last.
    pub(super) files: Vec<Redirect<'a>>,
    pub(super) role: Role<'a>,
}

/// Which kind of process it is.
pub(super) enum Role<'a> {
    /// erluv-child: keeps its privileges until it drops them itself, and outlives main for as long as it takes to kill
    /// the workers.
    Half,
    /// A worker: what it is left with is up to its profile, and it dies with main.
    Worker(Held<'a>),
}

/// What holds a worker.
pub(super) struct Held<'a> {
    /// The process that it dies with.
    pub(super) main: libc::pid_t,
    pub(super) sandbox: &'a Sandbox,
    /// The capabilities that main's bounding set has at most.
    pub(super) bounding: u64,
    /// The capability that closes it to its own user until its exec; none where a namespace has its own.
    pub(super) shield: u64,
    /// Its ids, as a user namespace is told of them.
    #[cfg(target_os = "linux")]
    pub(super) maps: Maps,
}

impl<'a> Held<'a> {
    fn new(order: &'a Order) -> io::Result<Self> {
        let main = i32::try_from(std::process::id()).map_err(|_| invalid())?;
        Ok(Self {
            main,
            sandbox: &order.sandbox,
            bounding: capabilities::bounding(),
            shield: if order.sandbox.profile.namespaces.user { 0 } else { capabilities::shield() },
            #[cfg(target_os = "linux")]
            maps: Maps::of(order.identity.as_ref()),
        })
    }
}

/// A file that a stream comes from or goes to, opened as the user that the process is by then (S-28).
pub(super) struct Redirect<'a> {
    pub(super) path: &'a CStr,
    pub(super) flags: libc::c_int,
    pub(super) mode: libc::mode_t,
    /// The descriptor that it becomes, and the other one where both outputs share it.
    pub(super) target: libc::c_int,
    pub(super) also: Option<libc::c_int>,
}

impl<'a> Redirect<'a> {
    /// In every case: no link, no controlling terminal, and no waiting for somebody at the other end of a FIFO. A
    /// process that waits there is neither started nor failed.
    const ALWAYS: libc::c_int = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;

    fn all(order: &'a Order) -> Vec<Self> {
        let input = match &order.stdin {
            Input::File(path) => {
                Some(Self { path, flags: Self::ALWAYS | libc::O_RDONLY, mode: 0, target: 0, also: None })
            }
            Input::Null | Input::Pipe | Input::Terminal | Input::Own => None,
        };
        let outputs =
            [Self::output(&order.stdout, &order.stderr, 1, 2), Self::output(&order.stderr, &order.stdout, 2, 1)];
        input.into_iter().chain(outputs.into_iter().flatten()).collect()
    }

    fn output(to: &'a Output, other: &Output, target: libc::c_int, place: libc::c_int) -> Option<Self> {
        let Output::File(file) = to else { return None };
        let end = if file.append { libc::O_APPEND } else { libc::O_TRUNC };
        let flags = Self::ALWAYS | libc::O_WRONLY | libc::O_CREAT | end;
        Some(Self {
            path: &file.path,
            flags,
            // Policy takes no more than 7777.
            mode: libc::mode_t::try_from(file.mode).unwrap_or(0),
            target,
            also: (*other == Output::Other).then_some(place),
        })
    }
}

/// Both ends of a pipe, close-on-exec.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready<'a> {
    /// The worker's, to read from.
    pub(super) wait: BorrowedFd<'a>,
    /// The init's, to write to.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no init is ever made there"))]
    pub(super) tell: BorrowedFd<'a>,
}

/// The ids of the process.
pub(super) struct Ids {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    /// In the order of the policy: the primary group first (S-09).
    pub(super) groups: Vec<libc::gid_t>,
    /// The same in the order in which the kernel may give them back.
    pub(super) sorted: Vec<libc::gid_t>,
    /// Room for what getgroups(2) says in the forked process, and for one too many.
    pub(super) seen: Vec<Cell<libc::gid_t>>,
}

/// A list of strings as execve(2) takes it: pointers, and a null at the end.
pub(super) struct Strings<'a> {
    pointers: Vec<*const c_char>,
    owner: PhantomData<&'a CString>,
}

impl<'a> Strings<'a> {
    fn new(strings: &'a [CString]) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, owner: PhantomData }
    }

    /// Valid for as long as the strings and this list live.
    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl<'a> Plan<'a> {
    /// A worker by an order of policy, whose descriptors 0, 1, 2 are those given. Main is the process that calls this.
    ///
    /// # Errors
    /// `EINVAL` for an empty argv (S-25), a number out of the system's range, or too many descriptors.
    pub(crate) fn worker(
        order: &'a Order,
        descriptors: Vec<BorrowedFd<'a>>,
        error: Option<BorrowedFd<'a>>,
    ) -> io::Result<Self> {
        let limits = order.rlimits.iter().map(limit).collect::<io::Result<_>>()?;
        let role = Role::Worker(Held::new(order)?);
        let umask = libc::mode_t::try_from(order.umask & 0o777).map_err(|_| invalid())?;
        let ids = order.identity.as_ref().map(Ids::new);
        let plan = Self {
            path: &order.path,
            pinned: order.pinned.as_ref().map(AsFd::as_fd),
            argv: Strings::new(&order.argv),
            env: Strings::new(&order.env),
            cwd: &order.cwd,
            descriptors,
            error,
            told: Cell::new(None),
            ready: None,
            ids,
            limits,
            umask,
            nice: order.nice,
            terminal: terminal(order),
            files: Redirect::all(order),
            role,
        };
        if order.argv.is_empty() { Err(invalid()) } else { plan.checked() }
    }

    /// The same, for a worker that waits for a new init; both ends of a pipe, the one to read from first.
    pub(crate) fn waiting(self, wait: BorrowedFd<'a>, tell: BorrowedFd<'a>) -> Self {
        Self { ready: Some(Ready { wait, tell }), ..self }
    }

    /// erluv-child: an empty environment, `/` as its folder, main's ids.
    ///
    /// # Errors
    /// As [`Plan::worker`].
    pub(super) fn half(
        path: &'a CStr,
        argv: &'a [CString],
        descriptors: Vec<BorrowedFd<'a>>,
        error: BorrowedFd<'a>,
    ) -> io::Result<Self> {
        let plan = Self {
            path,
            pinned: None,
            argv: Strings::new(argv),
            env: Strings::new(&[]),
            cwd: c"/",
            descriptors,
            error: Some(error),
            told: Cell::new(None),
            ready: None,
            ids: None,
            limits: Vec::new(),
            umask: 0o077,
            nice: None,
            terminal: None,
            files: Vec::new(),
            role: Role::Half,
        };
        if argv.is_empty() { Err(invalid()) } else { plan.checked() }
    }

    fn checked(self) -> io::Result<Self> {
        let descriptors = self.descriptors.len();
        if (3..=MOST_DESCRIPTORS).contains(&descriptors) { Ok(self) } else { Err(invalid()) }
    }
}

impl Ids {
    pub(super) fn new(identity: &Identity) -> Self {
        let groups = identity.groups.clone();
        let mut sorted = groups.clone();
        sorted.sort_unstable();
        let seen = vec![Cell::new(0); groups.len().saturating_add(1)];
        Self { uid: identity.uid, gid: identity.gid, groups, sorted, seen }
    }
}

/// The first of descriptors 0 to 2 that is the terminal.
fn terminal(order: &Order) -> Option<libc::c_int> {
    let is = [order.stdin == Input::Terminal, order.stdout == Output::Terminal, order.stderr == Output::Terminal];
    (0..).zip(is).find_map(|(fd, is)| is.then_some(fd))
}

fn limit(limit: &Rlimit) -> io::Result<(Resource, libc::rlimit)> {
    let resource = Resource::try_from(limit.resource).map_err(|_| invalid())?;
    // rlim_t is signed on FreeBSD, where the highest number is the one that stands for "unlimited".
    let number = |value: u64| libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY);
    Ok((resource, libc::rlimit { rlim_cur: number(limit.soft), rlim_max: number(limit.hard) }))
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}
