//! The loop of the privileged half. One thread, one poller; signals arrive as events; nothing in it waits.

#[cfg(target_os = "linux")]
mod ended;
mod quiet;

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll};
use nix::libc;
use signal_hook_mio::v1_0::Signals;

use crate::exit;
use crate::half::life::Event;
use crate::notify;
use crate::order::NodeIndex;
use crate::serving::{Serving, Shared};
use crate::sys::Reaped;
use crate::tokens::{self, Source};
use crate::workers::{Report, Workers};
use quiet::Quiet;

/// From the order to go until main leaves whatever is left.
const LONGEST_STOP: Duration = Duration::from_secs(25);

/// Between two attempts to give a slow syslogd what waits for it.
const LOG_PAUSE: Duration = Duration::from_millis(20);

/// What SIGHUP does with what is served.
pub(crate) type Reload = Box<dyn Fn(&mut [Serving], &mut Workers)>;

/// Main at work.
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    #[cfg(target_os = "linux")]
    ended: ended::Ended,
    servings: Vec<Serving>,
    workers: Workers,
    /// When it was told to go, and when it leaves at the latest.
    leave_by: Option<Instant>,
    reload: Reload,
    announced: bool,
    quiet: Quiet,
}

impl Daemon {
    /// A daemon for these nodes.
    ///
    /// # Errors
    /// Where the system has no poller, or signals cannot be taken.
    pub(crate) fn new(servings: Vec<Serving>, workers: Workers, reload: Reload) -> io::Result<Self> {
        let poll = Poll::new()?;
        // SIGCHLD, too, where `ended` reads it: with a handler it is not ignored, whatever main was started with.
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGCHLD])?;
        poll.registry().register(&mut signals, tokens::SIGNALS, Interest::READABLE)?;
        Ok(Self {
            #[cfg(target_os = "linux")]
            ended: ended::Ended::watch(poll.registry())?,
            poll,
            signals,
            servings,
            workers,
            leave_by: None,
            reload,
            announced: false,
            quiet: Quiet::from(Instant::now()),
        })
    }

    /// Serves until told to go, or until no node is left that wants to be served.
    ///
    /// # Errors
    /// Where the poller fails.
    pub(crate) fn run(mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.turn(&mut events)?;
            if let Some(code) = self.verdict() {
                self.workers.close();
                return Ok(code);
            }
        }
    }

    /// The exit code, once there is nothing left to do.
    fn verdict(&self) -> Option<u8> {
        let late = self.leave_by.is_some_and(|at| at <= Instant::now());
        if !late && !self.servings.iter().all(Serving::is_over) {
            return None;
        }
        let gave_up = self.servings.iter().find_map(Serving::gave_up).filter(|_| self.leave_by.is_none());
        Some(gave_up.unwrap_or(exit::OK))
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, self.patience()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        let _lines = crate::log::begin_turn();
        let now = Instant::now();
        if !events.is_empty() {
            self.quiet = Quiet::from(now);
        }
        for event in events.iter() {
            match tokens::source(event.token()) {
                Some(Source::Signals) => self.hear_signals(now),
                Some(Source::Ended) => self.hear_ended(now),
                Some(Source::Control(node)) => self.on(node, now, Serving::control_ready),
                Some(Source::Log(node)) => self.on(node, now, |serving, _| serving.log_ready()),
                Some(Source::Link(node)) => self.on(node, now, Serving::link_ready),
                Some(Source::Exec(worker)) => {
                    if let Some(report) = self.workers.exec_answered(worker, now) {
                        self.report(report, now);
                    }
                }
                None => {}
            }
        }
        if self.workers.next_look(now).is_some_and(|at| at <= now) {
            self.reap(now);
        }
        let mut reports = Vec::new();
        self.workers.due(now, |report| reports.push(report));
        for report in reports {
            self.report(report, now);
        }
        for node in 0..self.servings.len() {
            self.on(NodeIndex(node), now, Serving::due);
        }
        if self.quiet.lasts_in(now).is_zero() {
            self.workers.tidy();
        }
        self.announce();
        Ok(())
    }

    /// How long the poller may wait.
    fn patience(&self) -> Option<Duration> {
        let nodes = self.servings.iter().filter_map(Serving::next_deadline);
        let now = Instant::now();
        let workers = self.workers.next_deadline().into_iter().chain(self.workers.next_look(now));
        let deadline = nodes.chain(workers).chain(self.leave_by).min();
        let until = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let tidy = self.workers.is_untidy().then(|| self.quiet.lasts_in(now));
        until.into_iter().chain(tidy).chain(crate::log::is_behind().then_some(LOG_PAUSE)).min()
    }

    fn on(&mut self, node: NodeIndex, now: Instant, act: impl FnOnce(&mut Serving, &mut Shared<'_>)) {
        if let Some(serving) = self.servings.get_mut(node.0) {
            act(serving, &mut Shared { registry: self.poll.registry(), workers: &mut self.workers, now });
        }
    }

    fn report(&mut self, report: Report, now: Instant) {
        let node = match &report {
            Report::Launched(node, ..) | Report::Failed(node, ..) | Report::Exited(node, ..) => *node,
        };
        self.on(node, now, |serving, shared| serving.report(report, shared));
    }

    fn hear_signals(&mut self, now: Instant) {
        let heard = self.signals.pending().collect::<Vec<_>>();
        for signal in heard {
            match signal {
                libc::SIGCHLD => self.hear_ended(now),
                libc::SIGHUP => (self.reload)(&mut self.servings, &mut self.workers),
                libc::SIGUSR1 => self.describe(),
                _ => self.terminate(now),
            }
        }
    }

    /// Whom the system names is taken up at once, the others when it is time for a look at all.
    fn hear_ended(&mut self, now: Instant) {
        #[cfg(target_os = "linux")]
        let named = self.ended.named();
        #[cfg(not(target_os = "linux"))]
        let named = Vec::new();
        let mut reports = Vec::new();
        let others = self.workers.named(&named, now, |report| reports.push(report));
        self.tell_ends(reports, others, now);
    }

    fn reap(&mut self, now: Instant) {
        let mut reports = Vec::new();
        let others = self.workers.reaped(now, |report| reports.push(report));
        self.tell_ends(reports, others, now);
    }

    fn tell_ends(&mut self, reports: Vec<Report>, others: Vec<Reaped>, now: Instant) {
        for report in reports {
            self.report(report, now);
        }
        for other in others {
            let mut known = false;
            for node in 0..self.servings.len() {
                self.on(NodeIndex(node), now, |serving, shared| {
                    known |= serving.reaped(other.pid, other.status, shared);
                });
            }
            if !known {
                log::debug!("reaped process {}, left behind by a worker", other.pid);
            }
        }
    }

    fn terminate(&mut self, now: Instant) {
        log::info!("told to go");
        notify::stopping();
        if self.leave_by.is_none() {
            self.leave_by = now.checked_add(LONGEST_STOP);
        }
        for node in 0..self.servings.len() {
            self.on(NodeIndex(node), now, |serving, shared| serving.event(Event::Terminate, shared));
        }
    }

    fn describe(&self) {
        for serving in &self.servings {
            log::info!("{}", serving.describe(&self.workers));
        }
    }

    /// Tells a service manager that the start is over: served, or tried at least once.
    fn announce(&mut self) {
        if !self.announced && self.servings.iter().all(|serving| serving.is_up() || serving.has_tried()) {
            self.announced = true;
            notify::ready();
        }
    }
}
