//! What the behaviour tests share: a node, an erluv that serves it, and `E` bound to erluv's name in the node's shell.

// Each test program is compiled with this module and uses what it needs of it.
#![allow(dead_code)]

pub mod exec;

use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;

/// Runs a test on every OTP that is there, each with a node and an erluv of its own.
pub fn each_otp(test: impl Fn(&Node, &Daemon)) {
    for otp in Otp::all() {
        eprintln!("on {otp:?}");
        let (node, erluv) = pair(otp, "");
        test(&node, &erluv);
        assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong", "the connection did not survive the test");
    }
}

/// A node and an erluv that serves it, with these further lines of configuration.
pub fn pair(otp: Otp, config: &str) -> (Node, Daemon) {
    let node = Node::start(otp);
    let erluv = Daemon::of(&node).config(config).start();
    meet(&node, &erluv);
    (node, erluv)
}

/// Waits until the node and erluv see each other, and binds `E`.
pub fn meet(node: &Node, erluv: &Daemon) {
    node.eval_ok(&format!("E = '{}'", erluv.name()));
    let wait = "(fun W(0) -> pang; W(N) -> case net_adm:ping(E) of pong -> pong; pang -> timer:sleep(50), W(N - 1) end end)(400)";
    assert_eq!(node.eval_ok(wait), "pong", "they do not meet; erluv says: {}", erluv.log());
}
