//! Whether main has nothing else to do, so that it may clear away what workers have left. No I/O.
//!
//! That the poller has waited in vain does not say so: it may have waited for a moment at which to look at children,
//! between a worker's start and its end.

use std::time::{Duration, Instant};

/// Nothing else is to be done once nothing has happened for so long.
const LONG_ENOUGH: Duration = Duration::from_millis(10);

/// Nothing has happened since some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    since: Instant,
}

impl Quiet {
    /// Something has just happened.
    pub(super) fn from(since: Instant) -> Self {
        Self { since }
    }

    /// How long until it has been quiet for long enough; nothing once it has.
    pub(super) fn lasts_in(self, now: Instant) -> Duration {
        LONG_ENOUGH.saturating_sub(now.saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_only_when_nothing_has_happened_for_long_enough() {
        let start = Instant::now();
        let quiet = Quiet::from(start);
        let after = |ms| quiet.lasts_in(start + Duration::from_millis(ms));
        assert_eq!((after(0), after(3)), (LONG_ENOUGH, Duration::from_millis(7)));
        assert_eq!((after(10), after(1000)), (Duration::ZERO, Duration::ZERO));
        // A clock that is read late is no error.
        assert_eq!(Quiet::from(start + Duration::from_millis(5)).lasts_in(start), LONG_ENOUGH);
    }
}
