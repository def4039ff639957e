//! Limits that the kernel keeps, on hosts that give this process the controllers; the virtual machine of tests/vm.sh
//! does.

use std::fs;

use crate::sandbox::CgroupLimits;
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NODE, alive, mark, order, sandbox, shell};

use super::folder;

/// Runs a test with these limits given, where this host can give them.
fn limited(limits: CgroupLimits, body: impl FnOnce(Bench, CgroupLimits)) {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Required);
        let lacks = bench.workers.provide(&limits);
        if lacks.is_empty() {
            body(bench, limits);
        } else {
            println!("skipped: {lacks:?}");
            bench.workers.close();
        }
    });
}

#[test]
fn each_file_of_a_worker_s_group_has_its_limit() {
    let limits = CgroupLimits {
        memory_max: Some(1 << 26),
        memory_high: Some(1 << 25),
        pids_max: Some(16),
        cpu_max: Some(50_000),
        cpu_weight: Some(7),
        ..CgroupLimits::default()
    };
    limited(limits, |mut bench, limits| {
        let mut order = order(&["/bin/sleep", "1000"]);
        order.sandbox = sandbox(|profile| profile.cgroup = limits);
        let started = bench.start(order);
        let group = folder(bench.workers.about()).join("n0/w2");
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.high", "33554432"),
            ("memory.oom.group", "1"),
            ("pids.max", "16"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "7"),
        ] {
            assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), value, "{file}");
        }
        bench.workers.kill_node(NODE, std::time::Instant::now());
        bench.end(started.id());
        bench.workers.close();
    });
}

#[test]
fn a_worker_without_memory_is_killed_whole_and_that_is_told() {
    limited(
        CgroupLimits { memory_max: Some(1 << 24), swap_max: Some(0), ..CgroupLimits::default() },
        |mut bench, limits| {
            let mark = mark(51);
            let mut order = shell(&format!("setsid -f sleep {mark}; tail /dev/zero"));
            order.sandbox = sandbox(|profile| profile.cgroup = limits);
            let started = bench.start(order);
            let ended = bench.end(started.id());
            assert!(ended.oom, "{ended:?}");
            assert_eq!(alive(&mark), []);
            bench.workers.close();
        },
    );
}

#[test]
fn a_fork_bomb_goes_no_further_than_its_limit() {
    limited(CgroupLimits { pids_max: Some(8), ..CgroupLimits::default() }, |mut bench, limits| {
        let mark = mark(52);
        // The inner shell cannot go on; its processes stay.
        let bomb = format!("sh -c 'for i in $(seq 50); do sleep {mark} & done'; exec sleep {mark}");
        let mut order = shell(&bomb);
        order.sandbox = sandbox(|profile| profile.cgroup = limits);
        let started = bench.start(order);
        let group = folder(bench.workers.about()).join("n0/w2");
        bench.until("the limit is met", |_| {
            let events = fs::read_to_string(group.join("pids.events")).unwrap_or_default();
            (!events.starts_with("max 0")).then_some(())
        });
        assert!(fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().count() <= 8);
        bench.workers.kill_node(NODE, std::time::Instant::now());
        bench.end(started.id());
        bench.workers.close();
    });
}
