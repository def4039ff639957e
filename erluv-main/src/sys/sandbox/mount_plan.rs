//! The steps to a worker's own view of the file system, laid out before any fork from what the profile says.
//!
//! Sources are taken from the host's view first. Then every place is seen to in the order of its depth, so that what
//! lies within another place comes after it: a bind within a hidden folder is seen, and what is hidden within a bind is
//! not.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::path::Path;

use libc::c_int;

use super::mount_calls::{NODEV, NOEXEC, NOSUID, RDONLY};
use crate::sandbox::{Bind, Mounts};

/// The bytes of /dev/shm where only /dev is private.
const SHARED_MEMORY: u64 = 64 << 20;

/// Bytes of memory for each file that a private /tmp may have.
const BYTES_A_FILE: u64 = 4096;

/// Devices that do no harm.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links of /dev, and where they go.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Of /proc: what changes the kernel, and what tells more of it than a program needs.
const PROC_READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];
const PROC_HIDDEN: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/firmware",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
];

/// All that is done, in its order.
#[derive(Debug)]
pub(crate) struct MountPlan {
    pub(super) steps: Vec<Step>,
    /// Descriptors of mounts between [`Step::Hold`] and [`Step::Place`], in the forked process.
    pub(super) held: Vec<Cell<c_int>>,
}

/// One thing that is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Copies the mount at a path, to be placed later.
    Hold {
        slot: usize,
        path: CString,
        attributes: u64,
        recursive: bool,
        optional: bool,
    },
    /// Places it; `links` says whether the target may be a symbolic link.
    Place {
        slot: usize,
        target: CString,
        links: bool,
        optional: bool,
    },
    /// Mounts a new file system.
    Mount {
        kind: &'static CStr,
        options: Vec<(&'static CStr, CString)>,
        attributes: u64,
        target: CString,
        links: bool,
    },
    /// What is held becomes the root, by way of the path where it came from.
    Enter {
        slot: usize,
        path: CString,
    },
    /// Adds attributes to the mount at a path.
    Restrict {
        path: CString,
        attributes: u64,
        recursive: bool,
    },
    /// `empty` is the slot of what stands for a file.
    Hide {
        path: CString,
        empty: usize,
    },
    /// Made in a file system of ours, never in the host's.
    Folder {
        path: CString,
        mode: libc::mode_t,
    },
    File {
        path: CString,
    },
    Link {
        path: CString,
        to: CString,
    },
}

/// A place with what is done there.
struct Place {
    path: String,
    /// A file system of ours, in which places below are made.
    own: bool,
    /// Whether it is a folder, where it has to be made.
    folder: bool,
    steps: Vec<Step>,
}

/// What is gathered on the way to the plan.
#[derive(Default)]
struct Draft {
    sources: Vec<Step>,
    slots: usize,
    places: Vec<Place>,
    last: Vec<Step>,
}

impl MountPlan {
    pub(super) fn new(mounts: &Mounts, root: bool) -> Self {
        let mut draft = Draft::default();
        let empty = draft.source(c"/dev/null", NOSUID | NOEXEC, false, false);
        let entered = mounts.root.as_ref().map(|path| (draft.source(path, 0, true, false), path.clone()));
        if mounts.private_dev {
            draft.dev(mounts.private_tmp.is_some(), root);
        }
        if mounts.private_proc {
            draft.proc(empty);
        }
        if let Some(bytes) = mounts.private_tmp {
            draft.tmp(bytes);
        }
        for path in &mounts.hidden {
            draft.hidden(path, &mounts.binds, empty);
        }
        for bind in &mounts.binds {
            draft.bind(bind);
        }
        let mut steps = draft.sources;
        steps.extend(entered.map(|(slot, path)| Step::Enter { slot, path }));
        if mounts.read_only {
            steps.push(Step::Restrict { path: c"/".to_owned(), attributes: RDONLY, recursive: true });
        }
        steps.extend(in_order(draft.places));
        steps.extend(draft.last);
        Self { steps, held: vec![Cell::new(-1); draft.slots] }
    }
}

impl Draft {
    fn slot(&mut self) -> usize {
        let slot = self.slots;
        self.slots = slot.saturating_add(1);
        slot
    }

    fn source(&mut self, path: &CStr, attributes: u64, recursive: bool, optional: bool) -> usize {
        let slot = self.slot();
        self.sources.push(Step::Hold { slot, path: path.to_owned(), attributes, recursive, optional });
        slot
    }

    fn place(&mut self, path: &str, own: bool, steps: Vec<Step>) {
        self.places.push(Place { path: path.to_owned(), own, folder: true, steps });
    }

    fn dev(&mut self, shared_memory_comes: bool, root: bool) {
        let mut steps = vec![tmpfs("/dev", 1 << 20, "0755", NOSUID | NOEXEC)];
        let linked = LINKS.into_iter().filter(|(name, _)| root || *name != "ptmx");
        steps.extend(linked.map(|(name, to)| Step::Link { path: text(&format!("/dev/{name}")), to: text(to) }));
        self.place("/dev", true, steps);
        for device in DEVICES {
            let path = text(&format!("/dev/{device}"));
            let slot = self.source(&path, NOSUID | NOEXEC, false, true);
            let steps = vec![Step::Place { slot, target: path, links: false, optional: true }];
            self.places.push(Place { path: format!("/dev/{device}"), own: false, folder: false, steps });
        }
        if root {
            // In a user namespace without root's id, the kernel makes none.
            let options = vec![(c"mode", c"0620".to_owned()), (c"ptmxmode", c"0666".to_owned())];
            let target = c"/dev/pts".to_owned();
            let attributes = NOSUID | NOEXEC;
            let steps = vec![Step::Mount { kind: c"devpts", options, attributes, target, links: false }];
            self.place("/dev/pts", false, steps);
        }
        if !shared_memory_comes {
            self.place("/dev/shm", true, vec![tmpfs("/dev/shm", SHARED_MEMORY, "1777", NOSUID | NODEV)]);
        }
        self.last.push(Step::Restrict { path: c"/dev".to_owned(), attributes: RDONLY, recursive: false });
    }

