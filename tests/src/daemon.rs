//! An erluv-main of a test: started in the foreground as a person would, with a configuration of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::Signal;

use crate::config::{self, Setting};
use crate::folder::{Folder, random_hex};
use crate::node::Node;
use crate::proc::{self, Known, wait_for, wait_until};

/// Where cargo has put a program of the workspace that was built with the test program's own profile, or in
/// `ERLUV_TEST_BIN_DIR`.
///
/// # Panics
/// When it is not there: cargo builds the programs only when asked to.
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    let beside = || {
        // target/PROFILE/deps/TEST-HASH, or target/PROFILE/TEST.
        let test = std::env::current_exe().expect("the test program has a path");
        test.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("it is in a folder").to_owned()
    };
    let path = std::env::var_os("ERLUV_TEST_BIN_DIR").map_or_else(beside, PathBuf::from).join(name);
    assert!(path.is_file(), "{} is not built: `cargo build --workspace`, with --release if so tested", path.display());
    path
}

/// How an erluv-main is to be started.
#[derive(Clone, Debug)]
pub struct DaemonBuilder {
    node: String,
    epmd_port: u16,
    cookie: String,
    name: String,
    user: Option<String>,
    text: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    script: Option<String>,
    background: bool,
    programs: Option<PathBuf>,
}

impl DaemonBuilder {
    /// More lines of the configuration (TOML). They win over those of the bench: `node`, `name`, `cookie_file`,
    /// `epmd_port`, and for root `chroot`, `user` and `users` of `[workers]`.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// The user of the unprivileged half, other than nobody; for root.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Another node name for erluv than `erluv_1@127.0.0.1`, whole; a second one of the same node needs it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Another cookie than the node's.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        cookie.clone_into(&mut self.cookie);
        self
    }

    /// One more argument for erluv-main.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A variable in the environment of erluv-main, which is empty but for PATH and HOME otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A script of `sh` that executes erluv-main in its own place by `exec "$@"`, such as `trap '' PIPE; exec "$@"`.
    #[must_use]
    pub fn shell(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// Another node to serve than the builder's, by its full name; it is looked up at the same epmd.
    #[must_use]
    pub fn peer(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }

    /// Without `-d`: erluv-main becomes a daemon, which is known by its pid file and has no log for the bench to read.
    #[must_use]
    pub fn background(mut self) -> Self {
        self.background = true;
        self
    }

    /// Another folder to take erluv-main and erluv-child from than cargo's.
    #[must_use]
    pub fn programs(mut self, folder: &Path) -> Self {
        self.programs = Some(folder.to_owned());
        self
    }

    /// Starts erluv-main and returns at once; in the background, when what was started has ended and the pid file is
    /// there.
    ///
    /// # Panics
    /// In the background, when what was started does not end with 0 within 20 seconds.
    #[must_use]
    pub fn start(self) -> Daemon {
        let place = Place::make(&self);
        let mut command = self.command(&place);
        if !self.background {
            command.arg("-d");
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                lock(&lines).push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut pid = i32::try_from(child.id()).unwrap();
        if self.background {
            let status = wait_for("erluv-main has gone to the background", || child.try_wait().unwrap());
            assert!(status.success(), "{status}: {}", lock(&log).join("\n"));
            pid = wait_for("the pid file is there", || {
                std::fs::read_to_string(place.pid_file()).ok()?.trim().parse().ok()
            });
        }
        let child = (!self.background).then_some(child);
        Daemon { name: self.name, place, pid, known: Known::of(pid), child, status: None, log, remembered: Vec::new() }
    }

    /// Has erluv-main check the configuration (`-n`), and returns its exit code and all that it printed.
    ///
    /// # Panics
    /// When a signal ended it.
    #[must_use]
    pub fn check(self) -> (i32, String) {
        let place = Place::make(&self);
        let output = self.command(&place).arg("-n").stdout(Stdio::piped()).output().expect("erluv-main starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it exits by itself"), String::from_utf8_lossy(&text).into_owned())
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = match &self.script {
            None => Command::new(&place.main),
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh"]).arg(&place.main);
                command
            }
        };
        command.arg("-f").arg(&place.config).args(&self.arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", place.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn settings(&self, folder: &Folder, cookie_file: &Path) -> Vec<Setting> {
        let mut settings = vec![
            Setting::text("", "node", &self.node),
            Setting::text("", "name", &self.name),
            Setting::text("", "cookie_file", &cookie_file.to_string_lossy()),
            Setting { table: "", key: "epmd_port", value: self.epmd_port.to_string() },
        ];
        if self.background {
            settings.push(Setting::text("", "pid_file", &folder.path().join(PID_FILE).to_string_lossy()));
        }
        if crate::is_root() {
            // Not every system has the default one.
            settings.push(Setting::text("", "chroot", &folder.folder("empty", 0o755).to_string_lossy()));
            // Users that every system has, and whose groups differ.
            settings.push(Setting::text("", "user", self.user.as_deref().unwrap_or("nobody")));
            settings.push(Setting { table: "workers", key: "users", value: "[\"daemon\"]".to_owned() });
        }
        settings
    }
}

