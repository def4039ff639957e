//! Workers that are made in main's own memory. Each test runs in a process of its own with one thread.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use erluv_proto::ipc::{ExitStatus, Failure, Step};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use super::os;
use super::sandbox::capabilities;
use super::testing::{alone, alone_as_root};
use super::vfork::{MOST_AT_ONCE, forget_the_crowd, is_brief, room_by};
use super::{Made, Plan, Wanted, reap, spawn_and_wait};
use crate::order::{Identity, Input, Order, Output, OutputFile, Rlimit, Terminal};
use crate::sandbox::{CallList, IoPriority, Mounts, Profile, Scheduler, Seccomp};
use crate::tree::UseCgroup;
use crate::workers::Report;
use crate::workers::bench::{Bench, NODE, field, order, sandbox, shell};

/// Nobody else's.
const SLOW: u32 = 61_234;

pub(super) fn of_slow(order: Order) -> Order {
    let identity = Identity { name: "slow".into(), uid: SLOW, gid: SLOW, groups: vec![SLOW] };
    Order { identity: Some(identity), ..order }
}

/// Where it lies, and a program whose execve(2) waits until the file is dropped: that has a lease, fcntl(2), which its
/// user could take, too.
pub(super) fn leased(name: &str) -> (PathBuf, File) {
    let path = &std::env::temp_dir().join(format!("erluv-{name}-{}", std::process::id()));
    fs::copy("/bin/true", path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    // SAFETY: to ignore a signal runs no code. It is the one that tells of who waits.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.unwrap();
    // One for writing: who only reads stops no exec.
    let file = File::options().write(true).open(path).unwrap();
    // SAFETY: fcntl takes numbers for this command.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) }, 0);
    (path.clone(), file)
}

/// Whether main has waited for the exec.
fn is_waited_for(bench: &mut Bench, order: Order) -> bool {
    let known = bench.reports.len();
    // Whatever else runs on this machine.
    forget_the_crowd();
    bench.launch(order).expect("a process");
    bench.reports.len() > known
}

#[test]
fn how_an_exec_went_is_known_when_the_launch_comes_back() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        assert!(is_waited_for(&mut bench, order(&["/bin/true"])));
        assert!(matches!(bench.reports.pop(), Some(Report::Launched(..))));
        assert!(is_waited_for(&mut bench, order(&["/no/such/program"])));
        let failed = bench.reports.pop();
        let step = Failure::Step(Step::Exec, libc::ENOENT);
        assert!(matches!(failed, Some(Report::Failed(_, failed)) if failed.failure == step));
        let nowhere = Order { cwd: c"/no/such/folder".to_owned(), ..order(&["/bin/true"]) };
        assert!(is_waited_for(&mut bench, nowhere));
        let failed = bench.reports.pop();
        let step = Failure::Step(Step::Chdir, libc::ENOENT);
        assert!(matches!(failed, Some(Report::Failed(_, failed)) if failed.failure == step));
        bench.until("nobody", |bench| bench.workers.is_empty(NODE).then_some(()));
        bench.workers.close();
    });
}

#[test]
fn a_thousand_of_them_leave_main_as_it_was() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let own = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let of = |name| field(&status, name).to_owned();
            (["Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt"].map(of), umask())
        };
        let umask_is = umask();
        let (before, folder) = (own(), std::env::current_dir().unwrap());
        for round in 0..1000 {
            let status = if round % 3 == 0 { 7 } else { 0 };
            let started = bench.start(shell(&format!("umask 0; cd /tmp; trap '' USR1; exit {status}")));
            assert_eq!(bench.end(started.id()).status, ExitStatus::Code(status));
            bench.reports.clear();
        }
        assert_eq!((own(), std::env::current_dir().unwrap(), umask()), (before, folder, umask_is));
        bench.workers.close();
    });
}

/// Descriptors 0 to 2, all the same.
fn plan<'a>(order: &'a Order, null: &'a File) -> Plan<'a> {
    Plan::worker(order, vec![null.as_fd(); 3], None).unwrap()
}

