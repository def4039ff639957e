//! How often something may happen: so many times a second in the long run, and so many at once after a quiet second.

use std::time::{Duration, Instant};

/// A bucket that holds as many as may happen in a second, and is full at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// From one to the next, in the long run.
    gap: Duration,
    /// From empty to full, a second but for what is lost in dividing.
    full: Duration,
    /// When the bucket is full again; `None` where it has never been used.
    full_at: Option<Instant>,
}

impl Rate {
    /// So many in a second, at least one.
    pub(super) fn new(each_second: u32) -> Self {
        let each_second = each_second.max(1);
        let gap = Duration::from_secs(1).checked_div(each_second).unwrap_or(Duration::from_secs(1));
        Self { gap, full: gap.saturating_mul(each_second), full_at: None }
    }

    /// What is left when it happens now; `None`: it may not happen.
    pub(super) fn take(self, now: Instant) -> Option<Self> {
        let missing = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let missing = missing.saturating_add(self.gap);
        if missing > self.full {
            return None;
        }
        Some(Self { full_at: now.checked_add(missing), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many attempts at these times, in milliseconds, are let pass.
    fn passed(rate: u32, times: &[u64]) -> usize {
        let (start, mut rate, mut passed) = (Instant::now(), Rate::new(rate), 0);
        for time in times {
            if let Some(left) = rate.take(start + Duration::from_millis(*time)) {
                rate = left;
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn s44_a_second_s_worth_passes_at_once_and_no_more() {
        for rate in [1, 2, 3, 7, 100, 99_999, 100_000] {
            assert_eq!(passed(rate, &vec![0; 100_001]), usize::try_from(rate).unwrap(), "{rate}");
        }
    }

    #[test]
    fn s44_in_the_long_run_it_is_the_rate() {
        let each_millisecond = (0..10_000).collect::<Vec<_>>();
        assert_eq!(passed(10, &each_millisecond), 10 + 99);
        assert_eq!(passed(1, &[0, 999, 1000, 1001, 1999, 2000]), 3);
        assert_eq!(passed(2, &[0, 0, 0, 499, 500, 500, 1000, 60_000, 60_000, 60_000]), 6);
    }

    #[test]
    fn a_refusal_costs_nothing_and_the_clock_never_matters_backwards() {
        assert_eq!(passed(2, &[0, 0, 100, 200, 300, 400, 500]), 3);
        assert_eq!(passed(1, &[1000, 0, 1000, 2000]), 2);
    }
}
