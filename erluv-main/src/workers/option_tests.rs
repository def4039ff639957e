//! What a request may ask of a worker beyond its program, as real processes. Each test runs in a process of its own
//! with one thread.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use erluv_proto::ipc::{ExitStatus, Step};

use super::bench::{
    Bench, NOBODY, NODE, Started, alive, descriptors, exists, mark, order, sandbox, shell, until_asleep,
};
use crate::order::{Ending, Identity, Input, Order, Output, OutputFile, Rlimit, Terminal};
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;

const BOTH: [UseCgroup; 2] = [UseCgroup::Required, UseCgroup::Never];
const HOUR: Duration = Duration::from_secs(3600);

/// A folder of the worker's user, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("erluv-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn cwd(&self) -> CString {
        CString::new(self.0.to_str().unwrap()).unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file(path: &str) -> Output {
    Output::File(OutputFile { path: CString::new(path).unwrap(), append: false, mode: 0o644 })
}

fn appended(path: &str) -> Output {
    Output::File(OutputFile { path: CString::new(path).unwrap(), append: true, mode: 0o600 })
}

fn run(bench: &mut Bench, order: Order) -> ExitStatus {
    let started = bench.start(order);
    assert!(started.pipes.is_empty());
    bench.end(started.id()).status
}

#[test]
fn s28_files_are_opened_in_the_worker_s_folder_and_are_its_user_s() {
    alone_as_root(|| {
        let (mut bench, folder) = (Bench::new(UseCgroup::Auto), Folder::new("s28"));
        let line =
            |stdout, stderr| Order { cwd: folder.cwd(), stdout, stderr, umask: 0o027, ..shell("echo a; echo b >&2") };
        assert_eq!(run(&mut bench, line(file("out"), file("err"))), ExitStatus::Code(0));
        assert_eq!((folder.text("out"), folder.text("err")), ("a\n".to_owned(), "b\n".to_owned()));
        let about = fs::metadata(folder.0.join("out")).unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (NOBODY, NOBODY, 0o640));
        // Both outputs share one place in the file, whichever of them it was asked for.
        run(&mut bench, line(file("out"), Output::Other));
        run(&mut bench, line(Output::Other, appended("out")));
        assert_eq!(folder.text("out"), "a\nb\na\nb\n");
        run(&mut bench, line(file("out"), Output::Null));
        assert_eq!(folder.text("out"), "a\n");
        let whole = folder.0.join("out").display().to_string();
        let stdin = Input::File(CString::new(whole).unwrap());
        let copy = Order { stdin, stdout: file("copy"), cwd: folder.cwd(), ..order(&["/bin/cat"]) };
        assert_eq!((run(&mut bench, copy), folder.text("copy").as_str()), (ExitStatus::Code(0), "a\n"));
        bench.workers.close();
    });
}

#[test]
fn s28_files_open_to_the_worker_s_user_alone_and_through_no_link() {
    alone_as_root(|| {
        let (mut bench, folder) = (Bench::new(UseCgroup::Auto), Folder::new("s28-no"));
        let at = |stdout| Order { cwd: folder.cwd(), stdout, ..order(&["/bin/true"]) };
        let root_s = format!("/root/erluv-s28-{}", std::process::id());
        assert_eq!(bench.refuse(at(file(&root_s))), (Step::Redirect, libc::EACCES));
        assert!(!exists(root_s.as_ref()));
        fs::write(folder.0.join("root's"), "kept").unwrap();
        assert_eq!(bench.refuse(at(file("root's"))), (Step::Redirect, libc::EACCES));
        assert_eq!(folder.text("root's"), "kept");
        symlink("/etc/passwd", folder.0.join("link")).unwrap();
        for to in [file("link"), appended("link")] {
            assert_eq!(bench.refuse(at(to)), (Step::Redirect, libc::ELOOP));
        }
        let from = |path: &str| Order { stdin: Input::File(CString::new(path).unwrap()), ..at(Output::Null) };
        assert_eq!(bench.refuse(from("link")), (Step::Redirect, libc::ELOOP));
        assert_eq!(bench.refuse(from("none")), (Step::Redirect, libc::ENOENT));
        assert_eq!(bench.refuse(from("/etc/shadow")), (Step::Redirect, libc::EACCES));
        // A FIFO that nobody reads holds nobody up.
        nix::unistd::mkfifo(&folder.0.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        chown(folder.0.join("fifo"), Some(NOBODY), None).unwrap();
        assert_eq!(bench.refuse(at(file("fifo"))), (Step::Redirect, libc::ENXIO));
        bench.workers.close();
    });
}

#[test]
fn s15_files_leave_no_other_descriptor_and_block_as_usual() {
    alone_as_root(|| {
        let (mut bench, folder) = (Bench::new(UseCgroup::Auto), Folder::new("s15"));
        let line = Order {
            cwd: folder.cwd(),
            stdin: Input::File(c"/dev/zero".to_owned()),
            stdout: file("out"),
            stderr: Output::Other,
            ..order(&["/bin/sleep", "1000"])
        };
        let started = bench.start(line);
        until_asleep(started.pid());
        let out = folder.0.join("out").display().to_string();
        let wanted = [(0, "/dev/zero".to_owned()), (1, out.clone()), (2, out)];
        assert_eq!(descriptors(started.pid()), wanted);
        for fd in 0..3 {
            let about = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", started.pid())).unwrap();
            let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
            let flags = i32::from_str_radix(&flags, 8).unwrap();
            assert_eq!(flags & (libc::O_NONBLOCK | libc::O_CLOEXEC), 0, "{fd}");
        }
        bench.workers.close();
    });
}

#[test]
fn priority_and_umask_are_those_of_the_order() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let nice = |nice| Order { nice, ..order(&["/usr/bin/nice"]) };
        for (wanted, said) in [(None, "0\n"), (Some(7), "7\n"), (Some(-7), "-7\n")] {
            assert_eq!(bench.output(nice(wanted)), said);
        }
        assert_eq!(bench.output(Order { umask: 0o123, ..shell("umask") }), "0123\n");
        bench.workers.close();
    });
}