/// What comes of a worker that is made here, and this process's errno after it, where it was another before.
fn made(order: &Order) -> (Option<(Step, i32)>, i32) {
    const UNTOUCHED: i32 = 9999;
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let plan = plan(order, &null);
    // SAFETY: the function takes nothing and tells where this thread's errno is.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the place is this thread's.
    unsafe { *errno = UNTOUCHED };
    let made = spawn_and_wait(vec![Wanted { plan, cgroup: None }]).pop().unwrap();
    // SAFETY: as above.
    let errno = unsafe { *errno };
    let Made::Answered(process, failed) = made.unwrap() else { panic!("it took too long") };
    while reap(Some(process.pid)).is_none() {
        std::thread::yield_now();
    }
    (failed, errno - UNTOUCHED)
}

#[test]
fn a_worker_leaves_errno_alone_whichever_of_its_calls_fails() {
    alone_as_root(|| {
        let plain = sandbox(|_| ());
        let filtered = sandbox(|profile| {
            profile.seccomp = Seccomp { list: CallList::Default, kill: false };
            profile.keyring = true;
        });
        let limit = |soft, hard| vec![Rlimit { resource: i32::try_from(libc::RLIMIT_CORE).unwrap(), soft, hard }];
        let many = || Identity { groups: vec![1; 65_537], ..crate::workers::bench::nobody() };
        let closed = OutputFile { path: c"/no-one-s".to_owned(), append: false, mode: 0o600 };
        let fails = || {
            let order = || order(&["/bin/true"]);
            [
                (Step::Setrlimit, libc::EINVAL, Order { rlimits: limit(2, 1), ..order() }),
                (Step::Setgroups, libc::EINVAL, Order { identity: Some(many()), ..order() }),
                (Step::Chdir, libc::ENOENT, Order { cwd: c"/no/such/folder".to_owned(), ..order() }),
                (Step::Chdir, libc::ENOTDIR, Order { cwd: c"/bin/true".to_owned(), ..order() }),
                (Step::Redirect, libc::ENOENT, Order { stdin: Input::File(c"/no/such/file".to_owned()), ..order() }),
                (Step::Redirect, libc::EACCES, Order { stdout: Output::File(closed.clone()), ..order() }),
                (Step::Exec, libc::ENOENT, Order { path: c"/no/such/program".to_owned(), ..order() }),
                (Step::Exec, libc::EACCES, Order { path: c"/etc/passwd".to_owned(), ..order() }),
            ]
        };
        for sandbox in [&plain, &filtered] {
            for (step, errno, order) in fails() {
                let order = Order { sandbox: Rc::clone(sandbox), ..order };
                assert_eq!(made(&order), (Some((step, errno)), 0));
            }
            // One fails for each worker, as it should: the way back to root.
            let order = Order { sandbox: Rc::clone(sandbox), ..order(&["/bin/true"]) };
            assert_eq!(made(&order), (None, 0));
        }
        // A spawner has made those with a filter.
        let own = std::process::id();
        assert_ne!(fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap(), "");
        let passed_over = crate::sandbox::Landlock {
            read: vec![c"/".to_owned(), c"/no/such/folder".to_owned()],
            execute: vec![c"/".to_owned()],
            ..crate::sandbox::Landlock::default()
        };
        let ruled = sandbox(|profile| profile.landlock = Some(passed_over));
        assert_eq!(made(&Order { sandbox: ruled, ..order(&["/bin/true"]) }), (None, 0));
    });
}

fn umask() -> String {
    field(&fs::read_to_string("/proc/self/status").unwrap(), "Umask").to_owned()
}

/// A process of the same user, with an eye on the child of this one that has changed to that user: does something to
/// it, and what it says can be read.
fn spy(does: impl FnOnce(i32) -> String) -> io::PipeReader {
    let main = std::process::id();
    let (answer, mut tell) = io::pipe().unwrap();
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } != 0 {
        return answer;
    }
    let (gid, uid) = (Gid::from_raw(SLOW), Uid::from_raw(SLOW));
    setgroups(&[]).unwrap();
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
    let own = std::process::id().to_string();
    let of_main = format!("/proc/{main}/task/{main}/children");
    let target = loop {
        let children = fs::read_to_string(&of_main).unwrap();
        let dropped = |pid: &&str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            **pid != own && status.contains(&format!("Uid:\t{SLOW}\t"))
        };
        if let Some(pid) = children.split_ascii_whitespace().find(dropped) {
            break pid.parse::<i32>().unwrap();
        }
    };
    tell.write_all(does(target).as_bytes()).unwrap();
    // SAFETY: _exit takes a number.
    unsafe { libc::_exit(0) }
}

