//! The benchmark of erluv: the same work by erluv, by open_port and by the least that a C program can do, in one run,
//! in turns, each in a node of its own. README.md beside it says what is measured and how to read the table.
//!
//! A wrong byte count or a crash makes it fail (exit code 1); no figure does.

mod args;
mod bare;
mod costs;
mod erlexec;
mod filter;
mod group;
mod idle;
mod json;
mod link;
mod machine;
mod metrics;
mod plan;
mod programs;
mod results;
mod rows;
mod run;
mod svg;
mod system;
mod table;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    end_with_all_that_was_started();
    let args = args::Args::parse();
    match run::run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            say(&format!("bench: {failures} measurements have failed, see above"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; that nobody reads it any more is no error.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A panic of the bench ends the process without a destructor: nodes and daemons would go on. The sub-reaper's work is
/// not done here: who has left the process tree is erluv's to end.
fn end_with_all_that_was_started() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        for pid in erluv_tests::proc::descendants(own) {
            erluv_tests::proc::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }));
}