/// The pid file's name, for an erluv-main in the background.
const PID_FILE: &str = "erluv.pid";

/// The files of one erluv-main.
#[derive(Debug)]
struct Place {
    folder: Folder,
    main: PathBuf,
    config: PathBuf,
}

impl Place {
    fn make(plan: &DaemonBuilder) -> Self {
        let folder = Folder::new();
        let cookie = folder.file("cookie", 0o400, plan.cookie.as_bytes());
        let text = config::complete(&plan.text, &plan.settings(&folder, &cookie));
        let config = folder.file("erluv.conf", 0o600, text.as_bytes());
        let programs = folder.folder("sbin", 0o755);
        let from = |name: &str| plan.programs.as_ref().map_or_else(|| bin(name), |folder| folder.join(name));
        // Root's erluv-main wants its other half in a folder of root's, which cargo's need not be. Copied by a process
        // of its own: a descriptor that this one had open for writing could reach a process that another test forks
        // meanwhile, and the system would refuse to execute the copy (ETXTBSY).
        let copied = Command::new("cp")
            .arg(from("erluv-child"))
            .arg(from("erluv-main"))
            .arg(&programs)
            .status()
            .expect("cp starts");
        assert!(copied.success(), "the programs cannot be copied to {}", programs.display());
        Self { folder, main: programs.join("erluv-main"), config }
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join(PID_FILE)
    }
}

/// A started erluv-main. When the value is dropped, it and all processes that are known to be of it are killed; in a
/// test that fails its log is printed before.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    place: Place,
    pid: i32,
    known: Option<Known>,
    /// None when it is in the background, where it is no child of ours.
    child: Option<Child>,
    status: Option<ExitStatus>,
    log: Arc<Mutex<Vec<String>>>,
    remembered: Vec<Known>,
}

impl Daemon {
    /// An erluv that serves that node, with its cookie and epmd and the name `erluv_1@127.0.0.1`, to be started.
    #[must_use]
    pub fn of(node: &Node) -> DaemonBuilder {
        DaemonBuilder {
            node: node.name().to_owned(),
            epmd_port: node.epmd().port(),
            cookie: node.cookie().to_owned(),
            ..Self::alone()
        }
    }

    /// An erluv whose node is not there: for what needs no node, such as checks of the configuration.
    #[must_use]
    pub fn alone() -> DaemonBuilder {
        DaemonBuilder {
            node: "nobody_there@127.0.0.1".to_owned(),
            epmd_port: 1,
            cookie: random_hex(20),
            name: "erluv_1@127.0.0.1".to_owned(),
            user: None,
            text: String::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            script: None,
            background: false,
            programs: None,
        }
    }

    /// Its full node name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its files: `erluv.conf`, `cookie` and the programs in `sbin`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    /// Puts another configuration in the place of the present one, whole; for a reload.
    pub fn write_config(&self, text: &str) {
        std::fs::write(&self.place.config, text).unwrap();
    }

    /// The text of its configuration, with what the bench has added.
    #[must_use]
    pub fn config_text(&self) -> String {
        std::fs::read_to_string(&self.place.config).unwrap()
    }

    /// The process id of erluv-main.
    #[must_use]
    pub fn main_pid(&self) -> i32 {
        self.pid
    }

    /// The users that its workers may have unless the test has configured others, as Erlang shows a list of binaries.
    #[must_use]
    pub fn worker_users(&self) -> String {
        let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().expect("who runs the tests has a name");
        format!("[<<\"{}\">>]", if crate::is_root() { "daemon" } else { &own.name })
    }

    /// The process id of erluv-child, waited for: the first that executes it, of those that erluv-main has started.
    ///
    /// # Panics
    /// When there is none within 20 seconds.
    #[must_use]
    pub fn child_pid(&self) -> i32 {
        wait_for("erluv-child runs", || self.child_pids().first().copied())
    }

    /// The process ids of all running erluv-child of it.
    #[must_use]
    pub fn child_pids(&self) -> Vec<i32> {
        self.own(|name| name == "erluv-child")
    }

