//! The way to a node: EPMD, connect, handshake, one attempt after the other. Runs in erluv-main, which alone knows the
//! cookie and may connect; a connection that stands is handed to erluv-child.
//!
//! Nothing here blocks but the look-up of a host name that is no address (resolver(3)). Of the handshake exactly its
//! own bytes are read, so that whoever gets the connection finds the first frame at its front.

mod backoff;
mod socket;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use erluv_proto::dist::epmd::{self, EpmdError, PortReply};
use erluv_proto::dist::{Cookie, Handshake, HandshakeError, MAX_HANDSHAKE_FRAME, Progress};
use erluv_proto::ids::{Creation, NodeName};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::cookie::CookieFileError;
use backoff::Backoff;

/// Why an attempt came to nothing. Each is tried again later; the text tells what would help.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("no address for {0:?}: {1}: check the host part of the node name")]
    Resolve(String, io::Error),
    #[error("epmd at {0}: {1}: is epmd running there? (epmd_port, or node_port to connect without it)")]
    EpmdConnect(SocketAddr, io::Error),
    #[error("{0}")]
    Epmd(#[from] EpmdError),
    #[error("epmd does not know the node {0:?}: is it running, and with this name?")]
    Unknown(String),
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("{0}")]
    Cookie(#[from] CookieFileError),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("handshake: {0}")]
    Io(io::Error),
    #[error("random numbers: {0}")]
    Random(getrandom::Error),
    #[error("{stage}: no answer within {within:?}", within = .1, stage = .0)]
    Timeout(&'static str, Duration),
}

/// Where a node is found, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) own: NodeName,
    pub(crate) peer: NodeName,
    pub(crate) epmd_port: u16,
    /// Connects to this port, without asking EPMD.
    pub(crate) node_port: Option<u16>,
    /// For one attempt, from EPMD to the end of the handshake.
    pub(crate) timeout: Duration,
}

/// A connection that has passed the handshake.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    /// The flags of both sides.
    pub(crate) flags: u64,
}

enum Stage {
    /// Until the next attempt.
    Resting(Instant),
    /// Somebody else has the connection.
    Handed,
    Epmd {
        stream: TcpStream,
        to: SocketAddr,
        asked: bool,
        reply: Vec<u8>,
    },
    Connecting {
        stream: TcpStream,
        to: SocketAddr,
    },
    Shaking {
        stream: TcpStream,
        shake: Handshake,
        frame: FrameIn,
        out: VecDeque<u8>,
    },
}

/// A frame of the handshake that is being read, byte for byte its own.
#[derive(Default)]
struct FrameIn {
    bytes: Vec<u8>,
}

/// The way to one node.
pub(crate) struct Link {
    way: Way,
    stage: Stage,
    backoff: Backoff,
    /// Addresses of the node's host that were not tried yet.
    addresses: VecDeque<SocketAddr>,
    deadline: Option<Instant>,
    /// The node may not have noticed yet that our last connection is gone.
    lingers: bool,
    token: Token,
}

impl Link {
    /// A link that makes its first attempt at once.
    pub(crate) fn new(way: Way, token: Token, now: Instant) -> Self {
        let backoff = Backoff::default();
        Self {
            way,
            stage: Stage::Resting(now),
            backoff,
            addresses: VecDeque::new(),
            deadline: None,
            lingers: false,
            token,
        }
    }

    /// Other settings, from the next attempt on.
    pub(crate) fn set_way(&mut self, way: Way) {
        self.way = way;
    }

    /// The connection is about to be given up. Where it was not the node that closed it, the node may still have it
    /// when we come back, and has to be told then that it is ours.
    pub(crate) fn lost(&mut self, stream: &TcpStream) {
        self.lingers = !is_closed_by_peer(stream);
    }

    /// The connection is lost: the next attempt comes after a pause, or at once where `at_once`.
    pub(crate) fn restart(&mut self, now: Instant, at_once: bool) {
        if at_once {
            self.backoff = Backoff::default();
        }
        let pause = if at_once { Duration::ZERO } else { self.backoff.next() };
        self.stage = Stage::Resting(now.checked_add(pause).unwrap_or(now));
        self.deadline = None;
    }