fn on_terminal(order: Order) -> Order {
    let terminal = Terminal { rows: 33, columns: 77, echo: false, settings: vec![("vintr".to_owned(), 1)] };
    Order {
        stdin: Input::Terminal,
        stdout: Output::Terminal,
        stderr: Output::Other,
        terminal: Some(terminal),
        env: vec![c"PATH=/usr/bin:/bin".to_owned()],
        ..order
    }
}

/// Reads a terminal until its worker's side is closed, which is an error on Linux.
fn read_terminal(bench: &mut Bench, master: &OwnedFd) -> String {
    let mut text = Vec::new();
    bench.until("the end of a terminal", |_| {
        let mut part = [0; 4096];
        match rustix::io::read(master, &mut part) {
            Ok(0) | Err(rustix::io::Errno::IO) => Some(()),
            Ok(length) => {
                text.extend_from_slice(&part[..length]);
                None
            }
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                None
            }
        }
    });
    String::from_utf8(text).unwrap()
}

/// Starts a worker on a terminal: its side of the node, for stdin and for stdout.
fn start_on_terminal(bench: &mut Bench, order: Order) -> Started {
    let started = bench.start(on_terminal(order));
    let launched = &started.launched;
    assert_eq!((launched.stdin, launched.stdout, launched.stderr), (true, true, false));
    assert_eq!(started.pipes.len(), 2);
    started
}

#[test]
fn s30_a_terminal_is_the_worker_s_own_and_its_controlling_one() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let line = "stty size; stat -c '%u %g %a' $(tty); echo there >/dev/tty; tty -s <&2 && echo all three";
        let started = start_on_terminal(&mut bench, shell(line));
        let said = read_terminal(&mut bench, &started.pipes[1]);
        assert_eq!(said, "33 77\r\n65534 65534 600\r\nthere\r\nall three\r\n");
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(0));
        let without = bench.output(shell("(: >/dev/tty) 2>/dev/null || echo none"));
        assert_eq!(without, "none\n");
        bench.workers.close();
    });
}

#[test]
fn a_terminal_does_not_echo_unless_asked_and_takes_its_settings() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let line = "stty -a | tr ' ' '\\n' | grep -x -e -echo -e echo; read x; echo got $x";
        for (echo, said) in [(false, "-echo\r\ngot you\r\n"), (true, "echo\r\nyou\r\ngot you\r\n")] {
            let mut wanted = on_terminal(shell(line));
            wanted.terminal.as_mut().unwrap().echo = echo;
            let started = bench.start(wanted);
            let mut heard = String::new();
            bench.until("its settings", |_| {
                let mut part = [0; 64];
                let length = rustix::io::read(&started.pipes[1], &mut part).ok()?;
                heard.push_str(std::str::from_utf8(&part[..length]).unwrap());
                heard.ends_with('\n').then_some(())
            });
            rustix::io::write(&started.pipes[0], b"you\n").unwrap();
            heard.push_str(&read_terminal(&mut bench, &started.pipes[1]));
            assert_eq!(heard, said);
        }
        // The interrupt character of the settings is a signal to the foreground.
        let started = start_on_terminal(&mut bench, order(&["/bin/sleep", "1000"]));
        until_asleep(started.pid());
        rustix::io::write(&started.pipes[0], b"\x01").unwrap();
        let interrupted = u8::try_from(libc::SIGINT).unwrap();
        assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(interrupted, false));
        bench.workers.close();
    });
}

