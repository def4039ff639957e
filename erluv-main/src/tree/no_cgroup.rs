//! Systems without control groups: what [`Hierarchy`] would do there, nobody ever asks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use erluv_proto::ids::WorkerId;
use thiserror::Error;

use super::Removal;
use super::limits::Setting;
use crate::order::NodeIndex;

/// Why there are no control groups.
#[derive(Debug, Error)]
pub(crate) enum TreeError {
    #[error("control groups: this system has none: set cgroup to \"auto\" or false")]
    System,
}

/// There are none.
pub(super) fn offered() -> Result<BTreeSet<String>, TreeError> {
    Err(TreeError::System)
}

/// There is none.
pub(super) fn is_base_closed() -> bool {
    false
}

/// There is none.
#[derive(Debug)]
pub(super) enum Hierarchy {}

impl Hierarchy {
    pub(super) fn open() -> Result<Self, TreeError> {
        Err(TreeError::System)
    }

    pub(super) fn path(&self) -> &Path {
        match *self {}
    }

    pub(super) fn node(&mut self, _: NodeIndex) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn hand_down(&mut self, _: &'static str) {
        match *self {}
    }

    pub(super) fn lacks(&self, _: &Setting) -> Option<String> {
        match *self {}
    }

    pub(super) fn set(&self, _: &OwnedFd, _: &Setting) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn kill_file(&self, _: NodeIndex) -> io::Result<OwnedFd> {
        match *self {}
    }

    pub(super) fn make(&mut self, _: NodeIndex, _: WorkerId, _: bool) -> io::Result<Rc<OwnedFd>> {
        match *self {}
    }

    pub(super) fn reopen(&mut self) {
        match *self {}
    }

    pub(super) fn folder(&self, _: NodeIndex, _: WorkerId) -> io::Result<OwnedFd> {
        match *self {}
    }

    pub(super) fn was_out_of_memory(&self, _: NodeIndex, _: WorkerId) -> bool {
        match *self {}
    }

    pub(super) fn freeze(&self, _: NodeIndex, _: WorkerId, _: bool) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn kill(&mut self, _: NodeIndex, _: WorkerId) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn kill_node(&mut self, _: NodeIndex) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn remove(&mut self, _: NodeIndex, _: WorkerId) -> Removal {
        match *self {}
    }

    pub(super) fn is_untidy(&self) -> bool {
        match *self {}
    }

    pub(super) fn tidy(&mut self, _: usize) {
        match *self {}
    }

    pub(super) fn close(self) {
        match self {}
    }
}
