//! The table of whose cost a start, or output, is: erluv beside the C programs that hold theirs as its default profile
//! does, and beside the same C programs that hold nothing.

use crate::idle::BEFORE;
use crate::results::{Line, Results};
use crate::system::Kind;
use crate::table::{cell, ratio};

/// Nothing where no such program was measured.
pub(crate) fn table(results: &Results, groups: bool) -> String {
    let figure = |line: &Line| line.name.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    // What is there just before workers idle is what the rows of starts have.
    let wanted = |line: &&Line| {
        let known = matches!(figure(line).as_str(), "p50" | "p99" | "rate") && !line.name.starts_with(BEFORE);
        line.median(Kind::Held).is_some() && known
    };
    let rows = results.lines.iter().filter(wanted).map(row_of).collect::<String>();
    if rows.is_empty() {
        return rows;
    }
    let titles = Kind::COST.map(Kind::title).join(" | ");
    let without = if groups { "" } else { WITHOUT_GROUPS };
    format!(
        "\nWhose cost a start, or output, is:\n\n\
         | work | cores | {titles} | erluv to held | erluv to twice | twice to apart | apart to held \
         | held to C-node | held to bare, without nodes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n{rows}{NOTES}{without}"
    )
}

const NOTES: &str = "
\"held\" are the C programs that start theirs as erluv's default profile holds a worker: in a session and a control group
of its own, with a worker's user, groups, limits and capabilities, a session keyring and the filter of system calls. They
have no policy, no log, no second process. \"apart\" is the same behind a process that passes the node's bytes on and looks
at none: the least that it costs to keep the node's bytes out of the process with the privileges. \"twice\" is that one,
which tells of a start when it is a fact and of the end when that is, where the others tell of the end alone. So \"held to\"
is what the promises cost whoever makes them (of output, what its writes cost below the filter of system calls), \"apart to
held\" what the separation of privileges costs whoever has it, \"twice to apart\" what it costs to tell of a start while
the program runs, \"erluv to twice\" what erluv costs beside them.
";

const WITHOUT_GROUPS: &str = "
Here they go WITHOUT control groups: no group of a cgroup2 tree is to be had.
";

fn row_of(line: &Line) -> String {
    let cells = Kind::COST.map(|kind| cell(line, kind)).join(" | ");
    let of = |one, other| ratio(line.median(one).zip(line.median(other)).map(|(one, other)| one / other));
    format!(
        "| {}: {}, {} | {} | {cells} | {} | {} | {} | {} | {} | {} |\n",
        line.work,
        line.metric.title,
        line.metric.unit,
        line.mode.name(),
        of(Kind::Erluv, Kind::Held),
        of(Kind::Erluv, Kind::Twice),
        of(Kind::Twice, Kind::Apart),
        of(Kind::Apart, Kind::Held),
        of(Kind::Held, Kind::Limit),
        of(Kind::BareHeld, Kind::Bare)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Mode;

    fn results() -> Results {
        let mut results = Results::default();
        let held = [(Kind::Held, 200.0), (Kind::BareHeld, 150.0)];
        let behind = [(Kind::Twice, 250.0), (Kind::Apart, 240.0), (Kind::Limit, 160.0)];
        let all = [(Kind::Erluv, 300.0)].into_iter().chain(behind).chain(held);
        for (kind, value) in all {
            results.add(Mode::One, ("static", "start"), "p50", kind, value);
            results.add(Mode::One, ("static", "start"), "helper.cpu", kind, value);
        }
        results
    }

    #[test]
    fn whose_cost_it_is_stands_in_ratios_of_what_was_measured() {
        let text = table(&results(), true);
        let rows = text.lines().filter(|line| line.starts_with("| start")).collect::<Vec<_>>();
        assert_eq!(
            rows,
            ["| start: p50, µs | one | 300 | 250 | 240 | 200 | 150 | 160 | - | 1.50 | 1.20 | 1.04 | 1.20 | 1.25 | - |"]
        );
        assert!(!text.contains("WITHOUT"));
    }

    #[test]
    fn starts_beside_workers_that_idle_stand_in_it_too() {
        let mut results = results();
        results.add(Mode::One, ("idle", "idle"), "without libc.rate", Kind::Held, 3000.0);
        results.add(Mode::One, ("idle", "idle"), "echo.p50", Kind::Limit, 40.0);
        let text = table(&results, true);
        let rows = text.lines().filter(|line| line.starts_with("| idle")).collect::<Vec<_>>();
        assert_eq!(
            rows,
            ["| idle: without libc, 32 callers, /s | one | - | - | - | 3000 | - | - | - | - | - | - | - | - | - |"]
        );
    }

    #[test]
    fn that_there_are_no_control_groups_is_said() {
        assert!(table(&results(), false).ends_with(WITHOUT_GROUPS));
    }

    #[test]
    fn without_the_programs_that_hold_there_is_no_table() {
        let mut results = Results::default();
        results.add(Mode::One, ("static", "start"), "p50", Kind::Limit, 1.0);
        assert_eq!(table(&results, true), "");
    }
}
