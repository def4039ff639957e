//! Who owns workers: each owner is monitored once, however many it has, so that its end is known for any reason.

use std::collections::{HashMap, HashSet};

use erluv_proto::ids::WorkerId;

#[derive(Debug)]
struct Owner {
    /// The number in the reference of our monitor.
    monitor: u64,
    workers: HashSet<WorkerId>,
}

/// Owners by the bytes of their pids.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    owners: HashMap<Box<[u8]>, Owner>,
    last: u64,
}

/// The words of the reference of a monitor of ours.
pub(crate) fn words(monitor: u64) -> [u32; 3] {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    [half(monitor), half(monitor >> 32), 0]
}

impl Owners {
    /// Notes that a process owns a worker. A number: the process has to be monitored under it.
    pub(crate) fn add(&mut self, owner: &[u8], worker: WorkerId) -> Option<u64> {
        if let Some(known) = self.owners.get_mut(owner) {
            known.workers.insert(worker);
            return None;
        }
        self.last = self.last.saturating_add(1);
        let workers = HashSet::from([worker]);
        self.owners.insert(owner.into(), Owner { monitor: self.last, workers });
        Some(self.last)
    }

    /// Forgets a worker. A number: that was its owner's last, and the monitor of that number is to be taken back.
    pub(crate) fn remove(&mut self, owner: &[u8], worker: WorkerId) -> Option<u64> {
        let known = self.owners.get_mut(owner)?;
        known.workers.remove(&worker);
        if !known.workers.is_empty() {
            return None;
        }
        self.owners.remove(owner).map(|owner| owner.monitor)
    }

    /// An owner has ended: its workers, which have no owner from now on.
    pub(crate) fn gone(&mut self, owner: &[u8]) -> Vec<WorkerId> {
        self.owners.remove(owner).map(|owner| owner.workers.into_iter().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_monitored_once_and_until_its_last_worker() {
        let mut owners = Owners::default();
        let monitor = owners.add(b"a", WorkerId(2));
        assert!(monitor.is_some());
        assert_eq!(owners.add(b"a", WorkerId(3)), None);
        assert_ne!(owners.add(b"b", WorkerId(4)), monitor);
        assert_eq!(owners.remove(b"a", WorkerId(2)), None);
        assert_eq!(owners.remove(b"a", WorkerId(3)), monitor);
        assert_eq!(owners.remove(b"a", WorkerId(3)), None);
    }

    #[test]
    fn s43_the_end_of_an_owner_names_its_workers() {
        let mut owners = Owners::default();
        owners.add(b"a", WorkerId(2));
        owners.add(b"a", WorkerId(3));
        let mut workers = owners.gone(b"a");
        workers.sort();
        assert_eq!(workers, [WorkerId(2), WorkerId(3)]);
        assert!(owners.gone(b"a").is_empty());
    }
}
