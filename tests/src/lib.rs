//! The bench of erluv's behaviour tests: real Erlang nodes of several OTP releases, a real erluv-main started as a
//! person would start it, and readers of what the system says about the processes. The tests themselves are in tests/.
//!
//! The bench panics where it cannot do its work: a failure of the bench is a failed test. Whoever waits, waits for a
//! condition with a generous deadline; nothing here asserts how long something took.

pub mod config;
pub mod control;
pub mod daemon;
pub mod epmd;
pub mod folder;
pub mod fuzz;
pub mod node;
pub mod otp;
pub mod proc;

/// Leaves the test with the line `skipped: TEST: REASON`, which run.sh counts; for a test whose system lacks what it is
/// about. The line goes past the test harness, which keeps the output of a passing test to itself.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::tell("skipped", &format!($($reason)+));
        return;
    }};
}

/// Leaves a test that only root can run, unless root runs it.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::is_root() {
            $crate::skip!("needs root");
        }
    };
}

/// Prints `KIND: TEST: TEXT` to standard error itself, in one write, so that parallel tests do not mix their lines.
pub fn tell(kind: &str, text: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("\n{kind}: {}: {text}\n", thread.name().unwrap_or("?"));
    // Nobody is left to tell when standard error is gone.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether root runs the tests.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
