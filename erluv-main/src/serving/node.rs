//! The way to the node: attempts, the connection, and the talk over it while there is no child.

use std::io::{self, Read, Write};

use mio::Interest;
use mio::net::TcpStream;

use super::{Attended, Held, Serving, Shared};
use crate::attendant::Attendant;
use crate::cookie;
use crate::half::Loss;
use crate::half::life::{Event, State};
use crate::link::{Connected, LinkError};
use crate::tokens;

impl Serving {
    /// The socket on the way to the node, or a connection that main attends to, has something to say.
    pub(crate) fn link_ready(&mut self, shared: &mut Shared<'_>) {
        if self.held.is_some() {
            return self.attend(shared);
        }
        let (path, trust) = (&self.node.cookie_file, &self.node.cookie_trust);
        let cookie = || cookie::read_cookie(path, trust);
        match self.link.ready(shared.registry, shared.now, self.creation, cookie) {
            Ok(None) => {}
            Ok(Some(connected)) => self.connected(connected, shared),
            Err(error) => self.complain(&error),
        }
    }

    /// An attempt failed: said once for each reason, so that a node that is down for days does not fill the log.
    pub(super) fn complain(&mut self, error: &LinkError) {
        let complaint = error.to_string();
        if complaint == self.last_complaint {
            log::debug!("{}: {complaint}", self.node.peer);
        } else {
            log::warn!("{}: {complaint}; trying again", self.node.peer);
            self.last_complaint = complaint;
        }
    }

    fn connected(&mut self, connected: Connected, shared: &mut Shared<'_>) {
        let Connected { stream, flags } = connected;
        log::info!("{}: connected as {}", self.node.peer, self.node.own);
        self.last_complaint.clear();
        match self.state {
            State::Starting | State::Serving => {
                self.held = Some(Held { stream, flags, attended: None });
                if self.state == State::Serving {
                    self.hand_over(shared);
                }
            }
            State::Down => self.begin_to_attend(stream, flags, shared),
            State::Stopping | State::Leaving | State::Over => {}
        }
    }

    fn begin_to_attend(&mut self, mut stream: TcpStream, flags: u64, shared: &mut Shared<'_>) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = shared.registry.register(&mut stream, tokens::link(self.index), interest) {
            log::error!("{}: watching the connection: {error}", self.node.peer);
            return self.link.restart(shared.now, false);
        }
        let attendant = Attendant::new(self.node.own.clone(), self.creation, flags);
        let mut out = Vec::new();
        attendant.notice(self.loss.as_ref().unwrap_or(&Loss::Ended), self.end, &mut out);
        self.held = Some(Held { stream, flags, attended: Some(Attended { attendant, out, ordered: false }) });
        self.attend(shared);
    }

    /// Talks with the node while there is no child.
    fn attend(&mut self, shared: &mut Shared<'_>) {
        let Some(Held { stream, attended: Some(attended), .. }) = &mut self.held else { return };
        match attended.talk(stream) {
            Ok(false) => {}
            Ok(true) => self.event(Event::Ordered, shared),
            Err(error) => {
                log::warn!("{}: disconnected while there is no child: {error}", self.node.peer);
                self.link.lost(stream);
                self.held = None;
                self.link.restart(shared.now, false);
            }
        }
    }
}

impl Attended {
    /// Writes and reads as far as the socket goes. True: the order has come and its answer has gone.
    fn talk(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        loop {
            if !self.write(stream)? {
                return Ok(false);
            }
            if self.ordered {
                return Ok(true);
            }
            let wanted = self.attendant.wanted();
            let mut piece = vec![0; wanted.min(64 * 1024)];
            match stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.ordered = self.attendant.feed(piece.get(..n).unwrap_or_default(), &mut self.out),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether all is written.
    fn write(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n.min(self.out.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
