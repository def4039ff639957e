//! erluv-child, the unprivileged half of erluv. erluv-main executes it, hands it a control socket and a log pipe, and
//! later the connection to the node and the pipes of the workers. It drops its privileges and confines itself before it
//! reads a byte; what it can do from then on is to read and write descriptors that it was given.
//!
//! Bytes of the node flow one way: [`peer`] (bytes -> frame), [`dispatcher`] (frame -> request), [`manager`] (request
//! -> what happens to workers), and back out through the connection's buffer. [`streams`] are the workers' stdio,
//! [`control`] is the socket to main, [`run`] the loop around it all.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod clock;
mod confine;
mod control;
mod dispatcher;
mod log;
mod manager;
mod peer;
mod run;
mod self_test;
mod start;
mod streams;
mod sys;

use std::process::ExitCode;

use clock::Clock;
use control::Control;
use run::{Child, RunError};

/// The fixed order of the start: what opens a descriptor comes before the confinement, what reads a byte after it.
fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == self_test::OPTION => return self_test::run(words.collect()),
        #[cfg(target_os = "linux")]
        Some(word) if word == confine::PROBE => return confine::probe(),
        Some(_) | None => {}
    }
    let (start, descriptors) = match start::start(std::env::args_os()) {
        Ok(given) => given,
        Err(error) => return error.report(),
    };
    // Main drops what its own level does not ask for.
    if log::init(descriptors.log, ::log::LevelFilter::Debug).is_err() {
        return ExitCode::from(OSERR);
    }
    let poll = match mio::Poll::new() {
        Ok(poll) => poll,
        Err(error) => {
            ::log::error!("poll: {error}");
            return ExitCode::from(OSERR);
        }
    };
    let clock = Clock::new(poll.registry(), run::CLOCK);
    let confined = match confine::confine(&start) {
        Ok(confined) => confined,
        Err(error) => {
            ::log::error!("{error}");
            return ExitCode::from(error.status());
        }
    };
    match Child::new(poll, clock, Control::new(descriptors.control), confined.missing).map(Child::run) {
        Ok(RunError::MainGone | RunError::Done) | Err(RunError::MainGone) => ExitCode::SUCCESS,
        Ok(error) | Err(error) => {
            ::log::error!("{error}");
            ExitCode::from(SOFTWARE)
        }
    }
}

/// sysexits(3): a call of the system failed.
const OSERR: u8 = 71;

/// sysexits(3): something that does not happen while both halves are of one build.
const SOFTWARE: u8 = 70;
