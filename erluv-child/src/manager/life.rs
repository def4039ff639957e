//! The life of a worker as the unprivileged half sees it: one pure function of state and event.

#![deny(clippy::wildcard_enum_match_arm)]

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Main has told that its exec succeeded.
    Running,
    /// Its process has ended, and what it wrote is still on its way.
    Draining,
    /// It runs, and nobody answers for it: the connection over which it was asked for is lost.
    Kept,
    /// It has ended while kept: the end is told to who adopts it.
    KeptEnded,
    /// Its end has been told, or nobody is left to tell.
    Gone,
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Main has reaped it; whether an output stream is still open.
    Ended { streams: bool },
    /// Its last output stream has reached its end.
    StreamsClosed,
    /// Its streams are empty but somebody who got away holds them open, and the time to wait for that is over.
    DrainOver,
    /// It has run for as long as it may.
    TimeOver,
    /// The connection is lost; whether the worker was started to outlive that.
    Lost { keep: bool },
    /// Somebody answers for it from now on; whether an output stream is still open.
    Adopted { streams: bool },
    /// Nobody has adopted it in time.
    KeepOver,
}

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Look again after a while whether the streams have ended.
    WatchDrain,
    /// Tell links, monitors and the owner, and forget the worker.
    TellEnd,
    /// The kill ladder, and its end is told as `timeout`.
    StopLate,
    /// The kill ladder, and nobody is told.
    StopUntold,
    /// Nothing is left to do: forget the worker.
    Forget,
}

/// The next state, and what follows. The end is told once, and after all output; of a worker that goes without its end
/// being told the connection is lost.
pub(crate) fn step(state: State, event: Event) -> (State, Option<Effect>) {
    match state {
        State::Running => running(event),
        State::Draining => draining(event),
        State::Kept => kept(event),
        State::KeptEnded => kept_ended(event),
        State::Gone => match event {
            Event::Ended { .. }
            | Event::StreamsClosed
            | Event::DrainOver
            | Event::TimeOver
            | Event::Lost { .. }
            | Event::Adopted { .. }
            | Event::KeepOver => (State::Gone, None),
        },
    }
}

fn running(event: Event) -> (State, Option<Effect>) {
    match event {
        Event::Ended { streams: false } => (State::Gone, Some(Effect::TellEnd)),
        Event::Ended { streams: true } => (State::Draining, Some(Effect::WatchDrain)),
        Event::TimeOver => (State::Running, Some(Effect::StopLate)),
        Event::Lost { keep: true } => (State::Kept, None),
        Event::Lost { keep: false } => (State::Gone, Some(Effect::StopUntold)),
        // A worker may close its output long before it ends, and may be given from one owner to another.
        Event::StreamsClosed | Event::DrainOver | Event::Adopted { .. } | Event::KeepOver => (State::Running, None),
    }
}

fn draining(event: Event) -> (State, Option<Effect>) {
    match event {
        Event::StreamsClosed | Event::DrainOver => (State::Gone, Some(Effect::TellEnd)),
        Event::Lost { keep: true } => (State::KeptEnded, None),
        Event::Lost { keep: false } => (State::Gone, Some(Effect::Forget)),
        Event::Ended { .. } | Event::TimeOver | Event::Adopted { .. } | Event::KeepOver => (State::Draining, None),
    }
}

fn kept(event: Event) -> (State, Option<Effect>) {
    match event {
        Event::Ended { .. } => (State::KeptEnded, None),
        Event::TimeOver => (State::Kept, Some(Effect::StopLate)),
        Event::Adopted { .. } => (State::Running, None),
        Event::KeepOver => (State::Gone, Some(Effect::StopUntold)),
        // Its streams are not read, and their end is found by who adopts it; another connection may come and go.
        Event::StreamsClosed | Event::DrainOver | Event::Lost { .. } => (State::Kept, None),
    }
}

fn kept_ended(event: Event) -> (State, Option<Effect>) {
    match event {
        Event::Adopted { streams: true } => (State::Draining, Some(Effect::WatchDrain)),
        Event::Adopted { streams: false } => (State::Gone, Some(Effect::TellEnd)),
        Event::KeepOver => (State::Gone, Some(Effect::Forget)),
        Event::Ended { .. } | Event::StreamsClosed | Event::DrainOver | Event::TimeOver | Event::Lost { .. } => {
            (State::KeptEnded, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 5] = [State::Running, State::Draining, State::Kept, State::KeptEnded, State::Gone];
    const EVENTS: [Event; 10] = [
        Event::Ended { streams: true },
        Event::Ended { streams: false },
        Event::StreamsClosed,
        Event::DrainOver,
        Event::TimeOver,
        Event::Lost { keep: true },
        Event::Lost { keep: false },
        Event::Adopted { streams: true },
        Event::Adopted { streams: false },
        Event::KeepOver,
    ];

    #[test]
    fn a_worker_goes_exactly_when_its_end_is_told_or_nobody_is_left_to_tell() {
        for state in STATES {
            for event in EVENTS {
                let (next, effect) = step(state, event);
                let goes = state != State::Gone && next == State::Gone;
                let last = matches!(effect, Some(Effect::TellEnd | Effect::StopUntold | Effect::Forget));
                assert_eq!(last, goes, "{state:?} {event:?}");
                assert!(state != State::Gone || (next == State::Gone && effect.is_none()));
                if matches!(effect, Some(Effect::StopUntold | Effect::Forget)) {
                    assert!(matches!(event, Event::Lost { .. } | Event::KeepOver), "{state:?} {event:?}");
                }
            }
        }
    }

    #[test]
    fn only_what_runs_is_stopped() {
        for state in STATES {
            for event in EVENTS {
                let (_, effect) = step(state, event);
                let stops = matches!(effect, Some(Effect::StopLate | Effect::StopUntold));
                assert!(!stops || matches!(state, State::Running | State::Kept), "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn all_output_comes_before_the_end() {
        let (state, effect) = step(State::Running, Event::Ended { streams: true });
        assert_eq!((state, effect), (State::Draining, Some(Effect::WatchDrain)));
        assert_eq!(step(state, Event::StreamsClosed), (State::Gone, Some(Effect::TellEnd)));
    }

    #[test]
    fn the_end_of_a_kept_worker_waits_for_who_adopts_it() {
        let (state, effect) = step(State::Running, Event::Lost { keep: true });
        assert_eq!((state, effect), (State::Kept, None));
        let (state, effect) = step(state, Event::Ended { streams: true });
        assert_eq!((state, effect), (State::KeptEnded, None));
        assert_eq!(step(state, Event::Adopted { streams: true }), (State::Draining, Some(Effect::WatchDrain)));
        assert_eq!(step(state, Event::Adopted { streams: false }), (State::Gone, Some(Effect::TellEnd)));
    }
}