#[test]
fn s36_the_memory_that_it_shares_is_closed_to_its_own_user() {
    alone_as_root(|| {
        os::forbid_tracing().unwrap();
        let (program, lease) = leased("closed");
        let shield = format!("{:016x}", capabilities::shield());
        let mut spied = spy(|target| {
            let memory = File::open(format!("/proc/{target}/mem")).map_err(|error| error.raw_os_error());
            // SAFETY: PTRACE_ATTACH takes numbers.
            let attached = unsafe { libc::ptrace(libc::PTRACE_ATTACH, target, 0, 0) };
            let error = io::Error::last_os_error().raw_os_error();
            // It may not have come to where it gives up the others.
            let status = || fs::read_to_string(format!("/proc/{target}/status")).unwrap();
            while field(&status(), "CapPrm") != shield {
                std::thread::yield_now();
            }
            format!("{:?} {attached} {error:?} {}", memory.map(drop), field(&status(), "CapEff"))
        });
        let mut bench = Bench::new(UseCgroup::Never);
        forget_the_crowd();
        bench.launch(of_slow(order(&[program.to_str().unwrap()])));
        drop(lease);
        let mut said = String::new();
        spied.read_to_string(&mut said).unwrap();
        let (closed, refused) = (libc::EACCES, libc::EPERM);
        // Until the exec one capability that nobody of that user has is permitted, and none effective.
        assert_eq!(said, format!("Err(Some({closed})) -1 Some({refused}) 0000000000000000"));
        // SAFETY: the option takes nothing.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        fs::remove_file(program).unwrap();
        bench.workers.close();
    });
}

