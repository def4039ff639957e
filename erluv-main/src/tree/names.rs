//! Which group is whose: a worker's group is kept for the next worker of its node once nothing is in it any more.
//! To make and remove one costs the kernel as much as the fork does, most of it later and on its own account.

use std::collections::{BTreeMap, VecDeque};

use erluv_proto::ids::WorkerId;

use crate::order::NodeIndex;

/// The most groups that are kept for each node.
const MOST_SPARE: usize = 64;

/// The number that a group is called by: that of the first worker that it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group(pub(super) u64);

/// The groups of all workers, and those that wait for one.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whether it may be kept, for each.
    taken: BTreeMap<WorkerId, (Group, bool)>,
    spare: BTreeMap<NodeIndex, Vec<Group>>,
    /// Empty, and still to be removed.
    dead: VecDeque<(NodeIndex, Group)>,
    /// The most that were taken at one time since there was none of the dead.
    most_taken: usize,
}

impl Names {
    /// One that waits becomes this worker's.
    pub(super) fn reuse(&mut self, node: NodeIndex, worker: WorkerId) -> Option<Group> {
        let group = self.spare.get_mut(&node)?.pop()?;
        self.take(worker, group, true);
        Some(group)
    }

    /// A new one is this worker's; `keep` is whether the next may have it.
    pub(super) fn add(&mut self, worker: WorkerId, keep: bool) -> Group {
        let group = Group(worker.0);
        self.take(worker, group, keep);
        group
    }

    fn take(&mut self, worker: WorkerId, group: Group, keep: bool) {
        self.taken.insert(worker, (group, keep));
        self.most_taken = self.most_taken.max(self.taken.len());
    }

    pub(super) fn of(&self, worker: WorkerId) -> Option<Group> {
        self.taken.get(&worker).map(|(group, _)| *group)
    }

    /// Whether a worker's group is one to be kept, and there is room for it.
    pub(super) fn may_keep(&self, node: NodeIndex, worker: WorkerId) -> bool {
        let room = self.spare.get(&node).is_none_or(|spare| spare.len() < MOST_SPARE);
        room && self.taken.get(&worker).is_some_and(|(_, keep)| *keep)
    }

    /// A worker's group is not for the next: it has been killed. Newer kernels count the kills of a group, compare
    /// that with the count of the forking process's own group, and kill what is forked into it.
    pub(super) fn spoil(&mut self, worker: WorkerId) {
        if let Some((_, keep)) = self.taken.get_mut(&worker) {
            *keep = false;
        }
    }

    /// The worker is gone and its group waits for the next.
    pub(super) fn keep(&mut self, node: NodeIndex, worker: WorkerId) {
        if let Some((group, _)) = self.taken.remove(&worker) {
            self.spare.entry(node).or_default().push(group);
        }
    }

    /// The worker and its group are gone.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.taken.remove(&worker);
    }

    /// The worker is gone, and its group is empty and to be removed.
    pub(super) fn retire(&mut self, node: NodeIndex, worker: WorkerId) {
        if let Some((group, _)) = self.taken.remove(&worker) {
            self.dead.push_back((node, group));
        }
    }

    /// Whether there are groups to be removed.
    pub(super) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Whether more are to be removed than workers have lived at one time: then there is no waiting any more.
    pub(super) fn has_too_many_dead(&self) -> bool {
        self.dead.len() > self.most_taken.max(MOST_SPARE)
    }

    /// The next one to be removed.
    pub(super) fn next_dead(&mut self) -> Option<(NodeIndex, Group)> {
        let next = self.dead.pop_front();
        if self.dead.is_empty() {
            (self.dead, self.most_taken) = (VecDeque::new(), self.taken.len());
        }
        next
    }

    /// All that wait, which do so no more, and no group of today's workers will.
    pub(super) fn give_up(&mut self) -> Vec<(NodeIndex, Group)> {
        for (_, keep) in self.taken.values_mut() {
            *keep = false;
        }
        let spare = std::mem::take(&mut self.spare);
        spare.into_iter().flat_map(|(node, groups)| groups.into_iter().map(move |group| (node, group))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeIndex = NodeIndex(0);

    #[test]
    fn a_group_goes_from_one_worker_of_a_node_to_the_next() {
        let mut names = Names::default();
        assert_eq!((names.reuse(NODE, WorkerId(2)), names.add(WorkerId(2), true)), (None, Group(2)));
        assert!(names.may_keep(NODE, WorkerId(2)));
        names.keep(NODE, WorkerId(2));
        assert_eq!((names.of(WorkerId(2)), names.reuse(NodeIndex(1), WorkerId(3))), (None, None));
        assert_eq!((names.reuse(NODE, WorkerId(3)), names.of(WorkerId(3))), (Some(Group(2)), Some(Group(2))));
        assert_eq!(names.reuse(NODE, WorkerId(4)), None);
    }

    #[test]
    fn the_dead_wait_in_the_order_of_their_ends_and_are_no_more_than_once_lived() {
        let mut names = Names::default();
        for worker in (0..100).map(WorkerId) {
            names.add(worker, false);
        }
        assert_eq!((names.has_dead(), names.next_dead()), (false, None));
        for worker in (0..100).map(WorkerId) {
            names.retire(NODE, worker);
            assert!(names.has_dead() && !names.has_too_many_dead() && names.of(worker).is_none());
        }
        names.add(WorkerId(100), false);
        names.retire(NODE, WorkerId(100));
        assert!(names.has_too_many_dead());
        for worker in 0..=100 {
            assert_eq!(names.next_dead(), Some((NODE, Group(worker))));
            assert!(!names.has_too_many_dead());
        }
        // From here on, fewer have lived.
        for worker in (101..).map(WorkerId).take(MOST_SPARE) {
            names.add(worker, false);
            names.retire(NODE, worker);
            assert!(!names.has_too_many_dead());
        }
        names.add(WorkerId(999), false);
        names.retire(NODE, WorkerId(999));
        assert!(names.has_too_many_dead());
    }

    #[test]
    fn not_every_group_is_kept_and_not_too_many() {
        let mut names = Names::default();
        names.add(WorkerId(1), false);
        assert!(!names.may_keep(NODE, WorkerId(1)) && !names.may_keep(NODE, WorkerId(9)));
        names.forget(WorkerId(1));
        assert_eq!(names.of(WorkerId(1)), None);
        names.add(WorkerId(1), true);
        names.spoil(WorkerId(1));
        assert!(!names.may_keep(NODE, WorkerId(1)));
        for worker in (10..).map(WorkerId).take(MOST_SPARE) {
            names.add(worker, true);
            assert!(names.may_keep(NODE, worker));
            names.keep(NODE, worker);
        }
        names.add(WorkerId(5), true);
        assert!(!names.may_keep(NODE, WorkerId(5)) && names.may_keep(NodeIndex(1), WorkerId(5)));
        assert_eq!(names.give_up().len(), MOST_SPARE);
        assert!(!names.may_keep(NODE, WorkerId(5)) && names.reuse(NODE, WorkerId(6)).is_none());
    }
}
