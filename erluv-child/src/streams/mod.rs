//! The workers' stdio: pipes whose other ends the workers hold.
//!
//! - [`input`]: bytes from the node to a worker's stdin, with a bounded queue.
//! - [`output`]: bytes from a worker's stdout or stderr to the node, copied once, from the pipe into the connection's
//!   own buffer; or with a stop in [`held`], where lines are put together or bytes kept.

mod held;
pub(crate) mod input;
pub(crate) mod output;

use std::os::fd::BorrowedFd;

use erluv_proto::ids::WorkerId;
use mio::{Interest, Token};

/// One of a worker's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    Stdin,
    Stdout,
    Stderr,
}

/// Bytes of a pipe that carries much: both sides do more in one turn, and it is still in the processor's cache.
#[cfg(target_os = "linux")]
const LONG_PIPE: usize = 256 * 1024;

/// Makes the pipe of a worker that reads or writes much longer, where the system lets us: a user's pipes may have so
/// much together and no more (pipe(7), `pipe-user-pages-soft`). On a terminal it does nothing.
fn lengthen(pipe: BorrowedFd<'_>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, LONG_PIPE) {
        ::log::trace!("a longer pipe: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _: BorrowedFd<'_> = pipe;
}

/// What the poller tells of an output stream.
///
/// Whatever it watches costs the writer: pipe(7) calls every watcher at each write, wanted or not, which for a worker that
/// writes 4 KiB at a time is one part in twenty of its time. So while a stream is being read the poller knows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Whatever is written, and the end.
    All,
    /// The end alone, which epoll(7) tells of in any case.
    End,
    /// Nothing: there is something to read, and reading it on comes to the end by itself.
    Nothing,
}

impl Told {
    /// What the poller is to be asked for; `None`: it is not to have the pipe.
    #[cfg(target_os = "linux")]
    pub(crate) fn interest(self) -> Option<Interest> {
        match self {
            Self::All => Some(Interest::READABLE),
            Self::End => Some(Interest::PRIORITY),
            Self::Nothing => None,
        }
    }

    /// Other systems' pollers cannot be asked for the end alone: they tell all of it, always.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn interest(self) -> Option<Interest> {
        Some(Interest::READABLE)
    }
}

/// Tokens below this one are the loop's own.
const FIRST: usize = 16;

/// The token under which a stream is registered. Worker ids are never reused, so neither is a token: an event that
/// comes late finds no worker.
pub(crate) fn token(worker: WorkerId, which: Which) -> Token {
    let place = match which {
        Which::Stdin => 0,
        Which::Stdout => 1,
        Which::Stderr => 2,
    };
    let worker = usize::try_from(worker.0).unwrap_or(usize::MAX >> 3);
    Token(worker.saturating_mul(4).saturating_add(FIRST).saturating_add(place))
}

/// The stream of a token, `None` for the loop's own.
pub(crate) fn of_token(token: Token) -> Option<(WorkerId, Which)> {
    let number = token.0.checked_sub(FIRST)?;
    let which = match number & 3 {
        0 => Which::Stdin,
        1 => Which::Stdout,
        2 => Which::Stderr,
        _ => return None,
    };
    Some((WorkerId(u64::try_from(number >> 2).ok()?), which))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_stream_of_one_worker() {
        for id in [2, 3, 1 << 40] {
            for which in [Which::Stdin, Which::Stdout, Which::Stderr] {
                assert_eq!(of_token(token(WorkerId(id), which)), Some((WorkerId(id), which)));
            }
        }
        assert_eq!(of_token(Token(3)), None);
    }
}
