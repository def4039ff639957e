//! Who has ended: those that the system names, those that were told to or are young, and from time to time
//! ([`super::looks`]) whoever else has.
//!
//! Asked for any child that has ended, the kernel walks past all that live; asked for one by its number, past none.

use std::collections::HashMap;
use std::time::Instant;

use erluv_proto::ids::WorkerId;

use super::looks::{Looks, Unseen};
use super::{Report, Workers};
use crate::sys::{self, Reaped};

/// So many of the condemned that live still are looked at in vain each time that some child has ended.
const MOST_ALIVE: usize = 16;

impl Workers {
    /// Some child of main has ended: takes up all that have. Those that are neither workers nor their commands are
    /// given back: erluv-child, and orphans of workers.
    pub(crate) fn reaped(&mut self, now: Instant, mut report: impl FnMut(Report)) -> Vec<Reaped> {
        let mut others = self.take_up_condemned(now, &mut report);
        let mut in_vain = true;
        while let Some(ended) = self.reap() {
            in_vain = false;
            others.extend(self.take_up(ended, now, &mut report));
        }
        self.looks.looked(now, self.living(), in_vain);
        others
    }

    fn living(&self) -> usize {
        [&self.by_pid, &self.killers, &self.inits].map(HashMap::len).into_iter().fold(0, usize::saturating_add)
    }

    /// Children of these numbers may have ended, and so may others. Those that are named, those that were signalled so that
    /// they end, and where there are many those that were started last are taken up at once, as by [`Workers::reaped`], where they have ended; when that is to be
    /// called for the others, [`Workers::next_look`] tells.
    pub(crate) fn named(&mut self, pids: &[i32], now: Instant, mut report: impl FnMut(Report)) -> Vec<Reaped> {
        let all_wait = pids.is_empty() || self.trees.looks_before_reaping();
        self.looks.want(if all_wait { Unseen::Somebody } else { Unseen::Others });
        if self.trees.looks_before_reaping() {
            return Vec::new();
        }
        let mut others = Vec::new();
        for ended in pids.iter().filter_map(|pid| sys::reap(Some(*pid))) {
            others.extend(self.take_up(ended, now, &mut report));
        }
        others.extend(self.take_up_condemned(now, &mut report));
        if Looks::cost_much(self.living()) {
            others.extend(self.take_up_young(now, &mut report));
        }
        others
    }

    /// Several that are short may end between two looks, and the system names one of them.
    fn take_up_young(&mut self, now: Instant, report: &mut dyn FnMut(Report)) -> Vec<Reaped> {
        let mut others = Vec::new();
        for _ in 0..self.young.len() {
            let Some((pid, looks)) = self.young.take() else { break };
            match sys::reap(Some(pid)) {
                Some(ended) => others.extend(self.take_up(ended, now, report)),
                None if self.by_pid.contains_key(&pid) => self.young.lives(pid, looks),
                None => {}
            }
        }
        others
    }

    /// Many that are told to end at once end nearly at once, and the system names few of them then.
    fn take_up_condemned(&mut self, now: Instant, report: &mut dyn FnMut(Report)) -> Vec<Reaped> {
        let (mut others, mut alive) = (Vec::new(), Vec::new());
        while alive.len() < MOST_ALIVE
            && let Some(pid) = self.condemned.pop_front()
        {
            match sys::reap(Some(pid)) {
                Some(ended) => others.extend(self.take_up(ended, now, report)),
                None if self.by_pid.contains_key(&pid) => alive.push(pid),
                None => {}
            }
        }
        self.condemned.extend(alive);
        others
    }

    /// Has a worker's leader looked for by its number from now on.
    pub(super) fn condemn(&mut self, worker: WorkerId) {
        if self.trees.looks_before_reaping() {
            return;
        }
        let Some(entry) = self.table.get_mut(&worker).filter(|entry| !entry.condemned) else { return };
        entry.condemned = true;
        self.condemned.push_back(entry.leader);
    }

    /// When [`Workers::reaped`] is to be called; `None` where nothing suggests that a child has ended.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.looks.due(now)
    }

    fn take_up(&mut self, ended: Reaped, now: Instant, report: &mut dyn FnMut(Report)) -> Option<Reaped> {
        if let Some(worker) = self.by_pid.remove(&ended.pid) {
            self.leader_ended(worker, ended, now, report);
        } else if let Some(worker) = self.init_ended(ended.pid) {
            self.sweep_again(worker, now, report);
        } else if !self.killer_ended(ended.pid) {
            return Some(ended);
        }
        None
    }

    fn reap(&self) -> Option<Reaped> {
        if !self.trees.looks_before_reaping() {
            return sys::reap(None);
        }
        let pid = sys::peek()?;
        if self.by_pid.contains_key(&pid) || self.killers.contains_key(&pid) {
            self.trees.before_reaping(pid);
        }
        sys::reap(Some(pid))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
