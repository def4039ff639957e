//! Whom main does not wait for: users that have kept it waiting, and nobody while others have the processors.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever has kept main waiting for so long ...
pub(super) const PATIENCE_WITH_USER: Duration = Duration::from_millis(50);

/// ... gets no more processes in main's memory for so long.
pub(super) const PENANCE: Duration = Duration::from_secs(60);

/// Of those that main has waited for together, each may be one that was kept back by another.
const PENANCE_IN_COMPANY: Duration = Duration::from_secs(5);

/// Where processes take so long, which is twenty times what they take by themselves, others have the processors. Those
/// that are made by fork wait for their turns side by side then, and main for none of them ...
const CROWDED: Duration = Duration::from_micros(2500);

/// ... for so long ...
const UNTIL_LESS_CROWDED: Duration = Duration::from_millis(100);

/// ... once a second one has taken so long within this time: one may have been kept back by chance, and forks cost main
/// twice as much and more. It is longer than the other, so that one is enough where it was crowded just before.
const STILL_CROWDED: Duration = Duration::from_millis(250);

/// Whom main has waited for, and until when that counts: `None` is main's own user.
static SLOW: Mutex<Vec<(Option<u32>, Instant)>> = Mutex::new(Vec::new());

/// Whether others have the processors.
static CROWD: Mutex<Crowd> = Mutex::new(Crowd { waited: None, until: None });

/// When main last had to wait for its turn, and until when that counts.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    waited: Option<Instant>,
    until: Option<Instant>,
}

impl Crowd {
    fn note(&mut self, each: Duration, now: Instant) {
        if each < CROWDED {
            return;
        }
        let again = self.waited.is_some_and(|when| now.saturating_duration_since(when) < STILL_CROWDED);
        self.until = now.checked_add(UNTIL_LESS_CROWDED).filter(|_| again);
        self.waited = Some(now);
    }

    fn is_there(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// Whether a user's process is to be made by fork, now.
pub(super) fn is_wary_of(user: Option<u32>) -> bool {
    let now = Instant::now();
    let crowded = CROWD.lock().unwrap_or_else(PoisonError::into_inner).is_there(now);
    let slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    crowded || slow.iter().any(|(who, until)| *who == user && now < *until)
}

/// For how long nothing is made this way of a user whose process was not out in time, by itself or with others.
pub(super) fn penance(alone: bool) -> Duration {
    if alone { PENANCE } else { PENANCE_IN_COMPANY }
}

/// A user's process has kept main waiting.
pub(super) fn note_user(user: Option<u32>, penance: Duration) {
    let (now, mut slow) = (Instant::now(), SLOW.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(until) = now.checked_add(penance) else { return };
    let longest = slow.iter().filter(|(who, _)| *who == user).map(|(_, other)| *other).fold(until, Instant::max);
    slow.retain(|(who, other)| *who != user && now < *other);
    slow.push((user, longest));
}

/// A process has taken so long to its exec, or that is the share of each of those that were made together.
pub(super) fn note_crowd(each: Duration) {
    CROWD.lock().unwrap_or_else(PoisonError::into_inner).note(each, Instant::now());
}

/// The processors are as good as free.
#[cfg(test)]
pub(in crate::sys) fn forget_the_crowd() {
    *CROWD.lock().unwrap_or_else(PoisonError::into_inner) = Crowd { waited: None, until: None };
}

/// Everybody is as good as anybody else.
#[cfg(test)]
pub(super) fn forget_who_was_slow() {
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_long_is_chance_and_two_are_a_crowd() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut crowd = Crowd { waited: None, until: None };
        crowd.note(CROWDED, at(0));
        assert!(!crowd.is_there(at(0)));
        crowd.note(Duration::from_micros(100), at(10));
        crowd.note(CROWDED, at(300));
        assert!(!crowd.is_there(at(300)));
        crowd.note(CROWDED, at(310));
        assert!(crowd.is_there(at(310)) && crowd.is_there(at(409)) && !crowd.is_there(at(410)));
        // Where it was crowded just before, the next that takes long is enough.
        crowd.note(CROWDED, at(420));
        assert!(crowd.is_there(at(420)));
    }
}