#[test]
fn s15_s30_no_other_worker_has_or_opens_a_terminal() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let first = start_on_terminal(&mut bench, order(&["/bin/sleep", "1000"]));
        until_asleep(first.pid());
        let own = descriptors(first.pid());
        let terminal = own[0].1.clone();
        assert!(terminal.starts_with("/dev/pts/"), "{own:?}");
        assert_eq!(own, [0, 1, 2].map(|fd| (fd, terminal.clone())));
        let second = bench.start(order(&["/bin/sleep", "1000"]));
        until_asleep(second.pid());
        assert_eq!(descriptors(second.pid()), [0, 1, 2].map(|fd| (fd, "/dev/null".to_owned())));
        let other = Identity { name: "other".into(), uid: 12345, gid: 12345, groups: vec![12345, 5] };
        for how in ["<", ">"] {
            let line = format!("(: {how}{terminal}) 2>/dev/null || echo no");
            assert_eq!(bench.output(Order { identity: Some(other.clone()), ..shell(&line) }), "no\n");
        }
        // Main has let go of its copies: the node's are the last.
        drop(first.pipes);
        let hung_up = u8::try_from(libc::SIGHUP).unwrap();
        assert_eq!(bench.end(first.launched.worker).status, ExitStatus::Signal(hung_up, false));
        bench.workers.close();
    });
}

#[test]
fn a_terminal_may_be_one_stream_among_others() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let line = "tty -s && echo in; tty -s <&2 && echo err >&2";
        let mixed =
            Order { stdin: Input::Null, stdout: Output::Pipe, stderr: Output::Terminal, ..on_terminal(shell(line)) };
        let mixed = Order { terminal: on_terminal(shell("")).terminal, ..mixed };
        let started = bench.start(mixed);
        let launched = &started.launched;
        assert_eq!((launched.stdin, launched.stdout, launched.stderr), (false, true, true));
        assert_eq!(read_terminal(&mut bench, &started.pipes[1]), "err\r\n");
        assert_eq!(bench.read(&started.pipes[0]), "");
        bench.workers.close();
    });
}

fn command(line: &str) -> Ending {
    Ending::Command(Box::new(shell(line)))
}

/// Starts a line that writes something first, and waits for it.
fn ready(bench: &mut Bench, order: Order) -> Started {
    let started = bench.start(Order { stdout: Output::Pipe, ..order });
    bench.until("a word", |_| rustix::io::read(&started.pipes[0], &mut [0; 16]).ok());
    started
}

const STUBBORN: &str = "trap 'exit 7' USR1; trap 'exit 9' TERM; echo; while :; do sleep 0.01; done";

#[test]
fn s42_a_command_ends_a_worker_in_place_of_sigterm() {
    alone_as_root(|| {
        for kind in BOTH {
            let (mut bench, mark) = (Bench::new(kind), mark(48));
            let ending = command(&format!("kill -USR1 $CHILD_PID; exec sleep {mark}"));
            let started = ready(&mut bench, Order { ending, ..shell(STUBBORN) });
            bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
            assert_eq!(bench.end(started.id()).status, ExitStatus::Code(7), "{kind:?}");
            // Its work is done, and it lives no longer than the worker.
            assert_eq!((alive(&mark), bench.workers.killers.len()), (Vec::new(), 0), "{kind:?}");
            assert!(bench.others.is_empty() && bench.workers.is_empty(NODE), "it is no orphan and no worker");
            bench.workers.close();
        }
    });
}

#[test]
fn s42_a_command_runs_as_the_worker_does() {
    alone_as_root(|| {
        let (mut bench, folder) = (Bench::new(UseCgroup::Required), Folder::new("command"));
        let told = folder.0.display();
        let line = format!(
            "cd {told}; (id -u; id -G; umask; ulimit -n; env | sort | grep -v PWD; cat /proc/self/cgroup | grep 0::; \
             readlink /proc/$$/fd/*) >said; kill -USR1 $CHILD_PID; sleep 1000"
        );
        let resource = i32::try_from(libc::RLIMIT_NOFILE).unwrap();
        let rlimits = vec![Rlimit { resource, soft: 31, hard: 31 }];
        let killer = Order { umask: 0o027, rlimits, ..shell(&line) };
        let started = ready(&mut bench, Order { ending: Ending::Command(Box::new(killer)), ..shell(STUBBORN) });
        let group = fs::read_to_string(format!("/proc/{}/cgroup", started.pid())).unwrap();
        let group = group.lines().find(|line| line.starts_with("0::")).unwrap().to_owned();
        bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(7));
        let said = folder.text("said");
        let pid = format!("CHILD_PID={}", started.pid());
        let wanted = ["65534", "65534", "0027", "31", &pid, "PATH=/usr/bin:/bin", &group];
        let lines = said.lines().collect::<Vec<_>>();
        assert_eq!(lines[..wanted.len()], wanted);
        assert!(lines[wanted.len()..].iter().all(|line| *line == "/dev/null"), "{said}");
        bench.workers.close();
    });
}

