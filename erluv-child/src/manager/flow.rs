//! The streams of workers: when each is read, where its bytes go, what becomes of input.

use std::os::fd::AsRawFd;

use erluv_proto::dist::send;
use erluv_proto::etf::{Term, put_atom, put_tuple};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{Stop, ToMain};
use mio::event::Event as Ready;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::life::Event;
use super::worker::{Stopped, Waiting, Worker};
use super::{Manager, Outlet, own, put_error, put_own_pid};
use crate::dispatcher::request::{Caller, SERVER};
use crate::dispatcher::worker::Input as Offer;
use crate::streams::input::{Input, Taken};
use crate::streams::output::{Output, PIECE, Read};
use crate::streams::{Told, Which, token};

/// A call may queue this many times the cap of plain messages: its sender waits, so there is but one from each.
const CALLS_BEYOND_CAP: usize = 4;

/// A stream carries much, and no other does, when so many whole pieces in a row were its own.
const ALONE: u32 = 8;

/// Output gathered before it is written. While the node takes no more, the workers' pipes are left alone: what is read
/// then would only go cold, and the socket has enough to send.
const GATHERED: usize = 64 * 1024;

/// The same where one stream alone carries much: two of its pieces, while they are in the processor's cache.
const GATHERED_ALONE: usize = 96 * 1024;

/// Places of the run queue that are kept while no stream stands in it.
const KEPT: usize = 128;

/// Calls that may wait for the same worker to read.
pub(super) const MOST_WAITING: usize = 1024;

impl Manager {
    /// The poller has something to say of a stream.
    pub(crate) fn ready(&mut self, id: WorkerId, which: Which, ready: &Ready, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if which == Which::Stdin {
            if let Some(input) = &mut worker.stdin {
                input.drain();
            }
            return self.answer_drained(id, outlet);
        }
        if let Some(output) = worker.output(which) {
            // Nothing comes behind the end.
            if !ready.is_read_closed() {
                hear(output, id, which, output.told_when_ready(), outlet);
            }
            output.set_readable(ready.is_read_closed());
        }
        self.schedule(id, which, outlet);
    }

