//! What a worker is from their first instruction on, seen from outside and by themselves. Each test runs
//! in a process of its own with one thread.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};

use erluv_proto::ipc::{ExitStatus, Failure, Step};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use super::plan::{Ids, Plan};
use super::testing::{alone, alone_as_root, killed_main, leave_strays};
use super::{Born, Forked, forked, os, spawn};
use crate::order::{Identity, Input, Order, Output, Rlimit};
use crate::tree::UseCgroup;
use crate::workers::Report;
use crate::workers::bench::{
    Bench, NOBODY, descriptors, field, nobody, order, sandbox, shell, until_asleep, until_in_call,
};

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

fn status(order: Order) -> String {
    let mut bench = Bench::new(UseCgroup::Auto);
    let text = bench.output(order);
    bench.workers.close();
    text
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Rlimit {
    Rlimit { resource: i32::try_from(resource).unwrap(), soft, hard }
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

#[test]
fn s01_the_drop_shows_in_all_four_columns() {
    alone_as_root(|| {
        let groups = vec![NOBODY, 12, 7];
        let text = status(Order { identity: Some(Identity { groups, ..nobody() }), ..order(&STATUS) });
        assert_eq!(words(field(&text, "Uid")), ["65534"; 4]);
        assert_eq!(words(field(&text, "Gid")), ["65534"; 4]);
        assert_eq!(words(field(&text, "Groups")), ["7", "12", "65534"]);
    });
}

#[test]
fn s02_a_drop_that_does_not_hold_is_found() {
    alone_as_root(|| {
        let ids = Ids::new(&nobody());
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        assert_eq!(forked::verify(&ids), Err(libc::EPERM), "nothing was dropped");
        setgroups(&[gid]).unwrap();
        setresgid(gid, gid, gid).unwrap();
        setresuid(uid, uid, Uid::from_raw(0)).unwrap();
        assert_eq!(forked::verify(&ids), Err(libc::EPERM), "the saved id is root's");
        // That look has found the way back, so this process is root again.
        setresuid(uid, uid, uid).unwrap();
        assert_eq!(forked::verify(&ids), Ok(()));
        let more = Identity { groups: vec![NOBODY, 12], ..nobody() };
        assert_eq!(forked::verify(&Ids::new(&more)), Err(libc::EPERM), "a group lacks");
    });
}

#[test]
fn s03_parent_groups_do_not_leak() {
    alone_as_root(|| {
        setgroups(&[0, 4, 27, 999].map(Gid::from_raw)).unwrap();
        assert_eq!(field(&status(order(&STATUS)), "Groups"), "65534");
        let none = Identity { groups: Vec::new(), ..nobody() };
        assert_eq!(field(&status(Order { identity: Some(none), ..order(&STATUS) }), "Groups"), "");
    });
}

#[test]
fn s09_groups_are_set_in_the_order_of_the_identity() {
    let ids = Ids::new(&Identity { groups: vec![500, 7, 12], gid: 500, ..nobody() });
    assert_eq!((ids.groups, ids.sorted), (vec![500, 7, 12], vec![7, 12, 500]));
}

#[test]
fn s11_a_process_limit_that_is_reached_ends_the_launch() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        // The kernel counts those that the user has before this one.
        bench.start(order(&["/bin/sleep", "1000"]));
        let rlimits = vec![limit(libc::RLIMIT_NPROC, 0, 0)];
        bench.launch(Order { rlimits, ..order(&STATUS) });
        let failed = bench.until("a failure", |bench| bench.reports.pop());
        let step = Failure::Step(Step::Exec, libc::EAGAIN);
        assert!(matches!(failed, Report::Failed(_, failed) if failed.failure == step));
        bench.workers.close();
    });
}