#[test]
fn s42_a_command_is_killed_with_the_worker_after_the_grace() {
    alone_as_root(|| {
        for kind in BOTH {
            let (mut bench, mark, start) = (Bench::new(kind), mark(47), Instant::now());
            let ending = command(&format!("sleep {mark} & sleep {mark}"));
            let started = ready(&mut bench, Order { ending, ..shell(STUBBORN) });
            bench.workers.stop(NODE, started.id(), HOUR, start);
            bench.until("the command", |_| (alive(&mark).len() == 2).then_some(()));
            assert_eq!(bench.workers.next_deadline(), Some(start + HOUR));
            // A second request runs no second command.
            bench.workers.stop(NODE, started.id(), HOUR, start);
            assert_eq!(bench.workers.killers.len(), 1);
            bench.turn_at(start + HOUR);
            assert_eq!(bench.end(started.id()).status, ExitStatus::Signal(9, false));
            assert_eq!(alive(&mark), [], "{kind:?}: the end was told while something lived");
            assert!(bench.workers.killers.is_empty());
            bench.workers.close();
        }
    });
}

#[test]
fn s42_where_a_command_does_not_start_sigterm_takes_its_place() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let ending = Ending::Command(Box::new(Order { argv: Vec::new(), ..shell("") }));
        let started = ready(&mut bench, Order { ending, ..shell(STUBBORN) });
        bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(9));
        bench.workers.close();
    });
}

#[test]
fn sigterm_goes_to_the_group_where_that_is_asked() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let line = "trap : TERM
            (trap 'echo child; exit' TERM; echo; while :; do sleep 0.01; done) &
            wait $!; wait $!; exit 4";
        let started = ready(&mut bench, Order { ending: Ending::SignalGroup, ..shell(line) });
        bench.workers.stop(NODE, started.id(), HOUR, Instant::now());
        assert_eq!(bench.read(&started.pipes[0]), "child\n");
        assert_eq!(bench.end(started.id()).status, ExitStatus::Code(4));
        bench.workers.close();
    });
}

#[test]
fn a_worker_lives_no_longer_than_its_profile_grants() {
    alone_as_root(|| {
        for way in BOTH {
            let mut bench = Bench::new(way);
            let wall = |mut order: Order| {
                order.sandbox = sandbox(|profile| profile.wall = Some(HOUR));
                order
            };
            let (obeys, ends) = (bench.start(wall(order(&["/bin/sleep", "1000"]))), bench.start(wall(shell("exit 3"))));
            assert!(!bench.end(ends.id()).timeout);
            let deadline = bench.workers.next_deadline().unwrap();
            bench.turn_at(deadline);
            let ended = bench.end(obeys.id());
            assert!(ended.timeout && ended.status == ExitStatus::Signal(15, false), "{ended:?}");
            bench.workers.close();
        }
    });
}

/// A worker that ignores SIGTERM by now, and has an hour to live.
fn stubborn_for_an_hour(bench: &mut Bench) -> Started {
    let mut order = shell("trap '' TERM; echo set; while :; do sleep 1000; done");
    order.sandbox = sandbox(|profile| profile.wall = Some(HOUR));
    order.stdout = Output::Pipe;
    let started = bench.start(order);
    bench.until("the trap", |_| (rustix::io::read(&started.pipes[0], &mut [0; 8]).ok()? > 0).then_some(()));
    started
}

#[test]
fn s42_a_worker_whose_time_is_over_has_its_grace_and_then_sigkill() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Never);
        let started = stubborn_for_an_hour(&mut bench);
        let over = bench.workers.next_deadline().unwrap();
        bench.turn_at(over);
        // The bench's grace is an hour, too.
        let killed = bench.workers.next_deadline().unwrap();
        assert_eq!(killed, over + HOUR);
        bench.turn_at(killed);
        let ended = bench.end(started.id());
        assert!(ended.timeout && ended.status == ExitStatus::Signal(9, false), "{ended:?}");
        bench.workers.close();
    });
}

#[test]
fn a_worker_that_was_stopped_before_its_time_was_over_has_its_whole_grace() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Never);
        let started = stubborn_for_an_hour(&mut bench);
        let now = Instant::now();
        bench.workers.stop(NODE, started.id(), HOUR * 2, now);
        assert_eq!(bench.workers.next_deadline(), Some(now + HOUR * 2));
        bench.workers.kill_node(NODE, now);
        assert!(!bench.end(started.id()).timeout);
        bench.workers.close();
    });
}
