//! Long input for a worker, written into its pipe as it comes from the node.
//!
//! One message after the other comes, so nothing else of the node's can happen to the worker meanwhile. Whether the
//! message is taken at all is decided when it begins, by what waits then, as it is of one that has come whole.

use erluv_proto::etf::Term;
use erluv_proto::ids::WorkerId;

use super::flow::{MOST_WAITING, watch};
use super::worker::Bytes;
use super::{Manager, Outlet};
use crate::dispatcher::request::{Caller, OpenInput};
use crate::dispatcher::worker::Input as Offer;

/// A message that is not whole yet.
#[derive(Debug)]
pub(super) struct Passing {
    to: WorkerId,
    /// Who waits for an answer, and the tag of that.
    caller: Option<(Bytes, Bytes)>,
}

impl Manager {
    /// A message to a worker begins. Returns false where it has to come whole first: it would be refused, or the worker
    /// may outlive the connection, which is to leave no half of a message behind.
    pub(crate) fn begin_input(&mut self, input: &OpenInput<'_>, outlet: &mut Outlet<'_>) -> bool {
        let cap = if input.caller.is_some() { self.call_cap() } else { self.plain_cap() };
        let Some(worker) = self.workers.get(&input.to) else { return false };
        let taken = worker.stdin.as_ref().is_some_and(|stdin| stdin.takes(cap));
        if !taken || worker.keep.is_some() || worker.waiting.len() >= MOST_WAITING {
            return false;
        }
        let caller = input.caller.map(|Caller { from, tag }| (from.as_bytes().into(), tag.as_bytes().into()));
        self.passing = Some(Passing { to: input.to, caller });
        self.more_input(input.data, outlet);
        true
    }

    /// More of it. A worker that reads no more is found out by the last of it.
    pub(crate) fn more_input(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        if let Some(to) = self.passing.as_ref().map(|passing| passing.to) {
            self.offer_part(to, bytes, outlet);
        }
    }

    /// The last of it: a call is answered once all of it is written.
    pub(crate) fn last_input(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        let Some(Passing { to, caller }) = self.passing.take() else { return };
        let caller = caller
            .as_ref()
            .and_then(|(from, tag)| Some(Caller { from: Term::exactly(from).ok()?, tag: Term::exactly(tag).ok()? }));
        match caller {
            None => self.offer_part(to, bytes, outlet),
            Some(caller) if self.workers.contains_key(&to) => {
                self.input_within(to, caller, Offer::Bytes(bytes.into()), usize::MAX, outlet);
            }
            Some(caller) => self.nobody(caller, outlet),
        }
    }

    fn offer_part(&mut self, to: WorkerId, bytes: &[u8], outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&to) else { return };
        if let Some(stdin) = &mut worker.stdin {
            stdin.offer(bytes, usize::MAX);
            watch(worker, outlet);
        }
    }
}
