//! The bench itself: nodes of every release evaluate, end and come back, epmd is a private one, and an erluv-main can
//! be started, watched and ended. When one of these fails, the other tests cannot be believed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use erluv_tests::daemon::{Daemon, bin};
use erluv_tests::epmd::Epmd;
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

#[test]
fn every_release_evaluates_and_is_the_release_it_should_be() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        let release = node.eval_ok("list_to_integer(erlang:system_info(otp_release))").parse::<u32>().unwrap();
        // The machine's own release is not ours to choose.
        assert!(release == otp.number() || (otp == Otp::V25 && release > 25), "{otp:?} is {release}");
        assert_eq!(node.eval_ok("node()"), format!("'{}'", node.name()));
    }
}

#[test]
fn a_value_comes_back_on_one_line_in_the_syntax_of_erlang() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(node.eval_ok("{a, 'B c', <<\"d\">>, \"é\\n\", [1, -2]}."), "{a,'B c',<<\"d\">>,\"é\\n\",[1,-2]}");
        let long = node.eval_ok("lists:duplicate(20000, atom) % with a comment");
        assert_eq!(long, format!("[{}]", vec!["atom"; 20000].join(",")));
        let text = "x".repeat(100_000);
        assert_eq!(node.eval_ok(&format!("length(\"{text}\")")), "100000");
    }
}

#[test]
fn bindings_and_the_evaluating_process_stay_from_one_evaluation_to_the_next() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(node.eval_ok("A = 1, Self = self(), Self ! waiting, A + 1"), "2");
        assert_eq!(node.eval_ok("receive waiting -> {A, Self =:= self()} end"), "{1,true}");
    }
}

#[test]
fn a_binding_is_forgotten_at_once_first_in_a_sequence_and_elsewhere_at_its_end() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(node.eval_ok("A = 1, {f(A), A}"), "{ok,1}");
        assert_eq!(node.eval_ok("A = 2, B = 3, self() ! x, receive X -> f(X), X end"), "x");
        assert!(node.eval("X").unwrap_err().starts_with("error:{unbound"));
        assert_eq!(node.eval_ok("f(A), A = 4, B = 3, A"), "4");
        assert_eq!(node.eval_ok("f()"), "ok");
        assert_eq!(node.eval_ok("A = 5, B = 6, A + B"), "11");
    }
}

#[test]
fn an_exception_is_an_error_with_its_class_and_reason_and_the_node_goes_on() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(node.eval("1 = 2"), Err("error:{badmatch,2}".to_owned()));
        assert_eq!(node.eval("throw({a, 1})"), Err("throw:{a,1}".to_owned()));
        assert!(node.eval("this is no expression").unwrap_err().starts_with("error:{badmatch,{error,"));
        assert_eq!(
            node.eval("B = 7, spawn_link(fun() -> exit(gone) end), receive never -> ok end"),
            Err("ended:gone".into())
        );
        assert_eq!(node.eval("B = 8, B"), Ok("8".to_owned()));
    }
}

#[test]
fn what_a_node_prints_by_itself_is_kept_apart_from_its_answers() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(
            node.eval_ok("io:put_chars(\"half a line\"), io:put_chars(standard_error, \"aside\\n\"), done"),
            "done"
        );
        proc::wait_until("the output is read", || {
            let output = node.output();
            output.contains("half a line\n") && output.contains("aside\n")
        });
    }
}

#[test]
fn nodes_of_different_releases_connect_when_they_share_a_cookie() {
    let first = Node::start(Otp::newest());
    for otp in Otp::all() {
        let friend = Node::of(otp).cookie(first.cookie()).start();
        assert_eq!(friend.eval_ok(&format!("net_adm:ping('{}')", first.name())), "pong");
        let stranger = Node::start(otp);
        assert_eq!(stranger.eval_ok(&format!("net_adm:ping('{}')", first.name())), "pang");
    }
}

#[test]
fn a_node_that_was_stopped_or_killed_comes_back_under_its_name_without_its_memory() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        let (short, pid) = (node.name().split_once('@').unwrap().0.to_owned(), node.pid());
        node.eval_ok("C = 1");
        assert!(node.epmd().names().contains_key(&short));

        node.stop();
        assert!(!proc::exists(pid) && !node.epmd().names().contains_key(&short));
        node.restart();
        assert_eq!(node.eval_ok("C = 2"), "2");

        let pid = node.pid();
        node.kill();
        assert!(!proc::exists(pid));
        node.restart();
        assert_eq!(node.eval_ok("node()"), format!("'{}'", node.name()));
    }
}

