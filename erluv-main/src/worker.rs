//! The life of a worker, a pure function: what happens to it, and what main does then.

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Forked, on its way to its exec; the node knows nothing of it.
    Launching,
    /// Killed on that way. The node is told that the launch failed when it is reaped.
    Aborted,
    /// A step before its program failed, and the node knows. It is about to leave.
    Failed,
    /// Its program runs.
    Running,
    /// SIGTERM is sent, the grace runs.
    Terminating,
    /// SIGKILL is sent to the whole tree.
    Killing,
    /// It was reaped; what it started is being killed. Then the node is told of the end.
    Sweeping,
    /// The same, and the node needs not be told anything more.
    Clearing,
    /// Nothing is left of it.
    Gone,
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The error pipe is at its end without a word.
    ExecSucceeded,
    /// The error pipe names a step.
    ExecFailed,
    /// It is to end, with a grace.
    StopAsked,
    /// It is to end at once.
    KillAsked,
    /// The grace is over.
    GraceOver,
    /// It has ended and was reaped. Its error pipe was read to the end before.
    LeaderEnded,
    /// Nothing that it started is left.
    TreeEmpty,
    /// Something that it started still lives.
    TreeBusy,
    /// Something that it started does not even die by SIGKILL (it hangs in the kernel).
    SweepOver,
}

/// What main does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell the node that it runs, and hand its pipes over.
    TellLaunched,
    /// Tell the node which step failed.
    TellFailed,
    /// Tell the node that its launch was called off.
    TellAborted,
    /// Tell the node how it ended.
    TellExited,
    /// SIGTERM, and SIGCONT so that a stopped one takes it; or what the request has in their place.
    Terminate,
    /// Have the grace end when the request says, or earlier if it does already.
    StartGrace,
    /// SIGKILL to it and all that it started.
    Kill,
    /// Try to remove its tree: `TreeEmpty` or `TreeBusy` follows at once.
    Sweep,
    /// Try again a little later.
    SweepLater,
    /// Leave its tree to the next start of main.
    Abandon,
    /// Take it out of the table.
    Forget,
}

