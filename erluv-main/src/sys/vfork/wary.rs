//! Whom main does not wait for: users that have kept it waiting, and nobody while others have the processors.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever has kept main waiting for so long ...
const PATIENCE_WITH_USER: Duration = Duration::from_millis(50);

/// ... gets no more processes in main's memory for so long.
const PENANCE: Duration = Duration::from_secs(60);

/// Where a process takes so long, which is twenty times what it takes by itself, others have the processors. Those that
/// are made by fork wait for their turns side by side then, and main for none of them ...
const CROWDED: Duration = Duration::from_micros(2500);

/// ... for so long.
const UNTIL_LESS_CROWDED: Duration = Duration::from_millis(100);

/// Whom main has waited for, and when: `None` is main's own user.
static SLOW: Mutex<Vec<(Option<u32>, Instant)>> = Mutex::new(Vec::new());

/// When main last had to wait for its turn.
static WAITED: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether a user's process is to be made by fork, now.
pub(super) fn is_wary_of(user: Option<u32>) -> bool {
    let waited = *WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let crowded = waited.is_some_and(|when| when.elapsed() < UNTIL_LESS_CROWDED);
    let slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    crowded || slow.iter().any(|(who, when)| *who == user && when.elapsed() < PENANCE)
}

/// A user's process has kept main waiting for so long by itself, or is late: main has waited for no longer.
pub(super) fn note_user(user: Option<u32>, held: Duration, late: bool) {
    if late || held >= PATIENCE_WITH_USER {
        let mut slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
        slow.retain(|(who, when)| *who != user && when.elapsed() < PENANCE);
        slow.push((user, Instant::now()));
    }
}

/// A process has taken so long to its exec, or that is the share of each of those that were made together.
pub(super) fn note_crowd(each: Duration) {
    if each >= CROWDED {
        *WAITED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// The processors are as good as free.
#[cfg(test)]
pub(in crate::sys) fn forget_the_crowd() {
    *WAITED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Everybody is as good as anybody else.
#[cfg(test)]
pub(super) fn forget_who_was_slow() {
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
