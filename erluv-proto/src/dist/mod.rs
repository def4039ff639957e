//! The Erlang distribution protocol as a hidden node of OTP 25 to 29 speaks it (OTP documents "Distribution Protocol"
//! and "External Term Format").
//!
//! All of it is pure: bytes in, typed values out, and the other way round. erluv-main speaks [`epmd`] and
//! [`handshake`], the only users of the [`Cookie`]; erluv-child speaks what follows: [`frame`], [`control`] and
//! [`send`].

pub mod control;
pub mod cookie;
pub mod epmd;
pub mod flags;
pub mod frame;
pub mod handshake;
pub mod send;

pub use control::{Control, ControlError, Head, Message, Open, parse, parse_head, parse_open};
pub use cookie::{Cookie, CookieError};
pub use frame::Next;
pub use handshake::{Handshake, HandshakeError, MAX_HANDSHAKE_FRAME, Progress};
pub use send::Own;
