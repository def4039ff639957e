//! The loop of the unprivileged half: events -> frames -> requests -> effects, one turn after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use erluv_proto::dist::{self, Control as ControlMessage, send};
use erluv_proto::etf::{put_atom, put_tuple};
use erluv_proto::ipc::{Connection, Failure, Hello, LaunchFailed, Launched, Ready, Step, Stop, ToChild, ToMain};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::control::{Control, Received};
use crate::dispatcher::request::SERVER;
use crate::manager::{Kept, Manager, Outlet};
use crate::peer::{Frame, Peer, PeerError};
use crate::streams;

const CONTROL: Token = Token(0);
const PEER: Token = Token(1);
/// That of the clock.
pub(crate) const CLOCK: Token = Token(2);

/// Bytes of answers that wait until streams have been read.
const SHORT: usize = 4096;

/// Pieces read from the node, and rounds of output, in one turn: between turns everybody else has theirs.
const ROUNDS: usize = 8;

/// Why the loop is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Main closed the control socket, or died.
    #[error("main is gone")]
    MainGone,
    /// Main is going away, and every end has been told.
    #[error("nothing is left to do")]
    Done,
    /// The control socket failed, or what came over it was no frame.
    #[error("control socket: {0}")]
    Control(io::Error),
    /// The first frame was another one.
    #[error("control socket: main did not begin with its settings")]
    NoHello,
    /// The poller failed.
    #[error("poll: {0}")]
    Poll(io::Error),
}

/// A connection and all that it has asked for.
struct Session {
    peer: Peer,
    manager: Manager,
}

/// The unprivileged half at work.
pub(crate) struct Child {
    poll: Poll,
    clock: Clock,
    control: Control,
    hello: Rc<Hello>,
    /// `cgroup.kill` of all our workers' common parent: what we do when main is gone.
    tree_kill: Option<OwnedFd>,
    session: Option<Session>,
    /// Workers that outlive connections, while there is none.
    kept: Kept,
    next_request: u64,
    stopping: bool,
}

impl Child {
    /// Tells main that we are confined, and waits for its settings.
    ///
    /// # Errors
    /// [`RunError`] where main is gone or says something else.
    pub(crate) fn new(poll: Poll, clock: Clock, mut control: Control, missing: Vec<String>) -> Result<Self, RunError> {
        control.watch(poll.registry(), CONTROL).map_err(RunError::Poll)?;
        control.send(&ToMain::Ready(Ready { missing }));
        control.flush(poll.registry(), CONTROL).map_err(control_failed)?;
        let (hello, tree_kill) = Self::await_hello(&mut control)?;
        let next_request = u64::from(hello.creation.get()) << 32;
        Ok(Self {
            poll,
            clock,
            control,
            hello: Rc::new(hello),
            tree_kill,
            session: None,
            kept: Kept::default(),
            // Apart from the requests of an earlier child, which main may still have an answer for.
            next_request,
            stopping: false,
        })
    }

    fn await_hello(control: &mut Control) -> Result<(Hello, Option<OwnedFd>), RunError> {
        loop {
            match control.receive().map_err(RunError::Control)? {
                Received::Frame(ToChild::Hello(hello), descriptors) => {
                    return Ok((hello, descriptors.into_iter().next()));
                }
                Received::Frame(..) | Received::NoRoom(_) => return Err(RunError::NoHello),
                Received::Empty => control.wait().map_err(RunError::Control)?,
                Received::End => return Err(RunError::MainGone),
            }
        }
    }

    /// Serves until main is gone; then kills every worker that is left.
    pub(crate) fn run(mut self) -> RunError {
        let mut events = Events::with_capacity(1024);
        let error = loop {
            if let Err(error) = self.turn(&mut events) {
                break error;
            }
        };
        if let Some(file) = &self.tree_kill
            && let Err(error) = rustix::io::write(file, b"1")
        {
            ::log::error!("killing the workers: {error}");
        }
        error
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), RunError> {
        let patience = self.patience();
        match self.poll.poll(events, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(RunError::Poll(error)),
        }
        let now = Instant::now();
        let mut main_spoke = false;
        for event in events.iter() {
            match (event.token(), &mut self.session) {
                (CLOCK, _) => self.clock.rang(),
                (CONTROL, _) => main_spoke |= event.is_readable() || event.is_read_closed(),
                (PEER, Some(session)) => session.peer.set_ready(
                    event.is_readable(),
                    event.is_writable() || event.is_write_closed() || event.is_error(),
                    event.is_read_closed() || event.is_error(),
                ),
                (token, Some(session)) => {
                    if let Some((worker, which)) = streams::of_token(token) {
                        let mut outlet = outlet(&mut session.peer.out, &mut self.control, &self.poll, now);
                        session.manager.ready(worker, which, event, &mut outlet);
                    }
                }
                (token, None) => {
                    if let Some((worker, which)) = streams::of_token(token) {
                        self.kept.ready(worker, which);
                    }
                }
            }
        }
        if main_spoke {
            self.hear_main(now)?;
        }
        if let Err(error) = self.serve(now) {
            self.lose(&error, now);
        }
        self.kept.due(now, &mut self.control);
        self.control.flush(self.poll.registry(), CONTROL).map_err(control_failed)?;
        if self.stopping && self.is_all_told() { Err(RunError::Done) } else { Ok(()) }
    }

