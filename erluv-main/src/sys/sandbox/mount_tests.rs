//! A worker's own view of the file system, as root and without. Each test runs in a process of its own.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use erluv_proto::ipc::Step;

use super::namespace_tests::{become_nobody, says_without_root};
use super::tests::{python, says};
use crate::order::Order;
use crate::sandbox::{Bind, Mounts, Profile};
use crate::sys::testing::{alone_as_root, forked};
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, NOBODY, order, sandbox, shell};

fn mounts(mounts: Mounts) -> impl FnOnce(&mut Profile) {
    move |profile| profile.mounts = Some(mounts)
}

fn text(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn bind(source: &Path, target: &str, writable: bool) -> Bind {
    Bind { source: text(source), target: CString::new(target).unwrap(), writable }
}

/// A folder of nobody's below /srv, with a file of its.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("/srv/erluv-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "here\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    for path in [path.clone(), path.join("file")] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    path
}

fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
fn nothing_is_written_but_in_a_private_tmp_that_no_one_else_sees() {
    alone_as_root(|| {
        let (own, before) = (folder("ro"), mountinfo());
        let at = own.display();
        let line = format!(
            "for at in {at}/file /tmp/erluv-x /var/tmp/erluv-x /dev/shm/erluv-x; do\n\
             (echo x > $at) 2>/dev/null && echo $at; done; ls /tmp; stat -c %a /tmp /var/tmp /dev/shm"
        );
        let closed = || Mounts { read_only: true, ..Mounts::default() };
        let text = says(shell(&line), mounts(Mounts { private_tmp: Some(1 << 20), ..closed() }));
        assert_eq!(text, "/tmp/erluv-x\n/var/tmp/erluv-x\n/dev/shm/erluv-x\nerluv-x\n1777\n1777\n1777\n");
        for path in ["/tmp/erluv-x", "/var/tmp/erluv-x", "/dev/shm/erluv-x"] {
            assert!(!Path::new(path).exists(), "{path}");
        }
        assert_eq!(says(shell(&format!("(echo x > {at}/file) 2>/dev/null || echo no")), mounts(closed())), "no\n");
        assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "here\n");
        assert_eq!(mountinfo(), before);
        fs::remove_dir_all(&own).unwrap();
    });
}

#[test]
fn the_bytes_of_a_private_tmp_are_those_of_all_its_folders() {
    alone_as_root(|| {
        let line = "head -c 700000 /dev/zero > /tmp/a && echo 1; head -c 700000 /dev/zero 2>/dev/null > /var/tmp/b || \
                    echo 2; grep -c ' - tmpfs .*' /proc/self/mountinfo >/dev/null && echo 3\n\
                    awk '$5 == \"/tmp\" || $5 == \"/var/tmp\" { print $6 }' /proc/self/mountinfo | tail -n 2";
        let text = says(shell(line), mounts(Mounts { private_tmp: Some(1 << 20), ..Mounts::default() }));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["1", "2", "3"]);
        assert!(lines[3..].iter().all(|flags| flags.starts_with("rw,nosuid,nodev")), "{text}");
    });
}

#[test]
fn a_private_dev_has_the_harmless_devices_and_terminals_of_its_own() {
    alone_as_root(|| {
        let line = "import os, multiprocessing\nprint(*sorted(os.listdir('/dev')))\n\
                    m, s = os.openpty()\nprint(os.ttyname(s))\n\
                    open('/dev/null', 'w').write('x')\nprint(len(open('/dev/urandom', 'rb').read(4)))\n\
                    multiprocessing.Lock()\n\
                    try: open('/dev/x', 'w')\nexcept OSError as e: print(e.errno)";
        for private_tmp in [None, Some(1 << 20)] {
            let text = says(python(line), mounts(Mounts { private_dev: true, private_tmp, ..Mounts::default() }));
            let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
            assert_eq!(text, format!("{names}\n/dev/pts/0\n4\n{}\n", libc::EROFS));
        }
    });
}

#[test]
fn a_private_proc_shows_no_other_user_s_processes_and_no_switches() {
    alone_as_root(|| {
        let line = "ls -d /proc/[0-9]* | wc -l; cat /proc/sysrq-trigger /proc/kcore /proc/keys | wc -c\n\
                    cat /proc/meminfo >/dev/null && awk '$5 == \"/proc/sys\" { print $6 }' /proc/self/mountinfo\n\
                    cat /proc/1/comm 2>&1 || true";
        let mut bench = Bench::new(UseCgroup::Auto);
        // Of another user, in the same process namespace.
        let root = crate::order::Identity { name: "bin".into(), uid: 2, gid: 2, groups: vec![2] };
        bench.start(Order { identity: Some(root), ..order(&["/bin/sleep", "1000"]) });
        let sandbox = sandbox(mounts(Mounts { private_proc: true, ..Mounts::default() }));
        let text = bench.output(Order { sandbox, stdout: crate::order::Output::Pipe, ..shell(line) });
        bench.workers.close();
        let lines: Vec<_> = text.lines().collect();
        // The shell, ls and wc, if no other test's nobody is there.
        assert!((2..20).contains(&lines[0].parse::<i32>().unwrap()), "{text}");
        assert_eq!(lines[1], "0");
        assert!(lines[2].starts_with("ro,nosuid,nodev,noexec"), "{text}");
        assert!(lines[3].contains("No such file"), "{text}");
    });
}

