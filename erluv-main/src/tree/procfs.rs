//! The few lines of /proc that are read here, each parsed by one function. proc(5), proc_pid_mountinfo(5), cgroups(7).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: i32,
    pub(super) session: i32,
}

/// Parses /proc/PID/stat. The program's name, in the second field, may have any bytes in it, ')' and line ends
/// included.
pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end.checked_add(1)?..)?).ok()?;
    // The field behind the name is the third.
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Stat { parent, session })
}

/// The group of this process in the cgroup2 hierarchy, of /proc/self/cgroup: the line `0::/path`.
pub(super) fn own_group(cgroup: &str) -> Option<PathBuf> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where a group is in the file system, by /proc/self/mountinfo.
pub(super) fn mounted_at(mountinfo: &str, group: &Path) -> Option<PathBuf> {
    // A group outside of our cgroup namespace is shown as "/../..".
    if group.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    mountinfo.lines().find_map(|line| {
        // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [MORE...] - TYPE SOURCE OPTIONS
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let is_cgroup2 = kind.split(' ').next() == Some("cgroup2");
        let below = group.strip_prefix(&root).ok().filter(|_| is_cgroup2)?;
        Some(if below.as_os_str().is_empty() { point } else { point.join(below) })
    })
}

/// Space, tab, line end and backslash stand as three octal digits behind a backslash.
fn unescape(field: &str) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<3>().and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                path.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            Some(_) | None => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// Whether something lives in a group, by its `cgroup.events`.
pub(super) fn is_populated(events: &str) -> bool {
    !events.lines().any(|line| line == "populated 0")
}

/// Whether the system has killed something in a group for want of memory, by its `memory.events`.
pub(super) fn has_oom_kill(events: &str) -> bool {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_have_any_name() {
        let text = b"17 (a) R 1 (\n2) S 16 17 15 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 7777 9 9\n";
        assert_eq!(parse_stat(text), Some(Stat { parent: 16, session: 15 }));
        for bad in ["", "17", "17 (a", "17 (a)", "17 (a) S", "17 (a) S x 1 1", "17 (a) S 1 2"] {
            assert_eq!(parse_stat(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn this_process_has_the_parent_that_the_system_says() {
        let stat = parse_stat(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert_eq!(stat.session, nix::unistd::getsid(None).unwrap().as_raw());
    }

    #[test]
    fn the_own_group_is_the_line_without_controllers() {
        assert_eq!(own_group("9:name=systemd:/x\n0::/a/b\n"), Some(PathBuf::from("/a/b")));
        assert_eq!(own_group("9:name=systemd:/x\n"), None);
        assert_eq!(own_group("0::\n"), None);
    }

    #[test]
    fn a_group_is_found_below_the_mount_that_shows_it() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        let whole = format!("{v1}41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw\n");
        let at = |text: &str, group: &str| mounted_at(text, Path::new(group));
        assert_eq!(at(&whole, "/"), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert_eq!(at(&whole, "/a/b"), Some(PathBuf::from("/sys/fs/cgroup/uni fied/a/b")));
        assert_eq!(at(&whole, "/../a"), None);
        assert_eq!(at(v1, "/a"), None);
        let part = "41 31 0:38 /a /mnt rw - cgroup2 none rw\n";
        assert_eq!(at(part, "/a/b"), Some(PathBuf::from("/mnt/b")));
        assert_eq!(at(part, "/ab"), None);
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(unescape("/a\\134b\\9"), PathBuf::from("/a\\b\\9"));
    }

    #[test]
    fn a_kill_for_want_of_memory_is_counted_by_the_line_of_that_name_alone() {
        assert!(has_oom_kill("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"));
        for none in ["", "low 0\nmax 7\noom 2\noom_kill 0\noom_group_kill 1\n", "oom_kill\n", "oom_kill x\n"] {
            assert!(!has_oom_kill(none), "{none:?}");
        }
    }

    #[test]
    fn a_group_counts_as_populated_until_it_says_otherwise() {
        assert!(!is_populated("populated 0\nfrozen 0\n"));
        assert!(is_populated("populated 1\nfrozen 0\n"));
        assert!(is_populated(""));
    }
}
