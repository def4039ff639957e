//! What processes have cost: processor time and memory. Sources: the kernel's Documentation/scheduler/sched-stats.rst
//! and Documentation/filesystems/proc.rst.

use std::fs;

use erluv_tests::proc;

/// What main makes workers by, where it does not do it itself; erluv-main(8).
const SPAWNER: &str = "erluv-spawner\n";

/// The processor time of all threads of a process, in microseconds, and of main also that of its spawners. Threads that
/// have ended do not count; none of what is measured ends threads.
pub(crate) fn cpu_us(pid: i32) -> f64 {
    let named = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == SPAWNER);
    let spawners = proc::children(pid).into_iter().filter(named);
    [pid].into_iter().chain(spawners).map(threads_us).sum()
}

fn threads_us(pid: i32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let nanoseconds = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.flatten().filter_map(nanoseconds).sum::<f64>() / 1e3
}

/// The memory that a process holds, in KiB, counted page by page: the number in its status may be some hundred behind.
pub(crate) fn rss_kib(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}
