use erluv_proto::ids::ProfileName;

use super::*;
use crate::sandbox::{Landlock, Mounts, Namespaces, Scheduler, Seccomp};

const ALL: Host =
    Host { linux: true, resources: true, keyring: true, mdwe: true, seccomp: true, landlock: 7, mounts: true };
const NONE: Host =
    Host { linux: false, resources: false, keyring: false, mdwe: false, seccomp: false, landlock: 0, mounts: false };

fn plain() -> Profile {
    Profile::plain(ProfileName::parse("full").unwrap())
}

fn full() -> Profile {
    Profile {
        scheduler: Some(Scheduler::Idle),
        oom_score_adj: Some(-5),
        keyring: true,
        lock_personality: true,
        memory_deny_write_execute: true,
        bounding: 1,
        ambient: 1,
        seccomp: Seccomp { list: CallList::Strict, kill: true },
        landlock: Some(Landlock { bind: Some(vec![1]), connect: Some(vec![1]), scopes: true, ..Landlock::default() }),
        mounts: Some(Mounts { private_proc: true, ..Mounts::default() }),
        namespaces: Namespaces {
            pid: true,
            net: true,
            ipc: true,
            uts: Some(c"box".to_owned()),
            user: true,
            cgroup: true,
        },
        ..plain()
    }
}

fn names(missing: &[String]) -> Vec<&str> {
    missing.iter().map(|what| what.split_once(':').unwrap().0).collect()
}

#[test]
fn a_host_that_has_all_takes_nothing_away() {
    let mut profile = full();
    assert_eq!(reduce(&mut profile, ALL, true, |_| true), Vec::<String>::new());
    assert_eq!(profile, full());
}

#[test]
fn s74_a_host_that_has_nothing_names_all_that_was_asked_for() {
    let mut profile = full();
    let missing = reduce(&mut profile, NONE, true, |_| false);
    let wanted = [
        "keyring",
        "scheduler",
        "oom_score_adj",
        "lock_personality",
        "memory_deny_write_execute",
        "ambient",
        "seccomp",
        "landlock",
        "namespaces.pid",
        "namespaces.net",
        "namespaces.ipc",
        "namespaces.hostname",
        "namespaces.cgroup",
        "namespaces.user",
        "mounts",
    ];
    assert_eq!(names(&missing), wanted);
    assert_eq!(profile, Profile { seccomp: Seccomp { list: CallList::None, kill: true }, ..plain() });
}

#[test]
fn a_plain_profile_lacks_nothing_anywhere_and_tries_nothing() {
    for (host, root) in [(NONE, false), (ALL, false), (NONE, true)] {
        let mut profile = plain();
        let missing = reduce(&mut profile, host, root, |kind| panic!("{kind:?} was not asked for"));
        assert_eq!((missing, profile), (Vec::new(), plain()));
    }
}

#[test]
fn s74_what_needs_root_is_named_without_it() {
    let mut profile = full();
    let missing = reduce(&mut profile, Host { resources: false, ..ALL }, false, |_| true);
    assert_eq!(names(&missing), ["ambient", "oom_score_adj", "namespaces.pid", "mounts.private_proc"]);
    assert!(profile.namespaces.net && profile.mounts.is_some());
}

#[test]
fn s74_an_older_landlock_names_what_it_cannot_rule() {
    let lacks = |landlock| {
        let mut profile = full();
        names(&reduce(&mut profile, Host { landlock, ..ALL }, true, |_| true)).join(" ")
    };
    assert_eq!(lacks(1), "landlock landlock.bind landlock.connect landlock.scopes");
    assert_eq!(lacks(4), "landlock.scopes");
    assert_eq!(lacks(6), "");
}
