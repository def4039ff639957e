//! Calls to `erluv` itself.

use std::borrow::Cow;

use erluv_proto::etf::Term;

use super::request::{Caller, Names, Target};
use super::run::{Asking, Run, RunError};
use super::text;

/// A `gen_server:call` to `erluv`.
#[derive(Debug)]
pub(crate) enum ServerCall<'a> {
    // Boxed: a request for a worker is many times as large as all others.
    Run(Box<Result<Run<'a>, RunError<'a>>>),
    Info,
    Workers(Filter<'a>),
    WorkerInfo(Target),
    /// The worker of this process id.
    Find(u32),
    /// The caller becomes the owner of a worker.
    Adopt(Target),
    Respawn,
    /// What `net_adm:ping` asks of `net_kernel`.
    IsAuth,
    Unknown(Term<'a>),
}

/// Which workers are asked for: those that match all that is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    pub(crate) user: Option<Cow<'a, [u8]>>,
    pub(crate) owner: Option<Term<'a>>,
    /// A part of the command.
    pub(crate) command: Option<Cow<'a, [u8]>>,
    pub(crate) state: Option<&'a str>,
}

impl<'a> Filter<'a> {
    /// `#{user, owner, command, state}`, each of them or not.
    fn read(map: Term<'a>) -> Option<Self> {
        let mut filter = Self::default();
        for (key, value) in map.map()? {
            match key.atom()? {
                "user" => filter.user = Some(text::bytes(value)?),
                "command" => filter.command = Some(text::bytes(value)?),
                "state" => filter.state = Some(value.atom()?),
                "owner" => filter.owner = Some(value).filter(|value| value.is_pid() || value.is_atom("none")),
                _ => return None,
            }
        }
        Some(filter)
    }

    /// Whether a worker is among them. A user of `None` is main's own, `default`.
    pub(crate) fn admits(&self, user: Option<&str>, owner: Option<&[u8]>, command: &str, state: &str) -> bool {
        let user = user.unwrap_or("default").as_bytes();
        let holds = |part: &[u8]| part.is_empty() || command.as_bytes().windows(part.len()).any(|here| here == part);
        self.user.as_deref().is_none_or(|wanted| wanted == user)
            && self.command.as_deref().is_none_or(holds)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.owner.is_none_or(|wanted| wanted.is_pid().then_some(wanted.as_bytes()) == owner)
    }
}

impl Names<'_> {
    /// What a call to the process of that name asks for.
    pub(super) fn server_call<'a>(&self, name: &str, caller: Caller<'a>, question: Term<'a>) -> ServerCall<'a> {
        if name == "net_kernel" {
            let ping = question.tuple_of::<2>().is_some_and(|[what, _]| what.is_atom("is_auth"));
            return if ping { ServerCall::IsAuth } else { ServerCall::Unknown(question) };
        }
        match question.atom() {
            Some("info") => return ServerCall::Info,
            Some("workers") => return ServerCall::Workers(Filter::default()),
            Some("respawn") => return ServerCall::Respawn,
            _ => {}
        }
        let asking = Asking { from: caller.from, peer: self.peer };
        if let Some([what, command, options]) = question.tuple_of::<3>()
            && what.is_atom("run")
        {
            return ServerCall::Run(Box::new(Run::read(command, Some(options), asking)));
        }
        let Some([what, about]) = question.tuple_of::<2>() else { return ServerCall::Unknown(question) };
        let known = match what.atom() {
            Some("run") => Some(ServerCall::Run(Box::new(Run::read(about, None, asking)))),
            Some("info") => about.is_pid().then(|| ServerCall::WorkerInfo(self.target(about))),
            Some("adopt") => about.is_pid().then(|| ServerCall::Adopt(self.target(about))),
            Some("find") => about.integer().map(|os_pid| ServerCall::Find(u32::try_from(os_pid).unwrap_or(0))),
            Some("workers") => Filter::read(about).map(ServerCall::Workers),
            _ => None,
        };
        known.unwrap_or(ServerCall::Unknown(question))
    }
}
