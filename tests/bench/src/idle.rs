//! The table of what workers that idle cost the others: the figures of the row idle by those of the same work just
//! before they were started.

use crate::results::{Line, Results, error};
use crate::system::Kind;
use crate::table::{heads, ratio, ratio_with};

/// As the table has them from left to right.
const KINDS: [Kind; 8] =
    [Kind::Erluv, Kind::App, Kind::Port, Kind::Erlexec, Kind::Held, Kind::BareHeld, Kind::Limit, Kind::Bare];

/// In front of the name of a figure that was taken before anything idled.
pub(crate) const BEFORE: &str = "just before, ";

/// Nothing where nothing was measured both with and without.
pub(crate) fn table(results: &Results) -> String {
    let columns = results.known(KINDS);
    let rows = results.lines.iter().filter_map(|line| row_of(results, line, &columns)).collect::<String>();
    if rows.is_empty() {
        return rows;
    }
    let (titles, rule) = heads(&columns);
    format!(
        "\nWhose cost it is that workers idle beside a start:\n\n\
         | work | cores | {titles} |\n|---|---|{rule}\n{rows}{NOTES}"
    )
}

const NOTES: &str = "
Each system's figure while its own workers idle, divided by its figure just before they were started, with the standard
error of the turns' ratios; and how many microseconds that is more for each, of a rate by its inverse. Those of \"held\"
idle in sessions and control groups of their own, those of \"C-node\" and \"bare C\" are processes and nothing else.
";

fn row_of(results: &Results, line: &Line, columns: &[Kind]) -> Option<String> {
    let without = without(results, line)?;
    let cells = columns.iter().map(|kind| cell(line, without, *kind)).collect::<Vec<_>>();
    if cells.iter().all(|cell| cell == "-") {
        return None;
    }
    let (work, title, mode) = (&line.work, &line.metric.title, line.mode.name());
    Some(format!("| {work}: {title} | {mode} | {} |\n", cells.join(" | ")))
}

/// The same work without workers that idle.
fn without<'a>(results: &'a Results, line: &Line) -> Option<&'a Line> {
    Some(line).filter(|line| line.row == "idle")?;
    results.line(line.mode, "idle", &format!("{BEFORE}{}", line.name))
}

fn cell(line: &Line, before: &Line, kind: Kind) -> String {
    let Some((with, without)) = line.median(kind).zip(before.median(kind)) else { return ratio(None) };
    let error = line.values.get(&kind).zip(before.values.get(&kind)).and_then(|(with, before)| error(with, before));
    let more = match line.metric.unit {
        "/s" => 1e6 / with - 1e6 / without,
        _ => with - without,
    };
    format!("{} ({more:+.0})", ratio_with(Some(with / without), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Mode;

    fn add(results: &mut Results, row: &str, name: &str, values: &[(Kind, f64)]) {
        for (kind, value) in values {
            results.add(Mode::One, (row, row), name, *kind, *value);
        }
    }

    fn rows(results: &Results) -> Vec<String> {
        table(results).lines().filter(|line| line.starts_with("| idle")).map(str::to_owned).collect()
    }

    #[test]
    fn each_system_is_compared_with_itself_without_those_that_idle() {
        let mut results = Results::default();
        add(
            &mut results,
            "idle",
            "just before, without libc.p50",
            &[(Kind::Erluv, 400.0), (Kind::Bare, 150.0), (Kind::Port, 400.0)],
        );
        add(&mut results, "idle", "without libc.p50", &[(Kind::Erluv, 440.0), (Kind::Bare, 150.0), (Kind::Held, 9.0)]);
        assert_eq!(rows(&results), ["| idle: without libc, p50 | one | 1.10 (+40) | - | - | - | - | - | 1.00 (+0) |"]);
    }

    #[test]
    fn of_a_rate_it_is_said_how_much_longer_one_takes() {
        let mut results = Results::default();
        add(&mut results, "idle", "just before, /bin/true.rate", &[(Kind::Erluv, 1000.0)]);
        add(&mut results, "idle", "/bin/true.rate", &[(Kind::Erluv, 800.0)]);
        let expected = "| idle: /bin/true, 32 callers | one | 0.80 (+250) | - | - | - | - | - | - |";
        assert_eq!(rows(&results), [expected]);
    }

    #[test]
    fn without_the_same_work_there_is_no_table() {
        let mut results = Results::default();
        add(&mut results, "idle", "echo.p50", &[(Kind::Erluv, 50.0)]);
        add(&mut results, "sleepers-1000", "rate", &[(Kind::Erluv, 50.0)]);
        assert_eq!(table(&results), "");
        add(&mut results, "idle", "just before, echo.p50", &[(Kind::Port, 10.0)]);
        assert_eq!(table(&results), "");
    }
}
