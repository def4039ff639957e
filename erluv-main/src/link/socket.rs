//! How a connection to a node is set, before its first byte.

use std::io;

use mio::net::TcpStream;
#[cfg(target_os = "linux")]
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

/// Bytes that may wait in the kernel while the node's window is full, beside those that it has been sent. Without a bound
/// the kernel's buffer grows to 4 MiB: what waits there has left the processor's cache when its time comes, and ticks and
/// answers wait behind it. As much as one piece of output; with half of it, connections in the same machine are slower.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

#[cfg(target_os = "linux")]
sockopt_impl!(
    /// tcp(7), TCP_NOTSENT_LOWAT: the socket counts as writable below so many bytes, and takes no more above them.
    NotSentLowat,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32
);

/// Sets it so that nothing that is written waits longer than it must.
///
/// # Errors
/// What setsockopt(2) says of a socket that has failed meanwhile.
pub(super) fn set(stream: &TcpStream) -> io::Result<()> {
    // One frame after the other, each answered: Nagle would hold every answer back.
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(stream, NotSentLowat, &UNSENT)?;
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_holds_no_answer_back_and_has_little_that_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(nix::sys::socket::getsockopt(&stream, NotSentLowat), Ok(UNSENT));
    }
}
