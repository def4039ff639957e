//! Calls to `erluv` itself, messages and calls to workers.

use erluv_proto::etf::{Term, put_atom, put_list, put_nil, put_term, put_tuple};
use erluv_proto::ids::WorkerId;
use erluv_proto::ipc::{Signal, ToMain};

use super::flow::MOST_WAITING;
use super::worker::{Stopped, Waiting, Worker};
use super::{Manager, Outlet, own, put_error, put_own_pid, terms, unix_now};
use crate::control::Control;
use crate::dispatcher::request::{Caller, Target};
use crate::dispatcher::server::{Filter, ServerCall};
use crate::dispatcher::text;
use crate::dispatcher::worker::{ToWorker, WorkerCall};

impl Manager {
    /// A `gen_server:call` to `erluv`.
    pub(super) fn server_call(&mut self, caller: Caller<'_>, call: ServerCall<'_>, outlet: &mut Outlet<'_>) {
        match call {
            ServerCall::Run(run) => self.run(caller, *run, outlet),
            ServerCall::Info => {
                let info = terms::info(&self.hello, &self.peer, self.workers.len(), unix_now());
                self.reply(caller, outlet.node, |out| put_term(out, &info));
            }
            ServerCall::Workers(filter) => self.list(caller, &filter, outlet),
            ServerCall::WorkerInfo(target) => {
                let worker = match target {
                    Target::Worker(id) => self.workers.get(&id),
                    Target::Server | Target::Nobody => None,
                };
                self.reply(caller, outlet.node, |out| match worker {
                    Some(worker) => terms::put_worker(out, worker, own(&self.hello)),
                    None => put_error(out, |out| put_atom(out, "noproc")),
                });
            }
            ServerCall::Find(os_pid) => {
                let found = self.by_os_pid.get(&os_pid);
                self.reply(caller, outlet.node, |out| match found {
                    Some(worker) => {
                        put_tuple(out, 2);
                        put_atom(out, "ok");
                        put_own_pid(out, &self.hello, worker.0);
                    }
                    None => put_error(out, |out| put_atom(out, "not_found")),
                });
            }
            ServerCall::Adopt(target) => self.adopt(caller, target, outlet),
            // The order is obeyed already: this child serves.
            ServerCall::Respawn => self.reply(caller, outlet.node, |out| put_atom(out, "ok")),
            ServerCall::IsAuth => self.reply(caller, outlet.node, |out| put_atom(out, "yes")),
            ServerCall::Unknown(question) => self.reply(caller, outlet.node, |out| put_unknown(out, question)),
        }
    }

    fn list(&self, caller: Caller<'_>, filter: &Filter<'_>, outlet: &mut Outlet<'_>) {
        let among = |worker: &&Worker| {
            let (user, owner) = (worker.user.as_deref(), worker.owner.as_deref());
            filter.admits(user, owner, &worker.command, worker.state_name())
        };
        let workers: Vec<&Worker> = self.workers.values().map(Box::as_ref).filter(among).collect();
        self.reply(caller, outlet.node, |out| {
            if !workers.is_empty() {
                put_list(out, u32::try_from(workers.len()).unwrap_or(u32::MAX));
            }
            for worker in workers {
                terms::put_worker(out, worker, own(&self.hello));
            }
            put_nil(out);
        });
    }

    /// A message to a worker's pid.
    pub(super) fn message(
        &mut self,
        to: WorkerId,
        from: Option<Term<'_>>,
        message: ToWorker<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        if !self.workers.contains_key(&to) {
            // As with any process that has ended, a message is lost.
            if let ToWorker::Call(caller, _) = message {
                self.nobody(caller, outlet);
            }
            return;
        }
        match message {
            ToWorker::Stdin(input) => self.input(to, from, input, outlet),
            ToWorker::Signal(signal) => signal_worker(to, signal, outlet.main),
            ToWorker::Ack(which, bytes) => self.acknowledge(to, which, bytes, outlet),
            ToWorker::Close(which) => self.close(to, which, outlet),
            ToWorker::Size(size) => {
                if let Err(error) = self.resize(to, size) {
                    ::log::debug!("{to}: the size of its terminal: {error}");
                }
            }
            ToWorker::Call(caller, call) => self.worker_call(to, caller, call, outlet),
        }
    }

    /// A call to a worker that is no more. A call's own monitor tells its caller before, and then this answer is dropped;
    /// it is for those who call without one.
    pub(super) fn nobody(&self, caller: Caller<'_>, outlet: &mut Outlet<'_>) {
        self.reply(caller, outlet.node, |out| put_error(out, |out| put_atom(out, "noproc")));
    }

