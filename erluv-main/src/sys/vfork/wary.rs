//! Whom main does not wait for: users that have kept it waiting, and nobody while others have the processors.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever has kept main waiting for so long ...
pub(super) const PATIENCE_WITH_USER: Duration = Duration::from_millis(50);

/// ... gets no more processes in main's memory for so long.
pub(super) const PENANCE: Duration = Duration::from_secs(60);

/// Of those that main has waited for together, each may be one that was kept back by another.
const PENANCE_IN_COMPANY: Duration = Duration::from_secs(5);

/// Where a process takes so long, which is twenty times what it takes by itself, others have the processors. Those that
/// are made by fork wait for their turns side by side then, and main for none of them ...
const CROWDED: Duration = Duration::from_micros(2500);

/// ... for so long.
const UNTIL_LESS_CROWDED: Duration = Duration::from_millis(100);

/// Whom main has waited for, and until when that counts: `None` is main's own user.
static SLOW: Mutex<Vec<(Option<u32>, Instant)>> = Mutex::new(Vec::new());

/// When main last had to wait for its turn.
static WAITED: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether a user's process is to be made by fork, now.
pub(super) fn is_wary_of(user: Option<u32>) -> bool {
    let waited = *WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let crowded = waited.is_some_and(|when| when.elapsed() < UNTIL_LESS_CROWDED);
    let slow = SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    crowded || slow.iter().any(|(who, until)| *who == user && Instant::now() < *until)
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
