//! The dispatcher: control messages of the node -> requests. Pure: no worker is known here, nothing is answered.
//!
//! - [`request`]: what a control message asks for, in one type.
//! - [`run`]: the command and the options of a worker.
//! - [`text`]: strings, binaries and signal names.

pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod text;

#[cfg(test)]
mod tests;