/// Whether a process of the slow user's that the kernel takes for open can be looked into by that user.
fn is_open(shield: u64) -> bool {
    let (mut ready, mut tell) = io::pipe().unwrap();
    // SAFETY: this process has one thread.
    let looked_at = unsafe { libc::fork() };
    if looked_at == 0 {
        capabilities::keep_over_drop(&sandbox(|_| ()).profile, SLOW, shield).unwrap();
        os::set_gids(SLOW).unwrap();
        os::set_uids(SLOW).unwrap();
        capabilities::reduce(0, shield).unwrap();
        // SAFETY: the option takes a number.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
        tell.write_all(b"x").unwrap();
        loop {
            nix::unistd::pause();
        }
    }
    ready.read_exact(&mut [0]).unwrap();
    // SAFETY: this process has one thread.
    let looks = unsafe { libc::fork() };
    if looks == 0 {
        setgroups(&[]).unwrap();
        os::set_gids(SLOW).unwrap();
        os::set_uids(SLOW).unwrap();
        let opened = File::open(format!("/proc/{looked_at}/maps")).is_ok();
        // SAFETY: _exit takes a number.
        unsafe { libc::_exit(i32::from(opened)) }
    }
    let end = nix::sys::wait::waitpid(Pid::from_raw(looks), None).unwrap();
    nix::sys::signal::kill(Pid::from_raw(looked_at), Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(Pid::from_raw(looked_at), None).unwrap();
    end == nix::sys::wait::WaitStatus::Exited(Pid::from_raw(looks), 1)
}

#[test]
fn s36_a_capability_alone_closes_a_process_to_its_own_user() {
    alone_as_root(|| {
        let shield = capabilities::shield();
        if shield == 0 {
            return println!("skipped: this root lacks the capability");
        }
        assert!(is_open(0));
        assert!(!is_open(shield));
    });
}

#[test]
fn a_user_that_stops_its_processes_before_their_exec_does_not_stop_main() {
    alone_as_root(|| {
        let (program, lease) = leased("stopped");
        let mut spied = spy(|target| {
            // SAFETY: kill takes numbers.
            let stopped = unsafe { libc::kill(target, libc::SIGSTOP) };
            format!("{target} {stopped}")
        });
        let mut bench = Bench::new(UseCgroup::Auto);
        forget_the_crowd();
        let slow = bench.launch(of_slow(order(&[program.to_str().unwrap()]))).expect("a process");
        let mut said = String::new();
        spied.read_to_string(&mut said).unwrap();
        drop(lease);
        assert_eq!(bench.end(slow).status, ExitStatus::Code(0));
        let started = bench.reports.iter().find_map(|report| match report {
            Report::Launched(_, launched, _) => Some(launched.os_pid.to_string()),
            Report::Exited(..) | Report::Failed(..) => None,
        });
        let (first, stopped) = said.split_once(' ').unwrap();
        assert_eq!(stopped, "0");
        assert_ne!(started.as_deref(), Some(first), "it was made anew");
        fs::remove_file(program).unwrap();
        bench.workers.close();
    });
}

#[test]
fn a_process_that_is_made_anew_has_its_terminal() {
    alone_as_root(|| {
        let (program, lease) = leased("terminal");
        let mut bench = Bench::new(UseCgroup::Auto);
        forget_the_crowd();
        let terminal = Terminal { rows: 24, columns: 80, echo: false, settings: Vec::new() };
        let order = Order { stdin: Input::Terminal, terminal: Some(terminal), ..order(&[program.to_str().unwrap()]) };
        let slow = bench.launch(of_slow(order)).expect("a process");
        drop(lease);
        // The first, which is dead, has led a session on that terminal.
        assert_eq!(bench.end(slow).status, ExitStatus::Code(0));
        fs::remove_file(program).unwrap();
        bench.workers.close();
    });
}

#[test]
fn main_waits_for_nobody_who_keeps_a_process_from_its_exec() {
    alone_as_root(|| {
        let (program, lease) = leased("slow");
        let mut bench = Bench::new(UseCgroup::Auto);
        assert!(is_waited_for(&mut bench, of_slow(order(&["/bin/true"]))));
        // It is killed in its exec, and made anew by fork, where it waits by itself.
        forget_the_crowd();
        let slow = bench.launch(of_slow(order(&[program.to_str().unwrap()]))).expect("a process");
        assert!(matches!(bench.reports[..], [Report::Launched(..)]), "that of before alone: {:?}", bench.reports);
        // The same user is waited for no more, others are.
        assert!(!is_waited_for(&mut bench, of_slow(order(&["/bin/true"]))));
        assert!(is_waited_for(&mut bench, order(&["/bin/true"])));
        drop(lease);
        assert_eq!(bench.end(slow).status, ExitStatus::Code(0));
        let of_slow = bench.reports.iter().filter(|report| match report {
            Report::Launched(_, launched, _) => launched.worker == slow,
            Report::Exited(_, exited) => exited.worker == slow,
            Report::Failed(..) => true,
        });
        assert_eq!(of_slow.count(), 2, "its start and its end, each once");
        fs::remove_file(program).unwrap();
        bench.workers.close();
    });
}

/// A file system of the slow user's whose server takes what it is asked and never answers, but for the first message.
/// It ends with what comes back.
fn never_answers(at: &Path) -> io::Result<io::PipeWriter> {
    let mut device = File::options().read(true).write(true).open("/dev/fuse")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let data = format!("fd={},rootmode=40000,user_id={SLOW},group_id={SLOW}", device.as_raw_fd());
    mount(Some("none"), at, Some("fuse"), MsFlags::empty(), Some(data.as_str()))?;
    let (mut until, keep) = io::pipe().unwrap();
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } != 0 {
        return Ok(keep);
    }
    drop(keep);
    let mut asked = [0; 1 << 17];
    assert!(device.read(&mut asked).unwrap() > 16);
    // Of fuse(4): length, error and the number of the message; version 7.31, and the rest may be 0.
    let mut answer = [0; 80];
    answer[0] = 80;
    answer[8..16].copy_from_slice(&asked[8..16]);
    (answer[16], answer[20]) = (7, 31);
    device.write_all(&answer).unwrap();
    // What is taken and not answered is waited for, come SIGKILL or not.
    for _ in 0..2 {
        assert!(device.read(&mut asked).unwrap() > 16);
    }
    until.read_to_end(&mut Vec::new()).unwrap();
    // SAFETY: _exit takes a number.
    unsafe { libc::_exit(0) }
}

