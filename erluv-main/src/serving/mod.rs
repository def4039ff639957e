//! One node and the child that serves it: what the life of the child brings about ([`life`]), and the clock.
//!
//! - [`child`]: what erluv-child says, and what it is told.
//! - [`node`]: the way to the node, and the talk with it while there is no child.

mod child;
mod node;

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use erluv_proto::ids::Creation;
use erluv_proto::ipc::{About, Connection, ExitStatus, Hello, ToChild};
use mio::Registry;
use mio::net::TcpStream;
use serde_bytes::ByteBuf;

use crate::attendant::{Attendant, End};
use crate::cookie;
use crate::exit;
use crate::half::life::{self, Effect, Event, State};
use crate::half::{Half, Loss};
use crate::link::Link;
use crate::order::NodeIndex;
use crate::policy::Policy;
use crate::settings::NodeSettings;
use crate::start_half::{self, HalfPlan};
use crate::sys::Process;
use crate::tokens;
use crate::workers::Workers;

/// Between two children at least: a child that dies at once is no reason to do nothing else (S-44).
const RESPAWN_PAUSE: Duration = Duration::from_secs(1);

/// How long child may take to tell the last ends, once no worker is left.
const LEAVE: Duration = Duration::from_secs(2);

/// From the closing of its socket until a child that has not ended is killed.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// What all nodes share.
pub(crate) struct Shared<'d> {
    pub(crate) registry: &'d Registry,
    pub(crate) workers: &'d mut Workers,
    pub(crate) now: Instant,
}

/// A connection that main holds on to: to hand it in, to shut it, or to talk over it while there is no child.
struct Held {
    stream: TcpStream,
    flags: u64,
    attended: Option<Attended>,
}

/// Main itself talks with the node.
struct Attended {
    attendant: Attendant,
    out: Vec<u8>,
    /// The order has come; it is obeyed once its answer has gone out.
    ordered: bool,
}

/// A node, its child, and the way between them.
pub(crate) struct Serving {
    index: NodeIndex,
    node: NodeSettings,
    policy: Policy,
    plan: HalfPlan,
    state: State,
    half: Option<Half>,
    /// A child that is lost and not reaped yet.
    leaving: Option<Process>,
    /// When a child that was to go by itself is killed.
    leave_by: Option<Instant>,
    /// Some child has got ready once.
    was_ready: bool,
    /// Its control socket may have more to say than was heard in this turn.
    unheard: bool,
    link: Link,
    held: Option<Held>,
    creation: Creation,
    loss: Option<Loss>,
    end: Option<End>,
    die_at: Option<Instant>,
    /// When a child is to be made.
    start_at: Option<Instant>,
    /// When the last one was.
    started: Option<Instant>,
    last_complaint: String,
}

impl Serving {
    /// A node that is not served yet. The child is made at once, before the cookie has ever been read.
    pub(crate) fn new(
        index: NodeIndex,
        node: NodeSettings,
        policy: Policy,
        plan: HalfPlan,
        creation: Creation,
        now: Instant,
    ) -> Self {
        let link = Link::new(node.way(), tokens::link(index), now);
        Self {
            index,
            node,
            policy,
            plan,
            state: State::Starting,
            half: None,
            leaving: None,
            leave_by: None,
            was_ready: false,
            unheard: false,
            link,
            held: None,
            creation,
            loss: None,
            end: None,
            die_at: None,
            start_at: Some(now),
            started: None,
            last_complaint: String::new(),
        }
    }

