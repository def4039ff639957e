//! The requirements S-nn that only a whole erluv shows: what /proc says of main, child and worker while they work.

mod common;

use std::collections::BTreeSet;

use common::{meet, pair};
use erluv_tests::daemon::{Daemon, bin};
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::{is_root, needs_root, proc, skip};

/// A worker that only sleeps; its process id.
fn sleeper(node: &Node) -> i32 {
    let started = node.eval_ok(r#"{ok, S, O} = gen_server:call({erluv, E}, {run, ["/bin/sleep", "1000"], [stdin, stdout, stderr]}), {f(S), f(O), O}"#);
    started.trim_matches(|c: char| !c.is_ascii_digit()).rsplit(',').next().unwrap().parse().unwrap()
}

#[test]
fn s01_s02_s12_s13_s73_child_is_nobody_and_can_do_nothing() {
    needs_root!();
    let (_node, erluv) = pair(Otp::V25, "");
    let status = proc::status(erluv.child_pid());
    assert_eq!(status["Uid"], "65534\t65534\t65534\t65534");
    assert_eq!(status["Gid"], "65534\t65534\t65534\t65534");
    assert_eq!(status["Groups"].trim(), "65534");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    assert_eq!(std::fs::read_dir(format!("/proc/{}/root/", erluv.child_pid())).unwrap().count(), 0);
}

#[test]
fn s73_child_is_alone_in_namespaces_with_nothing_in_them() {
    // Only root may look at a process that is not dumpable.
    needs_root!();
    let (_node, erluv) = pair(Otp::V25, "");
    if erluv.log().contains("lacks: namespaces") {
        skip!("no namespaces here");
    }
    let child = erluv.child_pid();
    for namespace in ["net", "ipc", "mnt", "uts", "cgroup"] {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&child.to_string()), of("self"), "{namespace}");
    }
    let text = |file: &str| std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    assert_eq!(text("mountinfo").lines().count(), 1, "{}", text("mountinfo"));
    let devices = text("net/dev").lines().skip(2).map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    assert!(devices.len() == 1 && devices[0].starts_with("lo:"), "{devices:?}");
    // Handed in from another network, the connection works on: the two have met over it.
    assert!(proc::fds(child).values().any(|target| target.starts_with("socket:")));
}

#[test]
fn s73_main_tries_childs_sandbox_where_it_is_required() {
    needs_root!();
    // Everything that child must not be able to do is refused here, or this test says what is not.
    let (_node, mut erluv) = pair(Otp::V25, "sandbox = \"required\"");
    assert_eq!(erluv.terminate(), 0);
    // A child that tells of an attempt that passed is not served with.
    let folder = Folder::new();
    let child = "#!/bin/sh\n[ \"$1\" = --self-test ] && { echo 'not refused: socket' >&2; exit 70; }\nexec sleep 100\n";
    folder.file("erluv-child", 0o755, child.as_bytes());
    // By a process of its own, so that no descriptor to write it is open in another test's fork.
    let copied = std::process::Command::new("cp").arg(bin("erluv-main")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    let mut erluv = Daemon::alone().config("sandbox = \"required\"").programs(folder.path()).start();
    assert_eq!(erluv.wait(), 71);
    erluv.wait_log("sandbox = \"required\"): not refused: socket");
}

#[test]
fn s73_by_hand_the_self_test_says_what_it_tried() {
    let output = std::process::Command::new(bin("erluv-child")).arg("--self-test").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.code() == Some(64) {
        skip!("no user or folder for it here: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for name in ["openat-etc-passwd", "socket", "execve", "clone", "kill", "ptrace", "mount", "ioctl-tiocsti"] {
        assert!(said.contains(&format!("{name}: refused: ")), "{name}: {said}");
    }
    assert!(said.trim_end().ends_with("all refused"), "{said}");
}

#[test]
fn s03_parent_groups_do_not_leak() {
    needs_root!();
    let node = Node::start(Otp::V25);
    // Main itself is started with groups that are nobody's business.
    let erluv = Daemon::of(&node).shell("exec setpriv --groups 0,4,27,999 \"$@\"").start();
    meet(&node, &erluv);
    assert!(proc::status(erluv.main_pid())["Groups"].contains("999"));
    let worker = proc::status(sleeper(&node));
    assert_eq!(worker["Uid"], "1\t1\t1\t1");
    assert_eq!(worker["Gid"], "1\t1\t1\t1");
    assert_eq!(worker["Groups"].trim(), "1");
    assert_eq!(proc::status(erluv.child_pid())["Groups"].trim(), "65534");
}

#[test]
fn s12_s13_s29_a_worker_has_no_capabilities_and_clean_signals() {
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).shell("trap '' PIPE CHLD USR1; exec \"$@\"").start();
    meet(&node, &erluv);
    let worker = proc::status(sleeper(&node));
    if is_root() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(worker[set], "0000000000000000", "{set}");
        }
    }
    assert_eq!(worker["NoNewPrivs"], "1");
    assert_eq!((worker["SigBlk"].as_str(), worker["SigIgn"].as_str()), ("0000000000000000", "0000000000000000"));
}

