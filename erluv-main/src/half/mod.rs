//! erluv-child as a process of main's: its control socket, its log, its heartbeat.
//!
//! - [`life`]: the life of a child, a pure function.
//! - [`gate`]: which frame it may send when.
//! - [`channel`]: the control socket.

pub(crate) mod channel;
mod gate;
pub(crate) mod life;

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use erluv_proto::ipc::{ToChild, ToMain};
use mio::unix::SourceFd;
use mio::{Registry, Token};

use crate::sys::Process;
use channel::{Channel, ChannelError};
use gate::Gate;
use life::State;

/// The longest line of child's log that is kept (S-55).
const LONGEST_LINE: usize = 1024;

/// Why a child is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It ended: its control socket is closed, or it was reaped.
    Ended,
    /// It did not answer the heartbeat.
    Hung(Duration),
    /// It sent something that no child sends.
    Protocol(String),
    /// It could not be made.
    NotStarted(String),
}

/// A child that lives, as far as main knows.
pub(crate) struct Half {
    process: Process,
    channel: Channel,
    log: io::PipeReader,
    /// The front of a line whose end has not come.
    line: Vec<u8>,
    gate: Gate,
    ping: u64,
    /// When the ping that is not answered yet was sent.
    unanswered: Option<Instant>,
    /// It has said something since the last look: its answer may wait behind thousands of requests.
    spoke: bool,
    next_ping: Instant,
}

impl Half {
    pub(crate) fn new(process: Process, channel: Channel, log: io::PipeReader, now: Instant) -> Self {
        // The first ping goes out at once: a child that never gets ready hangs, too.
        Self {
            process,
            channel,
            log,
            line: Vec::new(),
            gate: Gate::default(),
            ping: 0,
            unanswered: None,
            spoke: false,
            next_ping: now,
        }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Frames that wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.channel.waiting()
    }

    /// For the poller: the control socket and the log pipe.
    pub(crate) fn sources(&self) -> [RawFd; 2] {
        [self.channel.raw(), self.log.as_raw_fd()]
    }

    /// Reads its last words and closes what leads to it. The process is the caller's to kill or to wait for.
    pub(crate) fn release(mut self, registry: &Registry) -> Process {
        self.read_log();
        for source in self.sources() {
            if let Err(error) = registry.deregister(&mut SourceFd(&source)) {
                log::debug!("letting go of child: {error}");
            }
        }
        self.process
    }

    /// The next frame that this child may send in its state (S-50).
    ///
    /// # Errors
    /// Why the child is lost.
    pub(crate) fn hear(&mut self, state: State) -> Result<Option<ToMain>, Loss> {
        let frame = match self.channel.receive() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => frame,
            Err(ChannelError::Closed) => return Err(Loss::Ended),
            Err(error) => return Err(Loss::Protocol(error.to_string())),
        };
        self.gate.hear(state, &frame).map_err(Loss::Protocol)?;
        if matches!(frame, ToMain::Pong(_)) {
            self.unanswered = None;
        }
        self.spoke = true;
        Ok(Some(frame))
    }

    /// Pings where it is time; a child that has neither answered nor said anything else within `patience` hangs.
    ///
    /// # Errors
    /// Why the child is lost.
    pub(crate) fn heartbeat(&mut self, now: Instant, every: Duration, patience: Duration) -> Result<(), Loss> {
        if std::mem::take(&mut self.spoke) && self.unanswered.is_some() {
            self.unanswered = Some(now);
        }
        if let Some(since) = self.unanswered {
            return if now.saturating_duration_since(since) >= patience { Err(Loss::Hung(patience)) } else { Ok(()) };
        }
        if self.next_ping <= now {
            self.ping = self.ping.saturating_add(1);
            self.unanswered = Some(now);
            self.next_ping = now.checked_add(every).unwrap_or(now);
            self.say(&ToChild::Ping(self.ping), Vec::new())?;
        }
        Ok(())
    }

    /// When [`Half::heartbeat`] wants to be called next.
    pub(crate) fn next_deadline(&self, patience: Duration) -> Option<Instant> {
        match self.unanswered {
            Some(since) => since.checked_add(patience),
            None => Some(self.next_ping),
        }
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// The child is lost where too much waits for it.
    pub(crate) fn say(&mut self, frame: &ToChild, descriptors: Vec<OwnedFd>) -> Result<(), Loss> {
        self.gate.told(frame);
        self.channel.send(frame, descriptors).map_err(|error| Loss::Protocol(error.to_string()))
    }

    /// Sends what waits; `token` is that of its control socket.
    ///
    /// # Errors
    /// Why the child is lost.
    pub(crate) fn flush(&mut self, registry: &Registry, token: Token) -> Result<(), Loss> {
        self.channel.flush(registry, token).map_err(|error| match error {
            ChannelError::Closed => Loss::Ended,
            error => Loss::Protocol(error.to_string()),
        })
    }

    /// Hands the lines of its log to main's, cleaned and marked as its own.
    pub(crate) fn read_log(&mut self) {
        let mut piece = [0; 4096];
        loop {
            let n = match self.log.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            for byte in piece.get(..n).unwrap_or_default() {
                if *byte == b'\n' {
                    crate::log::child_line(&self.line);
                    self.line.clear();
                } else if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
