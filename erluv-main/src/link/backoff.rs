//! The pause between attempts: 0.1 s at first, doubled each time up to 30 s, shortened by chance by up to a half so
//! that many that lost the same node do not come back at the same moment.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses to come.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let mut random = [0];
        // Without random bits the pause is a full one.
        let cut = if getrandom::fill(&mut random).is_ok() { u32::from(random[0]) } else { 0 };
        let full = self.pause;
        self.pause = full.saturating_mul(2).min(LONGEST);
        let half = full.checked_div(2).unwrap_or(full);
        full.saturating_sub(half.saturating_mul(cut).checked_div(255).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_no_further() {
        let mut backoff = Backoff::default();
        let mut full = FIRST;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(pause <= full && pause >= full / 2, "{pause:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        assert_eq!(full, LONGEST);
    }
}
