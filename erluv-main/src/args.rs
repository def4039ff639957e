//! The command line of erluv-main. Only its form is looked at here: what the values mean, and whether they may be so,
//! is for [`crate::settings`], where each becomes a layer above the file and the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand};
use thiserror::Error;

use crate::exit;

/// Runs operating-system processes for Erlang nodes.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "erluv-main", version, after_help = "Keys and values: erluv.conf(5).")]
pub(crate) struct Args {
    /// Stay in the foreground and log to stderr
    #[arg(short = 'd')]
    pub(crate) foreground: bool,

    /// Check the configuration and leave: 0, or 78 with the reason
    #[arg(short = 'n')]
    pub(crate) check: bool,

    /// Log more; twice for everything
    #[arg(short = 'v', action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// The configuration file [default: /etc/erluv.conf for root, ~/.erluv.conf otherwise]
    #[arg(short = 'f', value_name = "FILE", global = true)]
    pub(crate) file: Option<PathBuf>,

    /// Set one key of the configuration, dots between tables, such as workers.max=5
    #[arg(short = 'o', value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<Setting>,

    /// A node to serve, name@host; may be given more than once
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) nodes: Vec<String>,

    /// Our own node name, whole, name@host
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The file with the cookie
    #[arg(long, value_name = "FILE")]
    pub(crate) cookie_file: Option<String>,

    /// The user that erluv-child runs as
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// How long to wait for the order to respawn, such as 30s
    #[arg(long, value_name = "TIME")]
    pub(crate) die_timeout: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What is done in place of serving nodes.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    Exec(Exec),
    Explain(Explain),
}

/// Run one command as a worker would run, and leave with its exit code
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub(crate) struct Exec {
    /// The profile, whether a node may ask for it or not [default: the policy's]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,

    /// The user, one of the policy's [default: the first]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Whose policy it is [default: that of the first node]
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Print what a worker would get, and where each value comes from
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub(crate) struct Explain {
    /// One profile alone, whether a node may ask for it or not
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,

    /// One node alone
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
}

/// One `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The tables and the key in them, at least one part, none of them empty.
    pub(crate) path: Vec<String>,
    /// The value as it was written.
    pub(crate) text: String,
}

/// The command line leaves nothing to run.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    /// `-h` or `-V`: the text asked for, for stdout.
    #[error("{0}")]
    Answer(String),
    /// What is wrong, for stderr.
    #[error("{0}")]
    Usage(String),
}

impl ArgsError {
    /// The code to leave with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Answer(_) => exit::OK,
            Self::Usage(_) => exit::USAGE,
        }
    }
}

impl Args {
    /// The command line of this process.
    ///
    /// # Errors
    /// [`ArgsError`]: what to print, and the code to leave with.
    pub(crate) fn parse_from_env() -> Result<Self, ArgsError> {
        Self::parse_words(std::env::args_os())
    }

    /// A command line; the first word is the program's name.
    ///
    /// # Errors
    /// As [`Args::parse_from_env`].
    pub(crate) fn parse_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        Self::try_parse_from(words).map_err(|error| {
            let text = error.to_string().trim_end().to_owned();
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                ArgsError::Answer(text)
            } else {
                ArgsError::Usage(text)
            }
        })
    }
}

impl Args {
    /// The profile that is to be tried by hand.
    pub(crate) fn tried_profile(&self) -> Option<&str> {
        match &self.command {
            Some(Command::Exec(exec)) => exec.profile.as_deref(),
            Some(Command::Explain(explain)) => explain.profile.as_deref(),
            None => None,
        }
    }
}

/// `KEY=VALUE`, where KEY is parts of letters, digits, `_` and `-` with dots between.
fn parse_setting(text: &str) -> Result<Setting, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("no '=', write KEY=VALUE".to_owned());
    };
    let path = key.trim().split('.').map(str::to_owned).collect::<Vec<_>>();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if path.iter().any(|part| part.is_empty() || !part.chars().all(plain)) {
        return Err(format!("{key:?} is no key, write it as in workers.max=5"));
    }
    Ok(Setting { path, text: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse_words(format!("erluv-main {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_option_of_the_synopsis_is_taken() {
        let args = parse(
            "-dnvv -f /x.conf -o workers.max=5 -o node=a@h --node b@h --node c@h --name e@h --cookie-file /c \
             --user u --die-timeout 5s",
        )
        .unwrap();
        assert!(args.foreground && args.check);
        assert_eq!((args.verbose, args.file), (2, Some(PathBuf::from("/x.conf"))));
        assert_eq!(args.settings[0].path, ["workers", "max"]);
        assert_eq!(args.settings[1].text, "a@h");
        assert_eq!(args.nodes, ["b@h", "c@h"]);
        assert_eq!(args.die_timeout.as_deref(), Some("5s"));
    }

    #[test]
    fn a_command_by_hand_has_its_own_options_behind_those_of_all() {
        assert_eq!(parse("-d").unwrap().command, None);
        let args = parse("-f /x.conf -v explain --profile p --node a@h").unwrap();
        let explain = Explain { profile: Some("p".to_owned()), node: Some("a@h".to_owned()) };
        assert_eq!((args.command, args.nodes.len()), (Some(Command::Explain(explain)), 0));
        assert_eq!(args.file, Some(PathBuf::from("/x.conf")));
        let args = parse("exec --profile p --user u -f /x.conf -- /bin/ls -l --node x").unwrap();
        assert_eq!((args.tried_profile(), &args.file), (Some("p"), &Some(PathBuf::from("/x.conf"))));
        let command = ["/bin/ls", "-l", "--node", "x"].map(OsString::from).to_vec();
        let (profile, user) = (Some("p".to_owned()), Some("u".to_owned()));
        assert_eq!(args.command, Some(Command::Exec(Exec { profile, user, node: None, command })));
    }

    #[test]
    fn help_and_version_are_answers_and_leave_with_0() {
        for line in ["-h", "-V", "--help", "--version"] {
            let error = parse(line).unwrap_err();
            assert!(matches!(error, ArgsError::Answer(_)), "{line}");
            assert_eq!(error.exit_code(), 0);
        }
        assert_eq!(parse("-V").unwrap_err().to_string(), concat!("erluv-main ", env!("CARGO_PKG_VERSION")));
        assert!(parse("-h").unwrap_err().to_string().contains("--cookie-file"));
    }

    #[test]
    fn s78_a_wrong_command_line_leaves_with_64() {
        for line in [
            "-x",
            "extra",
            "-f",
            "-o",
            "-o max",
            "-o =5",
            "-o a..b=1",
            "-o a[0]=1",
            "--name",
            "--cookie x",
            "exec",
            "exec ls",
            "exec --",
            "explain x",
        ] {
            let error = parse(line).unwrap_err();
            assert!(matches!(error, ArgsError::Usage(_)), "{line}");
            assert_eq!(error.exit_code(), 64, "{line}");
        }
    }
}
