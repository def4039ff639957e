//! All measurements of a run, and what is computed of them.

use std::collections::BTreeMap;

use crate::metrics::{Aim, Better, Metric, With};
use crate::system::Kind;

/// On which cores everything ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// All of it on one core.
    One,
    /// On every core.
    All,
}

impl Mode {
    /// Its name on the command line, in the table and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::All => "all",
        }
    }
}

/// A figure of one row in one mode: a line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) mode: Mode,
    /// The row's short name.
    pub(crate) row: String,
    /// The row's title.
    pub(crate) work: String,
    /// The figure's name within the row.
    pub(crate) name: String,
    pub(crate) metric: Metric,
    /// What each round has measured.
    pub(crate) values: BTreeMap<Kind, Vec<f64>>,
}

impl Line {
    /// The median of a system's values.
    pub(crate) fn median(&self, kind: Kind) -> Option<f64> {
        median(self.values.get(&kind)?)
    }

    /// Half of the way from the least to the greatest value, as a part of the median.
    pub(crate) fn spread(&self, kind: Kind) -> Option<f64> {
        let values = self.values.get(&kind).filter(|values| values.len() > 1)?;
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some((most - least) / 2.0 / median(values).filter(|median| *median > 0.0)?)
    }
}

/// The middle of the values, of an even number the mean of both.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The standard error of the ratio of two figures that were taken by turns: that of the mean of the ratios of each turn,
/// in which what else the machine did falls on both. `None` of fewer than three, which say nothing of it.
pub(crate) fn error(one: &[f64], other: &[f64]) -> Option<f64> {
    let ratios = one.iter().zip(other).map(|(one, other)| one / other).collect::<Vec<_>>();
    if ratios.len() < 3 || one.len() != other.len() {
        return None;
    }
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let squares = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>();
    Some((squares / (count - 1.0) / count).sqrt()).filter(|error| error.is_finite())
}

/// Everything that was measured, in the order in which it first came.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) lines: Vec<Line>,
}

impl Results {
    /// Adds what one system has shown in one round.
    pub(crate) fn add(&mut self, mode: Mode, row: (&str, &str), name: &str, kind: Kind, value: f64) {
        let found = self.lines.iter_mut().find(|line| line.mode == mode && line.row == row.0 && line.name == name);
        if let Some(line) = found {
            line.values.entry(kind).or_default().push(value);
            return;
        }
        let metric = Metric::of(row.0, name);
        let values = BTreeMap::from([(kind, vec![value])]);
        let (short, work) = (row.0.to_owned(), row.1.to_owned());
        self.lines.push(Line { mode, row: short, work, name: name.to_owned(), metric, values });
    }

    /// Those of some systems that a table has columns for: erlexec is measured only where it is at hand.
    pub(crate) fn known<const N: usize>(&self, kinds: [Kind; N]) -> Vec<Kind> {
        let known = |kind: Kind| self.lines.iter().any(|line| line.median(kind).is_some());
        kinds.into_iter().filter(|kind| *kind != Kind::Erlexec || known(*kind)).collect()
    }

    /// The line of another figure in the same mode.
    pub(crate) fn line(&self, mode: Mode, row: &str, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.mode == mode && line.row == row && line.name == name)
    }

    /// The other system's values that a line is compared with. Where only erluv has a window it is compared with what
    /// the other does without.
    fn values<'a>(&'a self, line: &'a Line, kind: Kind) -> Option<&'a [f64]> {
        let values = line.values.get(&kind).or_else(|| {
            let plain = line.name.replace(" with a window", "");
            self.line(line.mode, &line.row, &plain)?.values.get(&kind)
        })?;
        Some(values)
    }

    fn other(&self, line: &Line, kind: Kind) -> Option<f64> {
        median(self.values(line, kind)?)
    }

    /// How far [`Results::ratio`] can be trusted.
    pub(crate) fn ratio_error(&self, line: &Line, to: Kind) -> Option<f64> {
        error(line.values.get(&Kind::Erluv)?, self.values(line, to)?)
    }

    /// erluv's figure divided by another system's.
    pub(crate) fn ratio(&self, line: &Line, to: Kind) -> Option<f64> {
        let other = self.other(line, to).filter(|other| *other > 0.0)?;
        Some(line.median(Kind::Erluv)? / other)
    }

    /// Whether erluv's figure reaches an aim; `None` where there is nothing to compare.
    pub(crate) fn reaches(&self, line: &Line, aim: Aim) -> Option<bool> {
        let base = match aim.with {
            With::Limit => self.other(line, Kind::Limit)?,
            With::Port => self.other(line, Kind::Port)?,
            With::Erlexec => self.other(line, Kind::Erlexec)?,
            With::Own(name) => self.line(line.mode, &line.row, name)?.median(Kind::Erluv)?,
            With::Alone => 1.0,
        };
        let own = line.median(Kind::Erluv)?;
        Some(match line.metric.better {
            Better::Less => own <= aim.factor * base,
            Better::More => own >= aim.factor * base,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_between_the_two_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_slows_both_of_a_turn_is_no_error_of_their_ratio() {
        assert_eq!(error(&[110.0, 220.0, 55.0], &[100.0, 200.0, 50.0]).map(|error| error < 1e-9), Some(true));
        // 0.9, 1.0 and 1.1: a deviation of 0.1, by the root of three.
        let error_of_three = error(&[90.0, 100.0, 110.0], &[100.0; 3]).unwrap();
        assert!((error_of_three - 0.1 / 3_f64.sqrt()).abs() < 1e-9, "{error_of_three}");
        assert_eq!((error(&[1.0, 2.0], &[1.0, 2.0]), error(&[1.0; 4], &[1.0; 3])), (None, None));
        assert_eq!(error(&[1.0; 3], &[0.0; 3]), None);
    }

    #[test]
    fn an_aim_is_judged_by_the_direction_of_its_figure() {
        let mut results = Results::default();
        for (kind, value) in [(Kind::Erluv, 108.0), (Kind::Limit, 100.0)] {
            results.add(Mode::One, ("true", "start"), "p50", kind, value);
            results.add(Mode::One, ("true", "start"), "rate", kind, 200.0 - value);
        }
        let reached = |line: &Line| results.reaches(line, line.metric.aims[0]);
        assert_eq!(results.lines.iter().map(reached).collect::<Vec<_>>(), [Some(true), Some(false)]);
        assert_eq!(results.ratio(&results.lines[0], Kind::Limit), Some(1.08));
        assert_eq!(results.ratio(&results.lines[0], Kind::Port), None);
    }

    #[test]
    fn a_window_is_compared_with_what_others_do_without_one() {
        let mut results = Results::default();
        results.add(Mode::One, ("stdout", "s"), "head.rate", Kind::Limit, 100.0);
        results.add(Mode::One, ("stdout", "s"), "head with a window.rate", Kind::Erluv, 50.0);
        assert_eq!(results.ratio(&results.lines[1], Kind::Limit), Some(0.5));
    }
}
