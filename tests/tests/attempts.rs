//! What a node may try and a worker may do to get at more than the configuration gives: each attempt is refused, and a
//! refusal of the policy is in the log. The workers are real, of real users, and look for themselves.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{meet, pair};
use erluv_tests::daemon::Daemon;
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{needs_root, proc, skip};

/// Binds `Out` to a function that runs a command and gives the reason of its end with what it wrote, `Ask` to one that
/// asks for a worker and gives the answer.
fn bind(node: &Node) {
    node.eval_ok(
        "Out = fun(Cmd, Opts) -> {P, M} = spawn_monitor(E, erluv, run, [Cmd, [stdout, {stderr, stdout} | Opts]]),
            F = fun F(L) -> receive {stdout, P, D} -> F([D | L]);
                {'DOWN', M, _, P, R} -> {R, iolist_to_binary(lists:reverse(L))} end end, F([]) end",
    );
    node.eval_ok("Ask = fun(Cmd, Opts) -> gen_server:call({erluv, E}, {run, Cmd, Opts}) end");
}

/// A node and an erluv that serves it, both bound.
fn bound(config: &str) -> (Node, Daemon) {
    let (node, erluv) = pair(Otp::V25, config);
    bind(&node);
    (node, erluv)
}

/// A worker that only sleeps, with these further options; its process id.
fn sleeper(node: &Node, options: &str) -> i32 {
    let asked = format!(r#"{{ok, _, O}} = Ask(["/bin/sleep", "1000"], [{options}]), f(O), O"#);
    node.eval_ok(&format!("begin {asked} end")).parse().unwrap()
}

#[test]
fn s06_s07_another_user_and_root_by_any_spelling_are_refused_and_logged() {
    needs_root!();
    let (node, erluv) = bound("[workers]\nusers = [\"daemon\", \"games\"]");
    for user in
        ["root", "0", "+0", "00", "0x0", "-1", "4294967295", "4294967296", " root", "root ", "ROOT", "nobody", "2"]
    {
        let answer = node.eval_ok(&format!(r#"Ask(["/bin/true"], [{{user, "{user}"}}])"#));
        assert_eq!(answer, format!(r#"{{error,{{refused,{{users,<<"{user}">>}}}}}}"#), "{user}");
        erluv.wait_log(&format!("rule=users what={}", user.replace(' ', "\\x20")));
    }
    for odd in [r#""""#, r#"[0]"#, "root", "0", r#""daemon\n""#] {
        let answer = node.eval_ok(&format!(r#"element(1, Ask(["/bin/true"], [{{user, {odd}}}]))"#));
        assert_eq!(answer, "error", "{odd}");
    }
    assert_eq!(proc::uids(sleeper(&node, r#"{user, "games"}"#)), [5; 4]);
}

#[test]
fn s36_a_worker_can_neither_trace_nor_read_child_main_or_another_users_worker() {
    needs_root!();
    let (node, erluv) = bound("[workers]\nusers = [\"daemon\", \"games\"]");
    let sibling = sleeper(&node, r#"{user, "games"}"#);
    for victim in [erluv.child_pid(), erluv.main_pid(), sibling] {
        for file in ["mem", "environ", "maps", "fd/3", "stack", "root/", "cwd/"] {
            let seen = node.eval_ok(&format!(r#"element(2, Out("head -c 1 /proc/{victim}/{file} && echo READ", []))"#));
            assert!(!seen.contains("READ") && seen.contains("Permission denied"), "{victim} {file}: {seen}");
        }
        for signal in ["KILL", "STOP", "0"] {
            let told = node.eval_ok(&format!(r#"element(2, Out("kill -{signal} {victim} && echo SENT", []))"#));
            assert!(!told.contains("SENT"), "{victim}: {told}");
        }
        // PTRACE_SEIZE.
        let script = format!("use strict; print syscall(101, 0x4206, {victim}, 0, 0), \\\" \\\", $!+0;");
        if cfg!(target_arch = "x86_64") {
            let traced = node.eval_ok(&format!(r#"Out(["/usr/bin/perl", "-e", "{script}"], [])"#));
            assert_eq!(traced, r#"{normal,<<"-1 1">>}"#, "{victim}");
        }
    }
    assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    assert!(proc::exists(sibling));
}

#[test]
fn s15_no_descriptor_leaks_into_a_worker() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let strays = "exec 3</etc/shadow 4>/dev/null 7</root 9</ 8</etc/shadow; exec \"$@\"";
    let erluv = Daemon::of(&node).shell(strays).start();
    meet(&node, &erluv);
    bind(&node);
    for options in ["", "stdin", "stdin, pty", "{stdin, null}"] {
        // The last one is that of the listing itself.
        let listed =
            node.eval_ok(&format!(r#"Out(["/bin/ls", "-1", "/proc/self/fd"], [{options}])"#)).replace("\\r", "");
        assert_eq!(listed, r#"{normal,<<"0\n1\n2\n3\n">>}"#, "{options}");
    }
    let shadow = node.eval_ok(r#"Out("cat <&3; cat <&8", [])"#);
    assert!(!shadow.contains("root:"), "{shadow}");
}

#[test]
fn s28_streams_are_opened_with_the_workers_rights_whatever_the_path_is_called() {
    needs_root!();
    let (node, _erluv) = bound("");
    let folder = Folder::new();
    let secret = folder.file("secret", 0o600, b"precious");
    let open = folder.folder("open", 0o1777);
    let linked = open.join("hard");
    fs::hard_link(&secret, &linked).unwrap();
    std::os::unix::fs::symlink(&secret, open.join("soft")).unwrap();
    let roots = folder.folder("roots", 0o755);
    let inside = |name: &str| open.join(name).display().to_string();
    for (path, errno) in [
        (inside("hard"), "eacces"),
        (inside("soft"), "eloop"),
        (inside("../secret"), "eacces"),
        (inside("../roots/new"), "eacces"),
        (roots.join("new").display().to_string(), "eacces"),
        ("/root/x".to_owned(), "eacces"),
        ("../../../../etc/cron.d/x".to_owned(), "eacces"),
        ("/etc/shadow".to_owned(), "eacces"),
    ] {
        for option in ["stdin", "stdout", "stderr"] {
            let end = node.eval_ok(&format!(
                r#"begin {{_, M1}} = spawn_monitor(E, erluv, run, [["/bin/true"], [{{cd, "{}"}}, {{{option}, "{path}"}}]]),
                    R1 = receive {{'DOWN', M1, _, _, R0}} -> R0 end, f(M1), f(R1), f(R0), R1 end"#,
                open.display()
            ));
            // What is not there cannot be read; its folder may not even be looked into.
            let missing = option == "stdin" && end == "{launch_failed,open,enoent}";
            assert!(missing || end == format!("{{launch_failed,open,{errno}}}"), "{option} {path}: {end}");
        }
    }
    assert_eq!(fs::read(&secret).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
    assert!(!std::path::Path::new("/root/x").exists() && !std::path::Path::new("/etc/cron.d/x").exists());
}

#[test]
fn s24_a_program_outside_of_the_patterns_is_refused_by_every_name_and_logged() {
    needs_root!();
    let folder = Folder::new();
    let allowed = folder.folder("allowed", 0o1777);
    fs::copy("/bin/true", allowed.join("good")).unwrap();
    fs::set_permissions(allowed.join("good"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/bin/sh", allowed.join("soft")).unwrap();
    let (node, erluv) =
        bound(&format!("[workers]\nprograms = [\"{}/*\"]\npath = \"/usr/bin:/bin\"", allowed.display()));
    let at = allowed.display().to_string();
    assert!(node.eval_ok(&format!(r#"Ask(["{at}/good"], [])"#)).starts_with("{ok,"));
    for name in [format!("{at}/soft"), format!("{at}/../../../bin/sh"), "/bin/sh".to_owned(), "sh".to_owned()] {
        let answer = node.eval_ok(&format!(r#"Ask(["{name}"], [])"#));
        assert!(answer.starts_with("{error,{refused,{programs,"), "{name}: {answer}");
        let answer = node.eval_ok(&format!(r#"Ask(["{at}/good"], [{{executable, "{name}"}}])"#));
        assert!(answer.starts_with("{error,{refused,{programs,"), "{name}: {answer}");
    }
    assert!(node.eval_ok(r#"Ask("exec /bin/sh", [])"#).starts_with("{error,{refused,{programs,"));
    assert!(
        node.eval_ok(&format!(r#"Ask(["../allowed/good"], [{{cd, "{at}"}}])"#)).contains("{refused,{program_path,")
    );
    erluv.wait_log("rule=programs what=");
    erluv.wait_log("rule=program_path what=");
}

#[test]
fn s24_a_link_that_is_swapped_in_the_race_executes_nothing_else() {
    needs_root!();
    let folder = Folder::new();
    let allowed = folder.folder("allowed", 0o1777);
    let (good, soft) = (allowed.join("good"), allowed.join("soft"));
    fs::copy("/bin/true", &good).unwrap();
    fs::set_permissions(&good, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&good, &soft).unwrap();
    let (node, _erluv) = bound(&format!("[workers]\nprograms = [\"{}/*\"]", allowed.display()));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = allowed.join("other");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for target in [std::path::Path::new("/usr/bin/id"), &good] {
                    std::os::unix::fs::symlink(target, &other).unwrap();
                    fs::rename(&other, &soft).unwrap();
                }
            }
        });
        let tries = format!(r#"lists:usort([Out(["{}"], []) || _ <- lists:seq(1, 300)])"#, soft.display());
        let ends = node.eval_ok(&tries);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        // Either it is what may run, which says nothing, or it is refused.
        assert!(!ends.contains("uid="), "{ends}");
        assert!(ends.contains("{normal,<<>>}") && ends.contains("refused"), "the race was not run: {ends}");
    });
}

#[test]
fn s26_names_that_a_loader_or_an_interpreter_obeys_are_refused_and_logged() {
    needs_root!();
    let (node, erluv) = bound("");
    for name in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "BASH_ENV",
        "ENV",
        "IFS",
        "PERL5OPT",
        "PYTHONSTARTUP",
        "RUBYOPT",
        "NODE_OPTIONS",
        "ERL_FLAGS",
    ] {
        let answer = node.eval_ok(&format!(r#"Ask(["/bin/true"], [{{env, [{{"{name}", "/tmp/x.so"}}]}}])"#));
        assert!(answer.starts_with("{error,{refused,{env,"), "{name}: {answer}");
        erluv.wait_log(&format!("rule=env what={name}"));
    }
}

#[test]
fn s44_a_fork_bomb_stays_within_its_limit_and_ends_with_its_worker() {
    needs_root!();
    // A user that nothing else runs as: the limit counts all of a user's processes.
    let (node, erluv) = bound("[workers]\nusers = [\"games\"]\n[profile.default.limits]\nnproc = 30");
    let bomb = r#"["/usr/bin/perl", "-e", "while (1) { fork; select(undef, undef, undef, 0.02) }"]"#;
    node.eval_ok(&format!(r#"{{P, M}} = spawn_monitor(E, erluv, run, [{bomb}, []])"#));
    let games = || {
        let all = proc::pids().into_iter();
        all.filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|about| about.uid() == 5)).count()
    };
    proc::wait_until("the bomb has gone off", || games() > 20 || !proc::exists(erluv.main_pid()));
    for _ in 0..20 {
        assert!(games() <= 30, "{}", games());
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
    }
    node.eval_ok("exit(P, kill), receive {'DOWN', M, _, _, _} -> ok end");
    proc::wait_until("nothing of it is left", || games() == 0);
}

#[test]
fn s32_memory_beyond_the_limit_is_not_had() {
    needs_root!();
    let (node, _erluv) = bound("[profile.default.limits]\nas = 268435456");
    let taken = node.eval_ok(r#"Out(["/usr/bin/perl", "-e", "my $x = 'a' x (1 << 30); print length $x"], [])"#);
    assert!(!taken.contains("1073741824"), "{taken}");
}

#[test]
fn s30_no_terminal_of_another_can_be_fed() {
    needs_root!();
    let (node, erluv) = bound("");
    // Neither one that main may have been started on, nor that of another worker of the same user's.
    let other = sleeper(&node, "stdin, stdout, pty");
    let tty = fs::read_link(format!("/proc/{other}/fd/0")).unwrap();
    let tiocsti = "open(my $t, '+<', $ARGV[0]) or print 'open'; my $c = 'x'; \
                   print ioctl($t, 0x5412, $c) ? 'FED' : 'refused ', $!+0;";
    for terminal in ["/dev/tty", "/dev/console", tty.to_str().unwrap()] {
        let fed = node.eval_ok(&format!(r#"element(2, Out(["/usr/bin/perl", "-e", "{tiocsti}", "{terminal}"], []))"#));
        assert!(!fed.contains("FED") && (fed.contains("refused") || fed.contains("open")), "{terminal}: {fed}");
    }
    assert!(proc::fds(erluv.main_pid()).values().all(|target| !target.starts_with("/dev/tty")));
}

#[test]
fn a_frame_cannot_be_forged_by_who_has_no_end_of_the_socket() {
    needs_root!();
    let (node, erluv) = bound("");
    let child = erluv.child_pid();
    // The socket is a pair without a name: neither /proc nor a path leads to it.
    for place in [format!("/proc/{child}/fd/3"), format!("/proc/{}/fd/9", erluv.main_pid())] {
        let tried = node.eval_ok(&format!(r#"element(2, Out("echo x >> {place} && echo WRITTEN", []))"#));
        assert!(!tried.contains("WRITTEN") && tried.contains("denied"), "{place}: {tried}");
    }
    let named = fs::read_to_string("/proc/net/unix").unwrap();
    let inodes = proc::fds(child).into_values().chain(proc::fds(erluv.main_pid()).into_values());
    for inode in inodes.filter_map(|it| Some(it.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())) {
        let line = named.lines().find(|line| line.split_whitespace().nth(6) == Some(&inode));
        assert!(line.is_none_or(|line| line.split_whitespace().count() == 7), "{line:?}");
    }
}

/// What /proc says of a worker of `www-data`, and what it must say; the programs have execed by now.
fn is_exactly(worker: i32, uid: u32, umask: &str, environment: &[&str]) {
    let status = proc::status(worker);
    let ids = format!("{uid}\t{uid}\t{uid}\t{uid}");
    let none = "0000000000000000";
    let wanted = BTreeMap::from([
        ("Uid", ids.as_str()),
        ("Gid", ids.as_str()),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapBnd", none),
        ("CapAmb", none),
        ("NoNewPrivs", "1"),
        ("SigBlk", none),
        ("SigIgn", none),
        ("Umask", umask),
    ]);
    for (field, value) in wanted {
        assert_eq!(status[field], value, "{field}");
    }
    assert_eq!(status["Groups"].trim(), uid.to_string());
    assert_eq!(proc::fds(worker).keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(proc::environ(worker), environment);
    assert_eq!(proc::session(worker), worker);
}

#[test]
fn s01_s03_s12_s13_s15_s26_s29_s31_a_worker_is_its_user_and_nothing_else_however_it_starts() {
    needs_root!();
    let Some(www) = nix::unistd::User::from_name("www-data").unwrap() else { skip!("no user www-data here") };
    let node = Node::start(Otp::V25);
    // Started with groups adm and sudo, and with signals ignored.
    let erluv = Daemon::of(&node)
        .shell("trap '' PIPE CHLD USR1 INT; umask 0; export A=b; exec setpriv --groups 0,4,27 \"$@\"")
        .config("[workers]\nusers = [\"www-data\"]\n[profile.default]\numask = \"027\"")
        .start();
    meet(&node, &erluv);
    bind(&node);
    assert!(proc::field(erluv.main_pid(), "Groups").contains("27"));
    let started = |command: &str, options: &str| -> i32 {
        let pid = node.eval_ok(&format!("begin {{ok, _, O}} = Ask({command}, [{options}]), f(O), O end"));
        let pid = pid.parse().unwrap();
        // Earlier than that its loader may have a library open.
        let asleep = format!("{} ", nix::libc::SYS_clock_nanosleep);
        let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        proc::wait_until("its program sleeps", || call().starts_with(&asleep));
        pid
    };
    let plain = r#"["/bin/sleep", "1000"]"#;
    is_exactly(started(plain, ""), www.uid.as_raw(), "0027", &[]);
    is_exactly(started(plain, "stdin, stdout, stderr"), www.uid.as_raw(), "0027", &[]);
    is_exactly(started(plain, "stdin, stdout, pty"), www.uid.as_raw(), "0027", &[]);
    is_exactly(started(plain, "{profile, default}"), www.uid.as_raw(), "0027", &[]);
    is_exactly(started(plain, r#"{env, [{"X", "y"}]}"#), www.uid.as_raw(), "0027", &["X=y"]);
    // A shell may name its own folder to what it executes.
    let shell = started(r#""exec /bin/sleep 1000""#, "stdin");
    let environment = proc::environ(shell).into_iter().filter(|name| !name.starts_with("PWD=")).collect::<Vec<_>>();
    assert_eq!(environment, Vec::<String>::new());
    let all = proc::environ(shell);
    is_exactly(shell, www.uid.as_raw(), "0027", &all.iter().map(String::as_str).collect::<Vec<_>>());
}