#[test]
fn s12_no_capability_is_left_and_none_comes_back() {
    alone_as_root(|| {
        // Inheritable ones are the only ones that a change of ids would leave.
        let (header, mut sets) = ([0x2008_0522_u32, 0], [[0_u32; 3]; 2]);
        // SAFETY: a header of two words and sets of two times three words are what this version writes.
        assert_eq!(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) }, 0);
        // Effective, permitted, inheritable.
        sets = sets.map(|[effective, permitted, _]| [effective, permitted, permitted]);
        // SAFETY: the same is what this version reads.
        assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }, 0);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(field(&own, "CapInh"), field(&own, "CapPrm"));
        let root = Identity { name: "root".into(), uid: 0, gid: 0, groups: vec![0] };
        for identity in [nobody(), root] {
            let text = status(Order { identity: Some(identity), ..order(&STATUS) });
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(field(&text, set), "0000000000000000", "{set}");
            }
        }
    });
}

#[test]
fn s13_new_privileges_are_given_up_unless_the_profile_says_otherwise() {
    alone_as_root(|| {
        assert_eq!(field(&status(order(&STATUS)), "NoNewPrivs"), "1");
        assert_eq!(
            field(
                &status(Order { sandbox: sandbox(|profile| profile.no_new_privs = false), ..order(&STATUS) }),
                "NoNewPrivs"
            ),
            "0"
        );
    });
}

#[test]
fn s15_a_worker_has_descriptors_0_to_2_and_no_other() {
    alone_as_root(|| {
        leave_strays();
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let null = [0, 1, 2].map(|number| (number, "/dev/null".to_owned()));
        until_asleep(started.pid());
        assert_eq!(descriptors(started.pid()), null);
        let piped = bench.start(Order { stdin: Input::Pipe, stderr: Output::Pipe, ..order(&["/bin/sleep", "1000"]) });
        until_asleep(piped.pid());
        let list = descriptors(piped.pid());
        assert_eq!((list.len(), list[1].1.as_str()), (3, "/dev/null"));
        assert!(list[0].1.starts_with("pipe:") && list[2].1.starts_with("pipe:") && list[0].1 != list[2].1);
        bench.workers.close();
    });
}

#[test]
fn s15_pipes_that_are_descriptors_0_to_2_of_main_reach_the_worker() {
    alone_as_root(|| {
        let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
        // Every combination of free numbers gives pipes and /dev/null other places.
        for closed in [vec![0], vec![1, 2], vec![0, 1, 2], vec![0, 2], vec![1]] {
            for fd in &closed {
                // SAFETY: close takes a number; nobody writes to these while they are closed.
                unsafe { libc::close(*fd) };
            }
            let mut bench = Bench::new(UseCgroup::Auto);
            let line =
                Order { stdin: Input::Pipe, stdout: Output::Pipe, stderr: Output::Pipe, ..shell("cat; echo e >&2") };
            let mut started = bench.start(line);
            rustix::io::write(&started.pipes[0], b"in").unwrap();
            drop(started.pipes.remove(0));
            let (out, err) = (bench.read(&started.pipes[0]), bench.read(&started.pipes[1]));
            bench.end(started.id());
            bench.workers.close();
            drop(started);
            for fd in 0..3 {
                // SAFETY: dup2 takes numbers.
                unsafe { libc::dup2(stderr.as_raw_fd(), fd) };
            }
            assert_eq!((out.as_str(), err.as_str()), ("in", "e\n"), "{closed:?}");
        }
    });
}

#[test]
fn s15_sources_that_are_each_other_s_targets_change_places() {
    alone_as_root(|| {
        let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let (input, mut feed) = io::pipe().unwrap();
        let (mut out, write_out) = io::pipe().unwrap();
        let (mut err, write_err) = io::pipe().unwrap();
        for (source, place) in [(write_err.as_raw_fd(), 0), (input.as_raw_fd(), 1), (write_out.as_raw_fd(), 2)] {
            // SAFETY: dup2 takes numbers.
            assert_eq!(unsafe { libc::dup2(source, place) }, place);
        }
        drop((input, write_out, write_err));
        let order = shell("cat; echo e >&2");
        // SAFETY: 0 to 2 are open for as long as the plan lives.
        let at = |fd| unsafe { BorrowedFd::borrow_raw(fd) };
        let (mut answer, error) = io::pipe().unwrap();
        let process =
            spawn(&Plan::worker(&order, vec![at(1), at(2), at(0)], Some(error.as_fd())).unwrap(), None).unwrap();
        for fd in 0..3 {
            // SAFETY: dup2 takes numbers.
            unsafe { libc::dup2(stderr.as_raw_fd(), fd) };
        }
        drop(error);
        let mut said = Vec::new();
        answer.read_to_end(&mut said).unwrap();
        assert_eq!(said, []);
        feed.write_all(b"in").unwrap();
        drop(feed);
        let mut text = [String::new(), String::new()];
        out.read_to_string(&mut text[0]).unwrap();
        err.read_to_string(&mut text[1]).unwrap();
        assert_eq!(text, ["in", "e\n"]);
        nix::sys::wait::waitpid(Pid::from_raw(process.pid), None).unwrap();
    });
}

