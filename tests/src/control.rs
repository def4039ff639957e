//! Main's control socket in the hands of a test: the program `fake-child` runs in the place of erluv-child, and
//! whatever a child that somebody has taken over could send, the test sends.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use erluv_proto::ids::RequestId;
use erluv_proto::ipc::{self, Launch, LaunchFailed, Program, Ready, ToChild, ToMain};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::daemon::{Daemon, DaemonBuilder, bin};
use crate::folder::Folder;
use crate::proc::wait_for;

/// Every wait ends here, and then the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The test as a child of erluv-main.
#[derive(Debug)]
pub struct FakeChild {
    /// Closed when main has killed the program.
    alive: UnixStream,
    control: OwnedFd,
}

/// Starts an erluv-main with `fake` in the place of erluv-child, and takes its first child over. Its node is not there;
/// it never takes this child for hung.
///
/// # Panics
/// When it does not come to a child.
#[must_use]
pub fn start(builder: DaemonBuilder, fake: &Path) -> (Daemon, FakeChild) {
    let programs = Folder::new();
    std::os::unix::fs::symlink(bin("erluv-main"), programs.path().join("erluv-main")).unwrap();
    std::os::unix::fs::symlink(fake, programs.path().join("erluv-child")).unwrap();
    let erluv = builder.arg("-o").arg("hang_timeout=10m").programs(programs.path()).start();
    let child = FakeChild::take(&erluv);
    (erluv, child)
}

impl FakeChild {
    /// Waits for the program, which main has started, and for its control socket.
    fn take(erluv: &Daemon) -> Self {
        let listener = UnixListener::bind(erluv.folder().join("sbin/fake.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (alive, _) = wait_for("the fake child runs", || listener.accept().ok());
        alive.set_nonblocking(false).unwrap();
        alive.set_read_timeout(Some(PATIENCE)).unwrap();
        let (_, mut descriptors) = receive(alive.as_fd());
        Self { alive, control: descriptors.pop().expect("it sends one") }
    }

    /// Sends a frame.
    pub fn say(&self, frame: &ToMain) {
        self.say_bytes(&ipc::encode(frame).unwrap(), &[]);
    }

    /// Sends anything, and descriptors with it. What main does not take, because it has closed its end, is dropped.
    pub fn say_bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || message.push(SendAncillaryMessage::ScmRights(descriptors)));
        let start = Instant::now();
        while let Err(rustix::io::Errno::AGAIN) =
            sendmsg(&self.control, &[IoSlice::new(bytes)], &mut message, SendFlags::NOSIGNAL)
        {
            assert!(start.elapsed() < PATIENCE, "main does not read");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next frame of main but for pings; `None` where it has closed its end.
    pub fn hear(&self) -> Option<ToChild> {
        loop {
            let (bytes, descriptors) = receive(self.control.as_fd());
            if bytes.is_empty() {
                return None;
            }
            match ipc::decode(&bytes, descriptors.len()).unwrap() {
                ToChild::Ping(_) => {}
                frame => return Some(frame),
            }
        }
    }

    /// Says that it is confined, after the greeting of main.
    pub fn get_ready(&self) {
        assert!(matches!(self.hear(), Some(ToChild::Hello(_))));
        self.say(&ToMain::Ready(Ready { missing: Vec::new() }));
    }

    /// Asks for a worker that main must not start, and returns what it says.
    ///
    /// # Panics
    /// When main starts it.
    pub fn fail(&self, launch: Launch) -> LaunchFailed {
        self.say(&ToMain::Launch(launch));
        match self.hear() {
            Some(ToChild::LaunchFailed(failed)) => failed,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Waits until main has killed the program.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_killed(&self) {
        let (bytes, _) = receive(self.alive.as_fd());
        assert!(bytes.is_empty());
    }
}

/// A request for a program with arguments, with nothing else asked for.
#[must_use]
pub fn launch(arguments: &[&str]) -> Launch {
    Launch::plain(
        RequestId(7),
        Program::Direct(arguments.iter().map(|argument| argument.as_bytes().to_vec().into()).collect()),
        "<0.1.0>",
    )
}

/// One datagram with its descriptors, waited for.
fn receive(socket: BorrowedFd<'_>) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = vec![0; ipc::MAX_DATAGRAM];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let start = Instant::now();
    loop {
        let mut message = RecvAncillaryBuffer::new(&mut space);
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut message, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => {
                let rights = message.drain().filter_map(|part| match part {
                    RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                    _ => None,
                });
                let descriptors = rights.flatten().collect();
                bytes.truncate(got.bytes);
                return (bytes, descriptors);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                assert!(start.elapsed() < PATIENCE, "nothing comes within {PATIENCE:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(rustix::io::Errno::CONNRESET) => return (Vec::new(), Vec::new()),
            Err(error) => panic!("the control socket: {error}"),
        }
    }
}