    /// The process ids of what erluv-main runs besides erluv-child: its workers, also in the moment before their exec.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<i32> {
        let spawners = self.spawner_pids();
        self.own(|name| name != "erluv-child").into_iter().filter(|pid| !spawners.contains(pid)).collect()
    }

    /// The process ids of what makes workers for main. Such a worker has its name, too, up to its exec, but a session of
    /// its own.
    #[must_use]
    pub fn spawner_pids(&self) -> Vec<i32> {
        let main = self.main_pid();
        self.own(|name| name == "erluv-spawner").into_iter().filter(|pid| proc::share_session(*pid, main)).collect()
    }

    /// All children of main, those that have ended included, but erluv-child and the spawners.
    #[must_use]
    pub fn other_children(&self) -> Vec<i32> {
        let own = [self.child_pids(), self.spawner_pids()].concat();
        proc::children(self.main_pid()).into_iter().filter(|pid| !own.contains(pid)).collect()
    }

    fn own(&self, wanted: impl Fn(&str) -> bool) -> Vec<i32> {
        let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let matches = |pid: &i32| proc::exists(*pid) && name(*pid).is_some_and(|name| wanted(name.trim_end()));
        proc::children(self.main_pid()).into_iter().filter(matches).collect()
    }

    /// All that it has logged until now.
    #[must_use]
    pub fn log(&self) -> String {
        lock(&self.log).join("\n")
    }

    /// Waits for a log line that contains the text, and returns the first such line.
    ///
    /// # Panics
    /// When there is none within 20 seconds.
    pub fn wait_log(&self, text: &str) -> String {
        self.wait_log_times(text, 1)
    }

    /// Waits for the log line that contains the text for that time, counted from 1, and returns it.
    ///
    /// # Panics
    /// When there is none within 20 seconds.
    pub fn wait_log_times(&self, text: &str, times: usize) -> String {
        let find = || lock(&self.log).iter().filter(|line| line.contains(text)).nth(times.saturating_sub(1)).cloned();
        wait_for(&format!("the log says, time {times}: {text}"), find)
    }

    /// Waits until the node can reach it: `net_adm:ping` says pong.
    ///
    /// # Panics
    /// When it does not within 20 seconds.
    pub fn wait_connected(&self, node: &Node) {
        node.wait_eval(&format!("net_adm:ping('{}')", self.name), "pong");
    }

    /// Sends a signal to erluv-main.
    pub fn signal(&self, signal: Signal) {
        // Once it is reaped its number may be another process's.
        assert!(self.status.is_none(), "erluv-main has ended");
        proc::signal(self.main_pid(), signal);
    }

    /// Asks erluv-main to end (SIGTERM), waits, and returns its exit code; of one that a signal ended, the signal's
    /// number with a minus sign.
    pub fn terminate(&mut self) -> i32 {
        self.remember();
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// As [`Self::terminate`] for one in the background, whose exit code only its parent is told.
    pub fn terminate_background(&mut self) {
        self.remember();
        self.signal(Signal::SIGTERM);
        wait_until("erluv-main ends", || !proc::exists(self.pid));
    }

    /// Waits until erluv-main has ended by itself and returns what [`Self::terminate`] does.
    ///
    /// # Panics
    /// When it has not within 20 seconds, or is in the background.
    pub fn wait(&mut self) -> i32 {
        self.remember();
        let child = self.child.as_mut().expect("it is not in the background");
        let status = self.status.unwrap_or_else(|| wait_for("erluv-main ends", || child.try_wait().unwrap()));
        self.status = Some(status);
        status.code().or_else(|| status.signal().map(|signal| -signal)).expect("it has ended one way or the other")
    }

    /// Ends erluv-main with SIGKILL and reaps it; what it ran is left to see.
    pub fn kill9(&mut self) {
        self.remember();
        if let Some(child) = &mut self.child {
            // Either may fail when it has ended by itself.
            let _ = child.kill();
            self.status = child.wait().ok();
        } else if let Some(known) = self.known {
            known.kill();
        }
    }

    /// Waits until no process is left that was known to be of it when it ended.
    ///
    /// # Panics
    /// When some are left after 20 seconds.
    pub fn wait_nothing_left(&mut self) {
        self.remember();
        wait_until("no process of erluv is left", || self.remembered.iter().all(|known| !known.is_alive()));
    }

    /// Notes who descends from erluv-main: their parent is another one when it has ended.
    fn remember(&mut self) {
        if self.status.is_none() {
            self.remembered.extend(proc::descendants(self.main_pid()).into_iter().filter_map(Known::of));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the log of {}:\n{}", self.name, self.log());
        }
        self.kill9();
        for known in &self.remembered {
            known.kill();
        }
    }
}

/// A test that panicked with the lock held has failed by itself; the log is still of use.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
