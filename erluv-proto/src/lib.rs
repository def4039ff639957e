//! What erluv-main and erluv-child share: pure functions over bytes, no I/O, no clock, no system call.
//!
//! - [`etf`]: the Erlang external term format. Every term from outside passes its iterative validator first.
//! - [`dist`]: the Erlang distribution protocol as a hidden node speaks it: EPMD messages, handshake, frames, control
//!   messages.
//! - [`ipc`]: the frames between erluv-main and erluv-child.
//! - [`ids`]: the newtypes that all of them use.
//! - [`terminal`]: the settings of a terminal by name.
//!
//! The Erlang half of the protocol stands in `erlang/` beside this crate's sources.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod dist;
pub mod etf;
pub mod ids;
pub mod ipc;
pub mod terminal;