#[test]
fn s16_descriptors_are_closed_without_close_range_too() {
    alone(|| {
        let open = || descriptors(i32::try_from(std::process::id()).unwrap()).len();
        for close in [os::close_listed, os::close_each, os::close_from] {
            leave_strays();
            // More than one buffer of entries.
            (0..200).for_each(|_| assert!(fs::File::open("/dev/null").unwrap().into_raw_fd() > 2));
            assert!(open() > 200);
            assert_eq!(close(3), Ok(()));
            // 0 to 2, and the one that looks.
            assert_eq!(open(), 4);
        }
        let result = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 1000, 1000);
        assert_eq!((result, os::close_each(3)), (Ok(()), Ok(())));
    });
}

#[test]
fn s18_the_folder_is_opened_as_the_worker_and_has_to_be_reachable() {
    alone_as_root(|| {
        let private = std::env::temp_dir().join(format!("erluv-s18-{}", std::process::id()));
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut bench = Bench::new(UseCgroup::Auto);
        let at = |path: &str| Order { cwd: CString::new(path).unwrap(), ..order(&["/bin/pwd"]) };
        assert_eq!(bench.refuse(at("/nonexistent")), (Step::Chdir, libc::ENOENT));
        assert_eq!(bench.refuse(at(private.to_str().unwrap())), (Step::Chdir, libc::EACCES));
        assert_eq!(bench.output(at("/usr")), "/usr\n");
        bench.workers.close();
        fs::remove_dir(&private).unwrap();
        assert_eq!(os::is_folder_reachable(), Ok(true));
        std::env::set_current_dir("/usr").unwrap();
        nix::unistd::chroot("/proc").unwrap();
        assert_eq!(os::is_folder_reachable(), Ok(false));
    });
}

#[test]
#[cfg(debug_assertions)]
fn s22_a_fork_with_a_second_thread_is_a_defect() {
    alone(|| {
        assert!(os::is_single_threaded());
        let order = order(&["/bin/true"]);
        let null = fs::File::open("/dev/null").unwrap();
        let plan = Plan::worker(&order, vec![null.as_fd(); 3], Some(null.as_fd())).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let second = std::thread::spawn(move || held.recv());
        let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| spawn(&plan, None).map(|_| ())));
        assert!(attempt.is_err());
        drop(hold);
        assert!(second.join().unwrap().is_err());
    });
}

#[test]
fn s25_an_empty_argv_is_no_plan() {
    let order = Order { argv: Vec::new(), ..order(&["/bin/true"]) };
    let null = fs::File::open("/dev/null").unwrap();
    let plan = Plan::worker(&order, vec![null.as_fd(); 3], Some(null.as_fd()));
    assert_eq!(plan.err().and_then(|error| error.raw_os_error()), Some(libc::EINVAL));
}

#[test]
fn s26_the_environment_is_exactly_the_order_s() {
    alone_as_root(|| {
        assert!(std::env::vars_os().count() > 1);
        let mut bench = Bench::new(UseCgroup::Auto);
        for env in [vec![], vec![c"A=1".to_owned(), c"B=".to_owned()]] {
            let wanted: Vec<u8> = env.iter().flat_map(|entry| entry.as_bytes_with_nul().to_vec()).collect();
            let started = bench.start(Order { env, ..order(&["/bin/sleep", "1000"]) });
            // Main knows that the exec cannot fail any more a little before the kernel has laid the memory out: field 28
            // of proc_pid_stat(5), startstack, of which 3 is the first behind the name.
            bench.until("its memory is laid out", |_| {
                let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid())).unwrap();
                let stack = stat.rsplit_once(") ")?.1.split(' ').nth(25)?.to_owned();
                (stack != "0").then_some(())
            });
            assert_eq!(fs::read(format!("/proc/{}/environ", started.pid())).unwrap(), wanted);
        }
        bench.workers.close();
    });
}

