//! The profiles that are built in, as programs find them: `strict` holds what it promises whatever is tried, `default`
//! lets ordinary programs run unchanged, `build` has its folder and its network. By `erluv-main exec`, which takes the
//! path of a node's request.

mod common;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use common::exec::Place;
use common::pair;
use erluv_tests::folder::{Folder, random_hex};
use erluv_tests::otp::Otp;
use erluv_tests::{needs_root, proc, skip};

const STRICT: &[&str] = &["--profile", "strict"];
const DEFAULT: &[&str] = &["--profile", "default"];
const BUILD: &[&str] = &["--profile", "build"];

/// A place whose policy has the profile, changed by these lines; `None`, and said so, where this system lacks
/// something that the profile may not do without.
fn place(profile: &str, more: &str) -> Option<Place> {
    let place = Place::new(&format!("profiles = [\"{profile}\"]\n{more}"));
    let (code, _, errors) = place.run(&["--profile", profile], &["/bin/true"]);
    if code == Some(78) && errors.contains("this system lacks: ") {
        erluv_tests::tell("skipped", errors.trim());
        return None;
    }
    assert_eq!(code, Some(0), "{errors}");
    Some(place)
}

/// Leaves the test where there is no such place.
macro_rules! held {
    ($profile:literal, $more:expr) => {
        match place($profile, $more) {
            Some(place) => place,
            None => return,
        }
    };
}

/// Runs a line of the shell: whether it ended with 0, and what it wrote.
fn shell(place: &Place, options: &[&str], line: &str) -> (bool, String) {
    let (code, said, errors) = place.run(options, &["/bin/sh", "-c", line]);
    (code == Some(0), format!("{said}{errors}"))
}

/// None of the lines comes to its end with 0.
fn all_fail(place: &Place, options: &[&str], lines: &[&str]) {
    for line in lines {
        let (done, said) = shell(place, options, line);
        assert!(!done, "{line}: {said}");
    }
}

/// Perl makes a system call by its number, and prints 0, or the errno.
fn call(place: &Place, options: &[&str], number: i64, args: &str) -> String {
    // Through a list, as a text that is a constant cannot be handed to the kernel.
    let script = format!("my @a = ({args}); my $r = syscall({number}, @a); print $r >= 0 ? 0 : $!+0;");
    let (code, said, errors) = place.run(options, &["/usr/bin/perl", "-e", &script]);
    assert_eq!(code, Some(0), "{number}: {said}{errors}");
    said
}

#[test]
fn strict_reads_nothing_of_roots_and_of_other_users() {
    needs_root!();
    let place = held!("strict", "");
    let marker = random_hex(8);
    let home = Folder::within(std::path::Path::new("/home"));
    home.file("mine", 0o644, marker.as_bytes());
    let line = format!("cat {}/mine", home.path().display());
    let tries =
        ["cat /etc/shadow", "cat /etc/shadow-", "cat /etc/gshadow", "ls /root/.", "ls /root/* /root/.[a-z]*", &line];
    for line in tries {
        let (done, said) = shell(&place, STRICT, &format!("{line} 2>/dev/null | grep ."));
        assert!(!done && said.is_empty(), "{line}: {said}");
    }
    // What programs need is there.
    assert_eq!(
        shell(&place, STRICT, "head -c 4 /etc/passwd && ls /usr >/dev/null && date >/dev/null"),
        (true, "root".into())
    );
}