#[test]
fn hidden_paths_are_there_and_closed_and_what_lies_deeper_wins() {
    alone_as_root(|| {
        let (own, outer) = (folder("hide"), folder("outer"));
        fs::create_dir_all(own.join("in/deep")).unwrap();
        fs::write(own.join("in/deep/secret"), "secret\n").unwrap();
        let at = own.display();
        let line = format!(
            "cat {at}/file | wc -c; ls {at}/in 2>/dev/null || echo closed; cat {at}/in/deep/secret 2>/dev/null\n\
             cat /mnt/deep/file; ls /mnt 2>/dev/null || echo shut; (echo x > /mnt/x) 2>/dev/null || echo no"
        );
        let hidden = vec![text(&own.join("file")), text(&own.join("in")), c"/mnt".to_owned(), c"/nowhere".to_owned()];
        let binds = vec![bind(&own, own.to_str().unwrap(), true), bind(&outer, "/mnt/deep", false)];
        let text = says(shell(&line), mounts(Mounts { hidden, binds, ..Mounts::default() }));
        assert_eq!(text, "0\nclosed\nhere\nshut\nno\n");
        fs::remove_dir_all(&own).unwrap();
        fs::remove_dir_all(&outer).unwrap();
    });
}

#[test]
fn binds_are_read_only_or_writable_and_never_set_uid() {
    alone_as_root(|| {
        let own = folder("bind");
        let at = own.display();
        let line = format!(
            "cat /mnt/file; (echo x > /mnt/file) 2>/dev/null || echo no; echo written > {at}/file && cat {at}/file\n\
             awk '$5 == \"/mnt\" || $5 == \"{at}\" {{ print $6 }}' /proc/self/mountinfo"
        );
        let binds = vec![bind(&own, "/mnt", false), bind(&own, own.to_str().unwrap(), true)];
        let text = says(shell(&line), mounts(Mounts { read_only: true, binds, ..Mounts::default() }));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["here", "no", "written"], "{text}");
        let mut flags: Vec<_> = lines[3..].iter().map(|flags| &flags[..15]).collect();
        flags.sort_unstable();
        assert_eq!(flags, ["ro,nosuid,nodev", "rw,nosuid,nodev"]);
        fs::remove_dir_all(&own).unwrap();
    });
}

#[test]
fn a_symbolic_link_is_neither_source_nor_target_of_a_bind() {
    alone_as_root(|| {
        let own = folder("link");
        symlink("/etc", own.join("link")).unwrap();
        let mut bench = Bench::new(UseCgroup::Auto);
        let link = own.join("link");
        for (bind, errno) in [
            (bind(&link, "/mnt", false), libc::ELOOP),
            (bind(&link.join("apt"), "/mnt", false), libc::ELOOP),
            (bind(&own, link.to_str().unwrap(), false), libc::ELOOP),
            (bind(&own.join("none"), "/mnt", false), libc::ENOENT),
            (bind(&own, "/mnt/none", false), libc::ENOENT),
        ] {
            let sandbox = sandbox(mounts(Mounts { binds: vec![bind], ..Mounts::default() }));
            assert_eq!(bench.refuse(Order { sandbox, ..order(&["/bin/true"]) }), (Step::Mount, errno));
        }
        bench.workers.close();
        fs::remove_dir_all(&own).unwrap();
    });
}

/// A root with the system's programs and nothing else.
fn system(name: &str) -> (PathBuf, Vec<Bind>) {
    let root = folder(name);
    for name in ["usr", "proc", "dev", "tmp"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let mut binds = vec![bind(Path::new("/usr"), "/usr", false)];
    for name in ["bin", "lib", "lib64"] {
        if fs::symlink_metadata(Path::new("/").join(name)).unwrap().is_symlink() {
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        } else {
            fs::create_dir(root.join(name)).unwrap();
            binds.push(bind(&Path::new("/").join(name), &format!("/{name}"), false));
        }
    }
    (root, binds)
}

#[test]
fn another_root_is_all_that_there_is() {
    alone_as_root(|| {
        let ((root, binds), before) = (system("root"), mountinfo());
        let line = "cat /file; cat /../../etc/passwd 2>/dev/null; cd /tmp && echo x > y && cat y; ls /srv 2>/dev/null\n\
                    pwd\n\
                    awk '{ print $5 }' /proc/self/mountinfo | grep -c srv; (echo x > /file) 2>/dev/null || echo no";
        let text = says(
            shell(line),
            mounts(Mounts {
                root: Some(text(&root)),
                read_only: true,
                private_tmp: Some(1 << 20),
                private_dev: true,
                private_proc: true,
                binds,
                ..Mounts::default()
            }),
        );
        assert_eq!(text, "here\nx\n/tmp\n0\nno\n");
        assert_eq!(mountinfo(), before);
        fs::remove_dir_all(&root).unwrap();
    });
}

#[test]
fn without_root_the_view_is_made_in_a_user_namespace() {
    alone_as_root(|| {
        let own = folder("rootless");
        forked(|| without_root(&own));
        fs::remove_dir_all(&own).unwrap();
    });
}

fn without_root(own: &Path) {
    become_nobody();
    let at = own.display();
    let line = format!(
        "(echo x > {at}/file) 2>/dev/null || echo no; echo x > /tmp/x && cat /tmp/x; cat /mnt/file; ls /home\n\
             ls /dev | tr '\\n' ' '"
    );
    let text = says_without_root(
        shell(&line),
        mounts(Mounts {
            read_only: true,
            private_tmp: Some(1 << 20),
            private_dev: true,
            hidden: vec![c"/home".to_owned()],
            binds: vec![bind(own, "/mnt", true)],
            ..Mounts::default()
        }),
    );
    if let Some(text) = text {
        let wanted = "no\nx\nhere\nfd full null random shm stderr stdin stdout tty urandom zero ";
        assert_eq!(text, wanted);
    }
}
