//! When main looks at all of its children for those that have ended, and which it looks at by number before. No I/O.
//!
//! The system names most that end, but not all (`daemon/ended.rs`). A look at one by its number costs a system call; a look
//! at all costs the kernel 50 to 250 ns for each child that lives, by what is in the processor's cache: some milliseconds
//! where 10,000 do. Most that end are short, so those that were started last are looked at by number. For others there is
//! a pause between two looks at all that grows with what lives, and is longer after a look in vain: whoever is neither named
//! nor young is taken up when it is over, 100 ms later at most.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Of so few children, a look at all costs no more than one at each of the young.
const FEW: usize = 200;

/// The pause after a look that has found somebody, for each child: more may have ended with it.
const FOR_EACH: Duration = Duration::from_micros(20);

/// The same after one in vain: until the pause is the longest, the looks cost a four-hundredth of main's time then.
const FOR_EACH_IN_VAIN: Duration = Duration::from_micros(100);

/// Where nobody is named each end waits for a look: of so few it costs less than the wait for the next ...
const FEW_UNNAMED: usize = 500;

/// ... and the pause for each child is so long, which is a twentieth of main's time.
const FOR_EACH_UNNAMED: Duration = Duration::from_micros(1);

/// And the longest.
const LONGEST: Duration = Duration::from_millis(20);

/// The longest after a look in vain, where somebody was named.
const LONGEST_IN_VAIN: Duration = Duration::from_millis(100);

/// The most that count as young: twice as many as a busy node starts at a time.
const MOST_YOUNG: usize = 64;

/// Who was looked at in vain so often is not short.
const MOST_LOOKS: u8 = 100;

/// The children that were started last, and how often each was looked at in vain.
#[derive(Debug, Default)]
pub(super) struct Young(VecDeque<(i32, u8)>);

impl Young {
    /// One more.
    pub(super) fn add(&mut self, pid: i32) {
        if self.0.len() >= MOST_YOUNG {
            self.0.pop_front();
        }
        self.0.push_back((pid, 0));
    }

    /// The one whose turn it is to be looked at.
    pub(super) fn take(&mut self) -> Option<(i32, u8)> {
        self.0.pop_front()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// It was looked at so often before, and in vain again.
    pub(super) fn lives(&mut self, pid: i32, looks: u8) {
        if looks < MOST_LOOKS {
            self.0.push_back((pid, looks.saturating_add(1)));
        }
    }
}

/// Who may have ended, beside those that were taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unseen {
    /// Somebody else than who was named.
    Others,
    /// Somebody, since nobody was named.
    Somebody,
}

/// A look at all.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    /// How many live after it.
    living: usize,
    /// Nobody had ended.
    in_vain: bool,
}

/// The last look, and whether another is wanted.
#[derive(Debug, Default)]
pub(super) struct Looks {
    wanted: Option<Unseen>,
    last: Option<Look>,
}

impl Looks {
    /// Some child may have ended that was not taken up.
    pub(super) fn want(&mut self, unseen: Unseen) {
        self.wanted = self.wanted.max(Some(unseen));
    }

    /// When to look; `None` where there is no reason to.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let wanted = self.wanted?;
        let Some(Look { at, living, in_vain }) = self.last else { return Some(now) };
        let (few, for_each, longest) = match wanted {
            Unseen::Others if in_vain => (FEW, FOR_EACH_IN_VAIN, LONGEST_IN_VAIN),
            Unseen::Others => (FEW, FOR_EACH, LONGEST),
            Unseen::Somebody => (FEW_UNNAMED, FOR_EACH_UNNAMED, LONGEST),
        };
        if living <= few {
            return Some(now);
        }
        let pause = for_each.saturating_mul(u32::try_from(living).unwrap_or(u32::MAX)).min(longest);
        Some(at.checked_add(pause).unwrap_or(now))
    }

    /// Whether a look at all costs more than one at each of the young.
    pub(super) fn cost_much(living: usize) -> bool {
        living > FEW
    }

    /// All that had ended has been taken up, which was nobody if `in_vain`; so many children live.
    pub(super) fn looked(&mut self, at: Instant, living: usize, in_vain: bool) {
        (self.wanted, self.last) = (None, Some(Look { at, living, in_vain }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_were_started_are_young_until_they_were_looked_at_often() {
        let mut young = Young::default();
        for pid in 0..100 {
            young.add(pid);
        }
        assert_eq!((young.len(), young.take()), (MOST_YOUNG, Some((36, 0))));
        let mut young = Young::default();
        young.add(7);
        for looks in 0..=MOST_LOOKS {
            assert_eq!(young.take(), Some((7, looks)));
            young.lives(7, looks);
        }
        assert_eq!(young.take(), None);
    }

    #[test]
    fn few_children_are_looked_at_whenever_one_may_have_ended() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        assert_eq!(looks.due(now), None);
        for (unseen, few) in [(Unseen::Others, FEW), (Unseen::Somebody, FEW_UNNAMED)] {
            for in_vain in [false, true] {
                looks.looked(now, few, in_vain);
                assert_eq!(looks.due(now), None);
                looks.want(unseen);
                assert_eq!(looks.due(now), Some(now));
            }
        }
    }

    #[test]
    fn the_more_live_and_the_more_in_vain_the_longer_is_the_pause_between_two_looks() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        let at = |micros| now.checked_add(Duration::from_micros(micros));
        let cases = [
            (Unseen::Others, FEW + 1, false, at(4020)),
            (Unseen::Others, FEW + 1, true, at(20_100)),
            (Unseen::Others, 10_000, false, at(20_000)),
            (Unseen::Others, 10_000, true, at(100_000)),
            (Unseen::Somebody, FEW_UNNAMED + 1, false, at(501)),
            (Unseen::Somebody, 10_000, true, at(10_000)),
            (Unseen::Somebody, usize::MAX, true, at(20_000)),
        ];
        for (unseen, living, in_vain, due) in cases {
            looks.looked(now, living, in_vain);
            assert_eq!(looks.due(now), None);
            looks.want(unseen);
            looks.want(Unseen::Others);
            assert_eq!(looks.due(now), due, "{unseen:?} {living} {in_vain}");
        }
    }
}
