//! The life of erluv-child as main sees it: one pure function of state and event.

#![deny(clippy::wildcard_enum_match_arm)]

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Executed, and not yet confined.
    Starting,
    /// Confined: it serves the node.
    Serving,
    /// Lost: main itself waits for the node's order to make a new one.
    Down,
    /// Main is going away: the workers are being stopped.
    Stopping,
    /// No worker is left: child tells the last ends and goes.
    Leaving,
    /// There is none, and there will be none.
    Over,
}

/// What happens to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It says that it is confined.
    Ready,
    /// It ended, hangs, or broke the protocol.
    Lost,
    /// The node orders a new one.
    Ordered,
    /// No order came within DIE_TIMEOUT.
    TimeOver,
    /// Main was told to go.
    Terminate,
    /// No worker of it is left.
    Quiet,
}

/// What main does about it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Hand in the connection to the node, where one stands.
    HandOver,
    /// Kill and reap all its workers, with all that they started.
    KillWorkers,
    /// Shut the connection: the node sees links and monitors break.
    Cut,
    /// Connect anew, tell the node, and wait for its order until DIE_TIMEOUT.
    AwaitOrder,
    /// Execute a new child.
    Respawn,
    /// End all workers by the kill ladder, and start no more.
    StopWorkers,
    /// Wait for child to go, but not for long.
    AwaitLeave,
    /// Give this node up.
    GiveUp,
}

/// The next state, and what main does.
pub(crate) fn step(state: State, event: Event) -> (State, &'static [Effect]) {
    use Effect::{AwaitLeave, AwaitOrder, Cut, GiveUp, HandOver, KillWorkers, Respawn, StopWorkers};
    match (state, event) {
        (State::Starting, Event::Ready) => (State::Serving, &[HandOver]),
        (State::Starting | State::Serving, Event::Lost) => (State::Down, &[Cut, KillWorkers, AwaitOrder]),
        (State::Starting | State::Serving, Event::Terminate) => (State::Stopping, &[StopWorkers]),
        (State::Starting, Event::Ordered | Event::TimeOver | Event::Quiet) => (State::Starting, &[]),
        (State::Serving, Event::Ready | Event::Ordered | Event::TimeOver | Event::Quiet) => (State::Serving, &[]),

        (State::Down, Event::Ordered) => (State::Starting, &[Respawn]),
        (State::Down, Event::TimeOver) => (State::Over, &[Cut, GiveUp]),
        (State::Down, Event::Terminate) => (State::Over, &[Cut]),
        (State::Down, Event::Ready | Event::Lost | Event::Quiet) => (State::Down, &[]),

        // Told to go for the second time: no more patience.
        (State::Stopping, Event::Terminate) => (State::Stopping, &[KillWorkers]),
        (State::Stopping, Event::Quiet) => (State::Leaving, &[AwaitLeave]),
        (State::Stopping, Event::Lost) => (State::Over, &[Cut, KillWorkers]),
        (State::Stopping, Event::Ready | Event::Ordered | Event::TimeOver) => (State::Stopping, &[]),

        (State::Leaving, Event::Lost) => (State::Over, &[Cut]),
        (State::Leaving, Event::Ready | Event::Ordered | Event::TimeOver | Event::Terminate | Event::Quiet) => {
            (State::Leaving, &[])
        }

        (
            State::Over,
            Event::Ready | Event::Lost | Event::Ordered | Event::TimeOver | Event::Terminate | Event::Quiet,
        ) => (State::Over, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] =
        [State::Starting, State::Serving, State::Down, State::Stopping, State::Leaving, State::Over];
    const EVENTS: [Event; 6] =
        [Event::Ready, Event::Lost, Event::Ordered, Event::TimeOver, Event::Terminate, Event::Quiet];

    #[test]
    fn s45_a_child_that_is_lost_leaves_no_worker_in_any_state() {
        for state in STATES {
            let (next, effects) = step(state, Event::Lost);
            let had_workers = matches!(state, State::Starting | State::Serving | State::Stopping);
            assert_eq!(effects.contains(&Effect::KillWorkers), had_workers, "{state:?}");
            assert!(!matches!(next, State::Starting | State::Serving), "{state:?}");
        }
    }

    #[test]
    fn s46_an_order_is_obeyed_once_and_only_while_the_child_is_down() {
        for state in STATES {
            let (next, effects) = step(state, Event::Ordered);
            assert_eq!(effects == [Effect::Respawn], state == State::Down, "{state:?}");
            assert!(!step(next, Event::Ordered).1.contains(&Effect::Respawn), "{state:?}");
        }
    }

    #[test]
    fn the_connection_is_cut_before_the_workers_are_killed() {
        let (_, effects) = step(State::Serving, Event::Lost);
        assert_eq!(effects, [Effect::Cut, Effect::KillWorkers, Effect::AwaitOrder]);
    }

    #[test]
    fn what_is_over_stays_over() {
        for event in EVENTS {
            assert_eq!(step(State::Over, event), (State::Over, [].as_slice()));
        }
    }

    #[test]
    fn every_state_ends_when_main_is_told_to_go() {
        for state in STATES {
            let mut at = step(state, Event::Terminate).0;
            at = step(at, Event::Quiet).0;
            at = step(at, Event::Lost).0;
            assert_eq!(at, State::Over, "{state:?}");
        }
    }
}
