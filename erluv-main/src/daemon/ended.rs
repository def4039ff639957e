//! Which child has ended: SIGCHLD, read with its sender from a signalfd(2) (Linux).
//!
//! wait4(2) for any child looks at each that lives before the one that has ended, in the order of their births, and at
//! all of them where none has. For a child by its number it looks at that one. Signals of one number do not queue,
//! signal(7): of several ends between two reads one is named, so a look at all children stays needed, but not for each.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::libc::signalfd_siginfo;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::tokens;

/// What is read of one signal.
const ABOUT: usize = size_of::<signalfd_siginfo>();

/// At most one is pending for the process, and one for its thread: all of them fit, and one read brings them.
const MOST_PENDING: usize = 4;

/// What SIGCHLD is read from. It is blocked for as long as main lives; what main executes has an empty mask.
#[derive(Debug)]
pub(super) struct Ended(SignalFd);

impl Ended {
    /// Blocks the signal and has the poller tell of it by [`tokens::ENDED`]. SIGCHLD must not be ignored: then children
    /// would be reaped by the kernel, and blocked or not, there would be no signal.
    ///
    /// # Errors
    /// Those of sigprocmask(2), signalfd(2) and the poller.
    pub(super) fn watch(registry: &Registry) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let file = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&file.as_fd().as_raw_fd()), tokens::ENDED, Interest::READABLE)?;
        Ok(Self(file))
    }

    /// The numbers of children that something has happened to since the last call: not of all, and some may only have
    /// been stopped. Whatever becomes of them, all is read here: while a signal is pending, others of its number are
    /// thrown away, and the poller tells of none of those.
    pub(super) fn named(&self) -> Vec<i32> {
        let (mut named, mut abouts) = (Vec::new(), [0; ABOUT.saturating_mul(MOST_PENDING)]);
        // An error leaves it to the look at all children.
        while let Ok(length) = rustix::io::read(&self.0, &mut abouts) {
            named.extend(abouts.get(..length).unwrap_or_default().chunks_exact(ABOUT).filter_map(sender));
            if length < abouts.len() {
                break;
            }
        }
        named
    }
}

/// Whose end a signal is about.
fn sender(about: &[u8]) -> Option<i32> {
    let number = about.get(offset_of!(signalfd_siginfo, ssi_pid)..)?.first_chunk()?;
    i32::try_from(u32::from_ne_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;
    use crate::sys::testing::alone;

    #[test]
    fn a_child_that_ends_is_named_and_of_several_one_is() {
        alone(|| {
            let mut poll = Poll::new().unwrap();
            let ended = Ended::watch(poll.registry()).unwrap();
            assert!(ended.named().is_empty());
            for children in [1, 3] {
                let commands = (0..children).map(|_| std::process::Command::new("/bin/true").spawn().unwrap());
                let pids = commands.map(|child| i32::try_from(child.id()).unwrap()).collect::<Vec<_>>();
                // All of them have ended before the first is named.
                for pid in &pids {
                    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
                        std::thread::yield_now();
                    }
                }
                let mut events = Events::with_capacity(8);
                poll.poll(&mut events, None).unwrap();
                assert!(events.iter().all(|event| event.token() == tokens::ENDED) && !events.is_empty());
                let named = ended.named();
                assert!(named.len() == 1 && pids.contains(&named[0]), "{named:?} of {pids:?}");
                for pid in pids {
                    assert_eq!(crate::sys::reap(Some(pid)).map(|reaped| reaped.pid), Some(pid));
                }
            }
        });
    }
}
