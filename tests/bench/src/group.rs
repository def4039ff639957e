//! A control group of the benchmark's own, in which daemons make theirs: other daemons of the machine, such as those of
//! tests in other namespaces, take groups beside their own for left-overs and clear them away.

use std::path::{Path, PathBuf};

/// The group, in which the C programs that hold theirs have groups, too; left and removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    before: PathBuf,
    own: PathBuf,
}

impl Group {
    /// Moves this process, and so all that it starts, into a new group of cgroup v2; `None` where there is none to be
    /// had.
    pub(crate) fn enter() -> Option<Self> {
        let pid = std::process::id();
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mounted = |line: &str| {
            let mut fields = line.split(' ').skip(1);
            let folder = fields.next()?;
            (fields.next() == Some("cgroup2")).then(|| PathBuf::from(folder))
        };
        let present = erluv_tests::proc::cgroup(i32::try_from(pid).ok()?)?;
        let before = mounts.lines().find_map(mounted)?.join(present.trim_start_matches('/'));
        let own = before.join(format!("erluv-bench.{pid}"));
        std::fs::create_dir(&own).ok()?;
        let group = Self { before, own };
        join(&group.own).ok()?;
        Some(group)
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.own
    }
}

fn join(group: &Path) -> std::io::Result<()> {
    std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}

impl Drop for Group {
    fn drop(&mut self) {
        // An empty group that cannot be removed is litter, and no failure of the benchmark.
        let _ = join(&self.before);
        let _ = std::fs::remove_dir(&self.own);
    }
}
