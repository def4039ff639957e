//! Workers that do all that they may to every process of their own user, among them the ones that main is about to make
//! in its own memory (`erluv-main/src/sys/vfork.rs`): main, erluv-child and the workers of other users see nothing of it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::pair;
use erluv_tests::daemon::Daemon;
use erluv_tests::folder::Folder;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc::{self, Known};
use erluv_tests::{needs_root, skip};
use nix::sys::signal::Signal;

/// The users of a test, and of nobody else: a signal to all of a user reaches whatever runs as it on this machine.
struct Users {
    /// Several, as main makes nothing more in its own memory for whom it has once waited for.
    hostile: [u32; 3],
    other: u32,
}

const SHORT: Users = Users { hostile: [61_235, 61_236, 61_237], other: 61_238 };
const LONG: Users = Users { hostile: [61_245, 61_246, 61_247], other: 61_248 };

/// How many starts, one after the other, of each user.
const STARTS: usize = 100;

const SCRIPT: &str = include_str!("common/hostile.pl");

/// A daemon whose workers may have these users, who may call whatever the kernel lets them.
fn bound(users: &Users) -> (Node, Daemon) {
    let users =
        users.hostile.iter().chain([&users.other]).map(|id| format!("\"{id}:{id}\"")).collect::<Vec<_>>().join(", ");
    let (node, erluv) = pair(Otp::V25, &format!("[workers]\nusers = [{users}]\n[profile.default]\nseccomp = \"none\""));
    // What comes of a start; the end of a worker comes later.
    node.eval_ok(
        "Start = fun(User, Cmd, Opts) ->
            case gen_server:call({erluv, E}, {run, Cmd, [{user, User}, monitor | Opts]}, 20000) of
                {ok, _, O} -> {ok, O};
                {error, _} = Failed -> Failed
            end
        end,
        End = fun({ok, O}) -> receive {'DOWN', O, process, _, R} -> R after 20000 -> no_end end; (Failed) -> Failed end,
        put(theirs, []), put(hostile, [])",
    );
    (node, erluv)
}

/// The program, and the folder that it and the others write to.
fn place() -> (Folder, PathBuf, PathBuf) {
    let folder = Folder::new();
    let script = folder.file("hostile.pl", 0o644, SCRIPT.as_bytes());
    let open = folder.folder("open", 0o1777);
    (folder, script, open)
}

/// All that must stay as it is, whatever is done to processes that have main's memory for a moment.
fn of_main(erluv: &Daemon) -> BTreeMap<String, String> {
    let main = erluv.main_pid();
    let status = proc::status(main);
    let mut all = BTreeMap::new();
    for name in [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Umask",
        "Threads",
        "TracerPid",
        "Cpus_allowed",
    ] {
        all.insert(name.to_owned(), status[name].clone());
    }
    all.insert("limits".to_owned(), format!("{:?}", proc::limits(main)));
    let stat = fs::read_to_string(format!("/proc/{main}/stat")).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1.split(' ').collect::<Vec<_>>();
    // Fields 18, 19 and 41 of proc_pid_stat(5), which begins with 3 there.
    all.insert("priority, nice, policy".to_owned(), format!("{:?}", [after[15], after[16], after[38]]));
    all.insert("folder".to_owned(), proc::cwd(main).display().to_string());
    all
}

/// Where erluv-main's program begins in its memory.
fn base(main: i32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{main}/maps")).unwrap();
    let first = maps.lines().find(|line| line.ends_with("erluv-main")).expect("its program is in its memory");
    u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap()
}

/// Starts the hostile workers of a user, known to the node's shell beside those of before.
fn let_loose(node: &Node, erluv: &Daemon, script: &Path, user: u32, open: &Path, pause: &str) {
    let (script, found, base) = (script.display(), open.join(format!("found.{user}")), base(erluv.main_pid()));
    // The storm last: it reaches those that are there.
    for arguments in [format!(r#""probe", "{base}", "{}""#, found.display()), format!(r#""storm", "{pause}""#)] {
        node.eval_ok(&format!(
            r#"{{ok, H, _}} = gen_server:call({{erluv, E}}, {{run, ["/usr/bin/perl", "{script}", {arguments}],
                [{{user, "{user}"}}]}}), monitor(process, H), put(hostile, [H | get(hostile)])"#
        ));
        node.eval_ok("f(H)");
        if arguments.contains("probe") {
            // It ignores signals by then.
            proc::wait_until("the probe runs", || found.exists());
        }
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

/// No core of main's memory, which would bear its name; the workers' own may be there.
fn assert_no_core_of_main(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("core") && entry.file_type().unwrap().is_file() {
            let core = fs::read(entry.path()).unwrap();
            assert!(!core.windows(10).any(|bytes| bytes == b"erluv-main"), "{name} in {}", folder.display());
        }
    }
}

