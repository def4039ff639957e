//! The table, in Markdown, so that RESULTS.md can keep it as it is.

use crate::costs;
use crate::idle;
use crate::machine::Machine;
use crate::metrics::{Aim, Better, With};
use crate::plan::Plan;
use crate::results::{Line, Mode, Results};
use crate::system::Kind;

/// The whole of it: the machine, the table and what has to be known to read it.
/// `groups` is whether the C programs that hold theirs had control groups for them.
pub(crate) fn table(machine: &Machine, plan: &Plan, results: &Results, groups: bool) -> String {
    let mut text = format!(
        "\n{}, revision {}: {}, {} cores, Linux {}, OTP {}, load {} before; medians of {} rounds\n\n",
        machine.date,
        machine.revision,
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.otp,
        machine.load,
        plan.rounds
    );
    let columns = results.known(Kind::COMPARED);
    let (titles, rule) = heads(&columns);
    text.push_str(&format!("| work | cores | {titles} | to open_port | to C-node | aim |\n"));
    text.push_str(&format!("|---|---|{rule}---|---|---|\n"));
    // The same figure in both modes, one below the other.
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for line in &results.lines {
        let key = (line.row.as_str(), line.name.as_str());
        if !shown.contains(&key) {
            shown.push(key);
        }
    }
    for (row, name) in shown {
        for line in results.lines.iter().filter(|line| line.row == row && line.name == name) {
            text.push_str(&row_of(results, line, &columns));
        }
    }
    text.push_str(NOTES);
    text.push_str(&costs::table(results, groups));
    text.push_str(&idle::table(results));
    text
}

const NOTES: &str = "
Of other peers, erlexec is measured where it is at hand (--erlexec, README.md). A figure is the median of all times
that it was taken, which are more than rounds where it varies (README.md), with half of the way from its least to its
greatest value in percent; \"to\" is erluv's figure divided by the other's, with the standard error of the turns' ratios
where there are three or more. \"bare C\" is posix_spawn without a node; for echoes and stdin, the C-node without a worker. \"one\" core: judge by it; \"all\": confirm by it. On one core a port's VM
reads and writes the worker's pipes itself, which no connection by TCP, loopback or not, can reach; the C-node shows what
can.
";

/// The heads of their columns, and the rule below these.
pub(crate) fn heads(columns: &[Kind]) -> (String, String) {
    (columns.iter().map(|kind| kind.title()).collect::<Vec<_>>().join(" | "), "---|".repeat(columns.len()))
}

fn row_of(results: &Results, line: &Line, columns: &[Kind]) -> String {
    let cells = columns.iter().map(|kind| cell(line, *kind)).collect::<Vec<_>>().join(" | ");
    format!(
        "| {}: {}, {} | {} | {cells} | {} | {} | {} |\n",
        line.work,
        line.metric.title,
        line.metric.unit,
        line.mode.name(),
        ratio_with(results.ratio(line, Kind::Port), results.ratio_error(line, Kind::Port)),
        ratio_with(results.ratio(line, Kind::Limit), results.ratio_error(line, Kind::Limit)),
        aims(results, line)
    )
}

/// A ratio, where both figures are there.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// The same with its standard error, where that is known.
pub(crate) fn ratio_with(of: Option<f64>, error: Option<f64>) -> String {
    match of.and(error) {
        Some(error) => format!("{} ±{error:.2}", ratio(of)),
        None => ratio(of),
    }
}

/// A system's figure with its spread.
pub(crate) fn cell(line: &Line, kind: Kind) -> String {
    let Some(median) = line.median(kind) else { return "-".to_owned() };
    match line.spread(kind) {
        Some(spread) => format!("{} ±{:.0}%", number(median), spread * 100.0),
        None => number(median),
    }
}

/// Three digits that say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn aims(results: &Results, line: &Line) -> String {
    let measured = |aim: &Aim| aim.with != With::Erlexec || line.median(Kind::Erlexec).is_some();
    let wanted = |aim: &&Aim| (line.mode == Mode::All || !aim.only_all) && measured(aim);
    let one = |aim: &Aim| {
        let sign = match line.metric.better {
            Better::Less => "≤",
            Better::More => "≥",
        };
        let what = match aim.with {
            With::Limit => format!("{sign} {} C-node", aim.factor),
            With::Port => format!("{sign} {} port", aim.factor),
            With::Erlexec => format!("{sign} {} erlexec", aim.factor),
            With::Own(_) => format!("{sign} {} of without", aim.factor),
            With::Alone => format!("{sign} {}", aim.factor),
        };
        match results.reaches(line, *aim) {
            Some(true) => format!("{what}: met"),
            Some(false) => format!("{what}: MISSED"),
            None => what,
        }
    };
    line.metric.aims.iter().filter(wanted).map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_three_digits_that_say_something() {
        assert_eq!(ratio_with(Some(1.2345), Some(0.0456)), "1.23 ±0.05");
        assert_eq!((ratio_with(Some(1.0), None), ratio_with(None, Some(0.1))), ("1.00".to_owned(), "-".to_owned()));
        assert_eq!([1234.5, 12.345, 1.2345].map(number), ["1234", "12.3", "1.23"].map(str::to_owned));
    }
}
