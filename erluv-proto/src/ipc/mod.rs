//! The frames between erluv-main and erluv-child, one in each datagram of a `SOCK_SEQPACKET` socketpair.
//!
//! A frame is a header of eight bytes and a body (bincode, little endian, variable-length integers):
//!
//! | byte | what |
//! |---|---|
//! | 0 | protocol version, [`VERSION`] |
//! | 1 | kind, one of those of the direction's enum |
//! | 2 | number of descriptors that come with it by `SCM_RIGHTS` |
//! | 3 | 0 |
//! | 4 to 7 | length of the body, little endian |
//!
//! The length is checked against the limit of the kind before anything is allocated, the body is consumed exactly, and
//! the number of descriptors is what the frame's own content asks for. The two directions have kinds of their own: a
//! frame sent the wrong way does not decode (S-47 to S-49).

mod codec;
mod to_child;
mod to_main;

pub use codec::{Frame, HEADER, IpcError, MAX_DATAGRAM, MAX_DESCRIPTORS, VERSION, announced, decode, encode};
pub use to_child::{
    About, Connection, ExitStatus, Exited, Failure, Hello, LaunchFailed, Launched, Step, ToChild, Usage,
};
pub use to_main::{InputFrom, Launch, OutputFile, OutputTo, Program, Ready, SIGNALS, Signal, Stop, Terminal, ToMain};

#[cfg(test)]
mod tests;
