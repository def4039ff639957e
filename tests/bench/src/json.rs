//! The measurements as JSON, all of them, for whoever wants to compute something else of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machine::Machine;
use crate::results::{Line, Results};

#[derive(Serialize)]
struct File<'a> {
    machine: &'a Machine,
    lines: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    mode: &'a str,
    row: &'a str,
    work: &'a str,
    figure: &'a str,
    unit: &'a str,
    /// By system, one for each round.
    values: BTreeMap<&'a str, &'a [f64]>,
}

fn entry(line: &Line) -> Entry<'_> {
    Entry {
        mode: line.mode.name(),
        row: &line.row,
        work: &line.work,
        figure: &line.name,
        unit: line.metric.unit,
        values: line.values.iter().map(|(kind, values)| (kind.name(), values.as_slice())).collect(),
    }
}

/// The whole file.
pub(crate) fn text(machine: &Machine, results: &Results) -> Result<String, String> {
    let file = File { machine, lines: results.lines.iter().map(entry).collect() };
    serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|error| error.to_string())
}
