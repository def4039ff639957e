//! Each confinement is for good, so each is made in a process of its own: this program, executed anew for [`inside`].

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll as poll_one},
    net::SocketType,
};

use super::*;
use crate::{
    start::{
        Separation, start,
        tests::{ACTION, Reachable, alone, as_main_does, pair},
    },
    sys,
};

mod calls;

const INSIDE: &str = "confine::tests::inside";
const NOBODY: u32 = 65534;

/// An empty folder of root, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("erluv-empty-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn plan(folder: &Path) -> Start {
    let separation = Separation { user: "nobody".into(), group: NOBODY.to_string(), chroot: folder.to_owned() };
    Start { separation: Some(separation), worker_limit: 10 }
}

/// Runs an action of [`inside`] to its end.
fn run(action: &str, folder: &Folder) -> Output {
    alone(INSIDE, action).env("FOLDER", &folder.0).stdin(Stdio::null()).output().unwrap()
}

/// The line that the action has printed behind `key`.
fn told(output: &Output, key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[allow(clippy::exit, reason = "nothing of the test harness is to run after it")]
fn inside() {
    let Ok(action) = std::env::var(ACTION) else { return };
    let plan = std::env::var_os("FOLDER").map(|folder| plan(Path::new(&folder)));
    let (verb, rest) = action.split_once(' ').unwrap_or((&action, ""));
    match verb {
        "erluv-child" => whole(&action),
        "call" => calls::after(confine(&plan.unwrap()).map(|_| ()), rest),
        "beneath" => calls::after(drop_privileges(&plan.unwrap(), &mut Vec::new()), rest),
        "work" => work(&plan.unwrap()),
        "panic" => panic_in_it(&plan.unwrap()),
        "kill-tree" => {
            let _ = confine(&plan.unwrap()).unwrap();
            assert_eq!(rustix::io::write(io::stdin(), b"1"), Ok(1));
        }
        "as-user" => {
            let missing = confine(&Start { separation: None, worker_limit: 10 }).unwrap().missing;
            println!("\nmissing: {}", missing.join("; "));
            println!("highest: {:?}", highest_descriptor());
            calls::after(Ok(()), "openat");
        }
        _ => panic!("{action}: no such action"),
    }
    std::process::exit(0);
}

/// The whole way, from descriptors and arguments to the end of the control socket.
fn whole(line: &str) {
    let (start, descriptors) = start(line.split_whitespace().map(Into::into)).unwrap();
    crate::log::init(descriptors.log, log::LevelFilter::Info).unwrap();
    match confine(&start) {
        Ok(confined) => log::info!("{} missing: {}", nix::unistd::gettid(), confined.missing.join("; ")),
        Err(error) => log::error!("{}: {error}", error.status()),
    }
    while sys::receive(descriptors.control.as_fd(), &mut [0; 64]).is_ok_and(|frame| frame.is_some()) {}
}

/// The highest descriptor that can be had, as getrlimit(2) is none of child's calls.
fn highest_descriptor() -> Option<i32> {
    let next = || rustix::io::fcntl_dupfd_cloexec(io::stderr(), 0).ok();
    let open: Vec<_> = std::iter::from_fn(next).collect();
    open.iter().map(AsRawFd::as_raw_fd).max()
}

/// What child does all day works on in its confinement.
fn work(plan: &Start) {
    let mut poll = mio::Poll::new().unwrap();
    let (control, peer) = pair(SocketType::SEQPACKET);
    let _ = confine(plan).unwrap();

    let mut memory = vec![0_u8; 1 << 20];
    for round in 0..6_u8 {
        memory.resize(memory.len().saturating_mul(2), round);
    }
    assert_eq!(memory.last(), Some(&5));
    drop(memory);
    assert_eq!(HashMap::from([(1, "a")]).get(&1), Some(&"a"));

    let frame = b"a frame";
    assert_eq!(rustix::net::send(&peer, frame, rustix::net::SendFlags::NOSIGNAL), Ok(frame.len()));
    let raw = control.as_raw_fd();
    poll.registry().register(&mut mio::unix::SourceFd(&raw), mio::Token(7), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    assert!(events.iter().any(|event| event.token() == mio::Token(7) && event.is_readable()));
    let mut buf = [0; 16];
    let received = sys::receive(control.as_fd(), &mut buf).unwrap().unwrap();
    assert!(received.length == 7 && received.descriptors.is_empty() && !received.lacks_room);
    assert_eq!(sys::fd_kind(control.as_fd()).unwrap(), sys::FdKind::Socket);

    let mut one = [PollFd::new(&control, PollFlags::IN)];
    assert_eq!(poll_one(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0));
    assert_eq!(rustix::net::send(&peer, frame, rustix::net::SendFlags::NOSIGNAL), Ok(frame.len()));
    assert_eq!(poll_one(&mut one, None), Ok(1));

    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(Instant::now() > before);
    rustix::fs::fcntl_setfl(&control, rustix::fs::OFlags::NONBLOCK).unwrap();
    assert_eq!(rustix::net::sockopt::socket_error(&control), Ok(Ok(())));
    rustix::net::shutdown(&control, rustix::net::Shutdown::Both).unwrap();
    assert!(sys::receive(peer.as_fd(), &mut buf).unwrap().is_none());
    println!("\nworked: yes");
}

/// Tests are built to unwind, so that the abort which the release build goes on to is called here.
fn panic_in_it(plan: &Start) {
    crate::log::init(io::stdout().as_fd().try_clone_to_owned().unwrap(), log::LevelFilter::Info).unwrap();
    let _ = confine(plan).unwrap();
    println!();
    assert!(std::panic::catch_unwind(|| panic!("last words")).is_err());
    std::process::abort();
}

/// The fields of the status of a thread. Child has one; the test harness, whose first thread waits for the end, has
/// two, and what is confined is the one that asked for it.
fn status_of(pid: u32, thread: &str) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(key, value)| (key.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// The descriptors of a process, without what whoever runs the tests has left open in all of us.
fn open_in(pid: u32) -> Vec<String> {
    let target = |pid: &str, fd: &str| fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left = |fd: &str| fd.len() > 1 && target("self", fd).ok() == target(&pid.to_string(), fd).ok();
    let mut own: Vec<_> = all.filter(|fd| !left(fd)).collect();
    own.sort();
    own
}

#[test]
fn s01_s12_s15_s36_the_whole_of_child_is_confined() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    let (main, child) = pair(SocketType::SEQPACKET);
    let (reader, writer) = io::pipe().unwrap();
    let line = format!("erluv-child --user nobody --group nogroup --chroot {} --worker-limit 100", folder.0.display());
    let mut process = as_main_does(INSIDE, &line, child, writer.into()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(reader).read_line(&mut said).unwrap();
    let (thread, missing) = said.strip_prefix('3').unwrap().split_once(' ').unwrap();
    assert_eq!(missing, "missing: \n");

    let pid = process.id();
    let status = status_of(pid, thread);
    let nobody = "65534 65534 65534 65534";
    let none = "0000000000000000";
    for (key, value) in [
        ("Uid", nobody),
        ("Gid", nobody),
        ("Groups", "65534"),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapBnd", none),
        ("CapAmb", none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
    ] {
        assert_eq!(status[key], value, "{key}");
    }
    // Its own file system is the folder alone, of which nobody else's has a part.
    let mounts = fs::read_to_string(format!("/proc/{pid}/task/{thread}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    let root = fs::metadata(format!("/proc/{pid}/task/{thread}/root/")).unwrap();
    let own = fs::metadata(&folder.0).unwrap();
    assert_eq!((root.dev(), root.ino()), (own.dev(), own.ino()));
    let network = fs::read_to_string(format!("/proc/{pid}/task/{thread}/net/dev")).unwrap();
    assert_eq!(network.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect::<Vec<_>>(), ["lo"]);
    for namespace in ["net", "ipc", "mnt", "uts", "cgroup"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&format!("{pid}/task/{thread}")), of("self"), "{namespace}");
    }
    assert_eq!(open_in(pid), ["0", "1", "2", "3", "4"]);
    // A process that is not dumpable has its /proc entries owned by root.
    assert_eq!(fs::metadata(format!("/proc/{pid}/fd")).unwrap().uid(), 0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, value) in
        [("Max core file size", "0"), ("Max file size", "0"), ("Max processes", "0"), ("Max open files", "364")]
    {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let values: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(values, [value; 2], "{name}");
    }
    drop(main);
    assert!(process.wait().unwrap().success());
}

#[test]
fn what_child_lives_by_works_in_its_confinement() {
    if !root() {
        return;
    }
    let output = run("work", &Folder::new());
    assert_eq!((output.status.code(), told(&output, "worked:")), (Some(0), Some("yes".into())), "{output:?}");
}

#[test]
fn a_panic_leaves_one_line_in_the_log_before_the_abort() {
    if !root() {
        return;
    }
    let output = run("panic", &Folder::new());
    let line = told(&output, "1panic at ").unwrap();
    assert!(line.ends_with(": last words"), "{line}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn an_ordinary_user_is_confined_as_far_as_it_may_and_told_what_lacks() {
    let reachable = Reachable::new();
    let mut command = reachable.alone(INSIDE, "as-user");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let missing = told(&output, "missing:").unwrap();
    // A process of several threads, which the test harness is, cannot have a user namespace of its own.
    let namespaces = "namespaces: mount, network, ipc, uts, cgroup (Invalid argument)";
    let user = "user of its own: erluv-main is not root";
    assert_eq!(missing, format!("{user}; {namespaces}; chroot: erluv-main is not root"));
    assert_eq!(told(&output, "highest:"), Some("Some(93)".into()));
    assert_eq!(told(&output, "openat:"), Some("EACCES".into()));
}

#[test]
fn a_confined_child_can_end_the_tree_of_its_workers() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let cgroups = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    });
    let Some(base) = cgroups.filter(|_| root()) else {
        eprintln!("skipped: no cgroup2");
        return;
    };
    let group = base.join(format!("erluv-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let script = format!("echo $$ > {}/cgroup.procs && echo && exec sleep 600", group.display());
    let mut worker = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    worker.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();

    let kill = fs::File::options().write(true).open(group.join("cgroup.kill")).unwrap();
    let folder = Folder::new();
    let child = alone(INSIDE, "kill-tree").env("FOLDER", &folder.0).stdin(kill).output().unwrap();
    assert!(child.status.success(), "{child:?}");
    assert_eq!(worker.wait().unwrap().signal(), Some(libc::SIGKILL));
    fs::remove_dir(&group).unwrap();
}

#[test]
fn a_folder_that_is_not_roots_alone_and_empty_is_refused() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    let refused = |path: &Path| match identity::check_folder(path) {
        Err(ConfineError::Chroot(_, why)) => why,
        other => panic!("{}: {other:?}", path.display()),
    };
    assert!(identity::check_folder(&folder.0).is_ok());
    assert_eq!(refused(Path::new("var/empty")), "not absolute");
    fs::write(folder.0.join("file"), "").unwrap();
    assert_eq!(refused(&folder.0), "not empty");
    assert!(refused(&folder.0.join("file")).ends_with("is not a folder"));
    assert!(refused(&folder.0.join("none")).contains("No such file"));
    let inner = folder.0.join("inner");
    fs::create_dir(&inner).unwrap();
    symlink(&inner, folder.0.join("link")).unwrap();
    assert!(refused(&folder.0.join("link")).ends_with("is not a folder"));
    for mode in [0o775, 0o757] {
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&inner).ends_with("inner is not root's alone"));
    }
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&folder.0, Some(NOBODY), None).unwrap();
    assert!(refused(&inner).ends_with("is not root's alone"));
}

#[test]
fn s06_root_and_what_does_not_exist_are_refused() {
    if !root() {
        return;
    }
    let folder = Folder::new();
    for (user, group, why) in [
        ("root", "nogroup", "has the privileges of root"),
        ("no_such_user", "nogroup", "no such user"),
        ("65534", "nogroup", "no such user"),
        ("nobody", "0", "is root's"),
        ("nobody", "root", "is root's"),
        ("nobody", "4294967295", "no such group, and not a number"),
        ("nobody", "+5", "no such group, and not a number"),
    ] {
        let separation = Separation { user: user.into(), group: group.into(), chroot: folder.0.clone() };
        let error = identity::become_other(&separation, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.status(), 78);
    }
    assert!(nix::unistd::geteuid().is_root());
}
