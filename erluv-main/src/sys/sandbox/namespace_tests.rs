//! Namespaces and Landlock, as root and without. Each test runs in a process of its own.

use std::ffi::CString;
use std::fs;
use std::rc::Rc;

use erluv_proto::ids::ProfileName;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::tests::{python, says};
use crate::order::Order;
use crate::sandbox::{Landlock, Profile, Sandbox};
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NOBODY, field, nobody, shell};

/// Connects to itself over the loopback, and says which networks there are.
const NETWORK: &str = "import socket\ns = socket.create_server(('127.0.0.1', 0))\n\
                       socket.create_connection(s.getsockname())\nprint([name for _, name in socket.if_nameindex()])";

#[test]
fn a_network_of_its_own_has_a_loopback_that_is_up_and_nothing_else() {
    alone_as_root(|| {
        assert_eq!(says(python(NETWORK), |profile| profile.namespaces.net = true), "['lo']\n");
    });
}

#[test]
fn host_name_ipc_and_groups_are_the_worker_s_own() {
    alone_as_root(|| {
        let ns = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
        let line = "uname -n; readlink /proc/self/ns/ipc /proc/self/ns/net; sed -n 's/^0:://p' /proc/self/cgroup";
        let text = says(shell(line), |profile| {
            profile.namespaces.uts = Some(c"cell".to_owned());
            profile.namespaces.ipc = true;
            profile.namespaces.cgroup = true;
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[2], lines[3]), ("cell", ns("net").as_str(), "/"), "{text}");
        assert_ne!(lines[1], ns("ipc"));
        assert_ne!(nix::sys::utsname::uname().unwrap().nodename(), "cell");
    });
}

#[test]
fn in_a_user_namespace_the_worker_s_ids_stand_for_themselves_and_no_capability_is_there() {
    alone_as_root(|| {
        let line = shell("cat /proc/self/status; cat /proc/self/uid_map; cat /proc/self/gid_map");
        let groups = vec![NOBODY, 12];
        let identity = Some(crate::order::Identity { groups, ..nobody() });
        let text = says(Order { identity, ..line }, |profile| profile.namespaces.user = true);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&text, set), "0000000000000000", "{set}");
        }
        assert_eq!(field(&text, "Uid").split_ascii_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
        let maps: Vec<Vec<_>> =
            text.lines().rev().take(3).map(|line| line.split_ascii_whitespace().collect()).collect();
        assert_eq!(maps, [["65534", "65534", "1"], ["12", "12", "1"], ["65534", "65534", "1"]]);
        assert_eq!(field(&text, "NoNewPrivs"), "1");
    });
}

#[test]
fn landlock_leaves_what_the_rules_name() {
    alone_as_root(|| {
        let folder = std::env::temp_dir().join(format!("erluv-ll-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::write(folder.join("open"), "x").unwrap();
        let own = CString::new(folder.to_str().unwrap()).unwrap();
        let rules = Landlock {
            read: vec![c"/etc/hostname".to_owned(), c"/nowhere".to_owned(), c"/root/x".to_owned()],
            write: vec![own, c"/dev/null".to_owned()],
            execute: [c"/usr", c"/bin", c"/lib", c"/lib64"].map(ToOwned::to_owned).to_vec(),
            ..Landlock::default()
        };
        let at = folder.display();
        let line = format!(
            "cat /etc/hostname >/dev/null && echo 1; cat /etc/passwd 2>/dev/null || echo 2\n\
             ls / 2>/dev/null || echo 3\n\
             echo x > {at}/a && mv {at}/a {at}/b && mkdir {at}/d && mv {at}/b {at}/d && rm -r {at}/d && echo 4\n\
             (echo x > /tmp/erluv-no) 2>/dev/null || echo 5; cp /bin/true {at}/true; {at}/true 2>/dev/null || echo 6"
        );
        let text = says(shell(&line), |profile| profile.landlock = Some(rules));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text, "1\n2\n3\n4\n5\n6\n");
    });
}

#[test]
fn landlock_rules_ports_and_signals() {
    alone_as_root(|| {
        let rules = || Landlock {
            read: vec![c"/".to_owned()],
            execute: vec![c"/".to_owned()],
            connect: Some(vec![]),
            bind: Some(vec![0]),
            scopes: true,
            ..Landlock::default()
        };
        let line = "import os, socket\ns = socket.create_server(('127.0.0.1', 0))\nprint('bound')\n\
                    try: socket.create_connection(s.getsockname())\nexcept PermissionError: print('refused')\n\
                    try: os.kill(os.getppid(), 0)\nexcept PermissionError: print('unreachable')";
        let text = says(python(line), |profile| profile.landlock = Some(rules()));
        assert_eq!(text, "bound\nrefused\nunreachable\n");
    });
}

/// Main becomes an ordinary user, in the test's own process.
pub(super) fn become_nobody() {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[gid]).unwrap();
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
}

/// As [`says`], without root; `None` where this host does not let ordinary users make namespaces.
pub(super) fn says_without_root(order: Order, change: impl FnOnce(&mut Profile)) -> Option<String> {
    let mut profile = Profile::plain(ProfileName::parse("default").unwrap());
    change(&mut profile);
    let sandbox = Rc::new(Sandbox::of(profile, false));
    if !sandbox.missing.is_empty() {
        println!("skipped: {:?}", sandbox.missing);
        return None;
    }
    let mut bench = Bench::new(UseCgroup::Never);
    let text = bench.output(Order { sandbox, identity: None, ..order });
    bench.workers.close();
    Some(text)
}

#[test]
fn without_root_namespaces_come_by_way_of_a_user_namespace() {
    alone_as_root(|| {
        become_nobody();
        let Some(text) = says_without_root(python(NETWORK), |profile| profile.namespaces.net = true) else { return };
        assert_eq!(text, "['lo']\n");
        let line = shell("uname -n; cat /proc/self/status /proc/self/uid_map");
        let text = says_without_root(line, |profile| {
            profile.namespaces.uts = Some(c"cell".to_owned());
            profile.oom_score_adj = Some(321);
        });
        let text = text.unwrap();
        assert_eq!(text.lines().next(), Some("cell"));
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&text, set), "0000000000000000", "{set}");
        }
        let map: Vec<_> = text.lines().last().unwrap().split_ascii_whitespace().collect();
        assert_eq!(map, ["65534", "65534", "1"]);
    });
}
