//! What each figure is: its unit, its direction and what it is to reach.

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

/// What an aim compares erluv's figure with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum With {
    /// The C-node's figure.
    Limit,
    /// open_port's figure.
    Port,
    /// erlexec's figure, where there is one.
    Erlexec,
    /// erluv's own figure of the same row by this name.
    Own(&'static str),
    /// Nothing: the factor is the figure itself.
    Alone,
}

/// A figure that erluv is to reach: a factor and what it is a factor of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aim {
    pub(crate) factor: f64,
    pub(crate) with: With,
    /// Only with every core, or in both modes.
    pub(crate) only_all: bool,
}

/// What a figure of a row is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) aims: Vec<Aim>,
}

fn aim(factor: f64, with: With) -> Aim {
    Aim { factor, with, only_all: false }
}

impl Metric {
    /// Describes the figure `name` of the row `row`.
    pub(crate) fn of(row: &str, name: &str) -> Self {
        let (title, unit, better) = describe(row, name);
        Self { title, unit, better, aims: aims(row, name) }
    }
}

fn describe(row: &str, name: &str) -> (String, &'static str, Better) {
    let (what, figure) = name.rsplit_once('.').unwrap_or(("", name));
    let lead = if what.is_empty() { String::new() } else { format!("{what}, ") };
    match (row, figure) {
        ("stdout" | "stdin", "rate") => (what.to_owned(), "MB/s", Better::More),
        ("commands", "rate") => ("rate".to_owned(), "/s", Better::More),
        (row, "rate") if row.starts_with("sleepers") => ("start rate, 32 callers".to_owned(), "/s", Better::More),
        (_, "rate") => (format!("{lead}32 callers"), "/s", Better::More),
        (_, "cpu") => (format!("CPU of {what} for one"), "µs", Better::Less),
        (_, "start") => ("start all".to_owned(), "s", Better::Less),
        (_, "kill") => ("kill all, all ends told".to_owned(), "s", Better::Less),
        (_, "list") => ("list all".to_owned(), "ms", Better::Less),
        (_, "each") => (format!("memory of {what} for each"), "KiB", Better::Less),
        (_, "growth") => (format!("growth of {what}"), "KiB", Better::Less),
        (_, figure) => (format!("{lead}{figure}"), "µs", Better::Less),
    }
}

/// The aims of the project, by row and figure.
fn aims(row: &str, name: &str) -> Vec<Aim> {
    use With::{Alone, Erlexec, Limit, Own, Port};
    match (row, name) {
        ("true", "p50") => vec![aim(1.1, Limit)],
        ("true", "rate") => vec![aim(0.95, Limit)],
        ("static", "p50") => vec![aim(1.0, Port), aim(1.0, Erlexec)],
        ("static", "rate") => vec![aim(1.3, Port), aim(1.3, Erlexec)],
        // As fast as without: what the spread of a quiet machine is.
        ("idle", "/bin/true.p50") => vec![aim(1.05, Own("just before, /bin/true.p50"))],
        ("idle", "/bin/true.rate") => vec![aim(0.95, Own("just before, /bin/true.rate"))],
        ("idle", "without libc.p50") => vec![aim(1.05, Own("just before, without libc.p50"))],
        ("idle", "without libc.rate") => vec![aim(0.95, Own("just before, without libc.rate"))],
        ("idle", "echo.p50") => vec![aim(1.05, Own("just before, echo.p50"))],
        ("stdout", _) => vec![aim(0.95, Limit), Aim { factor: 1.0, with: Port, only_all: true }],
        ("stdin", _) => vec![aim(0.95, Limit), aim(1.0, Port)],
        ("echo", "p50" | "p99") => vec![aim(1.2, Limit)],
        (row, figure) if row.starts_with("sleepers") => match figure {
            "rate" => vec![aim(1.0, Port)],
            "list" => vec![aim(50.0, Alone)],
            "kill" => vec![aim(1.2, Port)],
            // With fewer, what other rows have left is more than they are.
            "main and child.each" if row.ends_with("-10000") => vec![aim(2.0, Alone)],
            _ => Vec::new(),
        },
        // The VM's own noise is some tens of KiB.
        ("unread", _) => vec![aim(1024.0, Alone)],
        ("commands", "main.growth" | "child.growth") => vec![aim(16.0, Alone)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_unit_and_direction_by_row_and_name() {
        let rate = Metric::of("stdout", "head.rate");
        assert_eq!((rate.title.as_str(), rate.unit, rate.better), ("head", "MB/s", Better::More));
        let p99 = Metric::of("idle", "echo.p99");
        assert_eq!((p99.title.as_str(), p99.unit, p99.better), ("echo, p99", "µs", Better::Less));
        assert_eq!(Metric::of("sleepers-1000", "rate").unit, "/s");
        assert_eq!(Metric::of("true", "main.cpu").title, "CPU of main for one");
    }
}
