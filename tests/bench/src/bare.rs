//! Starts without any node: limits/spawn.c, beside the systems whose C program does the same behind one.

use std::process::Command;

use crate::programs::Programs;
use crate::system::{Kind, Values};

/// Starts and ends of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starts<'a> {
    /// Its path.
    pub(crate) program: &'a str,
    /// How many one at a time, and how many by 32 at once.
    pub(crate) counts: (usize, usize),
    /// So many of limits/pause.c idle meanwhile.
    pub(crate) idle: usize,
}

/// What they take without a node where `kind` is a C program, held as its are; nothing for any other.
pub(crate) fn starts(kind: Kind, programs: &Programs, starts: Starts<'_>) -> Result<Vec<(Kind, String, f64)>, String> {
    let (bare, held) = match kind {
        Kind::Limit => (Kind::Bare, [].as_slice()),
        Kind::Held => (Kind::BareHeld, programs.held()),
        _ => return Ok(Vec::new()),
    };
    let mut figures = Vec::new();
    for (count, at_once) in [(starts.counts.0, 1), (starts.counts.1, 32)] {
        let mut command = Command::new(programs.path("spawn"));
        command.arg(starts.program).args([count.to_string(), at_once.to_string()]);
        command.arg(programs.path("pause")).arg(starts.idle.to_string()).args(held);
        figures.extend(values(&mut command)?.into_iter().map(|(name, value)| (bare, name, value)));
    }
    Ok(figures)
}

fn values(command: &mut Command) -> Result<Values, String> {
    let output = command.output().map_err(|error| format!("spawn: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text)
        .filter(|values| output.status.success() && !values.is_empty())
        .ok_or_else(|| format!("{command:?}: {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn read(text: &str) -> Option<Values> {
    let pair = |pair: &str| {
        let (name, number) = pair.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.split_whitespace().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_read_by_name() {
        assert_eq!(read("p50=163.25 p99=621.00\n"), Some(vec![("p50".into(), 163.25), ("p99".into(), 621.0)]));
        assert_eq!(read("rate=fast\n"), None);
    }

    #[test]
    fn a_program_that_fails_has_no_figures_whatever_it_prints() {
        let said = |line: &str| values(Command::new("sh").args(["-c", line]));
        assert_eq!(said("echo rate=5.5"), Ok(vec![("rate".into(), 5.5)]));
        assert!(said("echo rate=5.5; echo no memory >&2; exit 1").is_err_and(|error| error.contains("no memory")));
        assert!(said("true").is_err());
    }
}
