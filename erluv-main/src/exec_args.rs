//! The command line of `erluv-main exec`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Args, ArgsError};
use crate::exec::Exec;

/// Runs one command as a node's request would be run.
#[derive(Debug, Parser)]
#[command(name = "erluv-main exec")]
struct ExecArgs {
    /// The profile [default: the policy's own]
    #[arg(long)]
    profile: Option<String>,

    /// The user [default: the first that the policy names]
    #[arg(long)]
    user: Option<String>,

    /// Whose policy it is [default: the first node's]
    #[arg(long)]
    node: Option<String>,

    /// The configuration file
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The arguments of main, and what to run where the first of them is `exec`.
///
/// # Errors
/// [`ArgsError`]: what to print, and the code to leave with.
pub(crate) fn parse_from_env() -> Result<(Args, Option<Exec>), ArgsError> {
    let words = std::env::args_os().collect::<Vec<_>>();
    match words.as_slice() {
        [name, word, rest @ ..] if word == OsStr::new("exec") => parse(name, rest),
        _ => Ok((Args::parse_from_env()?, None)),
    }
}

fn parse(name: &OsString, rest: &[OsString]) -> Result<(Args, Option<Exec>), ArgsError> {
    let exec = ExecArgs::try_parse_from(std::iter::once(name).chain(rest)).map_err(|error| {
        let text = error.to_string().trim_end().to_owned();
        match error.kind() {
            ErrorKind::DisplayHelp => ArgsError::Answer(text),
            _ => ArgsError::Usage(text),
        }
    })?;
    let file = exec.file.into_iter().flat_map(|file| [OsString::from("-f"), file.into()]);
    let args = Args::parse_words([name.clone(), "-d".into()].into_iter().chain(file))?;
    Ok((args, Some(Exec { profile: exec.profile, user: exec.user, node: exec.node, command: exec.command })))
}
