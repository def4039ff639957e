//! Open descriptors of the groups that go from one worker to the next. To open a group's folder and its `cgroup.events`
//! anew for each worker takes ten times as long as what is read there.
//!
//! Each costs something, too: every new process is given a copy, and closes it. So there are few, and they are of groups
//! that are used again and again.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::names::Group;

/// The most groups, with two descriptors each: at twice as many, their copies would cost a start what they save it.
const MOST: usize = 16;

/// A group that is taken for none of so many starts is closed again.
const LONGEST_UNUSED: u64 = 64;

#[derive(Debug)]
struct Entry {
    group: Group,
    folder: Rc<OwnedFd>,
    events: OwnedFd,
    /// The last start that it was taken for.
    used: u64,
}

/// The groups that are open.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The longest unused first.
    groups: VecDeque<Entry>,
    starts: u64,
}

impl Opened {
    /// A worker starts, in whichever group.
    pub(super) fn count_start(&mut self) {
        self.starts = self.starts.saturating_add(1);
        let starts = self.starts;
        while self.groups.front().is_some_and(|entry| starts.saturating_sub(entry.used) > LONGEST_UNUSED) {
            self.groups.pop_front();
        }
    }

    /// The folder of a group that a worker starts in.
    pub(super) fn take(&mut self, group: Group) -> Option<Rc<OwnedFd>> {
        let place = self.groups.iter().position(|entry| entry.group == group)?;
        let entry = self.groups.remove(place)?;
        let folder = Rc::clone(&entry.folder);
        self.groups.push_back(Entry { used: self.starts, ..entry });
        Some(folder)
    }

    /// The `cgroup.events` of a group.
    pub(super) fn events(&self, group: Group) -> Option<&OwnedFd> {
        self.groups.iter().find(|entry| entry.group == group).map(|entry| &entry.events)
    }

    pub(super) fn has_room(&self) -> bool {
        self.groups.len() < MOST
    }

    /// The folder and the `cgroup.events` of a group that waits for its next worker.
    pub(super) fn add(&mut self, group: Group, folder: OwnedFd, events: OwnedFd) {
        self.groups.push_back(Entry { group, folder: Rc::new(folder), events, used: self.starts });
    }

    pub(super) fn close(&mut self, group: Group) {
        self.groups.retain(|entry| entry.group != group);
    }

    pub(super) fn close_all(&mut self) {
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn add(opened: &mut Opened, group: u64) {
        opened.add(Group(group), file(), file());
    }

    #[test]
    fn a_group_stays_open_for_as_long_as_it_is_used() {
        let mut opened = Opened::default();
        add(&mut opened, 1);
        add(&mut opened, 2);
        for _ in 0..=LONGEST_UNUSED {
            assert!(opened.events(Group(1)).is_some());
            opened.count_start();
            assert!(opened.take(Group(2)).is_some());
        }
        assert!(opened.take(Group(1)).is_none() && opened.events(Group(1)).is_none());
        assert!(opened.events(Group(2)).is_some() && opened.take(Group(3)).is_none());
    }

    #[test]
    fn few_are_open_and_none_that_was_closed() {
        let mut opened = Opened::default();
        for group in (0..).take(MOST) {
            assert!(opened.has_room());
            add(&mut opened, group);
        }
        assert!(!opened.has_room());
        opened.close(Group(3));
        assert!(opened.has_room() && opened.events(Group(3)).is_none() && opened.events(Group(4)).is_some());
        opened.close_all();
        assert!(opened.has_room() && opened.events(Group(4)).is_none());
    }
}
