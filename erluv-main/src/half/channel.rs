//! Main's end of the control socket to erluv-child. What comes in is not trusted: it is decoded by type, length and
//! number of descriptors, and one wrong byte is the end of that child. Main never waits for child to read (S-53).

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use erluv_proto::ipc::{self, IpcError, MAX_DATAGRAM, ToChild, ToMain};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use thiserror::Error;

/// Why a child is no longer to be talked with.
#[derive(Debug, Error)]
pub(crate) enum ChannelError {
    /// It has closed the socket: it is gone.
    #[error("closed")]
    Closed,
    /// What it sent is no frame of its direction.
    #[error("malformed {0}")]
    Frame(#[from] IpcError),
    /// It sent descriptors, which no frame to main has.
    #[error("a frame with descriptors")]
    Descriptors,
    /// It does not read, and more frames wait than there can be reasons for.
    #[error("{0} frames wait for it")]
    Full(usize),
    /// A system call failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Places for waiting frames that are kept while none waits. A ring goes round all that it has: one that was long once
/// would touch a page after the other for the few frames of later.
const KEPT: usize = 128;

struct Outgoing {
    datagram: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// The control socket and what waits to go through it.
pub(crate) struct Channel {
    socket: OwnedFd,
    queue: VecDeque<Outgoing>,
    most: usize,
    /// Whether the poller tells when child has read: only while the socket takes no more. It becomes writable anew with
    /// each frame that child reads, and none of these events is worth a wake-up.
    watches_room: bool,
    buffer: Vec<u8>,
}

impl Channel {
    /// Takes main's end, which does not block. At most `most` frames wait.
    pub(crate) fn new(socket: OwnedFd, most: usize) -> Self {
        Self { socket, queue: VecDeque::new(), most, watches_room: false, buffer: vec![0; MAX_DATAGRAM] }
    }

    /// For the poller.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Queues a frame with its descriptors, which are closed once they have been sent.
    ///
    /// # Errors
    /// [`ChannelError::Full`] or [`ChannelError::Frame`].
    pub(crate) fn send(&mut self, frame: &ToChild, descriptors: Vec<OwnedFd>) -> Result<(), ChannelError> {
        if self.queue.len() >= self.most {
            return Err(ChannelError::Full(self.queue.len()));
        }
        let datagram = ipc::encode(frame)?;
        self.queue.push_back(Outgoing { datagram, descriptors });
        Ok(())
    }

    /// Has the poller tell, by `token`, of what child sends.
    ///
    /// # Errors
    /// What the poller says.
    pub(crate) fn watch(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.raw()), token, Interest::READABLE)
    }

    /// Sends what the socket takes; the poller tells, by the `token` of [`Channel::watch`], when it takes more.
    ///
    /// # Errors
    /// What sendmsg(2) says: child is gone.
    pub(crate) fn flush(&mut self, registry: &Registry, token: Token) -> Result<(), ChannelError> {
        self.send_queued()?;
        let full = !self.queue.is_empty();
        if !full {
            self.queue.shrink_to(KEPT);
        }
        if full != self.watches_room {
            let interest = if full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            // An event that was on its way comes again.
            registry.reregister(&mut SourceFd(&self.raw()), token, interest)?;
            self.watches_room = full;
        }
        Ok(())
    }

    fn send_queued(&mut self) -> Result<(), ChannelError> {
        while let Some(first) = self.queue.front() {
            match send(self.socket.as_fd(), first) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(Errno::INTR) => {}
                // The last: more descriptors are on their way than this user may have open, unix(7). A child that reads
                // makes room for them.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(ChannelError::Closed),
                Err(error) => return Err(ChannelError::Io(error.into())),
            }
        }
        Ok(())
    }

    /// Reads one frame. `None`: nothing for now.
    ///
    /// # Errors
    /// Anything that ends the trust in this child.
    pub(crate) fn receive(&mut self) -> Result<Option<ToMain>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ipc::MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut self.buffer)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = loop {
            match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(ChannelError::Io(error.into())),
            }
        };
        // Whatever descriptors came are closed as the messages are dropped.
        let strays = control.drain().count();
        if strays > 0 || got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::Descriptors);
        }
        if got.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        Ok(Some(ipc::decode(self.buffer.get(..got.bytes).unwrap_or_default(), 0)?))
    }
}

fn send(socket: BorrowedFd<'_>, outgoing: &Outgoing) -> Result<(), Errno> {
    let descriptors: Vec<BorrowedFd<'_>> = outgoing.descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ipc::MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let parts = [io::IoSlice::new(&outgoing.datagram)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL).map(|_| ())
}
