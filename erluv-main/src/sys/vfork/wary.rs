//! Whom main does not wait for: users that have kept it waiting, and nobody while others have the processors.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever keeps main waiting for so long, and then once more ...
pub(super) const PATIENCE_WITH_USER: Duration = Duration::from_millis(50);

/// ... within this time, gets no more processes in main's memory for as long. The first time may be the host's doing: one
/// that stands still for a moment, which forks for so long would make a loss of seconds.
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

/// Whom main has waited for.
static SLOW: Mutex<Slow> = Mutex::new(Slow(Vec::new()));

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

/// That a process has kept main waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// When main began to wait: those that it waits for together keep it waiting once.
    since: Instant,
    penance: Duration,
    /// That nothing but the process can have been the reason.
    sure: bool,
}

impl Wait {
    /// For a process that was not out in time, by itself or with others.
    pub(super) fn long(since: Instant, alone: bool) -> Self {
        Self { since, penance: if alone { PENANCE } else { PENANCE_IN_COMPANY }, sure: false }
    }

    /// For one that was killed for it.
    pub(super) fn in_vain(since: Instant) -> Self {
        Self { since, penance: PENANCE, sure: true }
    }
}

/// Users that have kept main waiting, each once: `None` is main's own.
#[derive(Debug)]
struct Slow(Vec<Suspect>);

#[derive(Debug, Clone, Copy)]
struct Suspect {
    user: Option<u32>,
    /// The last time, and until when that counts.
    since: Instant,
    counts: Instant,
    /// Until when its processes are made by fork.
    out: Option<Instant>,
}

impl Slow {
    fn note(&mut self, user: Option<u32>, wait: Wait, now: Instant) {
        let Some(until) = now.checked_add(wait.penance) else { return };
        self.0.retain(|suspect| now < suspect.counts);
        let before = self.0.iter().find(|suspect| suspect.user == user).copied();
        let again = before.is_some_and(|before| before.since < wait.since);
        let (counts, out) = before.map_or((until, None), |before| (before.counts.max(until), before.out));
        let out = if wait.sure || again { out.max(Some(until)) } else { out };
        self.0.retain(|suspect| suspect.user != user);
        self.0.push(Suspect { user, since: wait.since, counts, out });
    }

    fn has(&self, user: Option<u32>, now: Instant) -> bool {
        self.0.iter().any(|suspect| suspect.user == user && suspect.out.is_some_and(|until| now < until))
    }
}

/// Whether a user's process is to be made by fork, now.
pub(super) fn is_wary_of(user: Option<u32>) -> bool {
    let now = Instant::now();
    CROWD.lock().unwrap_or_else(PoisonError::into_inner).is_there(now)
        || SLOW.lock().unwrap_or_else(PoisonError::into_inner).has(user, now)
}

/// A user's process has kept main waiting.
pub(super) fn note_user(user: Option<u32>, wait: Wait) {
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).note(user, wait, Instant::now());
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
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
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
    #[test]
    fn a_user_that_keeps_main_waiting_twice_gets_forks_for_a_while() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let (eve, bob) = (Some(1000), Some(1001));
        let mut slow = Slow(Vec::new());
        slow.note(eve, Wait::long(at(0), true), at(1));
        slow.note(bob, Wait::long(at(2), true), at(2));
        assert!(!slow.has(eve, at(2)) && !slow.has(bob, at(2)));
        slow.note(eve, Wait::long(at(50), true), at(50));
        assert!(slow.has(eve, at(109)) && !slow.has(eve, at(110)) && !slow.has(bob, at(50)));
        // What was long ago does not count.
        slow.note(bob, Wait::long(at(70), true), at(70));
        assert!(!slow.has(bob, at(70)));
    }

    #[test]
    fn those_that_main_waits_for_together_keep_it_waiting_once() {
        let start = Instant::now();
        let mut slow = Slow(Vec::new());
        slow.note(None, Wait::long(start, false), start);
        slow.note(None, Wait::long(start, false), start);
        assert!(!slow.has(None, start));
        let next = start + Duration::from_secs(1);
        slow.note(None, Wait::long(next, false), next);
        assert!(slow.has(None, start + Duration::from_secs(5)) && !slow.has(None, start + Duration::from_secs(6)));
    }

    #[test]
    fn one_that_had_to_be_killed_is_enough_and_no_later_wait_makes_its_time_shorter() {
        let start = Instant::now();
        let mut slow = Slow(Vec::new());
        slow.note(None, Wait::in_vain(start), start);
        slow.note(None, Wait::long(start + Duration::from_secs(1), false), start + Duration::from_secs(1));
        assert!(slow.has(None, start + Duration::from_secs(59)) && !slow.has(None, start + Duration::from_secs(60)));
    }
}
