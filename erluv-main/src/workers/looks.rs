//! When main looks at all of its children for those that have ended. No I/O.
//!
//! The system names most of them, but not all (`daemon/ended.rs`), and a look at all costs the kernel some 50 ns for
//! each child that lives: half a millisecond where 10,000 do. So there is a pause between two looks that grows with
//! what lives. Whoever is not named is taken up when it is over: 10 ms later at most, where 10,000 live.

use std::time::{Duration, Instant};

/// Of so few children, a look costs less than the wait for the next.
const FEW: usize = 500;

/// The pause after a look, for each child.
const FOR_EACH: Duration = Duration::from_micros(1);

/// And the longest.
const LONGEST: Duration = Duration::from_millis(20);

/// The last look, and whether another is wanted.
#[derive(Debug, Default)]
pub(super) struct Looks {
    wanted: bool,
    not_before: Option<Instant>,
}

impl Looks {
    /// Some child may have ended whom nobody has named.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to look; `None` where there is no reason to.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.wanted.then(|| self.not_before.unwrap_or(now))
    }

    /// All that had ended has been taken up; so many children live.
    pub(super) fn looked(&mut self, now: Instant, living: usize) {
        let each = u32::try_from(living).unwrap_or(u32::MAX);
        let pause = FOR_EACH.saturating_mul(each).min(LONGEST);
        self.wanted = false;
        self.not_before = if living > FEW { now.checked_add(pause) } else { None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_children_are_looked_at_whenever_one_may_have_ended() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        assert_eq!(looks.due(now), None);
        for _ in 0..3 {
            looks.want();
            assert_eq!(looks.due(now), Some(now));
            looks.looked(now, FEW);
            assert_eq!(looks.due(now), None);
        }
    }

    #[test]
    fn the_more_live_the_longer_is_the_pause_between_two_looks() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        let at = |micros| now.checked_add(Duration::from_micros(micros));
        for (living, due) in [(FEW + 1, at(501)), (10_000, at(10_000)), (usize::MAX, at(20_000))] {
            looks.looked(now, living);
            assert_eq!(looks.due(now), None);
            looks.want();
            assert_eq!(looks.due(now), due);
        }
    }
}
