//! The control socket to main: frames in, with the descriptors that they announce; frames out, queued while main is
//! busy.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use erluv_proto::ipc::{self, IpcError, MAX_DATAGRAM, ToChild, ToMain};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// What a read of the control socket brought.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(crate) enum Received {
    /// A frame and its descriptors, as many as it asks for.
    Frame(ToChild, Vec<OwnedFd>),
    /// Nothing for now.
    Empty,
    /// Main is gone.
    End,
}

/// Our end of the socketpair.
pub(crate) struct Control {
    socket: OwnedFd,
    queue: VecDeque<Vec<u8>>,
    waiting: usize,
    buffer: Vec<u8>,
}

impl Control {
    /// Takes the socket, which does not block.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, queue: VecDeque::new(), waiting: 0, buffer: vec![0; MAX_DATAGRAM] }
    }

    /// For the poller.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Bytes that wait for main.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queues a frame that is never too long for its kind.
    pub(crate) fn send(&mut self, frame: &ToMain) {
        if let Err(error) = self.try_send(frame) {
            ::log::error!("not sent to main: {error}");
        }
    }

    /// Queues a frame that may be too long.
    ///
    /// # Errors
    /// [`IpcError::Long`]: nothing was queued.
    pub(crate) fn try_send(&mut self, frame: &ToMain) -> Result<(), IpcError> {
        let datagram = ipc::encode(frame)?;
        self.waiting = self.waiting.saturating_add(datagram.len());
        self.queue.push_back(datagram);
        Ok(())
    }

    /// Sends what the socket takes; the poller tells when it takes more.
    ///
    /// # Errors
    /// What send(2) says: main is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(datagram) = self.queue.front() {
            match rustix::net::send(&self.socket, datagram, SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.waiting = self.waiting.saturating_sub(datagram.len());
                    self.queue.pop_front();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until there is something to read: before the loop, when there is nothing else to do.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(crate) fn wait(&self) -> io::Result<()> {
        match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// What recvmsg(2) says, or `InvalidData` for what is no frame: the two halves are not of one build.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        match crate::sys::receive(self.socket.as_fd(), &mut self.buffer) {
            Ok(None) => Ok(Received::End),
            Ok(Some((length, descriptors))) => {
                let datagram = self.buffer.get(..length).unwrap_or_default();
                let frame = ipc::decode(datagram, descriptors.len());
                let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(Received::Frame(frame, descriptors))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Empty),
            Err(error) => Err(error),
        }
    }
}
