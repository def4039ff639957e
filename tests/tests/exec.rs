//! `erluv-main exec`: one command through the path of a node's request, without a node.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::exec::Place;
use erluv_tests::{needs_root, proc, skip};
use nix::sys::signal::Signal;

#[test]
fn it_leaves_as_the_command_does() {
    let place = Place::new("");
    assert_eq!(place.code(&[], &["/bin/true"]), 0);
    assert_eq!(place.code(&[], &["/bin/sh", "-c", "exit 7"]), 7);
    assert_eq!(place.code(&[], &["/bin/sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(place.code(&[], &["/no/such/program"]), 127);
    assert_eq!(place.code(&[], &["/etc/passwd"]), 126);
    assert_eq!(place.code(&["--node", "b@127.0.0.1"], &["/bin/true"]), 78);
    assert_eq!(Command::new(place.main()).arg("exec").stderr(Stdio::null()).status().unwrap().code(), Some(64));
}

#[test]
fn its_streams_are_the_commands_and_it_says_nothing_itself() {
    let place = Place::new("");
    let mut child = place.exec(&[], &["/bin/sh", "-c", "cat; echo problem >&2"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"hello"[..], &b"problem\n"[..]));
}

#[test]
fn the_command_is_held_as_a_worker_is() {
    needs_root!();
    let place = Place::new("[profile.default.limits]\nnofile = 99");
    let (code, said, errors) = place.run(&["--user", "daemon"], &["/bin/cat", "/proc/self/status"]);
    assert_eq!(code, Some(0), "{errors}");
    let said = said.replace('\t', " ");
    for line in ["Uid: 1 1 1 1", "Gid: 1 1 1 1", "Groups: 1 ", "NoNewPrivs: 1", "CapBnd: 0000000000000000"] {
        assert!(said.lines().any(|other| other.starts_with(line)), "{line}: {said}");
    }
    assert_eq!(place.run(&[], &["/bin/sh", "-c", "ulimit -n"]).1, "99\n");
    assert_eq!(place.run(&[], &["/usr/bin/env"]).1, "");
    assert_eq!(place.run(&[], &["/bin/ls", "/proc/self/fd"]).1, "0\n1\n2\n3\n");
}

#[test]
fn s06_what_the_policy_refuses_is_said_and_leaves_with_77() {
    needs_root!();
    let place = Place::new("programs = [\"/bin/true\", \"/usr/bin/true\"]");
    for (options, command, rule) in [
        (["--user", "root"].as_slice(), "/bin/true", "users"),
        (&["--user", "nobody"], "/bin/true", "users"),
        (&[], "/bin/sh", "programs"),
        (&[], "./true", "program_path"),
    ] {
        let (code, said, errors) = place.run(options, &[command]);
        assert_eq!((code, said.as_str()), (Some(77), ""), "{command}");
        assert!(errors.starts_with(&format!("erluv-main: refused by {rule}: ")), "{errors}");
    }
}

#[test]
fn s68_what_a_node_may_ask_is_what_its_own_table_says() {
    needs_root!();
    let place = Place::new("");
    let config = place.0.path().join("erluv.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    let (common, _) = text.split_once("[workers]").unwrap();
    let common = common.replace("node = \"a@127.0.0.1\"\n", "");
    let tables = "[[node]]\nname = \"a@127.0.0.1\"\n[node.workers]\nusers = [\"daemon\"]\nshell = false\n\
                  [[node]]\nname = \"b@127.0.0.1\"\n[node.workers]\nusers = [\"games\"]\n\
                  programs = [\"/usr/bin/id\"]\nprofiles = [\"default\", \"mine\"]\n[profile.mine]\numask = \"000\"\n";
    std::fs::write(&config, format!("{common}{tables}")).unwrap();
    let id = |node: &str, more: &[&str]| {
        let (code, said, errors) = place.run(&[&["--node", node], more].concat(), &["/usr/bin/id", "-un"]);
        (code.unwrap(), format!("{said}{errors}").trim_end().to_owned())
    };
    assert_eq!(id("a@127.0.0.1", &[]), (0, "daemon".to_owned()));
    assert_eq!(id("b@127.0.0.1", &[]), (0, "games".to_owned()));
    assert_eq!(id("b@127.0.0.1", &["--profile", "mine"]), (0, "games".to_owned()));
    for (node, options, rule) in
        [("a@127.0.0.1", ["--user", "games"], "users"), ("b@127.0.0.1", ["--user", "daemon"], "users")]
    {
        let (code, said) = id(node, &options);
        assert!(code == 77 && said.starts_with(&format!("erluv-main: refused by {rule}: ")), "{node}: {code} {said}");
    }
    assert_eq!(place.code(&["--node", "a@127.0.0.1"], &["/bin/true"]), 0);
    assert_eq!(place.code(&["--node", "b@127.0.0.1"], &["/bin/true"]), 77);
}

#[test]
fn signals_go_on_to_the_command() {
    let place = Place::new("");
    let script =
        "trap 'echo int' INT; trap 'echo winch' WINCH; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = place.exec(&[], &["/bin/sh", "-c", script]);
    let mut child = exec.stdout(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    for (signal, said) in [(Signal::SIGINT, "int"), (Signal::SIGWINCH, "winch")] {
        proc::signal(pid, signal);
        assert_eq!(lines.next().as_deref(), Some(said));
    }
    proc::signal(pid, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    // One that knows no trap.
    let mut child = place.exec(&[], &["/bin/sleep", "1000"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    // Other children come and go: attempts at what this host can do.
    let sleeps = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"/bin/sleep\x001000\0");
    proc::wait_until("it sleeps", || proc::children(pid).iter().any(sleeps));
    proc::signal(pid, Signal::SIGQUIT);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 3));
}

#[test]
fn s41_nothing_is_left_of_it() {
    let place = Place::new("");
    let mut child = place.exec(&[], &["/bin/sh", "-c", "(setsid sleep 4177 >/dev/null 2>&1 &)"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(proc::pids_of("sleep 4177"), Vec::<i32>::new());
    assert_eq!(proc::leftover_cgroups(pid), Vec::<PathBuf>::new());
    for command in ["./true", "/no/such/program"] {
        let mut child = place.exec(&[], &[command]).stderr(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(proc::leftover_cgroups(pid), Vec::<PathBuf>::new(), "{command}");
    }
}

#[test]
fn a_terminal_is_the_commands_and_is_set_right_behind_it() {
    let place = Place::new("");
    if Command::new("script").arg("--version").output().is_err() {
        skip!("no script(1) here");
    }
    let exec = format!("{} exec -f {}", place.main().display(), place.0.path().join("erluv.conf").display());
    let line = format!(
        "stty -a | grep -o -- '-*icanon'; {exec} -- /bin/sh -c 'test -t 0 && stty raw && stty -a | grep -o -- -icanon'; \
         stty -a | grep -o -- '-*icanon'"
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = script.spawn().unwrap();
    // Kept open: at its end script(1) types ^D, which a terminal may echo among what is said.
    let typed = running.stdin.take();
    let output = running.wait_with_output().unwrap();
    drop(typed);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["icanon", "-icanon", "icanon"]);
}