fn is_unharmed(users: &Users, pause: &str) {
    let (node, erluv) = bound(users);
    let (_folder, script, open) = place();
    let (main, child) = (Known::of(erluv.main_pid()).unwrap(), Known::of(erluv.child_pid()).unwrap());
    let before = of_main(&erluv);
    node.eval_ok(&format!(r#"Opts = [{{cd, "{}"}}]"#, open.display()));
    for user in users.hostile {
        let_loose(&node, &erluv, &script, user, &open, pause);
        for _ in 0..STARTS / 10 {
            assert_eq!(round(&node, user, users.other), "[]", "the other user's starts that did not go as they should");
            assert!(main.is_alive() && child.is_alive());
        }
    }
    node.eval_ok("[exit(P, kill) || P <- get(hostile)]");
    node.eval_ok("[receive {'DOWN', _, process, P, _} -> ok after 20000 -> error(P) end || P <- get(hostile)]");
    // Those that were stopped when nobody was left to let them go on.
    for pid in erluv.worker_pids() {
        proc::signal(pid, Signal::SIGCONT);
    }
    let ends = node.eval_ok("lists:usort([End(S) || S <- get(theirs)])");
    assert!(!ends.contains("no_end"), "{ends}");
    eprintln!("the starts of the hostile users: {ends}");
    let mut windows = 0;
    for user in users.hostile {
        let found = fs::read_to_string(open.join(format!("found.{user}"))).unwrap();
        let count = |what: &str| found.lines().filter(|line| line.starts_with(what)).count();
        eprintln!("{user}: {} windows, {} traced after their exec", count("window"), count("traced"));
        assert_eq!(count("breach"), 0, "{found}");
        assert!(count("traced") > 0, "it can trace: {found}");
        windows += count("window");
        // Ordinary again.
        let start = format!(r#"End(Start("{user}", ["/bin/true"], Opts))"#);
        assert_eq!(node.eval_ok(&start), "normal", "{user}");
    }
    assert!(windows > 0, "they have seen nobody on its way to its exec");
    assert_eq!(node.eval_ok("receive Any -> Any after 0 -> nothing end"), "nothing", "beside answers and ends");
    assert!(main.is_alive() && child.is_alive());
    assert_eq!(of_main(&erluv), before);
    for folder in [open.as_path(), &proc::cwd(erluv.main_pid())] {
        assert_no_core_of_main(folder);
    }
    ends_are_told_once(&erluv, users.hostile.len());
    assert_eq!(node.eval_ok("{gen_server:call({erluv, E}, workers), net_adm:ping(E)}"), "{[],pong}");
    proc::wait_until("no child of main is left unreaped", || erluv.other_children().is_empty());
}

/// Ten starts of each user, in turns; those of the other user that did not go as they should.
fn round(node: &Node, user: u32, other: u32) -> String {
    node.eval_ok(&format!(
        r#"Right = {{normal, <<"uid={other} gid={other} groups={other}\n">>}},
        Ours = fun() ->
            S = Start("{other}", ["/usr/bin/id"], [stdout | Opts]),
            {{End(S), receive {{stdout, _, D}} -> D after 0 -> none end}} end,
        Round = [{{Start("{user}", ["/bin/true"], Opts), Ours()}} || _ <- lists:seq(1, 10)]"#
    ));
    node.eval_ok("put(theirs, [T || {T, _} <- Round] ++ get(theirs))");
    let wrong = node.eval_ok("[O || {_, O} <- Round, O =/= Right]");
    node.eval_ok("f(Round), f(Right), f(Ours)");
    wrong
}

/// Each worker of main was started once and has ended once, or has failed once.
fn ends_are_told_once(erluv: &Daemon, hostile: usize) {
    // Those let loose, the ordinary ones of each, and the two of each pair.
    let asked = hostile * (2 + 1 + 2 * STARTS);
    let all = || ["start", "end", "failed"].map(|event| told(erluv, event));
    proc::wait_until("each start and each end is logged", || {
        let [starts, ends, failed] = all();
        starts.len() + failed.len() == asked && ends.len() == starts.len()
    });
    let [starts, ends, failed] = all();
    assert_eq!(starts.keys().collect::<Vec<_>>(), ends.keys().collect::<Vec<_>>());
    for (worker, times) in starts.iter().chain(&ends).chain(&failed) {
        assert_eq!(*times, 1, "{worker}");
    }
    assert!(failed.keys().all(|worker| !starts.contains_key(worker)));
}

#[test]
fn s36_whoever_signals_and_traces_its_own_user_reaches_neither_main_nor_others() {
    needs_root!();
    if !cfg!(target_arch = "x86_64") {
        skip!("the calls of the hostile program are those of amd64");
    }
    is_unharmed(&SHORT, "0");
}

#[test]
fn s36_whoever_stops_its_own_user_for_long_keeps_main_and_others_from_nothing() {
    needs_root!();
    if !cfg!(target_arch = "x86_64") {
        skip!("the calls of the hostile program are those of amd64");
    }
    is_unharmed(&LONG, "0.4");
}
