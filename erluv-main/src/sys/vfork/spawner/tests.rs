//! Workers that a spawner makes. Each test runs in a process of its own with one thread.

use std::fs;
use std::rc::Rc;

use erluv_proto::ipc::ExitStatus;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::forget_the_crowd;
use crate::order::Order;
use crate::sandbox::{CallList, Sandbox, Seccomp};
use crate::sys::is_half;
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NODE, field, order, sandbox, shell};

fn filtered() -> Rc<Sandbox> {
    sandbox(|profile| {
        profile.seccomp = Seccomp { list: CallList::Default, kill: false };
        profile.keyring = true;
    })
}

/// The children of this process that are spawners.
fn spawners() -> Vec<i32> {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let is_spawner = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "erluv-spawner\n")
            && !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    };
    children.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).filter(is_spawner).collect()
}

fn only_spawner() -> i32 {
    let [only] = spawners()[..] else { panic!("{:?}", spawners()) };
    only
}

/// Starts it and waits for its end: whether main has waited for its exec.
fn runs(bench: &mut Bench, order: Order) -> bool {
    forget_the_crowd();
    let known = bench.reports.len();
    let worker = bench.launch(order).expect("a process");
    let waited = bench.reports.len() > known;
    assert_eq!(bench.end(worker).status, ExitStatus::Code(0));
    bench.reports.clear();
    waited
}

fn within(sandbox: &Rc<Sandbox>, line: &str) -> Order {
    Order { sandbox: Rc::clone(sandbox), ..shell(line) }
}

#[test]
fn a_worker_inherits_its_filter_and_is_main_s_child_like_any_other() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let sandbox = filtered();
        let main = std::process::id();
        let line = format!("grep -q '^Seccomp:.2$' /proc/self/status && test $PPID = {main}");
        assert!(runs(&mut bench, within(&sandbox, &line)));
        let spawner = only_spawner();
        assert!(is_half(spawner), "it is no orphan of a worker");
        let status = |name| field(&fs::read_to_string(format!("/proc/{spawner}/status")).unwrap(), name).to_owned();
        assert_eq!(["Seccomp", "NoNewPrivs", "SigBlk"].map(status), ["2", "1", "fffffffe7ffbfeff"]);
        // Main has no filter, and no profile but this one has a spawner.
        assert_eq!(field(&fs::read_to_string("/proc/self/status").unwrap(), "Seccomp"), "0");
        assert!(runs(&mut bench, shell("grep -q '^Seccomp:.0$' /proc/self/status")));
        assert!(runs(&mut bench, within(&sandbox, "true")));
        assert_eq!(spawners(), [spawner]);
        bench.workers.close();
    });
}

#[test]
fn a_spawner_ends_with_its_profile_and_others_do_not() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Never);
        let (first, second) = (filtered(), filtered());
        assert!(runs(&mut bench, within(&first, "true")) && runs(&mut bench, within(&second, "true")));
        let [one, other] = spawners()[..] else { panic!("{:?}", spawners()) };
        // The last worker has ended, and no group says whose its processes were: what is left is looked at.
        bench.until("nobody", |bench| bench.workers.is_empty(NODE).then_some(()));
        assert_eq!(spawners(), [one, other]);
        drop(first);
        assert_eq!(spawners(), [other]);
        drop(second);
        assert_eq!(spawners(), []);
        bench.workers.close();
    });
}

#[test]
fn a_spawner_that_is_killed_is_made_anew() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let sandbox = filtered();
        assert!(runs(&mut bench, within(&sandbox, "true")));
        let killed = only_spawner();
        kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
        while spawners().contains(&killed) {
            std::thread::yield_now();
        }
        assert!(runs(&mut bench, within(&sandbox, "true")));
        assert!(matches!(spawners()[..], [made] if made != killed), "{killed} {:?}", spawners());
        bench.workers.close();
    });
}

#[test]
fn a_spawner_that_root_stops_does_not_stop_main() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let sandbox = filtered();
        assert!(runs(&mut bench, within(&sandbox, "true")));
        let stopped = only_spawner();
        kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
        assert!(!runs(&mut bench, within(&sandbox, "true")), "it is made by fork");
        assert!(!spawners().contains(&stopped));
        assert!(runs(&mut bench, within(&sandbox, "true")));
        bench.workers.close();
    });
}

#[test]
fn what_its_workers_may_not_call_is_refused_to_them_and_done_for_them() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let sandbox = filtered();
        let line = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nsaid = []\n\
                    for call in [(435, 0, 0), (435, 0, 0, 0, 0, 0, 0), (250, 1, 0), (250, 1, 0, 0, 0, 1, 1)]:\n \
                    ctypes.set_errno(0)\n libc.syscall(*call)\n said.append(ctypes.get_errno())\n\
                    exit(said != [38, 38, 1, 1])";
        assert!(runs(&mut bench, Order { sandbox: Rc::clone(&sandbox), ..order(&["/usr/bin/python3", "-c", line]) }));
        // A session keyring for each, though the filter that is in force refuses to make one.
        assert!(runs(&mut bench, within(&sandbox, "grep -q ' _ses: ' /proc/keys")));
        bench.workers.close();
    });
}

#[test]
fn a_spawner_needs_nothing_of_main_s_stack_once_it_is_ready() {
    alone_as_root(|| {
        // Main goes on first then, and its stack has other things on it.
        let mut one = nix::sched::CpuSet::new();
        one.set(0).unwrap();
        nix::sched::sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        let mut bench = Bench::new(UseCgroup::Auto);
        for _ in 0..20 {
            let sandbox = filtered();
            assert!(runs(&mut bench, within(&sandbox, "true")));
            let made = only_spawner();
            assert!(runs(&mut bench, within(&sandbox, "true")));
            assert_eq!(spawners(), [made]);
        }
        bench.workers.close();
    });
}

#[test]
fn after_all_were_ended_the_next_worker_has_another_made() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let sandbox = filtered();
        assert!(runs(&mut bench, within(&sandbox, "true")));
        let first = only_spawner();
        super::end_spawners();
        assert_eq!(spawners(), []);
        assert!(runs(&mut bench, within(&sandbox, "true")));
        assert!(matches!(spawners()[..], [second] if second != first));
        bench.workers.close();
    });
}
