//! The systems that are compared, each with a node of its own.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use erluv_tests::daemon::Daemon;
use erluv_tests::node::Node;
use erluv_tests::otp::Otp;
use erluv_tests::proc;

use crate::erlexec::{self, Erlexec};
use crate::link;
use crate::programs::Programs;
use crate::usage;

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// erluv by spawn and messages.
    Erluv,
    /// erluv by the OTP application.
    App,
    /// open_port.
    Port,
    /// erlexec, where it is at hand.
    Erlexec,
    /// The C program behind a node.
    Limit,
    /// The same, which holds its programs as erluv's default profile does.
    Held,
    /// The same behind a process that passes bytes on and looks at none.
    Apart,
    /// The same, which tells of a start and of its end, each when it is a fact.
    Twice,
    /// A C program without a node, or the C program behind a node without a worker: the least of all. Measured together
    /// with [`Self::Limit`].
    Bare,
    /// A C program without a node that holds its programs. Measured together with [`Self::Held`].
    BareHeld,
}

impl Kind {
    /// Those that are started.
    pub(crate) const STARTED: [Self; 8] =
        [Self::Erluv, Self::App, Self::Port, Self::Erlexec, Self::Limit, Self::Held, Self::Apart, Self::Twice];
    /// As the table has them from left to right.
    pub(crate) const COMPARED: [Self; 6] = [Self::Erluv, Self::App, Self::Port, Self::Erlexec, Self::Limit, Self::Bare];
    /// As the table of whose cost a start is has them.
    pub(crate) const COST: [Self; 7] =
        [Self::Erluv, Self::Twice, Self::Apart, Self::Held, Self::BareHeld, Self::Limit, Self::Bare];

    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Erluv => "erluv",
            Self::App => "app",
            Self::Port => "port",
            Self::Erlexec => "erlexec",
            Self::Limit => "limit",
            Self::Held => "held",
            Self::Apart => "apart",
            Self::Twice => "twice",
            Self::Bare => "bare",
            Self::BareHeld => "bare-held",
        }
    }

    /// Its name at the head of a column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Erluv => "erluv",
            Self::App => "erluv by OTP",
            Self::Port => "open_port",
            Self::Erlexec => "erlexec",
            Self::Limit => "C-node",
            Self::Held => "C-node, held",
            Self::Apart => "C-node, held, apart",
            Self::Twice => "C-node, held, apart, twice",
            Self::Bare => "bare C",
            Self::BareHeld => "bare C, held",
        }
    }
}

/// What the command line says about systems.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// More lines of the daemons' configuration.
    pub(crate) config: String,
    /// More arguments of every node.
    pub(crate) erl: Vec<String>,
    /// Where erlexec was built.
    pub(crate) erlexec: Option<Erlexec>,
}

/// Values by name, as a work of erluv_bench returns them.
pub(crate) type Values = Vec<(String, f64)>;