    /// Whether nothing is left to do for this node.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over && self.leaving.is_none()
    }

    /// Whether the connection has been handed to a child that serves.
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Serving && self.held.is_some()
    }

    /// Whether the first attempt to reach the node has been made.
    pub(crate) fn has_tried(&self) -> bool {
        self.held.is_some() || !self.last_complaint.is_empty()
    }

    /// Where this node was given up: the exit code that says why. No order came, or no child ever got ready.
    pub(crate) fn gave_up(&self) -> Option<u8> {
        if self.state != State::Over || self.loss.is_none() {
            return None;
        }
        Some(match (self.was_ready, self.end) {
            (true, _) => exit::TEMPFAIL,
            (false, Some(End::Code(exit::CONFIG))) => exit::CONFIG,
            (false, _) => exit::OSERR,
        })
    }

    /// Something happens in the life of the child.
    pub(crate) fn event(&mut self, event: Event, shared: &mut Shared<'_>) {
        let (state, effects) = life::step(self.state, event);
        if state != self.state {
            log::debug!("{}: child: {:?} -> {state:?}", self.node.peer, self.state);
        }
        self.state = state;
        for effect in effects {
            match effect {
                Effect::HandOver => self.hand_over(shared),
                Effect::KillWorkers => shared.workers.kill_node(self.index, shared.now),
                Effect::Cut => self.cut(shared),
                Effect::AwaitOrder => self.await_order(shared.now),
                Effect::Respawn => self.respawn(shared.now),
                Effect::StopWorkers => self.stop_workers(shared),
                Effect::AwaitLeave => self.leave_by = shared.now.checked_add(LEAVE),
                Effect::GiveUp => log::error!("{}: giving up", self.node.peer),
            }
        }
    }

    fn lose(&mut self, loss: Loss, shared: &mut Shared<'_>) {
        if matches!(self.state, State::Stopping | State::Leaving) {
            log::debug!("{}: child has gone: {}", self.node.peer, describe(&loss));
        } else {
            log::error!("{}: child lost: {}", self.node.peer, describe(&loss));
            self.loss = Some(loss);
            self.end = None;
        }
        self.event(Event::Lost, shared);
        if self.state == State::Down && !self.was_ready {
            // What keeps the very first child from getting ready will keep the next one, too.
            log::error!("{}: erluv-child does not get ready: what it has logged says why", self.node.peer);
            self.event(Event::TimeOver, shared);
        }
    }

    /// Main shuts the connection the moment that child is lost: the node sees links and monitors break (S-21).
    fn cut(&mut self, shared: &Shared<'_>) {
        if let Some(held) = self.held.take() {
            self.link.lost(&held.stream);
            // An error here means that it is shut already.
            let _ = held.stream.shutdown(Shutdown::Both);
        }
        if let Some(half) = self.half.take() {
            self.let_go(half, shared);
        }
    }

    /// A child that has closed its socket is about to end, and its own end says more than ours would: it has a moment
    /// for it. Any other is killed at once.
    fn let_go(&mut self, half: Half, shared: &Shared<'_>) {
        let process = half.release(shared.registry);
        if self.loss == Some(Loss::Ended) {
            self.leave_by = shared.now.checked_add(LAST_MOMENT);
        } else {
            self.kill(&process);
        }
        self.leaving = Some(process);
    }

    fn kill(&self, process: &Process) {
        if let Err(error) = process.signal(nix::libc::SIGKILL) {
            log::debug!("{}: killing child: {error}", self.node.peer);
        }
    }

    fn await_order(&mut self, now: Instant) {
        match start_half::random_creation() {
            Ok(creation) => self.creation = creation,
            Err(error) => log::error!("random numbers: {error}"),
        }
        self.die_at = now.checked_add(self.node.die_timeout);
        self.link.restart(now, true);
    }

    fn respawn(&mut self, now: Instant) {
        log::info!("{}: the node orders a new child", self.node.peer);
        self.die_at = None;
        self.loss = None;
        let earliest = self.started.and_then(|started| started.checked_add(RESPAWN_PAUSE));
        self.start_at = Some(earliest.map_or(now, |earliest| earliest.max(now)));
    }

    fn start_child(&mut self, shared: &mut Shared<'_>) {
        let hello = Hello {
            tree_kill: false,
            own: self.node.own.clone(),
            creation: self.creation,
            max_frame: self.node.max_frame,
            input_cap: self.node.input_cap,
            kill_timeout: millis(self.node.kill_timeout),
            peer_timeout: millis(self.node.peer_timeout),
            about: About { cookie: self.shared_cookie(), ..self.plan.about.clone() },
        };
        let kill_file = shared.workers.kill_file(self.index);
        (self.start_at, self.started) = (None, Some(shared.now));
        match start_half::start(&self.plan, hello, kill_file, self.index, shared) {
            Ok(half) => self.half = Some(half),
            Err(error) => self.lose(Loss::NotStarted(error.to_string()), shared),
        }
    }

    /// The cookie for child, only where the configuration says that everybody may ask for it.
    fn shared_cookie(&self) -> Option<ByteBuf> {
        let node = &self.node;
        let cookie = node.share_cookie.then(|| cookie::read_cookie(&node.cookie_file, &node.cookie_trust))?;
        match cookie {
            Ok(cookie) => Some(ByteBuf::from(cookie.expose().to_vec())),
            Err(error) => {
                log::error!("{}: not shared: {error}", node.peer);
                None
            }
        }
    }

    fn stop_workers(&mut self, shared: &mut Shared<'_>) {
        self.say(&ToChild::Stopping(()), Vec::new(), shared);
        shared.workers.stop_node(self.index, self.node.kill_timeout, shared.now);
    }

    /// Gives child the connection: from now on main neither reads nor writes it.
    fn hand_over(&mut self, shared: &mut Shared<'_>) {
        let Some(held) = &mut self.held else { return };
        if held.attended.take().is_some()
            && let Err(error) = shared.registry.deregister(&mut held.stream)
        {
            log::warn!("{}: letting go of the connection: {error}", self.node.peer);
        }
        let frame = ToChild::Connection(Connection { peer: self.node.peer.clone(), flags: held.flags });
        match held.stream.as_fd().try_clone_to_owned() {
            Ok(copy) => self.say(&frame, vec![copy], shared),
            Err(error) => self.lose(Loss::NotStarted(format!("handing in the connection: {error}")), shared),
        }
    }

    fn say(&mut self, frame: &ToChild, descriptors: Vec<OwnedFd>, shared: &mut Shared<'_>) {
        let said = self.half.as_mut().map(|half| half.say(frame, descriptors));
        if let Some(Err(loss)) = said {
            self.lose(loss, shared);
        }
    }

    /// A process of main's that is no worker was reaped; whether it was ours.
    pub(crate) fn reaped(&mut self, pid: i32, status: ExitStatus, shared: &mut Shared<'_>) -> bool {
        let end = match status {
            ExitStatus::Code(code) => End::Code(code),
            ExitStatus::Signal(number, _core) => End::Signal(number),
        };
        if self.half.as_ref().is_some_and(|half| half.process().pid == pid) {
            // Its last frames and words may still be there to read.
            self.control_ready(shared);
            self.log_ready();
            if self.half.is_some() {
                self.lose(Loss::Ended, shared);
            }
            (self.leaving, self.leave_by) = (None, None);
            self.end = Some(end);
            return true;
        }
        if self.leaving.as_ref().is_some_and(|process| process.pid == pid) {
            (self.leaving, self.leave_by) = (None, None);
            self.end = Some(end);
            self.event(Event::Lost, shared);
            return true;
        }
        false
    }

    /// When [`Serving::due`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let half = self.half.as_ref().and_then(|half| half.next_deadline(self.node.hang_timeout));
        let link = if self.wants_link() { self.link.next_deadline() } else { None };
        let unheard = self.unheard.then(Instant::now).filter(|_| self.half.is_some());
        [half, link, unheard, self.leave_by, self.die_at, self.start_at].into_iter().flatten().min()
    }

    /// Whether a connection is wanted. While there is no child, not before the last one is reaped: the notice says how
    /// it ended.
    fn wants_link(&self) -> bool {
        let state = match self.state {
            State::Starting | State::Serving => true,
            State::Down => self.leaving.is_none(),
            State::Stopping | State::Leaving | State::Over => false,
        };
        state && self.held.is_none()
    }

    /// What the clock asks for, and what waits to be sent.
    pub(crate) fn due(&mut self, shared: &mut Shared<'_>) {
        let now = shared.now;
        if self.unheard {
            self.control_ready(shared);
        }
        if self.state == State::Starting && self.start_at.is_some_and(|at| at <= now) {
            self.start_child(shared);
        }
        if self.state == State::Down && self.die_at.is_some_and(|at| at <= now) {
            let waited = self.node.die_timeout;
            log::error!("{}: no order to respawn within {waited:?} (die_timeout)", self.node.peer);
            self.event(Event::TimeOver, shared);
        }
        if self.wants_link()
            && let Err(error) = self.link.due(shared.registry, now)
        {
            self.complain(&error);
        }
        if self.leave_by.is_some_and(|at| at <= now) {
            self.leave_by = None;
            match &self.leaving {
                Some(process) => self.kill(process),
                None => self.lose(Loss::Hung(LEAVE), shared),
            }
        }
        if self.state == State::Stopping && shared.workers.is_empty(self.index) {
            self.event(Event::Quiet, shared);
        }
        let (every, patience) = (self.node.heartbeat, self.node.hang_timeout);
        if let Some(Err(loss)) = self.half.as_mut().map(|half| half.heartbeat(now, every, patience)) {
            self.lose(loss, shared);
        }
        self.flush(shared);
    }

    /// New settings from the file: what runs keeps what it has.
    pub(crate) fn reload(&mut self, node: NodeSettings, policy: Policy) {
        self.link.set_way(node.way());
        self.node = node;
        self.policy = policy;
    }

    /// The node that is served.
    pub(crate) fn node(&self) -> &NodeSettings {
        &self.node
    }

    /// Everything about this node on one line, for SIGUSR1.
    pub(crate) fn describe(&self, workers: &Workers) -> String {
        let child = match &self.half {
            Some(half) => format!("{:?}, process {}, {} frames wait", self.state, half.process().pid, half.waiting()),
            None => format!("{:?}", self.state),
        };
        let link = if self.held.is_some() { "connected" } else { self.link.state() };
        let (own, peer) = (&self.node.own, &self.node.peer);
        format!("{peer}: {own}: {link}; child: {child}; workers: {}", workers.running(self.index))
    }
}

fn describe(loss: &Loss) -> String {
    match loss {
        Loss::Ended => "it ended".to_owned(),
        Loss::Hung(patience) => format!("no answer to a ping within {patience:?} (hang_timeout)"),
        Loss::Protocol(what) => format!("it broke the protocol: {what}"),
        Loss::NotStarted(what) => what.clone(),
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