    /// Whether no worker is left whose end is to be told: a question for the end, it looks at every worker.
    fn is_all_told(&self) -> bool {
        let told = |session: &Session| session.manager.is_idle() && session.peer.waiting() == 0;
        self.session.as_ref().map_or_else(|| self.kept.is_idle(), told)
    }

    /// How long the poller may wait.
    fn patience(&mut self) -> Option<Duration> {
        let deadline = match &self.session {
            Some(Session { peer, manager }) => {
                let output = manager.has_output() && !peer.is_blocked();
                if peer.is_readable() || output {
                    return Some(Duration::ZERO);
                }
                [peer.next_deadline(), manager.next_deadline()].into_iter().flatten().min()
            }
            None => self.kept.next_deadline(),
        };
        self.clock.patience(deadline, Instant::now())
    }

    /// Carries out all frames that main has sent.
    fn hear_main(&mut self, now: Instant) -> Result<(), RunError> {
        loop {
            match self.control.receive().map_err(RunError::Control)? {
                Received::Frame(frame, descriptors) => self.main_says(frame, descriptors, now),
                Received::NoRoom(frame) => self.main_says_too_much(&frame, now),
                Received::Empty => return Ok(()),
                Received::End => return Err(RunError::MainGone),
            }
        }
    }

    fn main_says(&mut self, frame: ToChild, descriptors: Vec<OwnedFd>, now: Instant) {
        match frame {
            ToChild::Ping(number) => self.control.send(&ToMain::Pong(number)),
            ToChild::Connection(connection) => self.connect(connection, descriptors, now),
            ToChild::Hello(_) => ::log::warn!("main sent its settings twice"),
            ToChild::Stopping(()) => {
                self.stopping = true;
                if let Some(session) = &mut self.session {
                    session.manager.stop_launching();
                }
            }
            ToChild::Launched(launched) => match self.manager(now) {
                Some((manager, mut outlet)) => manager.launched(launched, descriptors, &mut outlet),
                None => self.control.send(&ToMain::Stop(Stop { worker: launched.worker, grace: 0 })),
            },
            ToChild::LaunchFailed(failed) => {
                if let Some((manager, mut outlet)) = self.manager(now) {
                    manager.launch_failed(&failed, &mut outlet);
                }
            }
            ToChild::Exited(exited) => match self.manager(now) {
                Some((manager, mut outlet)) => manager.exited(&exited, &mut outlet),
                None => self.kept.exited(&exited),
            },
        }
    }

    /// A frame has come without its descriptors, as we have no room for them. What they were for comes to nothing, and
    /// all else goes on.
    fn main_says_too_much(&mut self, frame: &ToChild, now: Instant) {
        ::log::warn!("no descriptor is left: raise the limit of open files that erluv-main is started with");
        match frame {
            ToChild::Launched(launched) => {
                self.control.send(&ToMain::Stop(Stop { worker: launched.worker, grace: 0 }));
                if let Some((manager, mut outlet)) = self.manager(now) {
                    manager.launch_failed(&no_room(launched), &mut outlet);
                }
            }
            ToChild::Connection(_) => self.control.send(&ToMain::Disconnected("no descriptor is left".to_owned())),
            ToChild::Hello(_)
            | ToChild::LaunchFailed(_)
            | ToChild::Exited(_)
            | ToChild::Ping(_)
            | ToChild::Stopping(()) => {}
        }
    }

    /// The manager of the connection, where there is one, and where its effects go.
    fn manager(&mut self, now: Instant) -> Option<(&mut Manager, Outlet<'_>)> {
        let Session { peer, manager } = self.session.as_mut()?;
        Some((manager, outlet(&mut peer.out, &mut self.control, &self.poll, now)))
    }