/// A started system.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) kind: Kind,
    node: Node,
    /// Before the daemon, so that it is dropped first.
    keeper: Option<Keeper>,
    daemon: Option<Daemon>,
    c_node: Option<Child>,
    /// How the Erlang modules name it.
    term: String,
    /// The node, and what runs the workers for it by name: `main` and `child` of erluv, `helper` of the others.
    processes: Vec<(&'static str, i32)>,
    /// The memory of each before it has done anything.
    fresh: Vec<(&'static str, f64)>,
}

impl System {
    /// Starts its node and what belongs to it, and waits until they see each other.
    pub(crate) fn start(kind: Kind, programs: &Programs, setup: &Setup) -> Result<Self, String> {
        let node = Node::of(Otp::V25).arg("-pa").arg(&programs.modules());
        let node = setup.erl.iter().fold(node, |node, argument| node.arg(argument)).start();
        let (term, processes, fresh) = (String::new(), Vec::new(), Vec::new());
        let mut system = Self { kind, node, keeper: None, daemon: None, c_node: None, term, processes, fresh };
        system.term = match kind {
            Kind::Erluv => format!("{{erluv, '{}'}}", system.start_daemon(setup)?),
            Kind::App => {
                system.node.eval("{ok, _} = application:ensure_all_started(erluv)")?;
                let name = system.start_daemon(setup)?;
                system.node.wait_eval("erluv:nodes()", &format!("['{name}']"));
                "app".to_owned()
            }
            Kind::Port => "port".to_owned(),
            Kind::Erlexec => {
                let erlexec = setup.erlexec.as_ref().ok_or("erlexec: not built")?;
                system.node.eval(&erlexec.start())?;
                "erlexec".to_owned()
            }
            Kind::Limit | Kind::Bare => system.start_c_node(&[programs.path("cnode").display().to_string()])?,
            Kind::Held | Kind::BareHeld | Kind::Apart | Kind::Twice => {
                let relay = matches!(kind, Kind::Apart | Kind::Twice).then(|| programs.path("relay"));
                let command = relay.into_iter().chain([programs.path("cnode")]).map(|path| path.display().to_string());
                let command = command.chain(programs.held().iter().cloned()).collect::<Vec<_>>();
                system.start_c_node(&command)?
            }
        };
        // Once: with ten thousand workers it takes long to find a process among all.
        system.processes = system.find_processes();
        system.fresh = system.memory()?;
        Ok(system)
    }

    fn start_daemon(&mut self, setup: &Setup) -> Result<String, String> {
        let daemon = Daemon::of(&self.node).config(&setup.config).start();
        self.keeper = Some(Keeper::of(daemon.main_pid())?);
        daemon.wait_connected(&self.node);
        let name = daemon.name().to_owned();
        self.daemon = Some(daemon);
        Ok(name)
    }

    /// By its command.
    fn start_c_node(&mut self, command: &[String]) -> Result<String, String> {
        let (program, arguments) = command.split_first().ok_or("cnode: no command")?;
        let name = "limit_1@127.0.0.1";
        let stream = link::connect(&self.node, name)?;
        let mut command = Command::new(program);
        let c_node = command.args(arguments).stdin(Stdio::from(OwnedFd::from(stream))).spawn();
        self.c_node = Some(c_node.map_err(|error| format!("{program}: {error}"))?);
        self.node.wait_eval("nodes(hidden)", &format!("['{name}']"));
        let way = if self.kind == Kind::Twice { "twice" } else { "limit" };
        Ok(format!("{{{way}, '{name}'}}"))
    }

    fn find_processes(&self) -> Vec<(&'static str, i32)> {
        let mut processes = vec![("vm", self.node.pid())];
        if let Some(daemon) = &self.daemon {
            processes.extend([("main", daemon.main_pid()), ("child", daemon.child_pid())]);
        }
        if let Some(c_node) = &self.c_node {
            processes.push(("helper", i32::try_from(c_node.id()).unwrap_or_default()));
        }
        let helper = match self.kind {
            Kind::Port => Some("erl_child_setup"),
            Kind::Erlexec => Some(erlexec::PORT),
            _ => None,
        };
        let named = |pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            helper == Some(name.trim_end())
        };
        processes.extend(proc::descendants(self.node.pid()).into_iter().find(named).map(|pid| ("helper", pid)));
        processes
    }

    /// Has the node do a work of erluv_bench with this system as its first argument; `arguments` are Erlang terms.
    ///
    /// # Errors
    /// What the work has raised, such as a wrong byte count.
    pub(crate) fn work(&self, work: &str, arguments: &[String]) -> Result<Values, String> {
        let arguments = std::iter::once(&self.term).chain(arguments).map(String::as_str).collect::<Vec<_>>().join(", ");
        self.values(work, &arguments)
    }

    /// The same for a work that needs no system.
    pub(crate) fn values(&self, work: &str, arguments: &str) -> Result<Values, String> {
        let failed = |error: String| format!("{}: {work}({arguments}): {error}", self.kind.name());
        self.node.eval(&format!("erluv_bench:start({work}, [{arguments}])")).map_err(failed)?;
        // Each evaluation has its deadline; a work may take longer than one.
        for _ in 0..30 {
            let answer = self.node.eval("erluv_bench:await(20000)").map_err(failed)?;
            if answer != "running" {
                return read_values(&answer).ok_or_else(|| failed(format!("answers {answer}")));
            }
        }
        Err(failed("has not ended within ten minutes".to_owned()))
    }

    /// What the node's own memory is to be measured without.
    pub(crate) fn collect(&self) -> Result<(), String> {
        self.node.eval("erluv_bench:collect()").map(|_| ())
    }

    /// The processor time of each of its processes, in microseconds.
    pub(crate) fn cpu(&self) -> Vec<(&'static str, f64)> {
        self.processes.iter().map(|(name, pid)| (*name, usage::cpu_us(*pid))).collect()
    }

    /// The memory of each of its processes, in KiB. Of the VM it is what is allocated in it: what it has from the
    /// system also depends on what it was used for before.
    pub(crate) fn memory(&self) -> Result<Vec<(&'static str, f64)>, String> {
        let allocated = self.node.eval("erlang:memory(total)")?;
        let allocated = allocated.parse::<f64>().map_err(|error| format!("{allocated}: {error}"))? / 1024.0;
        let of = |(name, pid): &(_, i32)| (*name, if *name == "vm" { allocated } else { usage::rss_kib(*pid) });
        Ok(self.processes.iter().map(of).collect())
    }

    /// What each of its processes has more than before it had done anything, in KiB; of the VM, more than `before`, as
    /// nothing that has ended is allocated in it.
    pub(crate) fn grown(&self, before: &[(&'static str, f64)]) -> Result<Vec<(&'static str, f64)>, String> {
        let since = self.fresh.iter().zip(before);
        let since = since.map(|((name, fresh), (_, before))| if *name == "vm" { before } else { fresh });
        Ok(self.memory()?.into_iter().zip(since).map(|((name, now), since)| (name, now - since)).collect())
    }

    /// The last lines of the daemon's log, newest first: what it says of a failure. Not what it says of each worker.
    pub(crate) fn log(&self) -> String {
        let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        log.lines().rev().filter(|line| !line.contains(": audit event=")).take(8).collect::<Vec<_>>().join("\n")
    }

    /// Ends it in good order.
    pub(crate) fn end(mut self) -> Result<(), String> {
        drop(self.keeper.take());
        let code = self.daemon.as_mut().map_or(0, Daemon::terminate);
        self.node.stop();
        if let Some(mut c_node) = self.c_node.take() {
            c_node.wait().map_err(|error| format!("cnode: {error}"))?;
        }
        if code == 0 { Ok(()) } else { Err(format!("{}: erluv-main has ended with {code}", self.kind.name())) }
    }
}

/// Ends a daemon when this program is ended from outside, without a chance to do so: a daemon without its node waits
/// for it to come back. Nodes and the C program end by themselves.
#[derive(Debug)]
struct Keeper(Child);

impl Keeper {
    fn of(daemon: i32) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command.args(["-c", "read -r _; kill \"$1\"", "sh", &daemon.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| format!("sh: {error}"))
    }
}

impl Drop for Keeper {
    /// While the daemon lives: later its number may be another process's.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `"name=number name=number"`, in the quotes that Erlang shows a string in; no values is `[]`.
fn read_values(answer: &str) -> Option<Values> {
    let text = answer.trim_matches('"');
    if text == "[]" {
        return Some(Vec::new());
    }
    let pair = |pair: &str| {
        let (name, number) = pair.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.split(' ').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_an_answer_are_read_by_name() {
        assert_eq!(read_values("\"p50=1.5 p99=20.000\""), Some(vec![("p50".into(), 1.5), ("p99".into(), 20.0)]));
        assert_eq!(read_values("[]"), Some(Vec::new()));
        assert_eq!(read_values("\"p50\""), None);
    }
}
