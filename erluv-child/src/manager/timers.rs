//! What the clock has to say about workers.

use std::collections::BTreeSet;
use std::time::Instant;

use erluv_proto::ids::WorkerId;

/// What a time is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Look whether the streams of an ended worker have ended too.
    Drain,
    /// It has run for as long as it may.
    Late,
    /// Nobody has adopted it in time.
    Kept,
}

/// Times, the next one first. What is no longer of use is taken out, so that there are never more than a few for each
/// worker.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, WorkerId, Alarm)>);

impl Timers {
    /// Notes a time, where there is one.
    pub(super) fn set(&mut self, at: Option<Instant>, worker: WorkerId, alarm: Alarm) {
        if let Some(at) = at {
            self.0.insert((at, worker, alarm));
        }
    }

    /// Takes a time back.
    pub(super) fn unset(&mut self, at: Option<Instant>, worker: WorkerId, alarm: Alarm) {
        if let Some(at) = at {
            self.0.remove(&(at, worker, alarm));
        }
    }

    /// The next time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(WorkerId, Alarm)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, worker, alarm)| (worker, alarm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_come_in_their_order_and_not_before() {
        let start = Instant::now();
        let after = |seconds| start.checked_add(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set(after(3), WorkerId(2), Alarm::Late);
        timers.set(after(1), WorkerId(3), Alarm::Drain);
        timers.set(after(2), WorkerId(4), Alarm::Kept);
        timers.unset(after(2), WorkerId(4), Alarm::Kept);
        timers.set(None, WorkerId(5), Alarm::Late);
        assert_eq!(timers.due(start), None);
        assert_eq!(timers.next(), after(1));
        let later = after(9).unwrap();
        assert_eq!(timers.due(later), Some((WorkerId(3), Alarm::Drain)));
        assert_eq!(timers.due(later), Some((WorkerId(2), Alarm::Late)));
        assert_eq!((timers.due(later), timers.next()), (None, None));
    }
}
