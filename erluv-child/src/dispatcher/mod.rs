//! The dispatcher: control messages of the node -> requests. Pure: no worker is known here, nothing is answered.
//!
//! - [`request`]: what a control message asks for, in one type.
//! - [`server`]: calls to `erluv` itself.
//! - [`worker`]: messages and calls to a worker's pid.
//! - [`run`]: the command and the options of a worker; [`options`] reads them one by one, [`places`] those of its
//!   streams.
//! - [`text`]: strings, binaries and signal names.

mod options;
pub(crate) mod places;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod text;
pub(crate) mod worker;

#[cfg(test)]
mod tests;