    fn worker_call(&mut self, to: WorkerId, caller: Caller<'_>, call: WorkerCall<'_>, outlet: &mut Outlet<'_>) {
        match call {
            WorkerCall::Stdin(input) => self.input_call(to, caller, input, outlet),
            WorkerCall::Stop => {
                self.stop(to, None, Stopped::Stop, outlet);
                self.reply(caller, outlet.node, |out| put_atom(out, "ok"));
            }
            WorkerCall::StopAndWait => self.stop_and_wait(to, caller, outlet),
            WorkerCall::Signal(signal) => self.signal_call(to, caller, signal, outlet),
            WorkerCall::Close(which) => {
                // First: with its last stream, the end of a worker may be told.
                self.reply(caller, outlet.node, |out| put_atom(out, "ok"));
                self.close(to, which, outlet);
            }
            WorkerCall::Size(size) => {
                let done = self.resize(to, size);
                self.reply_done(caller, &done, outlet);
            }
            WorkerCall::Settings(Ok(settings)) => {
                let done = self.set_terminal(to, &settings);
                self.reply_done(caller, &done, outlet);
            }
            WorkerCall::Settings(Err(bad)) => self.reply(caller, outlet.node, |out| {
                put_error(out, |out| {
                    put_tuple(out, 2);
                    put_atom(out, "invalid_pty_value");
                    if !bad.is_empty() {
                        put_list(out, u32::try_from(bad.len()).unwrap_or(u32::MAX));
                    }
                    bad.iter().for_each(|setting| out.extend_from_slice(setting.as_bytes()));
                    put_nil(out);
                });
            }),
            WorkerCall::Info => {
                if let Some(worker) = self.workers.get(&to) {
                    self.reply(caller, outlet.node, |out| terms::put_worker(out, worker, own(&self.hello)));
                }
            }
            WorkerCall::Unknown(question) => self.reply(caller, outlet.node, |out| put_unknown(out, question)),
        }
    }

    /// Answered with the reason of its end when it has ended; the caller's own monitor tells it of a lost connection.
    fn stop_and_wait(&mut self, to: WorkerId, caller: Caller<'_>, outlet: &mut Outlet<'_>) {
        let Some(worker) = self.workers.get_mut(&to) else { return };
        if worker.mourners.len() >= MOST_WAITING {
            return self.reply(caller, outlet.node, |out| put_error(out, |out| put_atom(out, "busy")));
        }
        let (from, tag) = (caller.from.as_bytes().into(), caller.tag.as_bytes().into());
        worker.mourners.push(Waiting { from, tag, until: 0 });
        self.stop(to, None, Stopped::Stop, outlet);
    }

    fn signal_call(&self, to: WorkerId, caller: Caller<'_>, signal: Option<u8>, outlet: &mut Outlet<'_>) {
        let runs = self.workers.get(&to).is_some_and(|worker| worker.end.is_none());
        let refused = match signal {
            None => Some("einval"),
            Some(_) if !runs => Some("esrch"),
            Some(signal) if !text::may_be_sent(signal) => Some("eperm"),
            Some(signal) => {
                signal_worker(to, signal, outlet.main);
                None
            }
        };
        self.reply(caller, outlet.node, |out| match refused {
            None => put_atom(out, "ok"),
            Some(why) => put_error(out, |out| put_atom(out, why)),
        });
    }

    /// `ok`, or `{error, Errno}`.
    fn reply_done(&self, caller: Caller<'_>, done: &std::io::Result<()>, outlet: &mut Outlet<'_>) {
        self.reply(caller, outlet.node, |out| match done {
            Ok(()) => put_atom(out, "ok"),
            Err(error) => put_error(out, |out| {
                let name = error.raw_os_error().and_then(text::errno_name);
                put_atom(out, name.as_deref().unwrap_or("einval"));
            }),
        });
    }
}

/// `{error, {unknown_request, Request}}`.
fn put_unknown(out: &mut Vec<u8>, question: Term<'_>) {
    put_error(out, |out| {
        put_tuple(out, 2);
        put_atom(out, "unknown_request");
        out.extend_from_slice(question.as_bytes());
    });
}

fn signal_worker(worker: WorkerId, signal: u8, main: &mut Control) {
    main.send(&ToMain::Signal(Signal { worker, signal }));
}