    /// Main hands in a connection to the node; an older one is over.
    fn connect(&mut self, connection: Connection, descriptors: Vec<OwnedFd>, now: Instant) {
        if self.session.is_some() {
            self.lose(&PeerError::Closed, now);
        }
        let Some(socket) = descriptors.into_iter().next() else { return };
        let max_frame = usize::try_from(self.hello.max_frame).unwrap_or(usize::MAX);
        let patience = Duration::from_millis(u64::from(self.hello.peer_timeout));
        let peer = Peer::new(socket, max_frame, patience, now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&peer.raw()), PEER, interest) {
            ::log::error!("watching the connection: {error}");
            return self.control.send(&ToMain::Disconnected(error.to_string()));
        }
        let (hello, kept) = (Rc::clone(&self.hello), std::mem::take(&mut self.kept));
        let Connection { peer: node, flags } = connection;
        let mut manager = Manager::new(hello, node, flags, self.next_request, kept, &mut self.control);
        if self.stopping {
            manager.stop_launching();
        }
        self.session = Some(Session { peer, manager });
        self.announce();
    }

    /// `{erluv, Node, up}` to the process registered as `erluv` on the node, where there is one.
    fn announce(&mut self) {
        let Some(session) = &mut self.session else { return };
        let own = dist::Own { node: self.hello.own.as_str(), creation: self.hello.creation.get() };
        send::put_reg_send(&mut session.peer.out, own, SERVER, "erluv", |out| {
            put_tuple(out, 3);
            put_atom(out, "erluv");
            put_atom(out, own.node);
            put_atom(out, "up");
        });
    }

    /// The node's turn, then the workers', then the clock's.
    fn serve(&mut self, now: Instant) -> Result<(), PeerError> {
        let Some(Session { peer, manager }) = &mut self.session else { return Ok(()) };
        for _ in 0..ROUNDS {
            if !peer.is_readable() {
                break;
            }
            peer.read(now, |frame, out| {
                frame_came(frame, manager, &mut outlet(out, &mut self.control, &self.poll, now))
            })?;
            // Who sends much waits for some answers before it sends more: it does so while the rest is read.
            if peer.is_readable() {
                peer.flush(now)?;
            }
        }
        // The end of a worker that has written nothing goes out with the answer to its start.
        if peer.out.len() > SHORT || !manager.has_output() {
            peer.flush(now)?;
        }
        for _ in 0..ROUNDS {
            if !manager.has_output() || peer.is_blocked() {
                break;
            }
            manager.pump(&mut outlet(&mut peer.out, &mut self.control, &self.poll, now));
            peer.flush(now)?;
        }
        let mut outlet = outlet(&mut peer.out, &mut self.control, &self.poll, now);
        manager.watch_fresh(&mut outlet);
        manager.due(&mut outlet);
        peer.tick(now)?;
        peer.flush(now)
    }

    /// The connection is over: workers are stopped or kept, main makes a new one.
    fn lose(&mut self, error: &PeerError, now: Instant) {
        let Some(Session { peer, manager }) = self.session.take() else { return };
        ::log::info!("{}: connection lost: {error}", self.hello.own);
        self.next_request = manager.next_request();
        self.kept = manager.lost(peer.unsent(), &mut self.control, self.poll.registry(), now);
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&peer.raw())) {
            ::log::debug!("letting go of the connection: {error}");
        }
        let reason: String = error.to_string().chars().take(100).collect();
        self.control.send(&ToMain::Disconnected(reason));
    }
}

/// A main that has gone is no failure of the socket.
fn control_failed(error: io::Error) -> RunError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => RunError::MainGone,
        _ => RunError::Control(error),
    }
}

/// To who asked it is the same as a main that has no descriptors left for pipes.
fn no_room(launched: &Launched) -> LaunchFailed {
    let failure = Failure::Step(Step::Pipe, Errno::MFILE.raw_os_error());
    LaunchFailed { request: launched.request, worker: launched.worker, failure }
}

fn outlet<'o>(node: &'o mut Vec<u8>, main: &'o mut Control, poll: &'o Poll, now: Instant) -> Outlet<'o> {
    Outlet { node, main, registry: poll.registry(), now }
}

/// One frame of the node, or some of it. Whatever is wrong with it, the next one is read. Returns false for the front of
/// a long one that has to come whole.
fn frame_came(frame: Frame<'_>, manager: &mut Manager, outlet: &mut Outlet<'_>) -> bool {
    match frame {
        Frame::Whole(body) => match dist::parse(body) {
            Ok(message) => {
                if let ControlMessage::Unknown(operation) = message.control {
                    ::log::warn!("control message {operation}: unknown, ignored");
                }
                let request = manager.names().read(&message);
                manager.request(request, outlet);
            }
            Err(error) => {
                ::log::warn!("frame of the node not taken: {error}");
                manager.not_taken(body, "badterm", outlet);
            }
        },
        Frame::Head(head) => {
            ::log::warn!("frame of the node not taken: over max_frame");
            manager.not_taken(head, "too_large", outlet);
        }
        Frame::Begun(front, length) => {
            let open = dist::parse_open(front, length);
            let input = open.as_ref().and_then(|open| manager.names().read_open(open));
            return input.is_some_and(|input| manager.begin_input(&input, outlet));
        }
        Frame::Part(bytes) => manager.more_input(bytes, outlet),
        Frame::Last(bytes) => manager.last_input(bytes, outlet),
    }
    true
}
