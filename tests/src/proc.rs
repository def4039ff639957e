//! What /proc says about processes, and waiting for it. Sources: proc(5), the kernel's
//! Documentation/filesystems/proc.rst.
//!
//! A reader of one process panics when the process is gone, naming it: a test asks about processes that it keeps alive.

mod memory;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use memory::count_in_memory;

/// How long [`wait_until`] waits before the test fails; far more than anything needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within 20 seconds, saying `what` was waited for.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until there is a value, and returns it.
///
/// # Panics
/// When there is none within 20 seconds, saying `what` was waited for.
pub fn wait_for<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(pid: i32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("/proc/{pid}/{file}: {error}"))
}

fn link(pid: i32, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("/proc/{pid}/{file}: {error}"))
}

/// Waits until the kernel has set up the memory of a program that was just executed: a worker is told of as soon as its
/// exec cannot fail any more, which is earlier. Of a process that this one may not look into nothing is known: there it
/// waits for a moment and no longer.
fn settle(pid: i32) {
    let start = Instant::now();
    let stack_is_known = || {
        let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).unwrap_or_default()).into_owned();
        // Behind the name, which may have any byte in it: field 3 (the state) comes first, and startstack is field 28.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect::<Vec<_>>());
        !fields.is_some_and(|fields| fields.get(25) == Some(&"0") && fields.first() != Some(&"Z"))
    };
    while !stack_is_known() && start.elapsed() < Duration::from_millis(100) {
        std::thread::yield_now();
    }
}

/// The fields of /proc/PID/status by name, with the white space around the values taken off.
#[must_use]
pub fn status(pid: i32) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&read(pid, "status")).into_owned();
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(field).collect()
}

/// One field of /proc/PID/status, such as `NoNewPrivs` or `CapBnd`.
///
/// # Panics
/// When the kernel has no such field.
#[must_use]
pub fn field(pid: i32, name: &str) -> String {
    status(pid).remove(name).unwrap_or_else(|| panic!("/proc/{pid}/status has no {name}"))
}

fn ids(pid: i32, name: &str) -> Vec<u32> {
    field(pid, name).split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// The user ids of a process: real, effective, saved and file system.
#[must_use]
pub fn uids(pid: i32) -> Vec<u32> {
    ids(pid, "Uid")
}

/// The group ids of a process: real, effective, saved and file system.
#[must_use]
pub fn gids(pid: i32) -> Vec<u32> {
    ids(pid, "Gid")
}

/// The supplementary groups of a process.
#[must_use]
pub fn groups(pid: i32) -> Vec<u32> {
    ids(pid, "Groups")
}

/// The open descriptors of a process with what they refer to, such as `/dev/null` or `pipe:[123]`.
#[must_use]
pub fn fds(pid: i32) -> BTreeMap<i32, String> {
    settle(pid);
    let folder = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    // A descriptor may be closed between the listing and the reading of its link.
    let target = |fd: i32| Some((fd, fs::read_link(format!("{folder}/{fd}")).ok()?.to_string_lossy().into_owned()));
    entries.flatten().filter_map(number).filter_map(target).collect()
}

/// Pieces that each end with a NUL, as in cmdline and environ.
fn pieces(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes));
    if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() }
}

/// The environment that a process was executed with, each as `NAME=VALUE`.
#[must_use]
pub fn environ(pid: i32) -> Vec<String> {
    settle(pid);
    pieces(&read(pid, "environ"))
}

/// The arguments of a process, its name first; none for a zombie.
#[must_use]
pub fn cmdline(pid: i32) -> Vec<String> {
    settle(pid);
    pieces(&read(pid, "cmdline"))
}

/// The root folder of a process.
#[must_use]
pub fn root(pid: i32) -> PathBuf {
    link(pid, "root")
}

/// The working folder of a process.
#[must_use]
pub fn cwd(pid: i32) -> PathBuf {
    link(pid, "cwd")
}

/// The program that a process executes.
#[must_use]
pub fn exe(pid: i32) -> PathBuf {
    link(pid, "exe")
}

/// The cgroup of a process in the unified hierarchy (the line `0::PATH`), if the system has one.
#[must_use]
pub fn cgroup(pid: i32) -> Option<String> {
    let text = String::from_utf8_lossy(&read(pid, "cgroup")).into_owned();
    text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
}

/// The limits of a process by the kernel's name for them (`Max core file size`), soft and hard, as text: a number or
/// `unlimited`.
#[must_use]
pub fn limits(pid: i32) -> BTreeMap<String, (String, String)> {
    read_limits(&String::from_utf8_lossy(&read(pid, "limits")))
}

/// One of the [`limits`], such as `Max core file size`: soft and hard.
///
/// # Panics
/// When the kernel has no such limit.
#[must_use]
pub fn limit(pid: i32, name: &str) -> (String, String) {
    limits(pid).remove(name).unwrap_or_else(|| panic!("/proc/{pid}/limits has no {name}"))
}