    /// Puts a stream into the run queue where it has something to read and its recipient lets it come.
    pub(super) fn schedule(&mut self, id: WorkerId, which: Which, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.is_kept()) else { return };
        let (owned, ended) = (worker.owner.is_some(), worker.end.is_some());
        // Without a recipient, its bytes stay in the pipe until somebody adopts the worker.
        let Some(output) = worker.output(which).filter(|output| owned || output.to.is_some()) else { return };
        if output.is_over() {
            return self.stream_ended(id, which, outlet);
        }
        // A worker that has ended is gone once its streams have come to their ends.
        if ended && output.could_end_unseen() {
            hear(output, id, which, Told::End, outlet);
        }
        if output.is_runnable() && !output.queued {
            output.queued = true;
            self.runnable.push_back((id, which));
        }
    }

    /// Whether a stream could be read now.
    pub(crate) fn has_output(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// Reads streams in turn, one piece of each, until none has anything or enough is gathered.
    pub(crate) fn pump(&mut self, outlet: &mut Outlet<'_>) {
        let most = outlet.node.len().saturating_add(self.enough());
        while outlet.node.len() < most
            && let Some((id, which)) = self.runnable.pop_front()
        {
            self.pump_one(id, which, outlet);
        }
        if self.runnable.is_empty() {
            self.runnable.shrink_to(KEPT);
        }
    }

    /// How much is gathered before it is written.
    fn enough(&mut self) -> usize {
        let next = self.runnable.front().filter(|_| self.run_of_pieces.is_long());
        let output = next.and_then(|(id, which)| self.workers.get_mut(id)?.output(*which));
        if output.is_some_and(|output| output.lets_two_go_together()) { GATHERED_ALONE } else { GATHERED }
    }

    fn pump_one(&mut self, id: WorkerId, which: Which, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.is_kept()) else { return };
        let os_pid = worker.telling.erlexec.then_some(worker.os_pid);
        let (output, name) = match which {
            Which::Stderr => (&mut worker.stderr, "stderr"),
            Which::Stdin | Which::Stdout => (&mut worker.stdout, "stdout"),
        };
        let Some(output) = output else { return };
        output.queued = false;
        // Moved out for the turn: it is not read while the stream is.
        let own_recipient = output.to.take();
        let recipient = own_recipient.as_deref().or(worker.owner.as_deref());
        let Some(to) = recipient.and_then(|recipient| Term::exactly(recipient).ok()) else {
            output.to = own_recipient;
            return;
        };
        let first = outlet.node.len();
        let ended = loop {
            let start = outlet.node.len();
            outlet.node.reserve(PIECE.saturating_add(1024));
            let mark = send::data_prefix_of(outlet.node, own(&self.hello), id.0, to, name, os_pid);
            match output.read(outlet.node) {
                Ok(Read::Some(_)) => {
                    send::finish_data(outlet.node, mark);
                    if output.is_full() && self.run_of_pieces.count(id, which) {
                        output.lengthen();
                    }
                    // Lines are many to a piece.
                    let gathered = outlet.node.len().saturating_sub(first);
                    if gathered >= PIECE || !output.has_piece() {
                        break false;
                    }
                    continue;
                }
                Ok(Read::Empty) => {
                    outlet.node.truncate(start);
                    break false;
                }
                Ok(Read::End) => outlet.node.truncate(start),
                Err(error) => {
                    ::log::warn!("{id}: reading its {name}: {error}");
                    outlet.node.truncate(start);
                }
            }
            break true;
        };
        output.to = own_recipient;
        if !ended {
            hear(output, id, which, output.told_when_read(), outlet);
        }
        if let Some(most) = worker.beyond_output_limit() {
            return self.silence(id, most, outlet);
        }
        if ended { self.stream_ended(id, which, outlet) } else { self.schedule(id, which, outlet) }
    }

    /// A worker has written more than its profile grants: it is ended, and nothing more of it is read. What it has
    /// ended with already counts no more: its output is not whole.
    fn silence(&mut self, id: WorkerId, most: u64, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.stopped.get_or_insert(Stopped::Output(most));
        self.stop(id, None, Stopped::Output(most), outlet);
        self.close(id, Which::Stdout, outlet);
        self.close(id, Which::Stderr, outlet);
    }

    /// `{ack, Stream, Bytes}`: the recipient has dealt with so many bytes.
    pub(super) fn acknowledge(&mut self, id: WorkerId, which: Which, bytes: u32, outlet: &mut Outlet<'_>) {
        if let Some(output) = self.workers.get_mut(&id).and_then(|worker| worker.output(which)) {
            output.acknowledge(bytes);
        }
        self.schedule(id, which, outlet);
    }

    /// `{close, Stream}`: stdin after what waits for it; an output stream at once, and who writes on gets SIGPIPE.
    pub(super) fn close(&mut self, id: WorkerId, which: Which, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match which {
            Which::Stdin => {
                if let Some(input) = &mut worker.stdin {
                    input.finish();
                    watch(worker, outlet);
                }
            }
            Which::Stdout | Which::Stderr => {
                let open = worker.streams_open();
                worker.close(which);
                if open && !worker.streams_open() {
                    self.event(id, Event::StreamsClosed, outlet);
                }
            }
        }
    }

    /// `{stdin, Data}` as a plain message: above the cap it costs its sender a notice, never memory.
    pub(super) fn input(&mut self, id: WorkerId, from: Option<Term<'_>>, data: Offer<'_>, outlet: &mut Outlet<'_>) {
        let cap = self.plain_cap();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match offer(worker, &data, cap) {
            Taken::Written | Taken::Queued(_) => watch(worker, outlet),
            Taken::Closed => ::log::debug!("{id}: input for a closed stdin"),
            Taken::Overflow => {
                let Some(from) = from else { return };
                let hello = &self.hello;
                send::put_send(outlet.node, own(hello), id.0, from, |out| {
                    put_tuple(out, 2);
                    put_atom(out, "stdin_overflow");
                    put_own_pid(out, hello, id.0);
                });
            }
        }
    }

    /// `{stdin, Data}` as a call: answered when the worker's pipe has taken all that was sent so far.
    pub(super) fn input_call(&mut self, id: WorkerId, caller: Caller<'_>, data: Offer<'_>, outlet: &mut Outlet<'_>) {
        let cap = self.call_cap();
        self.input_within(id, caller, data, cap, outlet);
    }

    /// Bytes that may wait for a worker when a call is to add to them.
    pub(super) fn call_cap(&self) -> usize {
        self.plain_cap().saturating_mul(CALLS_BEYOND_CAP)
    }

    /// The same of a plain message.
    pub(super) fn plain_cap(&self) -> usize {
        usize::try_from(self.hello.input_cap).unwrap_or(usize::MAX)
    }

    /// A call whose input is taken where no more than `cap` bytes wait before it.
    pub(super) fn input_within(
        &mut self,
        id: WorkerId,
        caller: Caller<'_>,
        data: Offer<'_>,
        cap: usize,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let taken = if worker.waiting.len() < MOST_WAITING { offer(worker, &data, cap) } else { Taken::Overflow };
        match taken {
            Taken::Written => self.reply(caller, outlet.node, |out| put_atom(out, "ok")),
            Taken::Queued(until) => {
                let (from, tag) = (caller.from.as_bytes().into(), caller.tag.as_bytes().into());
                worker.waiting.push_back(Waiting { from, tag, until });
                watch(worker, outlet);
            }
            Taken::Closed => {
                self.reply(caller, outlet.node, |out| put_error(out, |out| put_atom(out, "stdin_closed")));
                self.answer_drained(id, outlet);
            }
            Taken::Overflow => {
                self.reply(caller, outlet.node, |out| put_error(out, |out| put_atom(out, "stdin_overflow")));
            }
        }
    }

    /// Answers the calls whose input is written, or never will be.
    pub(super) fn answer_drained(&mut self, id: WorkerId, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (closed, written) = match &worker.stdin {
            Some(input) => (input.is_closed(), input.written()),
            None => (true, 0),
        };
        while let Some(first) = worker.waiting.front()
            && (closed || first.until <= written)
        {
            let Some(first) = worker.waiting.pop_front() else { return };
            let (Ok(from), Ok(tag)) = (Term::exactly(&first.from), Term::exactly(&first.tag)) else { continue };
            send::put_reply(outlet.node, own(&self.hello), SERVER, from, tag, self.flags, |out| {
                if first.until <= written {
                    put_atom(out, "ok");
                } else {
                    put_error(out, |out| put_atom(out, "stdin_closed"));
                }
            });
        }
    }
}