#[test]
fn strict_writes_nowhere_but_in_a_tmp_of_its_own() {
    needs_root!();
    let place = held!("strict", "");
    let open = Folder::new();
    let shared = open.folder("open", 0o1777);
    let marker = random_hex(8);
    for folder in
        ["/", "/etc", "/usr", "/usr/bin", "/var", "/home", "/root", "/run", "/srv", "/opt", "/var/lib", "/proc", "/sys"]
    {
        all_fail(&place, STRICT, &[&format!("echo x > {folder}/{marker}"), &format!("mkdir {folder}/{marker}")]);
    }
    // Not even what everybody may write.
    all_fail(&place, STRICT, &[&format!("echo x > {}/{marker}", shared.display())]);
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
    for folder in ["/tmp", "/var/tmp"] {
        let line = format!("echo mine > {folder}/{marker} && cat {folder}/{marker}");
        assert_eq!(shell(&place, STRICT, &line), (true, "mine\n".into()), "{folder}");
        assert!(!std::path::Path::new(folder).join(&marker).exists());
        // The next one has another.
        all_fail(&place, STRICT, &[&format!("cat {folder}/{marker}")]);
    }
    // Nothing that is already in the host's.
    let seen = shell(&place, STRICT, "ls -A /tmp /var/tmp | grep -v : | grep .");
    assert!(!seen.0, "{seen:?}");
}

#[test]
fn strict_opens_no_socket_and_has_no_network() {
    needs_root!();
    let place = held!("strict", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or exit 3; \
         connect($s, sockaddr_in({port}, INADDR_LOOPBACK)) or exit 4;"
    );
    assert_eq!(place.run(STRICT, &["/usr/bin/perl", "-e", &connect]).0, Some(3));
    for family in ["PF_INET", "PF_INET6", "PF_UNIX", "16"] {
        let script = format!("use Socket; socket(my $s, {family}, SOCK_DGRAM, 0) ? exit 0 : exit 3;");
        assert_eq!(place.run(STRICT, &["/usr/bin/perl", "-e", &script]).0, Some(3), "{family}");
    }
    let devices = shell(&place, STRICT, "tail -n +3 /proc/net/dev | cut -d: -f1").1;
    assert_eq!(devices.trim(), "lo");
}