    /// When [`Link::due`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Resting(until) => Some(until),
            Stage::Handed => None,
            Stage::Epmd { .. } | Stage::Connecting { .. } | Stage::Shaking { .. } => self.deadline,
        }
    }

    /// What it is doing, in words.
    pub(crate) fn state(&self) -> &'static str {
        match self.stage {
            Stage::Resting(_) => "waits before the next attempt",
            Stage::Handed => "connected",
            Stage::Epmd { .. } => "asks epmd",
            Stage::Connecting { .. } => "connects",
            Stage::Shaking { .. } => "shakes hands",
        }
    }

    /// The time has come: the next attempt, or the end of one that took too long.
    ///
    /// # Errors
    /// Why the attempt failed; the next one is already planned.
    pub(crate) fn due(&mut self, registry: &Registry, now: Instant) -> Result<(), LinkError> {
        let result = match &self.stage {
            Stage::Resting(until) if *until <= now => self.begin(registry, now),
            Stage::Epmd { .. } | Stage::Connecting { .. } | Stage::Shaking { .. }
                if self.deadline.is_some_and(|deadline| deadline <= now) =>
            {
                Err(LinkError::Timeout(self.state(), self.way.timeout))
            }
            _ => return Ok(()),
        };
        result.inspect_err(|_| self.restart(now, false))
    }

    /// The poller has something to say of the socket. `cookie` is asked for when the node's challenge is there.
    ///
    /// # Errors
    /// Why the attempt failed; the next one is already planned.
    pub(crate) fn ready(
        &mut self,
        registry: &Registry,
        now: Instant,
        creation: Creation,
        cookie: impl Fn() -> Result<Cookie, CookieFileError>,
    ) -> Result<Option<Connected>, LinkError> {
        let result = self.advance(registry, creation, &cookie);
        match &result {
            Ok(Some(_)) => {
                self.backoff = Backoff::default();
                self.deadline = None;
            }
            Ok(None) => {}
            Err(_) => self.restart(now, false),
        }
        result
    }

    fn begin(&mut self, registry: &Registry, now: Instant) -> Result<(), LinkError> {
        self.deadline = now.checked_add(self.way.timeout);
        let host = self.way.peer.host();
        let port = self.way.node_port.unwrap_or(self.way.epmd_port);
        let found = (host, port).to_socket_addrs();
        self.addresses = found.map_err(|error| LinkError::Resolve(host.to_owned(), error))?.collect();
        let Some(to) = self.addresses.pop_front() else {
            return Err(LinkError::Resolve(host.to_owned(), io::ErrorKind::NotFound.into()));
        };
        if self.way.node_port.is_some() {
            self.connect(to, registry)
        } else {
            let stream = self.open(to, registry).map_err(|error| LinkError::EpmdConnect(to, error))?;
            self.stage = Stage::Epmd { stream, to, asked: false, reply: Vec::new() };
            Ok(())
        }
    }

    fn open(&self, to: SocketAddr, registry: &Registry) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(to)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn connect(&mut self, to: SocketAddr, registry: &Registry) -> Result<(), LinkError> {
        let stream = self.open(to, registry).map_err(|error| LinkError::Connect(to, error))?;
        self.stage = Stage::Connecting { stream, to };
        Ok(())
    }

    /// As far as the sockets go.
    fn advance(
        &mut self,
        registry: &Registry,
        creation: Creation,
        cookie: &impl Fn() -> Result<Cookie, CookieFileError>,
    ) -> Result<Option<Connected>, LinkError> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Handed) {
                stage @ (Stage::Resting(_) | Stage::Handed) => {
                    self.stage = stage;
                    return Ok(None);
                }
                Stage::Epmd { mut stream, to, mut asked, mut reply } => {
                    let port = ask_epmd(&mut stream, self.way.peer.alive(), &mut asked, &mut reply);
                    match port {
                        Err(EpmdFailure::Io(error)) => return self.next_epmd(to, error, registry),
                        Err(EpmdFailure::Epmd(error)) => return Err(error.into()),
                        Ok(None) => {
                            self.stage = Stage::Epmd { stream, to, asked, reply };
                            return Ok(None);
                        }
                        Ok(Some(PortReply::Port(port))) => {
                            self.connect(SocketAddr::new(to.ip(), port), registry)?;
                            return Ok(None);
                        }
                        Ok(Some(PortReply::Unknown | PortReply::More)) => {
                            return Err(LinkError::Unknown(self.way.peer.alive().to_owned()));
                        }
                    }
                }
                Stage::Connecting { stream, to } => {
                    match connected(&stream) {
                        Err(error) => return self.next_address(to, error, registry),
                        Ok(false) => {
                            self.stage = Stage::Connecting { stream, to };
                            return Ok(None);
                        }
                        Ok(true) => {}
                    }
                    socket::set(&stream).map_err(LinkError::Io)?;
                    let mut challenge = [0; 4];
                    getrandom::fill(&mut challenge).map_err(LinkError::Random)?;
                    let challenge = u32::from_ne_bytes(challenge);
                    let (shake, first) =
                        Handshake::start(&self.way.own, &self.way.peer, creation, challenge, self.lingers);
                    let (frame, out) = (FrameIn::default(), first.into());
                    self.stage = Stage::Shaking { stream, shake, frame, out };
                }
                Stage::Shaking { mut stream, mut shake, mut frame, mut out } => {
                    write_out(&mut stream, &mut out).map_err(LinkError::Io)?;
                    let body = match frame.read(&mut stream) {
                        Ok(None) => {
                            self.stage = Stage::Shaking { stream, shake, frame, out };
                            return Ok(None);
                        }
                        Ok(Some(body)) => body,
                        // A node that finds our digest wrong says nothing and closes.
                        Err(error) if is_close(&error) => return Err(shake.closed().into()),
                        Err(error) => return Err(LinkError::Io(error)),
                    };
                    match shake.receive(&body, &cookie()?)? {
                        Progress::Wait => {}
                        Progress::Send(more) => out.extend(more),
                        Progress::Done { flags, .. } => {
                            registry.deregister(&mut stream).map_err(LinkError::Io)?;
                            return Ok(Some(Connected { stream, flags }));
                        }
                    }
                    self.stage = Stage::Shaking { stream, shake, frame, out };
                }
            }
        }
    }

    fn next_epmd(
        &mut self,
        failed: SocketAddr,
        error: io::Error,
        registry: &Registry,
    ) -> Result<Option<Connected>, LinkError> {
        let Some(to) = self.addresses.pop_front() else { return Err(LinkError::EpmdConnect(failed, error)) };
        let stream = self.open(to, registry).map_err(|error| LinkError::EpmdConnect(to, error))?;
        self.stage = Stage::Epmd { stream, to, asked: false, reply: Vec::new() };
        Ok(None)
    }

    fn next_address(
        &mut self,
        failed: SocketAddr,
        error: io::Error,
        registry: &Registry,
    ) -> Result<Option<Connected>, LinkError> {
        match self.addresses.pop_front() {
            Some(to) => {
                let port = self.way.node_port.unwrap_or_else(|| failed.port());
                self.connect(SocketAddr::new(to.ip(), port), registry)?;
                Ok(None)
            }
            None => Err(LinkError::Connect(failed, error)),
        }
    }
}