    /// A new /proc shows the processes of the worker's process namespace, and of these only those of its user.
    fn proc(&mut self, empty: usize) {
        let options = vec![(c"hidepid", c"invisible".to_owned())];
        let attributes = NOSUID | NODEV | NOEXEC;
        let target = c"/proc".to_owned();
        self.place("/proc", false, vec![Step::Mount { kind: c"proc", options, attributes, target, links: false }]);
        for path in PROC_READ_ONLY {
            let slot = self.slot();
            let (from, target, attributes) = (text(path), text(path), attributes | RDONLY);
            let hold = Step::Hold { slot, path: from, attributes, recursive: false, optional: true };
            self.place(path, false, vec![hold, Step::Place { slot, target, links: false, optional: true }]);
        }
        for path in PROC_HIDDEN {
            self.place(path, false, vec![Step::Hide { path: text(path), empty }]);
        }
    }

    /// One file system for the three, so that the bytes are those of all together.
    fn tmp(&mut self, bytes: u64) {
        let attributes = NOSUID | NODEV;
        let mut steps = vec![tmpfs("/tmp", bytes, "0755", attributes)];
        let parts = ["/tmp", "/var/tmp", "/dev/shm"].map(|path| (self.slot(), path));
        for (slot, _) in parts {
            let path = text(&format!("/tmp/{slot}"));
            steps.push(Step::Folder { path: path.clone(), mode: 0o1777 });
            steps.push(Step::Hold { slot, path, attributes, recursive: false, optional: false });
        }
        for (slot, path) in parts {
            let place = Step::Place { slot, target: text(path), links: true, optional: path != "/tmp" };
            if path == "/tmp" {
                steps.push(place);
                self.place(path, true, std::mem::take(&mut steps));
            } else {
                self.place(path, true, vec![place]);
            }
        }
    }

    /// A folder with a bind below it is a file system of ours, so that there is where to place it.
    fn hidden(&mut self, path: &CStr, binds: &[Bind], empty: usize) {
        let name = path.to_string_lossy().into_owned();
        if !binds.iter().any(|bind| is_below(&bind.target.to_string_lossy(), &name)) {
            return self.place(&name, false, vec![Step::Hide { path: path.to_owned(), empty }]);
        }
        self.place(&name, true, vec![tmpfs(&name, 64 << 10, "0711", NOSUID | NODEV | NOEXEC)]);
        self.last.push(Step::Restrict { path: path.to_owned(), attributes: RDONLY, recursive: false });
    }

    fn bind(&mut self, bind: &Bind) {
        let path = bind.target.to_string_lossy().into_owned();
        let source = Path::new(std::ffi::OsStr::new(bind.source.to_str().unwrap_or_default()));
        let device = if source.starts_with("/dev") { 0 } else { NODEV };
        let attributes = NOSUID | device | if bind.writable { 0 } else { RDONLY };
        let slot = self.source(&bind.source, attributes, true, false);
        let steps = vec![Step::Place { slot, target: bind.target.clone(), links: false, optional: false }];
        let folder = std::fs::metadata(source).map_or(true, |metadata| metadata.is_dir());
        self.places.push(Place { path, own: false, folder, steps });
    }
}

/// Places by their depth, with what has to be made for them in the file systems of ours.
fn in_order(mut places: Vec<Place>) -> Vec<Step> {
    places.sort_by_key(|place| Path::new(&place.path).components().count());
    let mut steps = Vec::new();
    let mut before: Vec<(String, bool)> = Vec::new();
    for place in places {
        let outer = before.iter().filter(|(outer, _)| is_below(&place.path, outer));
        if let Some((outer, _)) = outer.max_by_key(|(outer, _)| outer.len()).filter(|(_, own)| *own) {
            steps.extend(make(&place, outer));
        }
        steps.extend(place.steps);
        before.push((place.path, place.own));
    }
    steps
}

/// The folders between an outer place and an inner one, and the inner one itself.
fn make(place: &Place, outer: &str) -> Vec<Step> {
    let outer = Path::new(outer);
    let mut between: Vec<_> = Path::new(&place.path).ancestors().skip(1).take_while(|path| *path != outer).collect();
    between.reverse();
    let folder = |path: &str| Step::Folder { path: text(path), mode: 0o755 };
    let mut steps: Vec<_> = between.into_iter().map(|path| folder(&path.to_string_lossy())).collect();
    steps.push(if place.folder { folder(&place.path) } else { Step::File { path: text(&place.path) } });
    steps
}

fn is_below(inner: &str, outer: &str) -> bool {
    inner != outer && Path::new(inner).starts_with(outer)
}

fn tmpfs(target: &str, bytes: u64, mode: &str, attributes: u64) -> Step {
    let files = bytes.checked_div(BYTES_A_FILE).unwrap_or(0).max(64);
    let options =
        vec![(c"mode", text(mode)), (c"size", text(&bytes.to_string())), (c"nr_inodes", text(&files.to_string()))];
    Step::Mount { kind: c"tmpfs", options, attributes, target: text(target), links: true }
}

/// A text without NUL: all of them are made here, or were without one when they were read.
fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