/// Columns of fixed width: 26 for the name, then soft, hard and unit.
fn read_limits(text: &str) -> BTreeMap<String, (String, String)> {
    let line = |line: &str| {
        let (name, values) = line.split_at_checked(26)?;
        let mut values = values.split_whitespace();
        Some((name.trim().to_owned(), (values.next()?.to_owned(), values.next()?.to_owned())))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// A line of /proc/PID/stat as far as the bench needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    session: i32,
    /// In clock ticks since the system started; with the pid it names a process for good.
    start: u64,
}

/// The name in parentheses may itself hold blanks and parentheses: what counts comes after the last one. The state is
/// field 3 of proc_pid_stat(5), the
/// parent field 4, the session field 6 and the start field 22.
fn read_stat(text: &str) -> Option<Stat> {
    let (_, after) = text.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, parent, session, start: fields.nth(15)?.parse().ok()? })
}

fn stat(pid: i32) -> Option<Stat> {
    read_stat(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Whether the process is there and not a zombie.
#[must_use]
pub fn exists(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

fn known_stat(pid: i32) -> Stat {
    stat(pid).unwrap_or_else(|| panic!("process {pid} is gone"))
}

/// The state letter of a process, such as `R`, `S`, `T` (stopped) and `Z` (zombie).
#[must_use]
pub fn state(pid: i32) -> char {
    known_stat(pid).state
}

/// The parent of a process.
#[must_use]
pub fn ppid(pid: i32) -> i32 {
    known_stat(pid).parent
}

/// Whether two processes are there and of one session.
#[must_use]
pub fn share_session(one: i32, other: i32) -> bool {
    stat(one).zip(stat(other)).is_some_and(|(one, other)| one.session == other.session)
}

/// The session of a process: the number of its leader.
#[must_use]
pub fn session(pid: i32) -> i32 {
    known_stat(pid).session
}

/// The memory that a process holds, in KiB (VmRSS).
#[must_use]
pub fn rss_kib(pid: i32) -> u64 {
    field(pid, "VmRSS").split(' ').next().and_then(|number| number.parse().ok()).expect("a number of kB")
}

/// The cgroups that a main with that process id has made and not removed, wherever the unified hierarchy is mounted.
#[must_use]
pub fn leftover_cgroups(main_pid: i32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let mounted = |line: &str| {
        let fields = line.split(' ').collect::<Vec<_>>();
        (fields.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(fields[1]))
    };
    let mut folders = mounts.lines().filter_map(mounted).collect::<Vec<_>>();
    let prefix = format!("erluv.{main_pid}.");
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        // A group may go while it is looked for.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// All processes that this one can see.
#[must_use]
pub fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The living processes with `marker` in their arguments, but not this one.
#[must_use]
pub fn pids_of(marker: &str) -> Vec<i32> {
    pids_with(|arguments| arguments.contains(marker))
}

/// The living processes that run exactly this, and no shell that is still to run it.
#[must_use]
pub fn pids_running(command: &str) -> Vec<i32> {
    pids_with(|arguments| arguments == command)
}

fn pids_with(wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let has = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        wanted(&pieces(&arguments).join(" "))
    };
    pids().into_iter().filter(|pid| *pid != own && exists(*pid)).filter(has).collect()
}

/// The children of a process, zombies included; found by everybody's parent, as not every kernel lists children.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    pids().into_iter().filter(|other| stat(*other).is_some_and(|stat| stat.parent == pid)).collect()
}

/// The children of a process, their children, and so on.
#[must_use]
pub fn descendants(pid: i32) -> Vec<i32> {
    let parents = pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect::<Vec<_>>();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// A process that a later one with the same number is not taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pid: i32,
    start: u64,
}

impl Known {
    /// Remembers a process; `None` when it is gone.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start: stat.start })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        exists(self.pid) && Self::of(self.pid) == Some(self)
    }

    /// Ends the process with SIGKILL, if it still runs.
    pub fn kill(self) {
        if self.is_alive() {
            signal(self.pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

fn sockets(pid: i32) -> Vec<String> {
    let inode = |target: String| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    fds(pid).into_values().filter_map(inode).collect()
}

/// Bytes that the kernel has of a process for the other ends of its TCP connections, and they not yet. The connections are
/// of this program's network, whatever that of the process is.
#[must_use]
pub fn send_queue(pid: i32) -> u64 {
    let sockets = sockets(pid);
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let waits = |line: &str| {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        let own = sockets.iter().any(|socket| fields.get(9) == Some(&socket.as_str()));
        let (queue, _) = fields.get(4).filter(|_| own)?.split_once(':')?;
        u64::from_str_radix(queue, 16).ok()
    };
    text.lines().filter_map(waits).sum()
}

/// How often a process has slept since it began.
#[must_use]
pub fn sleeps(pid: i32) -> u64 {
    field(pid, "voluntary_ctxt_switches").parse().unwrap()
}

/// The sockets of a process that wait for others: TCP ones that listen and UDP ones that are bound without a peer.
#[must_use]
pub fn listening_sockets(pid: i32) -> usize {
    let sockets = sockets(pid);
    // State 0A is a listening TCP socket, 07 a UDP socket without a peer; field 10 is the inode.
    let tables = [("net/tcp", "0A"), ("net/tcp6", "0A"), ("net/udp", "07"), ("net/udp6", "07")];
    let count = |(file, state): (&str, &str)| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let waits = |line: &&str| {
            let fields = line.split_whitespace().collect::<Vec<_>>();
            fields.get(3) == Some(&state) && sockets.iter().any(|socket| fields.get(9) == Some(&socket.as_str()))
        };
        text.lines().filter(waits).count()
    };
    tables.into_iter().map(count).sum()
}

#[cfg(test)]
mod tests;