enum EpmdFailure {
    Io(io::Error),
    Epmd(EpmdError),
}

/// Asks EPMD for the node's port, as far as the socket goes. `None`: not yet.
fn ask_epmd(
    stream: &mut TcpStream,
    alive: &str,
    asked: &mut bool,
    reply: &mut Vec<u8>,
) -> Result<Option<PortReply>, EpmdFailure> {
    if !connected(stream).map_err(EpmdFailure::Io)? {
        return Ok(None);
    }
    if !*asked {
        // A fresh socket takes so few bytes at once.
        stream.write_all(&epmd::port_request(alive)).map_err(EpmdFailure::Io)?;
        *asked = true;
    }
    let mut piece = [0; 512];
    loop {
        let read = match stream.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(EpmdFailure::Io(error)),
        };
        reply.extend_from_slice(piece.get(..read).unwrap_or_default());
        match epmd::read_port_reply(reply).map_err(EpmdFailure::Epmd)? {
            PortReply::More if read == 0 => return Err(EpmdFailure::Io(io::ErrorKind::UnexpectedEof.into())),
            PortReply::More => {}
            reply @ (PortReply::Port(_) | PortReply::Unknown) => return Ok(Some(reply)),
        }
    }
}

/// Whether a connect(2) that was begun has succeeded.
fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the other side has closed its direction; nothing is read.
fn is_closed_by_peer(stream: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    const CLOSED: PollFlags = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    const CLOSED: PollFlags = PollFlags::HUP;
    let mut polled = [PollFd::new(stream, CLOSED)];
    let asked = poll(&mut polled, Some(&Timespec::default()));
    asked.is_ok() && polled.iter().any(|polled| polled.revents().intersects(CLOSED | PollFlags::HUP | PollFlags::ERR))
}

fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn write_out(stream: &mut TcpStream, out: &mut VecDeque<u8>) -> io::Result<()> {
    while !out.is_empty() {
        match stream.write(out.as_slices().0) {
            Ok(n) => drop(out.drain(..n.min(out.len()))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl FrameIn {
    /// Reads up to the end of one frame and not a byte further. `None`: not yet.
    fn read(&mut self, stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            let wanted = match self.bytes.first_chunk::<2>() {
                None => 2,
                Some(length) => usize::from(u16::from_be_bytes(*length)).saturating_add(2),
            };
            if wanted > MAX_HANDSHAKE_FRAME {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame too long: is this an Erlang node?"));
            }
            let missing = wanted.saturating_sub(self.bytes.len());
            if missing == 0 {
                return Ok(Some(std::mem::take(&mut self.bytes).split_off(2)));
            }
            let mut piece = [0; MAX_HANDSHAKE_FRAME];
            let piece = piece.get_mut(..missing).unwrap_or_default();
            match stream.read(piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.bytes.extend_from_slice(piece.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