/// Whose the last whole pieces were that came of any pipe.
///
/// The pipes of several streams that all carry much are left as they are: together they would hold more than the
/// processor's cache, and each byte would come out of memory when it is read.
#[derive(Debug, Default)]
pub(super) struct RunOfPieces {
    last: Option<(WorkerId, Which)>,
    length: u32,
}

impl RunOfPieces {
    /// One more; returns whether many of that stream have come since the last one of another.
    fn count(&mut self, id: WorkerId, which: Which) -> bool {
        self.length = if self.last == Some((id, which)) { self.length.saturating_add(1) } else { 1 };
        self.last = Some((id, which));
        self.is_long()
    }

    fn is_long(&self) -> bool {
        self.length >= ALONE
    }
}

fn offer(worker: &mut Worker, data: &Offer<'_>, cap: usize) -> Taken {
    match (&mut worker.stdin, data) {
        (None, _) => Taken::Closed,
        (Some(input), Offer::Bytes(bytes)) => input.offer(bytes, cap),
        (Some(input), Offer::Eof) => input.end(),
    }
}

/// The poller tells of an output stream no more.
pub(super) fn unwatch(output: &Output, id: WorkerId, registry: &Registry) {
    if output.told().interest().is_some()
        && let Err(error) = registry.deregister(&mut SourceFd(&output.fd().as_raw_fd()))
    {
        ::log::debug!("{id}: letting go of its output: {error}");
    }
}

/// Has the poller tell this much of an output stream. Asked for all, it tells of what is there already.
fn hear(output: &mut Output, id: WorkerId, which: Which, told: Told, outlet: &mut Outlet<'_>) {
    let (before, wanted) = (output.told().interest(), told.interest());
    if before == wanted {
        return;
    }
    let (pipe, token) = (output.fd().as_raw_fd(), token(id, which));
    let done = match (before, wanted) {
        (Some(_), Some(wanted)) => outlet.registry.reregister(&mut SourceFd(&pipe), token, wanted),
        (None, Some(wanted)) => outlet.registry.register(&mut SourceFd(&pipe), token, wanted),
        (_, None) => outlet.registry.deregister(&mut SourceFd(&pipe)),
    };
    match done {
        Ok(()) => output.set_told(told),
        Err(error) => {
            ::log::error!("{id}: watching its {which:?}: {error}");
            outlet.main.send(&ToMain::Stop(Stop { worker: id, grace: 0 }));
        }
    }
}

/// Has the poller tell when the worker reads again.
pub(super) fn watch(worker: &mut Worker, outlet: &Outlet<'_>) {
    let id = worker.id;
    let Some(pipe) = worker.stdin.as_mut().and_then(Input::unregistered) else { return };
    let added = outlet.registry.register(&mut SourceFd(&pipe.as_raw_fd()), token(id, Which::Stdin), Interest::WRITABLE);
    if let Err(error) = added {
        ::log::error!("{id}: watching its stdin: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stream_that_nobody_interrupts_has_a_long_run_of_pieces() {
        let (one, two) = (WorkerId(2), WorkerId(3));
        let mut run = RunOfPieces::default();
        let others = [(one, Which::Stderr), (two, Which::Stderr), (one, Which::Stdout)];
        for (id, which) in others {
            for so_many in 1..ALONE {
                assert!(!run.count(id, which), "{so_many} of {id}");
            }
        }
        assert!(run.count(one, Which::Stdout) && run.is_long());
        assert!(!run.count(one, Which::Stderr) && !run.is_long());
    }
}
