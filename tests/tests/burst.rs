//! Many short workers at once on a busy machine: each start is answered once and each worker ends once. The system names
//! only some of the children that have ended, whichever way main makes and groups them.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use common::pair;
use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

/// So many ask at the same time, and so often each.
const CALLERS: usize = 64;
const ROUNDS: usize = 6;

/// Keeps the processors busy meanwhile.
fn while_busy(act: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // The others end in a test that fails, too.
        let end = Done(&done);
        act();
        drop(end);
    });
}

struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often each worker stands in the audit lines of an event.
fn told(erluv: &Daemon, event: &str) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for line in erluv.log().lines().filter(|line| line.contains(&format!("audit event={event} "))) {
        let worker = line.split(' ').find_map(|field| field.strip_prefix("worker=")).expect("a worker's number");
        *told.entry(worker.to_owned()).or_default() += 1;
    }
    told
}

/// Who asks gets one answer and, if it is a worker, one end. What comes beside them is `more`.
fn all_at_once(node: &Node) -> String {
    node.eval_ok(&format!(
        "Self = self(),
        More = fun F() -> receive Any -> [Any | F()] after 0 -> [] end end,
        One = fun() -> case gen_server:call({{erluv, E}}, {{run, [\"/bin/sh\", \"-c\", \"exit 3\"], [monitor]}}, 20000) of
            {{ok, P, O}} -> receive {{'DOWN', O, process, P, R}} -> R after 20000 -> no_end end; Other -> Other end end,
        Caller = fun() -> Ends = [One() || _ <- lists:seq(1, {ROUNDS})], Self ! {{ends, Ends, More()}} end,
        _ = [spawn(Caller) || _ <- lists:seq(1, {CALLERS})],
        All = [receive {{ends, Ends, []}} -> Ends; {{ends, _, More}} -> [{{more, More}}] after 25000 -> [nothing] end
            || _ <- lists:seq(1, {CALLERS})],
        Flat = lists:append(All), [{{End, length([1 || E1 <- Flat, E1 =:= End])}} || End <- lists:usort(Flat)]"
    ))
}

fn is_nobody_lost(config: &str) {
    let (node, erluv) = pair(Otp::V27, config);
    let all = CALLERS * ROUNDS;
    while_busy(|| assert_eq!(all_at_once(&node), format!("[{{{{exited,3}},{all}}}]")));
    proc::wait_until("all ends are logged", || told(&erluv, "end").len() == all);
    for event in ["start", "end"] {
        let told = told(&erluv, event);
        assert_eq!(told.len(), all, "{event}");
        assert!(told.values().all(|times| *times == 1), "{event}: {told:?}");
    }
    assert_eq!(node.eval_ok("gen_server:call({erluv, E}, workers)"), "[]");
    proc::wait_until("no child of main is left unreaped", || erluv.other_children().is_empty());
    assert_eq!(node.eval_ok("net_adm:ping(E)"), "pong");
}

#[test]
fn of_many_at_once_each_is_answered_once_and_ends_once() {
    is_nobody_lost("");
}

#[test]
fn of_many_at_once_without_control_groups_each_is_answered_once_and_ends_once() {
    is_nobody_lost("cgroup = false");
}
