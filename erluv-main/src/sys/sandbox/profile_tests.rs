//! The profiles that are built in, as a whole. Each test runs in a process of its own.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use erluv_proto::ipc::ExitStatus;

use super::tests::python;
use crate::order::{Identity, Order, Output};
use crate::sandbox::{IoPriority, Namespaces, Profile, Sandbox, Scheduler};
use crate::settings::scenarios::settings;
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NODE, alive, mark, order, shell};

/// An order under a built-in profile.
fn under(name: &str, order: Order) -> Order {
    let text = format!("workers = {{ profile = '{name}', profiles = ['{name}'], users = ['nobody'] }}");
    let settings = settings(0, &text).unwrap();
    let profile = settings.nodes[0].workers.profiles[0].profile.clone();
    assert_eq!(profile.name.to_string(), name);
    let sandbox = Rc::new(Sandbox::of(profile, true));
    assert_eq!(sandbox.missing, Vec::<String>::new());
    Order { sandbox, ..order }
}

fn says(name: &str, order: Order) -> String {
    let mut bench = Bench::new(UseCgroup::Auto);
    let text = bench.output(under(name, order));
    bench.workers.close();
    text
}

#[test]
fn strict_leaves_even_root_by_number_nothing_to_read_or_write() {
    alone_as_root(|| {
        let open = format!("/opt/erluv-open-{}", std::process::id());
        fs::create_dir_all(&open).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        let line = format!(
            "for f in /etc/shadow /etc/gshadow /root/.profile /root/.bashrc; do\n\
             [ -z \"$(cat $f 2>/dev/null)\" ] || echo read $f; done\n\
             for d in / /etc /usr /var /run /root /home /srv /opt /proc /sys /dev {open} /sys/fs/cgroup \
             /proc/sys/kernel; do\n\
             (echo x > $d/erluv-x) 2>/dev/null && echo wrote $d; ls $d >/dev/null 2>&1 && echo listed $d; done\n\
             (echo 1 > /proc/sys/kernel/core_uses_pid) 2>/dev/null && echo switched\n\
             echo x > /tmp/x && cat /tmp/x; mkdir /tmp/d && cp /bin/true /tmp/d && rm -r /tmp/d /tmp/x; ls -A /tmp"
        );
        let root = Identity { name: "root".into(), uid: 0, gid: 0, groups: vec![0] };
        for identity in [crate::workers::bench::nobody(), root] {
            let text = says("strict", Order { identity: Some(identity), ..shell(&line) });
            let listed = "listed /etc\nlisted /usr\nlisted /opt\nlisted /proc\nlisted /sys\nlisted /dev\n";
            let more = format!("listed {open}\nlisted /sys/fs/cgroup\nlisted /proc/sys/kernel\nx\n");
            assert_eq!(text, format!("{listed}{more}"));
        }
        fs::remove_dir(&open).unwrap();
    });
}

#[test]
fn strict_has_no_network_and_sees_no_one() {
    alone_as_root(|| {
        let line = "import os, socket\n\
                    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):\n \
                    try:\n  socket.socket(family, socket.SOCK_DGRAM)\n  print('open')\n \
                    except PermissionError: pass\n\
                    print(sorted(name for name in os.listdir('/proc') if name.isdigit()), os.getpid())\n\
                    try: os.kill(1, 9)\nexcept (ProcessLookupError, PermissionError): pass\n\
                    print('alive')";
        let mut bench = Bench::new(UseCgroup::Auto);
        bench.start(order(&["/bin/sleep", "1000"]));
        assert_eq!(bench.output(under("strict", python(line))), "['2'] 2\nalive\n");
        bench.workers.close();
    });
}

#[test]
fn s41_no_trick_outlives_the_end_of_a_strict_worker() {
    alone_as_root(|| {
        for way in [UseCgroup::Auto, UseCgroup::Never] {
            let (mut bench, mark) = (Bench::new(way), mark(2));
            let line = format!(
                "trap '' TERM HUP\n\
                 for i in 1 2 3; do setsid sh -c '(setsid nohup sleep {mark} >/dev/null 2>&1 &)' & done\n\
                 (setsid sh -c 'kill -STOP $$; sleep {mark}' &)\n\
                 until [ $(ls -d /proc/[0-9]* | wc -l) -gt 5 ]; do :; done; echo ready; wait; exec sleep {mark}"
            );
            let started = bench.start(under("strict", Order { stdout: Output::Pipe, ..shell(&line) }));
            bench
                .until("all of them", |_| rustix::io::read(&started.pipes[0], &mut [0; 8]).ok().filter(|got| *got > 0));
            bench.workers.stop(NODE, started.id(), std::time::Duration::ZERO, std::time::Instant::now());
            assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
            assert_eq!(alive(&mark), Vec::<i32>::new());
            bench.workers.close();
        }
    });
}

#[test]
fn all_that_a_profile_can_name_holds_at_once() {
    alone_as_root(|| {
        let strict = under("strict", order(&["/bin/true"])).sandbox.profile.clone();
        let profile = Profile {
            memory_deny_write_execute: true,
            io_priority: Some(IoPriority::Idle),
            scheduler: Some(Scheduler::Batch),
            oom_score_adj: Some(500),
            namespaces: Namespaces { user: true, uts: Some(c"cell".to_owned()), ..strict.namespaces.clone() },
            ..strict
        };
        let sandbox = Rc::new(Sandbox::of(profile, true));
        assert_eq!(sandbox.missing, Vec::<String>::new());
        let line = "uname -n; cat /proc/self/oom_score_adj; ionice; read id rest < /proc/self/uid_map; echo $id\n\
                    grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|NSpid):' /proc/self/status; echo x > /tmp/x && id -u";
        let mut bench = Bench::new(UseCgroup::Auto);
        let text = bench.output(Order { sandbox, ..shell(line) });
        bench.workers.close();
        let lines: Vec<_> =
            text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let none = "0000000000000000";
        let caps = [format!("CapEff: {none}"), format!("CapBnd: {none}")];
        assert_eq!(lines[..4], ["cell", "500", "idle", "65534"], "{text}");
        assert!(lines[4].starts_with("NSpid:"), "{text}");
        assert_eq!(lines[5..7], caps, "{text}");
        assert_eq!(lines[7..], ["NoNewPrivs: 1", "Seccomp: 2", "65534"], "{text}");
    });
}

#[test]
fn default_runs_a_compiler_python_and_pipelines_unchanged() {
    alone_as_root(|| {
        let folder = std::env::temp_dir().join(format!("erluv-default-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
        let cwd = || CString::new(folder.to_str().unwrap()).unwrap();
        let line = "printf '#include <stdio.h>\\nint main(void){puts(\"c\");return 0;}' > m.c\n\
                    cc -O2 m.c -o m && ./m\n\
                    printf 'b\\na\\n' | sort | uniq | tee t | wc -l; mkfifo f; (cat f &); echo fifo > f\n\
                    python3 -c 'import ssl, sqlite3, concurrent.futures as c\n\
                    with c.ProcessPoolExecutor(2) as p: print(sum(p.map(abs, range(-3, 0))))'\n\
                    perl -e 'print \"perl\\n\"'; ls -l /proc/self/ >/dev/null && date +%d >/dev/null && id -un";
        let text = says("default", Order { cwd: cwd(), ..shell(line) });
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text, "c\n2\nfifo\n6\nperl\nnobody\n");
    });
}
