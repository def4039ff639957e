//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Measures erluv against open_port and against the least that a C program can do. Run it as root, and not beside
/// other work; tests/bench/run.sh builds all that it needs.
#[derive(Debug, Parser)]
#[command(name = "erluv-bench")]
pub(crate) struct Args {
    /// Less of everything, under two minutes: for continuous integration
    #[arg(long)]
    pub(crate) short: bool,
    /// How often all of it is measured; 3, or 2 with --short
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Only the rows whose names start so, such as `stdout`; may be given several times
    #[arg(long, value_name = "ROW")]
    pub(crate) only: Vec<String>,
    /// Only one of the modes: `one` (everything on one core) or `all` (every core)
    #[arg(long, value_name = "MODE", value_parser = ["one", "all"])]
    pub(crate) mode: Option<String>,
    /// Only these systems, with commas between: erluv, app, port, limit, held, apart, twice
    #[arg(long, value_name = "SYSTEM,...", value_delimiter = ',',
        value_parser = ["erluv", "app", "port", "limit", "held", "apart", "twice"])]
    pub(crate) systems: Vec<String>,
    /// Measure erlexec, too: the folder in which it was built, with its `ebin` and `priv`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) erlexec: Option<PathBuf>,
    /// Only what each promise to a worker costs by itself, on one core and without nodes
    #[arg(long)]
    pub(crate) parts: bool,
    /// Profiles whose start is measured, with commas between; one that the daemon refuses is left out
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) profiles: Vec<String>,
    /// A file with more lines for the configuration of the daemons
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One more argument for every node, such as `+sbwt`; may be given several times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) erl: Vec<String>,
    /// Keep all measurements in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the ratios into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}