#[test]
fn strict_sees_and_reaches_no_other_process() {
    needs_root!();
    let place = held!("strict", "");
    let mut other = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let seen = shell(&place, STRICT, "ls /proc | grep '^[0-9]' | wc -l").1;
    // Its shell, what that runs, and the init of its namespace.
    assert!(seen.trim().parse::<u32>().unwrap() <= 6, "{seen}");
    let number = other.id();
    all_fail(
        &place,
        STRICT,
        &[&format!("kill -0 {number}"), &format!("cat /proc/{number}/cmdline"), "kill -9 1 && sleep 1 && ! kill -0 1"],
    );
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn strict_traces_mounts_and_makes_namespaces_of_nothing() {
    needs_root!();
    if !cfg!(target_arch = "x86_64") {
        skip!("the numbers of the calls are those of x86-64");
    }
    let place = held!("strict", "");
    for (name, number, args) in [
        ("ptrace", 101, "0, 0, 0, 0"),
        ("process_vm_readv", 310, "1, 0, 0, 0, 0, 0"),
        ("mount", 165, "\"x\", \"/tmp\", \"tmpfs\", 0, 0"),
        ("umount2", 166, "\"/tmp\", 2"),
        ("pivot_root", 155, "\"/tmp\", \"/tmp\""),
        ("unshare", 272, "0x10000000"),
        ("setns", 308, "0, 0"),
        ("keyctl", 250, "0, -1, 0"),
        ("add_key", 248, "\"user\", \"x\", \"y\", 1, -2"),
        ("bpf", 321, "0, 0, 0"),
        ("perf_event_open", 298, "0, 0, -1, -1, 0"),
        ("io_uring_setup", 425, "1, 0"),
        ("chroot", 161, "\"/tmp\""),
        ("reboot", 169, "0, 0, 0"),
        ("init_module", 175, "0, 0, \"\""),
        ("open_by_handle_at", 304, "0, 0, 0"),
    ] {
        let errno = call(&place, STRICT, number, args);
        assert!(["1", "38"].contains(&errno.as_str()), "{name}: {errno}");
    }
    all_fail(&place, STRICT, &["unshare -U true", "unshare -r true"]);
}

#[test]
fn s41_nothing_of_strict_outlives_its_end() {
    needs_root!();
    let place = held!("strict", "");
    let marker = format!("4242{}", u32::from_str_radix(&random_hex(2), 16).unwrap());
    for trick in [
        format!("(setsid sleep {marker} >/dev/null 2>&1 &)"),
        format!("(trap '' HUP TERM INT; (setsid sh -c 'trap \"\" TERM HUP; sleep {marker}' &) &) >/dev/null 2>&1"),
        format!("setsid sh -c 'setsid sh -c \"setsid sleep {marker} & kill -STOP \\$!\" &' >/dev/null 2>&1"),
        format!("for i in 1 2 3 4 5 6 7 8; do (setsid nohup sleep {marker} &); done >/dev/null 2>&1"),
    ] {
        let (done, said) = shell(&place, STRICT, &trick);
        assert!(done, "{trick}: {said}");
        assert_eq!(proc::pids_of(&format!("sleep {marker}")), Vec::<i32>::new(), "{trick}");
    }
    // Killed with all that it has started, and with no time for anything.
    let line = format!("(setsid sleep {marker} &); echo ready; exec sleep {marker}");
    let mut child = place.exec(STRICT, &["/bin/sh", "-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    proc::signal(i32::try_from(child.id()).unwrap(), nix::sys::signal::Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(proc::pids_of(&format!("sleep {marker}")), Vec::<i32>::new());
}

#[test]
fn strict_and_default_run_ordinary_programs() {
    needs_root!();
    for (profile, options) in [("strict", STRICT), ("default", DEFAULT)] {
        let Some(place) = place(profile, "") else { continue };
        let (done, said) = shell(
            &place,
            options,
            "seq 1 100000 | sort -rn | head -n 1; echo a b | cut -d' ' -f2 | tee /dev/null | wc -c",
        );
        assert_eq!((done, said.as_str()), (true, "100000\n2\n"), "{profile}");
        assert_eq!(place.run(options, &["/usr/bin/perl", "-e", "print join ',', map { $_ * 2 } 1..3"]).1, "2,4,6");
        let (done, said) =
            shell(&place, options, "cat </dev/null; test -c /dev/null && head -c 8 /dev/urandom | wc -c");
        assert_eq!((done, said.trim()), (true, "8"), "{profile}");
    }
}

#[test]
fn default_runs_a_compiler_and_what_it_has_made() {
    let place = held!("default", "");
    let folder = Folder::new();
    let open = folder.folder("open", 0o1777);
    let source = "#include <pthread.h>\n#include <stdio.h>\nstatic void *f(void *x) { return x; }\nint main(void) \
                  { pthread_t t; void *r; pthread_create(&t, 0, f, (void *)7); pthread_join(t, &r); printf(\"%d\", (int)(long)r); }\n";
    folder.file("a.c", 0o644, source.as_bytes());
    if Command::new("cc").arg("--version").output().is_err() {
        skip!("no compiler here");
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    // No PATH is in the environment: the compiler is told where its parts are by where it is.
    let line = format!("PATH=/usr/bin:/bin cc -pthread -o {0}/a {1} && {0}/a", open.display(), at("a.c"));
    assert_eq!(shell(&place, DEFAULT, &line), (true, "7".into()));
}

#[test]
fn default_runs_python_with_processes_threads_and_sockets() {
    let place = held!("default", "");
    let Some(python) =
        ["/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(|path| fs::metadata(path).is_ok())
    else {
        skip!("no python3 that other users may run")
    };
    let script = "import subprocess, threading, socket, multiprocessing\n\
                  t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
                  a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'\n\
                  s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n\
                  c = socket.create_connection(s.getsockname())\n\
                  p = multiprocessing.Process(target=print, args=('child',)); p.start(); p.join()\n\
                  print(subprocess.check_output(['/bin/echo', 'out']).decode(), end='')\n";
    let (code, said, errors) = place.run(DEFAULT, &[python, "-c", script]);
    assert_eq!((code, said.as_str()), (Some(0), "child\nout\n"), "{errors}");
}

#[test]
fn s30_default_and_strict_feed_no_terminal_even_their_own() {
    needs_root!();
    if Command::new("script").arg("--version").output().is_err() {
        skip!("no script(1) here");
    }
    // On the low 32 bits of the request alone the kernel decides: the rest must not hide it.
    let script = "for my $r (0x5412, 0x541c, 0x100000000 | 0x5412) { my $c = 'x'; my $n = syscall(16, 0, $r, $c); print $n < 0 ? $!+0 : 'FED', ' '; }";
    for (profile, options) in [("default", DEFAULT), ("strict", STRICT)] {
        let Some(place) = place(profile, "") else { continue };
        fs::write(place.0.path().join("feed.pl"), script).unwrap();
        fs::set_permissions(place.0.path().join("feed.pl"), fs::Permissions::from_mode(0o644)).unwrap();
        let config = place.0.path().join("erluv.conf");
        let line = format!(
            "{} exec -f {} --profile {} -- /usr/bin/perl -e '{}'",
            place.main().display(),
            config.display(),
            options[1],
            script.replace('\'', "\"")
        );
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("FED") && said.contains("1 1 1"), "{profile}: {said}");
    }
}

#[test]
fn build_writes_its_folder_and_has_the_network() {
    needs_root!();
    let folder = Folder::new();
    let open = folder.folder("work", 0o755);
    std::os::unix::fs::chown(&open, Some(1), Some(1)).unwrap();
    // Not every host counts memory and processes.
    let more = format!(
        "[profile.build]\non_missing = \"best_effort\"\nenv = {{ PATH = true, HOME = \"{0}\" }}\n[profile.build.mounts]\nbind = [\"{0}\"]\n",
        open.display()
    );
    let place = held!("build", &more);
    let at = |name: &str| open.join(name).display().to_string();
    let (done, said) = shell(&place, BUILD, &format!("cd && pwd && echo made > {} && echo $PATH", at("made")));
    assert!(done && said.starts_with(&format!("{}\n/", open.display())), "{said}");
    assert_eq!(fs::read_to_string(open.join("made")).unwrap(), "made\n");
    assert_eq!(fs::metadata(open.join("made")).unwrap().uid(), 1);
    all_fail(
        &place,
        BUILD,
        &["echo x > /etc/x", "echo x > /usr/x", "ls /root/.", "cat /etc/shadow | grep .", "echo x > /var/lib/x"],
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or exit 3; \
         connect($s, sockaddr_in({port}, INADDR_LOOPBACK)) or exit 4;"
    );
    assert_eq!(place.run(BUILD, &["/usr/bin/perl", "-e", &connect]).0, Some(0));
}

#[test]
fn a_profile_changes_key_by_key_and_can_only_be_asked_for_where_it_is_named() {
    needs_root!();
    let place = held!("default", "[profile.default]\numask = \"007\"\n[profile.default.limits]\nnofile = 77\n");
    assert_eq!(shell(&place, DEFAULT, "umask; ulimit -n; ulimit -c"), (true, "0007\n77\n0\n".into()));
    // A node may only ask for those that its policy names, whatever a person may try by hand.
    let (node, erluv) = pair(Otp::V25, "[workers]\nprofiles = [\"default\"]");
    for name in ["strict", "build", "none", "../default"] {
        let asked = format!(r#"gen_server:call({{erluv, E}}, {{run, ["/bin/true"], [{{profile, <<"{name}">>}}]}})"#);
        assert!(node.eval_ok(&asked).starts_with("{error,{refused,{profiles,"), "{name}: {}", node.eval_ok(&asked));
    }
    erluv.wait_log("rule=profiles what=strict");
}