#[test]
fn s29_no_signal_is_ignored_or_blocked_in_a_worker() {
    alone_as_root(|| {
        for ignored in [Signal::SIGPIPE, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGUSR1] {
            // SAFETY: to ignore a signal runs no code.
            unsafe { signal(ignored, SigHandler::SigIgn) }.unwrap();
        }
        // The C library keeps 32 and 33 for itself; a starter that does not can ignore them.
        let ignore = [libc::SIG_IGN as u64, 0, 0, 0, 0, 0, 0, 0];
        for number in [32_i64, 33, 40, 64] {
            let nothing = std::ptr::null_mut::<u64>();
            // SAFETY: the struct is as long as the kernel's, with its handler first.
            let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, number, ignore.as_ptr(), nothing, 8_usize) };
            assert_eq!(result, 0);
        }
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert_ne!(field(&own, "SigIgn"), "0000000000000000");
        let text = status(order(&STATUS));
        for set in ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd"] {
            assert_eq!(field(&text, set), "0000000000000000", "{set}");
        }
        let mask = nix::sys::signal::SigSet::thread_get_mask().unwrap();
        assert!(mask.contains(Signal::SIGUSR2), "main's mask is back as it was");
    });
}

#[test]
fn s30_a_worker_leads_a_session_without_a_terminal() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(order(&["/bin/sleep", "1000"]));
        let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid())).unwrap();
        let pid = started.pid().to_string();
        // Group, session, terminal.
        assert_eq!(words(&stat)[4..7], [pid.as_str(), pid.as_str(), "0"]);
        bench.workers.close();
    });
}

#[test]
fn s31_the_umask_is_the_order_s() {
    alone_as_root(|| {
        assert_eq!(field(&status(order(&STATUS)), "Umask"), "0077");
        assert_eq!(field(&status(Order { umask: 0o027, ..order(&STATUS) }), "Umask"), "0027");
    });
}

#[test]
fn s32_limits_are_the_order_s_even_above_main_s() {
    alone_as_root(|| {
        let own = |soft| nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft, soft);
        // Only where main may do so itself (CAP_SYS_RESOURCE) can it give a worker more than it has.
        own(1024).unwrap();
        if own(1025).is_ok() {
            own(512).unwrap();
        }
        let rlimits = vec![
            limit(libc::RLIMIT_NOFILE, 256, 1024),
            limit(libc::RLIMIT_CORE, 0, 0),
            limit(libc::RLIMIT_FSIZE, 4096, u64::MAX),
        ];
        let text = status(Order { rlimits, ..order(&["/bin/cat", "/proc/self/limits"]) });
        let row = |name: &str| words(text.lines().find_map(|line| line.strip_prefix(name)).unwrap())[..2].join(" ");
        assert_eq!(row("Max open files"), "256 1024");
        assert_eq!(row("Max core file size"), "0 0");
        assert_eq!(row("Max file size"), "4096 unlimited");
        let beyond = vec![limit(libc::RLIMIT_CORE, 9, 8)];
        let mut bench = Bench::new(UseCgroup::Auto);
        assert_eq!(bench.refuse(Order { rlimits: beyond, ..order(&STATUS) }), (Step::Setrlimit, libc::EINVAL));
        bench.workers.close();
    });
}

