//! What a profile is to a worker, seen by the worker itself and in /proc. Each test runs in a process of its own.

use std::fs;

use crate::order::Order;
use crate::sandbox::{CallList, IoPriority, Profile, Scheduler, Seccomp};
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, field, order, sandbox, shell};

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

/// What a program says to its successful end, under a plain profile with a change.
pub(super) fn says(order: Order, change: impl FnOnce(&mut Profile)) -> String {
    let sandbox = sandbox(change);
    assert_eq!(sandbox.missing, Vec::<String>::new());
    let mut bench = Bench::new(UseCgroup::Auto);
    let text = bench.output(Order { sandbox, ..order });
    bench.workers.close();
    text
}

/// Python, to make calls that no small tool makes.
pub(super) fn python(line: &str) -> Order {
    order(&["/usr/bin/python3", "-c", line])
}

#[test]
fn each_worker_has_a_session_keyring_of_its_own() {
    alone_as_root(|| {
        let keyring = |list| {
            let keys = says(order(&["/bin/cat", "/proc/keys"]), |profile| {
                profile.keyring = true;
                profile.seccomp = Seccomp { list, kill: false };
            });
            let own = keys.lines().find(|line| line.contains(" _ses")).map(|line| line[..8].to_owned());
            own.unwrap_or_else(|| panic!("no session keyring: {keys}"))
        };
        for list in [CallList::None, CallList::Default] {
            assert_ne!(keyring(list), keyring(list));
        }
    });
}

#[test]
fn a_locked_personality_is_that_of_linux_and_stays_so() {
    alone_as_root(|| {
        const ADDR_NO_RANDOMIZE: libc::c_ulong = 0x4_0000;
        // SAFETY: personality takes a number.
        unsafe { libc::personality(ADDR_NO_RANDOMIZE) };
        let show = || order(&["/bin/cat", "/proc/self/personality"]);
        assert_eq!(says(show(), |_| {}), "00040000\n");
        assert_eq!(says(show(), |profile| profile.lock_personality = true), "00000000\n");
        let change = shell("setarch -R true && echo changed || echo refused");
        assert_eq!(says(change, |profile| profile.lock_personality = true), "refused\n");
    });
}

#[test]
fn priorities_are_those_of_the_profile() {
    alone_as_root(|| {
        let text = says(shell("ionice; cut -d ' ' -f 41 /proc/self/stat; cat /proc/self/oom_score_adj"), |profile| {
            profile.io_priority = Some(IoPriority::BestEffort(6));
            profile.scheduler = Some(Scheduler::Batch);
            profile.oom_score_adj = Some(321);
        });
        assert_eq!(text, "best-effort: prio 6\n3\n321\n");
        let idle = says(shell("ionice; cut -d ' ' -f 41 /proc/self/stat"), |profile| {
            profile.io_priority = Some(IoPriority::Idle);
            profile.scheduler = Some(Scheduler::Idle);
        });
        assert_eq!(idle, "idle\n5\n");
    });
}

#[test]
fn a_lower_score_for_want_of_memory_needs_its_capability() {
    alone_as_root(|| {
        let lower = |profile: &mut Profile| profile.oom_score_adj = Some(-321);
        if super::host().resources {
            assert_eq!(says(order(&["/bin/cat", "/proc/self/oom_score_adj"]), lower), "-321\n");
        } else {
            let missing = &sandbox(lower).missing;
            assert!(missing.iter().any(|what| what.starts_with("oom_score_adj:")), "{missing:?}");
        }
    });
}

#[test]
fn no_memory_is_written_and_executed() {
    alone_as_root(|| {
        let line =
            "import mmap\ntry:\n mmap.mmap(-1, 4096, prot=7)\n print('mapped')\nexcept OSError as e: print(e.errno)";
        assert_eq!(says(python(line), |_| {}), "mapped\n");
        let denied = says(python(line), |profile| profile.memory_deny_write_execute = true);
        assert_eq!(denied, format!("{}\n", libc::EACCES));
    });
}

#[test]
fn s12_a_worker_has_exactly_the_capabilities_of_its_profile() {
    alone_as_root(|| {
        let (bind, chown) = (1 << 10, 1 << 0);
        let sets =
            |text: &str| ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(text, set).to_owned());
        let text = says(order(&STATUS), |profile| (profile.bounding, profile.ambient) = (bind | chown, bind));
        assert_eq!(sets(&text), ["400", "400", "400", "401", "400"].map(|set| format!("{set:0>16}")));
        assert_eq!(field(&text, "Uid").split_ascii_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
        let none = says(order(&STATUS), |profile| profile.bounding = chown);
        assert_eq!(sets(&none), ["0", "0", "0", "1", "0"].map(|set| format!("{set:0>16}")));
    });
}

#[test]
fn s12_a_worker_that_is_root_by_number_gets_no_more() {
    alone_as_root(|| {
        let root = crate::order::Identity { name: "root".into(), uid: 0, gid: 0, groups: vec![0] };
        let as_root = Order { identity: Some(root), ..order(&STATUS) };
        let text = says(as_root, |profile| (profile.bounding, profile.ambient) = (0b11, 0b10));
        assert_eq!((field(&text, "CapEff"), field(&text, "CapBnd")), ("0000000000000002", "0000000000000003"));
    });
}

#[test]
fn s74_what_the_probe_says_of_this_host_is_what_proc_says() {
    let host = super::host();
    assert_eq!(host.seccomp, fs::metadata("/proc/sys/kernel/seccomp/actions_avail").is_ok());
    let security = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    assert!(security.is_empty() || (host.landlock > 0) == security.contains("landlock"));
    assert_eq!(host.keyring, fs::metadata("/proc/keys").is_ok());
}

#[test]
fn s24_a_pinned_program_is_the_file_that_was_looked_at_whatever_is_at_its_path_by_then() {
    alone_as_root(|| {
        let folder = std::env::temp_dir().join(format!("erluv-pin-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("program");
        fs::copy("/bin/echo", &path).unwrap();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let pinned = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
        fs::copy("/bin/false", folder.join("other")).unwrap();
        fs::rename(folder.join("other"), &path).unwrap();
        let mut bench = Bench::new(UseCgroup::Auto);
        let run = Order { pinned: Some(pinned), ..order(&[path.to_str().unwrap(), "pinned"]) };
        assert_eq!(bench.output(run), "pinned\n");
        // Nothing of it is left open.
        let pinned = rustix::fs::open("/bin/ls", flags, rustix::fs::Mode::empty()).unwrap();
        let run = Order { pinned: Some(pinned), ..order(&["/nowhere", "/proc/self/fd"]) };
        assert_eq!(bench.output(run), "0\n1\n2\n3\n");
        bench.workers.close();
        fs::remove_dir_all(&folder).unwrap();
    });
}