/// The one step of a worker's life.
pub(crate) fn step(state: State, event: Event) -> (State, &'static [Effect]) {
    use Effect::{
        Abandon, Forget, Kill, StartGrace, Sweep, SweepLater, TellAborted, TellExited, TellFailed, TellLaunched,
        Terminate,
    };
    use Event::{
        ExecFailed, ExecSucceeded, GraceOver, KillAsked, LeaderEnded, StopAsked, SweepOver, TreeBusy, TreeEmpty,
    };
    match (state, event) {
        (State::Launching, ExecSucceeded) => (State::Running, &[TellLaunched]),
        (State::Launching, ExecFailed) => (State::Failed, &[TellFailed]),
        // Before its exec there is nobody who could use a grace.
        (State::Launching, StopAsked | KillAsked) => (State::Aborted, &[Kill]),
        // Killed from outside between fork and exec: the end of its error pipe was taken for success before this.
        (State::Launching, LeaderEnded) => (State::Clearing, &[TellAborted, Sweep]),
        (State::Launching, GraceOver | TreeEmpty | TreeBusy | SweepOver) => (state, &[]),

        (State::Aborted, LeaderEnded) => (State::Clearing, &[TellAborted, Sweep]),
        (State::Aborted, KillAsked) => (state, &[Kill]),
        (State::Aborted, ExecSucceeded | ExecFailed | StopAsked | GraceOver | TreeEmpty | TreeBusy | SweepOver) => {
            (state, &[])
        }

        (State::Failed, LeaderEnded) => (State::Clearing, &[Sweep]),
        (State::Failed, StopAsked | KillAsked) => (state, &[Kill]),
        (State::Failed, ExecSucceeded | ExecFailed | GraceOver | TreeEmpty | TreeBusy | SweepOver) => (state, &[]),

        (State::Running, StopAsked) => (State::Terminating, &[Terminate, StartGrace]),
        (State::Running, KillAsked) => (State::Killing, &[Kill]),
        (State::Running | State::Terminating | State::Killing, LeaderEnded) => (State::Sweeping, &[Sweep]),
        (State::Running, ExecSucceeded | ExecFailed | GraceOver | TreeEmpty | TreeBusy | SweepOver) => (state, &[]),

        // A second request may shorten the grace.
        (State::Terminating, StopAsked) => (state, &[StartGrace]),
        (State::Terminating, KillAsked | GraceOver) => (State::Killing, &[Kill]),
        (State::Terminating, ExecSucceeded | ExecFailed | TreeEmpty | TreeBusy | SweepOver) => (state, &[]),

        (State::Killing, KillAsked) => (state, &[Kill]),
        (State::Killing, ExecSucceeded | ExecFailed | StopAsked | GraceOver | TreeEmpty | TreeBusy | SweepOver) => {
            (state, &[])
        }

        (State::Sweeping, TreeEmpty) => (State::Gone, &[TellExited, Forget]),
        (State::Sweeping, SweepOver) => (State::Gone, &[TellExited, Abandon, Forget]),
        (State::Clearing, TreeEmpty) => (State::Gone, &[Forget]),
        (State::Clearing, SweepOver) => (State::Gone, &[Abandon, Forget]),
        (State::Sweeping | State::Clearing, TreeBusy) => (state, &[Kill, SweepLater]),
        (State::Sweeping | State::Clearing, KillAsked) => (state, &[Kill]),
        (State::Sweeping | State::Clearing, ExecSucceeded | ExecFailed | StopAsked | GraceOver | LeaderEnded) => {
            (state, &[])
        }

        (
            State::Gone,
            ExecSucceeded | ExecFailed | StopAsked | KillAsked | GraceOver | LeaderEnded | TreeEmpty | TreeBusy
            | SweepOver,
        ) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 9] = [
        State::Launching,
        State::Aborted,
        State::Failed,
        State::Running,
        State::Terminating,
        State::Killing,
        State::Sweeping,
        State::Clearing,
        State::Gone,
    ];

    const EVENTS: [Event; 9] = [
        Event::ExecSucceeded,
        Event::ExecFailed,
        Event::StopAsked,
        Event::KillAsked,
        Event::GraceOver,
        Event::LeaderEnded,
        Event::TreeEmpty,
        Event::TreeBusy,
        Event::SweepOver,
    ];

    fn pairs() -> impl Iterator<Item = (State, Event, State, &'static [Effect])> {
        STATES.into_iter().flat_map(|state| {
            EVENTS.into_iter().map(move |event| {
                let (next, effects) = step(state, event);
                (state, event, next, effects)
            })
        })
    }

    fn is_reaped(state: State) -> bool {
        matches!(state, State::Sweeping | State::Clearing | State::Gone)
    }

    #[test]
    fn the_node_is_told_of_each_step_once_and_in_order() {
        // What has been told by the time a state is entered; every way into a state has to agree.
        let told = |state| match state {
            State::Launching | State::Aborted => "nothing",
            State::Running | State::Terminating | State::Killing | State::Sweeping => "launched",
            State::Failed | State::Clearing => "failed",
            State::Gone => "all",
        };
        for (state, event, next, effects) in pairs() {
            let news: Vec<_> = effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::TellLaunched => Some(("nothing", "launched")),
                    Effect::TellFailed | Effect::TellAborted => Some(("nothing", "failed")),
                    Effect::TellExited => Some(("launched", "all")),
                    Effect::Terminate | Effect::StartGrace | Effect::Kill | Effect::Sweep | Effect::SweepLater => None,
                    Effect::Abandon | Effect::Forget => None,
                })
                .collect();
            match news.as_slice() {
                [] if state == State::Clearing && next == State::Gone => {}
                [] => assert_eq!(told(state), told(next), "{state:?}, {event:?}: a change that nobody tells"),
                [(before, after)] => {
                    assert_eq!(*before, told(state), "{state:?}, {event:?}");
                    assert_eq!(*after, told(next), "{state:?}, {event:?}");
                }
                more => panic!("{state:?}, {event:?}: {more:?}"),
            }
        }
    }

    #[test]
    fn s39_what_has_been_reaped_gets_no_signal_but_its_tree_does() {
        for (state, event, next, effects) in pairs() {
            if is_reaped(state) {
                assert!(is_reaped(next), "{state:?}, {event:?}: back to life");
                assert!(!effects.contains(&Effect::Terminate), "{state:?}, {event:?}");
            }
            assert_eq!(is_reaped(next), is_reaped(state) || event == Event::LeaderEnded, "{state:?}, {event:?}");
        }
    }

    #[test]
    fn s42_a_grace_ends_in_a_kill_and_only_runs_after_a_sigterm() {
        for (state, event, next, effects) in pairs() {
            let in_grace = next == State::Terminating && state != State::Terminating;
            assert_eq!(effects.starts_with(&[Effect::Terminate, Effect::StartGrace]), in_grace, "{state:?}, {event:?}");
            if event == Event::GraceOver {
                assert_eq!(effects.contains(&Effect::Kill), state == State::Terminating, "{state:?}");
            }
        }
    }

    #[test]
    fn a_kill_is_obeyed_in_every_state_where_something_may_live() {
        for state in STATES {
            let (next, effects) = step(state, Event::KillAsked);
            assert_eq!(effects == [Effect::Kill], state != State::Gone, "{state:?}");
            assert!(!matches!(next, State::Launching | State::Running | State::Terminating), "{state:?} -> {next:?}");
        }
    }

    #[test]
    fn the_end_of_the_leader_sweeps_its_tree_from_every_state() {
        for state in STATES {
            let (_, effects) = step(state, Event::LeaderEnded);
            assert_eq!(effects.contains(&Effect::Sweep), !is_reaped(state), "{state:?}");
        }
    }

    #[test]
    fn only_the_end_of_the_tree_takes_a_worker_out_of_the_table() {
        for (state, event, next, effects) in pairs() {
            let gone = next == State::Gone && state != State::Gone;
            assert_eq!(effects.contains(&Effect::Forget), gone, "{state:?}, {event:?}");
            if gone {
                assert!(matches!(event, Event::TreeEmpty | Event::SweepOver), "{state:?}, {event:?}");
            }
            assert_eq!(effects.contains(&Effect::Abandon), gone && event == Event::SweepOver, "{state:?}, {event:?}");
        }
    }

    #[test]
    fn a_busy_tree_is_killed_again_and_tried_again() {
        for state in [State::Sweeping, State::Clearing] {
            assert_eq!(step(state, Event::TreeBusy), (state, [Effect::Kill, Effect::SweepLater].as_slice()));
        }
    }

    #[test]
    fn a_launch_that_is_called_off_is_a_launch_that_failed() {
        for event in [Event::StopAsked, Event::KillAsked] {
            assert_eq!(step(State::Launching, event), (State::Aborted, [Effect::Kill].as_slice()));
        }
        for late in [Event::ExecSucceeded, Event::ExecFailed] {
            assert_eq!(step(State::Aborted, late), (State::Aborted, [].as_slice()));
        }
    }
}