#[test]
fn the_cookie_of_a_node_is_in_no_command_line_and_no_environment() {
    for otp in Otp::all() {
        let node = Node::start(otp);
        assert_eq!(node.eval_ok("erlang:get_cookie()").trim_matches('\''), node.cookie());
        assert_eq!(proc::pids_of(node.cookie()), Vec::<i32>::new());
        assert!(!proc::environ(node.pid()).join(" ").contains(node.cookie()));
    }
}

#[test]
fn a_private_epmd_can_be_stopped_and_started_and_nodes_register_again() {
    let epmd = Arc::new(Epmd::start());
    assert_ne!(epmd.port(), 4369);
    let node = Node::of(Otp::newest()).epmd(&epmd).start();
    let short = node.name().split_once('@').unwrap().0;
    let port = epmd.wait_for_name(short);
    epmd.stop();
    assert!(epmd.names().is_empty());
    epmd.restart();
    assert_eq!(epmd.wait_for_name(short), port);
}

#[test]
fn nothing_of_a_node_is_left_when_its_value_is_dropped() {
    let node = Node::start(Otp::newest());
    let pid = node.pid();
    let all = [vec![pid], proc::descendants(pid)].concat();
    drop(node);
    proc::wait_until("the node's processes are gone", || !all.iter().any(|pid| proc::exists(*pid)));
}

/// A stand-in for both programs, to prove the bench's half of the bargain: it logs the configuration, runs a worker
/// that outlives it, and ends with 0 on SIGTERM.
const STAND_IN: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -f) file=$2 ;; -n) echo "not so" >&2; exit 78 ;; esac; shift; done
cat "$file" >&2
"$(dirname "$0")/erluv-child" 1000 &
sleep 1000 &
trap 'echo going >&2; exit 0' TERM
echo ready >&2
while :; do sleep 0.05; done
"#;

fn stand_in() -> Folder {
    let folder = Folder::new();
    folder.file("erluv-main", 0o755, STAND_IN.as_bytes());
    std::fs::copy("/bin/sleep", folder.path().join("erluv-child")).unwrap();
    folder
}

#[test]
fn a_daemon_is_started_watched_and_ended_with_all_that_it_ran() {
    let programs = stand_in();
    let daemon = Daemon::alone().programs(programs.path()).config("prefix = \"x\"\n[workers]\nmax = 3");
    let mut daemon = daemon.start();
    daemon.wait_log("ready");
    assert_eq!(daemon.wait_log("name ="), format!("name = \"{}\"", daemon.name()));
    assert!(daemon.wait_log("max = 3") == "max = 3" && daemon.log().contains("prefix = \"x\""));
    assert_eq!(daemon.config_text().contains("user = \"nobody\""), erluv_tests::is_root());
    let cookie = daemon.folder().join("cookie");
    assert_eq!(cookie.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(proc::pids_of(&std::fs::read_to_string(cookie).unwrap()), Vec::<i32>::new());

    let child = daemon.child_pid();
    assert!(proc::exe(child).ends_with("sbin/erluv-child"));
    let workers = daemon.worker_pids();
    assert!(!workers.is_empty() && !workers.contains(&child));
    assert_eq!(daemon.terminate(), 0);
    daemon.wait_log("going");
    assert!(proc::exists(child), "the stand-in leaves it behind");
    drop(daemon);
    proc::wait_until("the bench has ended what was left", || !proc::exists(child));
}

#[test]
fn a_daemon_is_started_under_another_command_killed_and_asked_for_a_check() {
    let programs = stand_in();
    let daemon = Daemon::alone().programs(programs.path()).shell("echo under >&2; exec \"$@\"");
    let mut daemon = daemon.start();
    daemon.wait_log("under");
    daemon.wait_log("ready");
    daemon.kill9();
    assert_eq!(daemon.wait(), -9);
    assert_eq!(Daemon::alone().programs(programs.path()).check(), (78, "not so\n".to_owned()));
}

#[test]
fn the_programs_stand_where_cargo_has_built_them() {
    for name in ["erluv-main", "erluv-child"] {
        let path = bin(name);
        assert!(Path::new(&path).is_absolute() && path.metadata().unwrap().permissions().mode() & 0o111 != 0);
    }
}
