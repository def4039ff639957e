//! What a profile limits, as the files of a control group have it (Documentation/admin-guide/cgroup-v2.rst). No I/O.

use std::collections::BTreeSet;

use crate::sandbox::{CgroupLimits, IoMax};

/// The period of `cpu.max`, in microseconds: what [`CgroupLimits::cpu_max`] is a part of.
const PERIOD: u32 = 100_000;

/// One write into one file of a worker's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The key of the configuration.
    pub(super) key: &'static str,
    /// The controller that has the file.
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
}

/// All writes for these limits. A group that is killed for want of memory is killed whole: a worker without one of its
/// processes would be neither alive nor dead.
pub(super) fn settings(limits: &CgroupLimits) -> Vec<Setting> {
    let CgroupLimits { freeze: _, memory_max, memory_high, swap_max, pids_max, cpu_max, cpu_weight, io_weight, io_max } =
        limits;
    let number = |key, controller, file, value: &Option<u64>| {
        value.map(|value| Setting { key, controller, file, value: value.to_string() })
    };
    let weight = |key, controller, file, value: &Option<u16>| {
        value.map(|value| Setting { key, controller, file, value: value.to_string() })
    };
    let whole = memory_max.or(*memory_high).map(|_| 1);
    let mut settings = Vec::new();
    settings.extend(number("swap_max", "memory", "memory.swap.max", swap_max));
    settings.extend(number("memory_high", "memory", "memory.high", memory_high));
    settings.extend(number("memory_max", "memory", "memory.max", memory_max));
    settings.extend(number("memory_max", "memory", "memory.oom.group", &whole));
    settings.extend(number("pids_max", "pids", "pids.max", pids_max));
    let share = cpu_max.map(|time| format!("{time} {PERIOD}"));
    settings.extend(share.map(|value| Setting { key: "cpu_max", controller: "cpu", file: "cpu.max", value }));
    settings.extend(weight("cpu_weight", "cpu", "cpu.weight", cpu_weight));
    settings.extend(weight("io_weight", "io", "io.weight", io_weight));
    let lines =
        io_max.iter().map(|line| Setting { key: "io_max", controller: "io", file: "io.max", value: io_line(line) });
    settings.extend(lines);
    settings
}

fn io_line(line: &IoMax) -> String {
    let IoMax { device: (major, minor), read_bytes, write_bytes, reads, writes } = line;
    let mut text = format!("{major}:{minor}");
    for (name, value) in [("rbps", read_bytes), ("wbps", write_bytes), ("riops", reads), ("wiops", writes)] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    text
}

/// The controllers that these limits need.
pub(super) fn controllers(limits: &CgroupLimits) -> BTreeSet<&'static str> {
    settings(limits).iter().map(|setting| setting.controller).collect()
}

/// One line for each key that lacks something, in the order of the keys, with the reason that `why` has for it.
pub(super) fn lacking(limits: &CgroupLimits, why: impl Fn(&Setting) -> Option<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut last = "";
    for setting in settings(limits) {
        if setting.key != last
            && let Some(why) = why(&setting)
        {
            last = setting.key;
            lines.push(format!("cgroup {}: {why}", setting.key));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(limits: &CgroupLimits) -> Vec<String> {
        settings(limits).iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn no_limit_is_no_file_and_no_controller() {
        assert_eq!(texts(&CgroupLimits::default()), Vec::<String>::new());
        assert!(controllers(&CgroupLimits::default()).is_empty());
    }

    #[test]
    fn each_limit_is_written_as_its_file_takes_it() {
        let limits = CgroupLimits {
            freeze: true,
            memory_max: Some(1 << 26),
            memory_high: Some(1 << 25),
            swap_max: Some(0),
            pids_max: Some(16),
            cpu_max: Some(50_000),
            cpu_weight: Some(10),
            io_weight: Some(20),
            io_max: vec![IoMax {
                device: (8, 16),
                read_bytes: Some(1000),
                write_bytes: None,
                reads: None,
                writes: Some(7),
            }],
        };
        let expected = [
            "memory.swap.max=0",
            "memory.high=33554432",
            "memory.max=67108864",
            "memory.oom.group=1",
            "pids.max=16",
            "cpu.max=50000 100000",
            "cpu.weight=10",
            "io.weight=20",
            "io.max=8:16 rbps=1000 wiops=7",
        ];
        assert_eq!(texts(&limits), expected);
        assert_eq!(controllers(&limits).into_iter().collect::<Vec<_>>(), ["cpu", "io", "memory", "pids"]);
    }

    #[test]
    fn what_lacks_is_named_by_its_key_once() {
        let limits = CgroupLimits { memory_max: Some(1), pids_max: Some(1), ..CgroupLimits::default() };
        let why = |setting: &Setting| (setting.controller == "memory").then(|| "not here".to_owned());
        assert_eq!(lacking(&limits, why), ["cgroup memory_max: not here"]);
    }
}
