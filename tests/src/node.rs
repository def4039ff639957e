//! An Erlang node of a test: a real `erl`, named at a private epmd, that evaluates what the test asks it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::epmd::Epmd;
use crate::folder::{Folder, from_hex, random_hex, to_hex};
use crate::otp::Otp;
use crate::proc::{wait_for, wait_until};

/// The other end of the conversation, see there.
const EVALUATOR: &str = include_str!("evaluator.exprs");

/// How long an evaluation may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// The node has to boot within this, on a machine that runs many at once.
const BOOT: Duration = Duration::from_secs(60);

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    otp: Otp,
    name: String,
    cookie: String,
    arguments: Vec<String>,
    epmd: Arc<Epmd>,
}

impl NodeBuilder {
    /// Another name than a unique one: the part before the `@`; the host is always 127.0.0.1.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = format!("{name}@127.0.0.1");
        self
    }

    /// Another cookie than a random one, such as that of a node to be connected with.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        cookie.clone_into(&mut self.cookie);
        self
    }

    /// One more argument for `erl`, such as `-hidden`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Another epmd than the one that all nodes of the test program share.
    #[must_use]
    pub fn epmd(mut self, epmd: &Arc<Epmd>) -> Self {
        self.epmd = Arc::clone(epmd);
        self
    }

    /// Starts the node and waits until it evaluates.
    ///
    /// # Panics
    /// When it does not within a minute, with what it printed.
    #[must_use]
    pub fn start(self) -> Node {
        // The cookie is in the home's file, so that it stands in no list of arguments, not even in a test.
        let within = self.otp.root().map(|root| root.join("tmp"));
        let home = within.map_or_else(Folder::new, |tmp| Folder::within(&tmp));
        home.file(".erlang.cookie", 0o400, self.cookie.as_bytes());
        let node = Node { plan: self, home, running: Mutex::new(None) };
        node.restart();
        node
    }
}

/// A running node; killed when the value is dropped.
#[derive(Debug)]
pub struct Node {
    plan: NodeBuilder,
    home: Folder,
    running: Mutex<Option<Arc<Running>>>,
}

impl Node {
    /// A node of that release with a unique name and a random cookie, to be started.
    #[must_use]
    pub fn of(otp: Otp) -> NodeBuilder {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}_{}@127.0.0.1", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        NodeBuilder { otp, name, cookie: random_hex(20), arguments: Vec::new(), epmd: Epmd::shared() }
    }

    /// A started node of that release with a unique name and a random cookie.
    #[must_use]
    pub fn start(otp: Otp) -> Self {
        Self::of(otp).start()
    }

    /// Its release.
    #[must_use]
    pub fn otp(&self) -> Otp {
        self.plan.otp
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its cookie.
    #[must_use]
    pub fn cookie(&self) -> &str {
        &self.plan.cookie
    }

    /// The epmd that it is registered at.
    #[must_use]
    pub fn epmd(&self) -> &Arc<Epmd> {
        &self.plan.epmd
    }

    /// The process id of its emulator.
    ///
    /// # Panics
    /// When the node does not run.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.running().pid
    }

    /// Evaluates a sequence of expressions (`A = 1, A + 1`, with or without a final full stop) and returns the value in
    /// Erlang's syntax on one line. Bindings are kept, also when the node's evaluating process ends. `f(V)` forgets the
    /// variable, `f()` all: at the beginning of a sequence at once, so that it can be bound anew there; elsewhere when
    /// the sequence is done, so that `receive {x, R} -> f(R), R end` has its value.
    ///
    /// # Errors
    /// `class:reason` of an exception, or `ended:reason` when an exit signal ended the evaluating process before or
    /// while it evaluated this; a new process is there for the next one.
    ///
    /// # Panics
    /// When there is no answer within 30 seconds.
    pub fn eval(&self, text: &str) -> Result<String, String> {
        self.answer(text, DEADLINE)
    }

    /// As [`Self::eval`], for what has to succeed.
    ///
    /// # Panics
    /// On an exception as well.
    pub fn eval_ok(&self, text: &str) -> String {
        self.eval(text).unwrap_or_else(|error| panic!("{}: {text}\nraised {error}", self.name()))
    }

    /// Waits until the expressions have the value, evaluating them again and again.
    ///
    /// # Panics
    /// When they have not within 20 seconds.
    pub fn wait_eval(&self, text: &str, value: &str) {
        wait_until(&format!("{text} is {value} on {}", self.name()), || self.eval(text).as_deref() == Ok(value));
    }

    /// What the node has printed by itself until now: warnings, reports, crashes.
    #[must_use]
    pub fn output(&self) -> String {
        lock(&self.running().output).clone()
    }

    /// Stops the node in good order (`init:stop()`), and waits for its end.
    pub fn stop(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        running.send(0, "init:stop()");
        running.wait_end(&self.plan.name);
        self.wait_forgotten();
    }

    /// Ends the node with SIGKILL and waits for its end.
    pub fn kill(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        running.kill();
        self.wait_forgotten();
    }

    /// Starts the node again with the same name and cookie, after [`Self::stop`] or [`Self::kill`] or instead of them.
    pub fn restart(&self) {
        self.kill();
        *lock(&self.running) = Some(Arc::new(Running::start(&self.plan, &self.home)));
        self.answer("ready", BOOT).expect("the evaluator evaluates an atom");
    }

    /// Waits until epmd has noticed the end too: it would refuse the name to the next node of that name.
    fn wait_forgotten(&self) {
        let (short, _) = self.plan.name.split_once('@').expect("the builder's names have a host");
        wait_until(&format!("epmd has forgotten {short}"), || !self.plan.epmd.names().contains_key(short));
    }

    fn running(&self) -> Arc<Running> {
        lock(&self.running).clone().unwrap_or_else(|| panic!("{} does not run", self.plan.name))
    }

    fn answer(&self, text: &str, deadline: Duration) -> Result<String, String> {
        self.running().answer(&self.plan.name, text, deadline)
    }
}