#[test]
fn s15_child_and_worker_have_exactly_their_descriptors() {
    needs_root!();
    let node = Node::start(Otp::V25);
    // Strays of whoever starts it.
    let erluv =
        Daemon::of(&node).shell("exec 3</dev/null 4<&3 5<&3 6</etc/passwd 7<&3 8</ 9>/dev/null; exec \"$@\"").start();
    meet(&node, &erluv);
    let worker = proc::fds(sleeper(&node));
    assert_eq!(worker.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
    assert!(worker.values().all(|target| target.starts_with("pipe:")), "{worker:?}");
    let child = proc::fds(erluv.child_pid());
    let own = |fd: i32| child[&fd].clone();
    assert!((0..3).all(|fd| own(fd) == "/dev/null"), "{child:?}");
    assert!(own(3).starts_with("socket:") && own(4).starts_with("pipe:"), "{child:?}");
    // Beyond these: the poller and its timer, cgroup.kill, the connection, and the pipes of the one worker.
    for (fd, target) in child.iter().filter(|(fd, _)| **fd > 4) {
        let known = ["anon_inode:[eventpoll]", "anon_inode:[timerfd]", "socket:", "pipe:"]
            .iter()
            .any(|kind| target.starts_with(kind))
            || target.ends_with("cgroup.kill");
        assert!(known, "{fd} -> {target}");
    }
    assert!(child.len() <= 5 + 2 + 1 + 1 + 3, "{child:?}");
}

#[test]
fn s27_nothing_of_mains_environment_reaches_child_or_worker() {
    needs_root!();
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node)
        .shell("LD_PRELOAD= GLIBC_TUNABLES=glibc.malloc.check=0 ERL_FLAGS=-x SECRET_OF_MAIN=1 exec \"$@\"")
        .start();
    meet(&node, &erluv);
    assert_eq!(proc::environ(erluv.child_pid()), Vec::<String>::new());
    assert_eq!(proc::environ(sleeper(&node)), Vec::<String>::new());
}