#[test]
fn a_process_that_not_even_sigkill_ends_does_not_stop_main() {
    alone_as_root(|| {
        let at = std::env::temp_dir().join(format!("erluv-hangs-{}", std::process::id()));
        fs::create_dir(&at).unwrap();
        let server = match never_answers(&at) {
            Ok(server) => server,
            Err(error) => {
                fs::remove_dir(&at).unwrap();
                return println!("skipped: no FUSE here: {error}");
            }
        };
        let mut bench = Bench::new(UseCgroup::Auto);
        forget_the_crowd();
        let cwd = CString::new(at.to_str().unwrap()).unwrap();
        let hangs = bench.launch(of_slow(Order { cwd, ..order(&["/bin/true"]) })).expect("a process");
        // The memory is not main's alone yet: others are made by fork.
        assert!(bench.reports.is_empty(), "{:?}", bench.reports);
        assert!(!is_waited_for(&mut bench, order(&["/bin/true"])));
        let ends = |bench: &mut Bench| bench.reports.iter().any(|report| matches!(report, Report::Exited(..)));
        bench.until("the end of another", |bench| ends(bench).then_some(()));
        // Nobody is there to answer any more.
        drop(server);
        bench.until("its failure", |bench| bench.workers.is_empty(NODE).then_some(()));
        let failed = bench.reports.iter().find_map(|report| match report {
            Report::Failed(_, failed) if failed.worker == hangs => Some(failed.failure.clone()),
            Report::Failed(..) | Report::Launched(..) | Report::Exited(..) => None,
        });
        let gone = [libc::ECONNABORTED, libc::ENOTCONN].map(|errno| Some(Failure::Step(Step::Chdir, errno)));
        assert!(gone.contains(&failed), "{failed:?}");
        bench.until("main has its memory to itself", |bench| is_waited_for(bench, order(&["/bin/true"])).then_some(()));
        umount(&at).unwrap();
        fs::remove_dir(&at).unwrap();
        bench.workers.close();
    });
}

#[test]
fn what_acts_on_memory_or_may_wait_is_made_by_fork() {
    type Change = fn(&mut Profile);
    let changes: [Change; 8] = [
        |profile| profile.memory_deny_write_execute = true,
        |profile| profile.oom_score_adj = Some(500),
        |profile| profile.scheduler = Some(Scheduler::Idle),
        |profile| profile.nice = Some(19),
        |profile| profile.io_priority = Some(IoPriority::Idle),
        |profile| profile.mounts = Some(Mounts::default()),
        |profile| profile.namespaces.pid = true,
        |profile| profile.cgroup.cpu_max = Some(1000),
    ];
    assert!(is_brief(&sandbox(|_| ()).profile));
    for (number, change) in changes.into_iter().enumerate() {
        let mut profile = Profile::plain(sandbox(|_| ()).profile.name.clone());
        change(&mut profile);
        assert!(!is_brief(&profile), "{number}");
    }
    alone(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let own = |order| Order { identity: None, ..order };
        assert!(is_waited_for(&mut bench, own(order(&["/bin/true"]))));
        assert!(!is_waited_for(&mut bench, Order { nice: Some(19), ..own(order(&["/bin/true"])) }));
        let mdwe = sandbox(|profile| profile.memory_deny_write_execute = true);
        let within = Order { sandbox: mdwe, ..own(order(&["/bin/true"])) };
        assert!(!is_waited_for(&mut bench, within));
        bench.until("three ends", |bench| bench.workers.is_empty(NODE).then_some(()));
        bench.workers.close();
    });
}

#[test]
fn s36_where_the_host_lets_users_trace_what_was_roots_nothing_is_made_this_way() {
    assert_eq!(room_by(*b"0\n"), MOST_AT_ONCE);
    for other in [*b"1\n", *b"3\n", *b"10", *b"\0\0"] {
        assert_eq!(room_by(other), 0, "{other:?}");
    }
}

#[test]
fn s36_where_the_host_keeps_cores_of_what_was_root_s_there_is_one_at_a_time() {
    assert_eq!(room_by(*b"2\n"), 1);
}