/// The process of a node and the conversation with it.
#[derive(Debug)]
struct Running {
    pid: i32,
    child: Mutex<Child>,
    talk: Mutex<Talk>,
    output: Arc<Mutex<String>>,
}

/// One request at a time: its number, where it goes and where the answers come from.
#[derive(Debug)]
struct Talk {
    number: u32,
    requests: ChildStdin,
    answers: Receiver<Answer>,
}

/// The number of the request, and the value or the exception.
type Answer = (u32, Result<String, String>);

impl Running {
    fn start(plan: &NodeBuilder, home: &Folder) -> Self {
        let inner = match plan.otp.root() {
            Some(root) => std::path::Path::new("/").join(home.path().strip_prefix(root).expect("made within")),
            None => home.path().to_owned(),
        };
        let mut command = plan.otp.erl(&inner);
        command.env("ERL_EPMD_PORT", plan.epmd.port().to_string());
        command.args(["-noshell", "-start_epmd", "false", "-name", &plan.name]);
        command.args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]);
        // Many nodes share the machine: no scheduler of theirs may spin while it has nothing to do.
        command.args(["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]);
        command.args(&plan.arguments).args(["-eval", EVALUATOR]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("erl, or chroot, starts");

        let output = Arc::new(Mutex::new(String::new()));
        let (sender, answers) = channel();
        let requests = child.stdin.take().expect("piped");
        read_in_background(child.stdout.take().expect("piped"), Some(sender), &output);
        read_in_background(child.stderr.take().expect("piped"), None, &output);
        let pid = i32::try_from(child.id()).unwrap();
        Self { pid, child: Mutex::new(child), talk: Mutex::new(Talk { number: 0, requests, answers }), output }
    }

    fn send(&self, number: u32, text: &str) {
        // A node that is gone already is not asked to go.
        let _ = write_request(&mut lock(&self.talk).requests, number, text);
    }

    fn answer(&self, node: &str, text: &str, deadline: Duration) -> Result<String, String> {
        let mut talk = lock(&self.talk);
        talk.number += 1;
        let number = talk.number;
        let sent = write_request(&mut talk.requests, number, text);
        let outcome = sent.map_err(|_| RecvTimeoutError::Disconnected).and_then(|()| {
            talk.answers.recv_timeout(deadline).inspect(|(of, _)| assert_eq!(*of, number, "answers come in order"))
        });
        match outcome {
            Ok((_, answer)) => answer,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{node} has not evaluated within {deadline:?}: {text}\n{}", lock(&self.output))
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{node} has ended, and was to evaluate: {text}\n{}", lock(&self.output))
            }
        }
    }

    fn wait_end(&self, node: &str) {
        wait_for(&format!("{node} ends"), || lock(&self.child).try_wait().unwrap());
    }

    fn kill(&self) {
        let mut child = lock(&self.child);
        // Either may fail when it has ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write_request(to: &mut ChildStdin, number: u32, text: &str) -> std::io::Result<()> {
    // On a line of its own the full stop also ends a text that ends with a comment.
    let text = text.trim_end().trim_end_matches('.');
    writeln!(to, "{number} {}", to_hex(format!("{text}\n.").as_bytes()))?;
    to.flush()
}

/// Sorts a stream of the node: answers go to the sender, all else to the output.
fn read_in_background(
    stream: impl Read + Send + 'static,
    answers: Option<Sender<Answer>>,
    output: &Arc<Mutex<String>>,
) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            match (&answers, read_answer(&line)) {
                // Nobody listens any more once the node's value is dropped.
                (Some(answers), Some(answer)) => _ = answers.send(answer),
                (Some(_) | None, _) if line.is_empty() => {}
                (Some(_) | None, _) => lock(&output).push_str(&format!("{line}\n")),
            }
        }
    });
}

/// The line `=erluv NUMBER ok|error HEX`.
fn read_answer(line: &str) -> Option<Answer> {
    let mut fields = line.strip_prefix("=erluv ")?.split(' ');
    let number = fields.next()?.parse().ok()?;
    let kind = fields.next()?;
    let text = String::from_utf8(from_hex(fields.next()?.trim_end())?).ok()?;
    match kind {
        "ok" => Some((number, Ok(text))),
        "error" => Some((number, Err(text))),
        _ => None,
    }
}

/// A test that panicked with the lock held has failed by itself; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_what_the_node_prints() {
        assert_eq!(read_answer("=erluv 3 ok 7B7D"), Some((3, Ok("{}".to_owned()))));
        assert_eq!(read_answer("=erluv 4 error 61"), Some((4, Err("a".to_owned()))));
        assert_eq!(read_answer("=WARNING REPORT===="), None);
        assert_eq!(read_answer("=erluv 4 error zz"), None);
    }
}