#[test]
fn s36_a_worker_that_waits_before_its_exec_cannot_be_read() {
    alone_as_root(|| {
        // A full error pipe holds the process where it stands: all steps behind it but the last, which fails.
        let (answer, error) = io::pipe().unwrap();
        nix::fcntl::fcntl(&error, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        while (&error).write(&[0; 4096]).is_ok() {}
        nix::fcntl::fcntl(&error, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
        let order = order(&["/nonexistent/program"]);
        let null = fs::File::open("/dev/null").unwrap();
        let plan = Plan::worker(&order, vec![null.as_fd(); 3], Some(error.as_fd())).unwrap();
        // Main as it is by then.
        os::forbid_tracing().unwrap();
        let held = spawn(&plan, None).unwrap();
        until_in_call(held.pid, libc::SYS_write);
        let memory = format!("/proc/{}/mem", held.pid);
        assert!(fs::File::open(&memory).is_ok(), "root may");
        let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        setresgid(gid, gid, gid).unwrap();
        setresuid(uid, uid, uid).unwrap();
        assert_eq!(fs::File::open(&memory).unwrap_err().raw_os_error(), Some(libc::EACCES));
        // SAFETY: PTRACE_ATTACH takes numbers.
        let attached = unsafe { libc::ptrace(libc::PTRACE_ATTACH, held.pid, 0, 0) };
        assert_eq!((attached, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
        drop(answer);
    });
}

#[test]
fn s37_a_worker_dies_with_main() {
    alone_as_root(|| {
        let worker = killed_main(|| {
            let mut bench = Bench::new(UseCgroup::Never);
            bench.start(order(&["/bin/sleep", "1000"])).pid().to_string()
        });
        let worker = Pid::from_raw(worker.parse().unwrap());
        let end = nix::sys::wait::waitpid(worker, None).unwrap();
        assert_eq!(end, nix::sys::wait::WaitStatus::Signaled(worker, Signal::SIGKILL, false));
    });
}

#[test]
fn s37_a_worker_whose_main_is_gone_already_does_not_start() {
    alone_as_root(|| {
        let (parent, own) = (nix::unistd::getppid().as_raw(), nix::unistd::getpid().as_raw());
        assert_eq!(os::die_with(own, None), Err(libc::ESRCH));
        assert_eq!(os::die_with(parent, None), Ok(()));
    });
}

#[test]
fn where_clone3_is_missing_the_process_moves_into_its_group_and_resets_its_signals_itself() {
    alone_as_root(|| {
        // SAFETY: to ignore a signal runs no code.
        unsafe { signal(Signal::SIGUSR1, SigHandler::SigIgn) }.unwrap();
        let mut trees = crate::tree::Trees::open(UseCgroup::Required).unwrap();
        let (node, worker) = (crate::workers::bench::NODE, erluv_proto::ids::WorkerId(5));
        let folder = trees.make(node, worker, &crate::workers::bench::sandbox(|_| {}).profile, true).unwrap().unwrap();
        match os::fork(Some(folder.as_fd())).unwrap() {
            Forked::Child(Born { join, signals, .. }) => {
                forked::join_group(join).unwrap();
                os::default_dispositions(signals).unwrap();
                let own = fs::read_to_string("/proc/self/status").unwrap();
                assert_eq!([field(&own, "SigIgn"), field(&own, "SigCgt")], ["0000000000000000"; 2]);
                let own = fs::read_to_string("/proc/self/cgroup").unwrap();
                let there = own
                    .lines()
                    .any(|line| line.starts_with("0::/") && line.contains("/erluv.") && line.ends_with("/n0/w5"));
                // SAFETY: _exit takes a number.
                unsafe { libc::_exit(if there { 17 } else { 1 }) }
            }
            Forked::Parent(process) => {
                let end = nix::sys::wait::waitpid(Pid::from_raw(process.pid), None).unwrap();
                assert_eq!(end, nix::sys::wait::WaitStatus::Exited(Pid::from_raw(process.pid), 17));
            }
        }
        trees.close();
    });
}

#[test]
fn ends_are_told_as_they_were() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        for code in [0, 1, 127, 255] {
            let started = bench.start(shell(&format!("exit {code}")));
            assert_eq!(bench.end(started.id()).status, ExitStatus::Code(code));
        }
        let started = bench.start(shell("kill -SEGV $$"));
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(11, false));
        bench.workers.close();
    });
}
