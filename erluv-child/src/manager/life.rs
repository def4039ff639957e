//! The life of a worker as the unprivileged half sees it: one pure function of state and event.

#![deny(clippy::wildcard_enum_match_arm)]

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Main has told that its exec succeeded.
    Running,
    /// Its process has ended, and what it wrote is still on its way.
    Draining,
    /// Its end has been told.
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
}

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Look again after a while whether the streams have ended.
    WatchDrain,
    /// Tell links, monitors and the owner, and forget the worker.
    TellEnd,
}

/// The next state, and what follows. The end is told once, and after all output.
pub(crate) fn step(state: State, event: Event) -> (State, Option<Effect>) {
    match (state, event) {
        (State::Running, Event::Ended { streams: false }) => (State::Gone, Some(Effect::TellEnd)),
        (State::Running, Event::Ended { streams: true }) => (State::Draining, Some(Effect::WatchDrain)),
        // A worker may close its output long before it ends.
        (State::Running, Event::StreamsClosed | Event::DrainOver) => (State::Running, None),
        (State::Draining, Event::Ended { streams: true | false }) => (State::Draining, None),
        (State::Draining, Event::StreamsClosed | Event::DrainOver) => (State::Gone, Some(Effect::TellEnd)),
        (State::Gone, Event::Ended { streams: true | false } | Event::StreamsClosed | Event::DrainOver) => {
            (State::Gone, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 3] = [State::Running, State::Draining, State::Gone];
    const EVENTS: [Event; 4] =
        [Event::Ended { streams: true }, Event::Ended { streams: false }, Event::StreamsClosed, Event::DrainOver];

    #[test]
    fn the_end_is_told_exactly_when_a_worker_goes() {
        for state in STATES {
            for event in EVENTS {
                let (next, effect) = step(state, event);
                let goes = state != State::Gone && next == State::Gone;
                assert_eq!(effect == Some(Effect::TellEnd), goes, "{state:?} {event:?}");
                assert!(state != State::Gone || next == State::Gone);
            }
        }
    }

    #[test]
    fn all_output_comes_before_the_end() {
        let (state, effect) = step(State::Running, Event::Ended { streams: true });
        assert_eq!((state, effect), (State::Draining, Some(Effect::WatchDrain)));
        assert_eq!(step(state, Event::StreamsClosed), (State::Gone, Some(Effect::TellEnd)));
    }
}
