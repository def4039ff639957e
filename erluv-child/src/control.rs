//! The control socket to main: frames in, with the descriptors that they announce; frames out, queued while main is
//! busy.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use erluv_proto::ipc::{self, IpcError, MAX_DATAGRAM, ToChild, ToMain};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::sys::{Datagram, FdKind, fd_kind};

/// What a read of the control socket brought.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(crate) enum Received {
    /// A frame and its descriptors, as many as it asks for.
    Frame(ToChild, Vec<OwnedFd>),
    /// A frame whose descriptors found no room here. What came of them is closed.
    NoRoom(ToChild),
    /// Nothing for now.
    Empty,
    /// Main is gone.
    End,
}

/// Places for waiting frames that are kept while none waits. A ring goes round all that it has: one that was long once
/// would touch a page after the other for the few frames of later.
const KEPT: usize = 128;

/// Our end of the socketpair.
pub(crate) struct Control {
    socket: OwnedFd,
    queue: VecDeque<Vec<u8>>,
    waiting: usize,
    /// Whether the poller tells when main has read: only while the socket takes no more. A socket of this kind becomes
    /// writable anew with each frame that main reads, and none of these events is worth a wake-up.
    watches_room: bool,
    buffer: Vec<u8>,
}

impl Control {
    /// Takes the socket, which does not block.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let queue = VecDeque::new();
        Self { socket, queue, waiting: 0, watches_room: false, buffer: vec![0; MAX_DATAGRAM] }
    }

    /// Has the poller tell, by `token`, of what main sends.
    ///
    /// # Errors
    /// What the poller says.
    pub(crate) fn watch(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
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

    /// Sends what the socket takes; the poller tells, by the `token` of [`Control::watch`], when it takes more.
    ///
    /// # Errors
    /// What send(2) says: main is gone.
    pub(crate) fn flush(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.send_queued()?;
        let full = !self.queue.is_empty();
        if !full {
            self.queue.shrink_to(KEPT);
        }
        if full != self.watches_room {
            let interest = if full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            // An event that was on its way comes again.
            registry.reregister(&mut SourceFd(&self.socket.as_raw_fd()), token, interest)?;
            self.watches_room = full;
        }
        Ok(())
    }

    fn send_queued(&mut self) -> io::Result<()> {
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
            Ok(Some(Datagram { length, descriptors, lacks_room })) => {
                let datagram = self.buffer.get(..length).unwrap_or_default();
                // What did not come is believed to be what the frame says.
                let count = if lacks_room { ipc::announced(datagram) } else { descriptors.len() };
                let frame = ipc::decode::<ToChild>(datagram, count).map_err(invalid)?;
                check_kinds(&frame, &descriptors)?;
                match lacks_room {
                    true if descriptors.len() >= count => Err(invalid("descriptors that its frame has no word of")),
                    true => Ok(Received::NoRoom(frame)),
                    false => Ok(Received::Frame(frame, descriptors)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Empty),
            Err(error) => Err(error),
        }
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Whether the descriptors of a frame are what it says (S-20): a connection is a socket, a worker's stream a pipe or a
/// terminal, and what kills the workers a file.
///
/// # Errors
/// `InvalidData` for another kind; those of fstat(2).
fn check_kinds(frame: &ToChild, descriptors: &[OwnedFd]) -> io::Result<()> {
    let wanted: &[FdKind] = match frame {
        ToChild::Hello(_) => &[FdKind::File],
        ToChild::Connection(_) => &[FdKind::Socket],
        ToChild::Launched(_) => &[FdKind::Fifo, FdKind::Device],
        ToChild::LaunchFailed(_) | ToChild::Exited(_) | ToChild::Ping(_) | ToChild::Stopping(()) => &[],
    };
    for descriptor in descriptors {
        let kind = fd_kind(descriptor.as_fd())?;
        if !wanted.contains(&kind) {
            return Err(invalid(format!("a descriptor is a {kind:?}, not a {wanted:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use erluv_proto::ids::NodeName;
    use erluv_proto::ipc::{Connection, Signal};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_queue_that_was_long_keeps_little_room_once_it_is_empty() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let poll = mio::Poll::new().unwrap();
        let mut control = Control::new(ours);
        control.watch(poll.registry(), Token(0)).unwrap();
        for number in 0..5000 {
            control.send(&ToMain::Signal(Signal { worker: erluv_proto::ids::WorkerId(number), signal: 9 }));
        }
        let mut datagram = [0; 64];
        while control.waiting() > 0 {
            control.flush(poll.registry(), Token(0)).unwrap();
            while rustix::io::read(&theirs, &mut datagram[..]).is_ok() {}
        }
        assert!(control.queue.capacity() < 2 * KEPT);
    }

    #[test]
    fn s20_a_descriptor_of_another_kind_than_its_frame_says_is_refused() {
        let frame = ToChild::Connection(Connection { peer: NodeName::parse("a@127.0.0.1").unwrap(), flags: 0 });
        let socket = OwnedFd::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
        let (pipe, _writer) = io::pipe().unwrap();
        let file = OwnedFd::from(std::fs::File::open(std::env::current_exe().unwrap()).unwrap());
        assert!(check_kinds(&frame, &[socket]).is_ok());
        for other in [OwnedFd::from(pipe), file] {
            assert_eq!(check_kinds(&frame, &[other]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
