//! Process namespaces and their inits. Each test runs in a process of its own.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use erluv_proto::ipc::{ExitStatus, Step};

use super::testing::{alone_as_root, killed_main};
use crate::order::{Ending, Order, Output};
use crate::sandbox::{Mounts, Profile};
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NODE, alive, descriptors, field, mark, order, sandbox, shell};

fn apart(profile: &mut Profile) {
    profile.namespaces.pid = true;
    profile.mounts = Some(Mounts { private_proc: true, ..Mounts::default() });
}

/// Under a process namespace with a /proc of its own.
fn within(order: Order) -> Order {
    Order { sandbox: sandbox(apart), ..order }
}

/// The inits among the children of this process.
fn inits() -> Vec<i32> {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let pids = children.split_ascii_whitespace().map(|pid| pid.parse().unwrap());
    pids.filter(|pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "erluv-init\n"))
        .collect()
}

fn status_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

#[test]
fn a_worker_sees_itself_and_its_own_alone() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let other = bench.start(order(&["/bin/sleep", "1000"]));
        let text =
            bench.output(within(shell("echo $$; cd /proc; for p in [0-9]*; do echo $p; done; kill -0 1 2>&1; true")));
        assert_eq!(text.lines().take(2).collect::<Vec<_>>(), ["2", "2"], "{text}");
        assert!(!text.lines().any(|line| line == other.pid().to_string()));
        bench.workers.close();
        assert_eq!(
            fs::read_link("/proc/self/ns/pid").unwrap(),
            fs::read_link("/proc/self/ns/pid_for_children").unwrap()
        );
    });
}

#[test]
fn s41_nothing_outlives_the_end_of_its_worker_even_without_control_groups() {
    alone_as_root(|| {
        for way in [UseCgroup::Auto, UseCgroup::Never] {
            let (mut bench, mark) = (Bench::new(way), mark(1));
            let line = format!(
                "(setsid sh -c 'trap \"\" TERM HUP; (setsid sleep {mark} &) ; exec sleep {mark}' &)\n\
                                until [ $(ls -d /proc/[0-9]* | wc -l) -gt 4 ]; do :; done; exit 3"
            );
            let started = bench.start(within(shell(&line)));
            assert_eq!(bench.end(started.id()).status, ExitStatus::Code(3));
            assert_eq!(alive(&mark), Vec::<i32>::new());
            assert_eq!((inits(), bench.workers.is_empty(NODE)), (Vec::new(), true));
            bench.workers.close();
        }
    });
}

#[test]
fn s35_the_init_has_nothing_and_is_out_of_reach() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let line = "for s in KILL TERM STOP HUP CHLD INT; do kill -$s 1 2>/dev/null; done; (sleep 0 &) ; sleep 0\n\
                    cat /proc/1/environ /proc/1/maps /proc/1/mem 2>/dev/null; ls /proc/1/fd /proc/1/exe 2>/dev/null\n\
                    echo alive; exec sleep 1000";
        let started = bench.start(Order { stdout: Output::Pipe, ..within(shell(line)) });
        let mut said = [0; 64];
        let length = bench.until("a word", |_| rustix::io::read(&started.pipes[0], &mut said).ok());
        assert_eq!(String::from_utf8_lossy(&said[..length]), "alive\n");
        let init = *inits().first().unwrap();
        let text = status_of(init);
        for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapPrm", "0000000000000000"), ("NSpid", "")] {
            assert!(field(&text, name).starts_with(value), "{text}");
        }
        assert_eq!(field(&text, "CapBnd"), "0000000000000000");
        assert_eq!(field(&text, "Uid").split_ascii_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
        assert_eq!(field(&text, "NSpid").split_ascii_whitespace().next_back(), Some("1"));
        assert_eq!(descriptors(init), Vec::new());
        // Not dumpable: its files are root's.
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(format!("/proc/{init}/mem")).unwrap().uid(), 0);
        bench.workers.close();
    });
}

/// How often a text is in the memory of a process that can be written.
fn count_in_memory(pid: i32, text: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        memory.seek(SeekFrom::Start(number(start))).unwrap();
        if memory.read_exact(&mut bytes).is_ok() {
            count += bytes.windows(text.len()).filter(|window| *window == text).count();
        }
    }
    count
}

#[test]
fn s35_the_init_s_copy_of_main_s_memory_has_no_secret_of_the_heap() {
    alone_as_root(|| {
        let secret: Vec<u8> = (0_u8..48).map(|byte| byte.wrapping_mul(37) ^ 0x5a).collect();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(count_in_memory(own, &secret) > 0);
        let mut bench = Bench::new(UseCgroup::Auto);
        bench.start(within(order(&["/bin/sleep", "1000"])));
        let init = *inits().first().unwrap();
        bench.until("an init that has shed all", |_| descriptors(init).is_empty().then_some(()));
        assert_eq!(count_in_memory(init, &secret), 0);
        bench.workers.close();
    });
}

#[test]
fn s37_init_and_worker_die_with_main() {
    alone_as_root(|| {
        let said = killed_main(|| {
            let mut bench = Bench::new(UseCgroup::Never);
            let worker = bench.start(within(order(&["/bin/sleep", "1000"]))).pid();
            let init = *inits().first().unwrap();
            bench.until("an init that has shed all", |_| descriptors(init).is_empty().then_some(()));
            format!("{worker} {init}")
        });
        for pid in said.split(' ').map(|pid| pid.parse::<i32>().unwrap()) {
            // The worker became ours or its init's child; the init became ours.
            while Path::new(&format!("/proc/{pid}")).exists() {
                let _ = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn the_init_is_done_before_the_program_runs_so_that_the_shortest_life_is_told() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        for _ in 0..30 {
            let started = bench.start(within(shell("exit 4")));
            let seccomp = inits().first().map(|init| fs::read_to_string(format!("/proc/{init}/status")));
            // It may be gone by now, like its worker.
            if let Some(Ok(text)) = seccomp {
                assert_eq!((field(&text, "Seccomp"), field(&text, "CapPrm")), ("2", "0000000000000000"));
            }
            assert_eq!(bench.end(started.id()).status, ExitStatus::Code(4));
        }
        bench.workers.close();
    });
}

#[test]
fn an_init_that_dies_takes_the_worker_with_it() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(within(order(&["/bin/sleep", "1000"])));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(inits()[0]), nix::sys::signal::SIGKILL).unwrap();
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
        assert_eq!(inits(), Vec::<i32>::new());
        bench.workers.close();
    });
}

#[test]
fn a_launch_that_fails_leaves_no_init() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        assert_eq!(bench.refuse(within(order(&["/nonexistent"]))), (Step::Exec, libc::ENOENT));
        assert_eq!(inits(), Vec::<i32>::new());
        bench.workers.close();
    });
}

#[test]
fn the_command_that_ends_a_worker_sees_it_by_the_number_that_it_has_there() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let killer = within(shell("kill -USR1 $CHILD_PID"));
        let line = "trap 'echo told; exit 7' USR1; echo set; while :; do sleep 0.01; done";
        let order = Order { ending: Ending::Command(Box::new(killer)), stdout: Output::Pipe, ..within(shell(line)) };
        let started = bench.start(order);
        bench.until("the trap", |_| (rustix::io::read(&started.pipes[0], &mut [0; 8]).ok()? > 0).then_some(()));
        let now = std::time::Instant::now();
        bench.workers.stop(NODE, started.id(), std::time::Duration::from_secs(3600), now);
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(7));
        bench.workers.close();
    });
}