#[test]
fn s30_s31_s32_a_worker_has_its_own_session_umask_and_limits() {
    let (node, _erluv) = pair(Otp::V25, "");
    let worker = sleeper(&node);
    assert_eq!(proc::session(worker), worker);
    assert_eq!(proc::status(worker)["Umask"], "0077");
    assert_eq!(proc::limit(worker, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    assert_eq!(proc::cwd(worker).to_str(), Some("/"));
}

#[test]
fn s26_dangerous_names_are_refused_even_where_every_name_is_allowed() {
    let (node, _erluv) = pair(Otp::V25, "");
    for name in ["LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES", "BASH_ENV", "IFS", "PYTHONPATH", "PERL5LIB", "A-B", "1A"] {
        let answer = node.eval_ok(&format!(
            r#"gen_server:call({{erluv, E}}, {{run, ["/bin/true"], [{{env, [{{"{name}", "x"}}]}}]}})"#
        ));
        assert!(answer.starts_with("{error,{refused,{env,"), "{name}: {answer}");
    }
}

#[test]
fn s07_s56_policy_is_mains_and_refuses_by_rule() {
    let config = if is_root() {
        "[workers]\nusers = [\"daemon\"]\nmax = 2\nprograms = [\"/usr/bin/sleep\", \"/bin/sleep\"]\nshell = false\nenv = [\"OK_*\"]\n"
    } else {
        "[workers]\nmax = 2\nprograms = [\"/usr/bin/sleep\", \"/bin/sleep\"]\nshell = false\nenv = [\"OK_*\"]\n"
    };
    let node = Node::start(Otp::V25);
    let erluv = Daemon::of(&node).config(config).start();
    meet(&node, &erluv);
    let ask = |request: &str| node.eval_ok(&format!("gen_server:call({{erluv, E}}, {{run, {request}}})"));
    assert!(ask(r#"["/bin/cat"]"#).starts_with("{error,{refused,{programs,"));
    assert!(ask(r#""true""#).starts_with("{error,{refused,{shell,"));
    assert!(ask(r#"["/bin/sleep", "9"], [{user, "root"}]"#).starts_with("{error,{refused,{users,"));
    assert!(ask(r#"["/bin/sleep", "9"], [{env, [{"NOT_OK", "1"}]}]"#).starts_with("{error,{refused,{env,"));
    assert!(ask(r#"["/bin/sleep", "9"], [{env, [{"OK_1", "1"}]}]"#).starts_with("{ok,"));
    assert!(ask(r#"["./sleep", "9"]"#).starts_with("{error,{refused,"));
    assert!(ask(r#"["sleep", "1000"]"#).starts_with("{ok,"));
    assert!(ask(r#"["sleep", "1000"]"#).starts_with("{error,{refused,{max,"));
    assert!(erluv.wait_log("audit event=refused ").contains(" command=/bin/cat rule=programs "));
}

#[test]
fn s59_s61_the_cookie_is_nowhere_but_in_its_file() {
    needs_root!();
    let (node, erluv) = pair(Otp::V25, "");
    let worker = sleeper(&node);
    let cookie = node.cookie();
    assert!(cookie.len() >= 16);
    for pid in [erluv.main_pid(), erluv.child_pid(), worker] {
        assert!(!proc::cmdline(pid).join(" ").contains(cookie));
        assert!(!proc::environ(pid).join(" ").contains(cookie));
        assert_eq!(proc::count_in_memory(pid, cookie.as_bytes()), 0, "the cookie is in the memory of {pid}");
    }
    assert!(!erluv.log().contains(cookie));
}

#[test]
fn s36_s76_main_and_child_are_not_dumpable() {
    let (_node, erluv) = pair(Otp::V25, "");
    for pid in [erluv.main_pid(), erluv.child_pid()] {
        assert_eq!(proc::limit(pid, "Max core file size").1, "0");
        // The files of a process that is not dumpable are root's.
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(format!("/proc/{pid}/fd")).unwrap().uid(), 0, "{pid}");
    }
}

#[test]
fn s63_nothing_listens() {
    needs_root!();
    let (_node, erluv) = pair(Otp::V25, "");
    for pid in [erluv.main_pid(), erluv.child_pid()] {
        assert_eq!(proc::listening_sockets(pid), 0);
    }
}

#[test]
fn s38_s40_only_listed_signals_are_sent() {
    let (node, _erluv) = pair(Otp::V25, "");
    let worker = sleeper(&node);
    node.eval_ok("[W] = [maps:get(pid, I) || I <- gen_server:call({erluv, E}, workers)]");
    // SIGSEGV would leave a core and is no signal that a node may send.
    for signal in ["sigsegv", "64"] {
        assert_eq!(node.eval_ok(&format!("gen_server:call(W, {{signal, {signal}}})")), "{error,eperm}");
    }
    assert_eq!(node.eval_ok("maps:get(state, gen_server:call(W, info))"), "running");
    node.eval_ok("ok = gen_server:call(W, {signal, sigstop})");
    proc::wait_until("it is stopped", || proc::state(worker) == 'T');
    node.eval_ok("ok = gen_server:call(W, stop)");
    proc::wait_until("a stopped worker ends by the ladder", || !proc::exists(worker));
}

#[test]
fn s41_s45_the_storm_leaves_nothing() {
    let (node, mut erluv) = {
        let node = Node::start(Otp::V25);
        let erluv = Daemon::of(&node).start();
        meet(&node, &erluv);
        (node, erluv)
    };
    node.eval_ok(r#"[spawn(E, erluv, run, ["(setsid sleep 777 &) ; exec sleep 777"]) || _ <- lists:seq(1, 100)]"#);
    proc::wait_until("they run", || proc::pids_of("sleep 777").len() >= 200);
    assert_eq!(erluv.terminate(), 0);
    assert_eq!(proc::pids_of("sleep 777"), Vec::<i32>::new());
}

#[test]
fn s52_what_the_node_sends_never_ends_child_or_main() {
    let (node, erluv) = pair(Otp::V25, "");
    let (main, child) = (erluv.main_pid(), erluv.child_pid());
    node.eval_ok("Deep = lists:foldl(fun(_, T) -> {T} end, x, lists:seq(1, 10000))");
    node.eval_ok("Many = lists:seq(1, 300000)");
    node.eval_ok(r#"P = spawn(E, erluv, run, [["/bin/cat"], [stdin, stdout]])"#);
    for term in
        ["Deep", "Many", "self()", "make_ref()", "fun() -> x end", "<<1:3>>", "1.5", "1 bsl 5000", "#{Deep => Many}"]
    {
        node.eval_ok(&format!("{{erluv, E}} ! {term}, P ! {term}, P ! {{stdin, {term}}}, ok"));
        node.eval_ok(&format!("{{net_kernel, E}} ! {{'$gen_call', {{self(), make_ref()}}, {term}}}, ok"));
        // A call gets an answer, whatever is asked.
        let answer = node.eval_ok(&format!("element(1, gen_server:call({{erluv, E}}, {term}, 20000))"));
        assert_eq!(answer, "error", "{term}");
        let answer = node.eval_ok(&format!("element(1, gen_server:call({{erluv, E}}, {{run, {term}}}, 20000))"));
        assert_eq!(answer, "error", "{term}");
    }
    assert_eq!(node.eval_ok("P ! {stdin, <<\"x\">>}, receive {stdout, P, <<\"x\">>} -> ok end"), "ok");
    assert_eq!((erluv.main_pid(), erluv.child_pid()), (main, child));
}

#[test]
fn s53_main_reaps_and_stays_small_while_child_does_not_read() {
    let (node, erluv) = pair(Otp::V25, "hang_timeout = \"60s\"");
    node.eval_ok(r#"[spawn(E, erluv, run, [["/bin/sleep", "1000"]]) || _ <- lists:seq(1, 200)]"#);
    proc::wait_until("they run", || erluv.worker_pids().len() == 200);
    let before = proc::rss_kib(erluv.main_pid());
    proc::signal(erluv.child_pid(), nix::sys::signal::Signal::SIGSTOP);
    for worker in erluv.worker_pids() {
        proc::signal(worker, nix::sys::signal::Signal::SIGKILL);
    }
    proc::wait_until("all are reaped", || erluv.worker_pids().is_empty());
    assert!(proc::rss_kib(erluv.main_pid()) < before + 2048);
    proc::signal(erluv.child_pid(), nix::sys::signal::Signal::SIGCONT);
    node.wait_eval("gen_server:call({erluv, E}, workers)", "[]");
}
