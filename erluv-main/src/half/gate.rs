//! Which frame a child may send when: a table of its state and the frame's type (S-50). A frame that the table does not
//! let pass is the end of that child.

#![deny(clippy::wildcard_enum_match_arm)]

use erluv_proto::ipc::{ToChild, ToMain};

use super::life::State;

/// The types of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Launch,
    Signal,
    Stop,
    Pong,
    Disconnected,
}

impl Kind {
    const fn of(frame: &ToMain) -> Self {
        match frame {
            ToMain::Ready(_) => Self::Ready,
            ToMain::Launch(_) => Self::Launch,
            ToMain::Signal(_) => Self::Signal,
            ToMain::Stop(_) => Self::Stop,
            ToMain::Pong(_) => Self::Pong,
            ToMain::Disconnected(_) => Self::Disconnected,
        }
    }
}

/// Under which condition a type may come in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    Never,
    /// Once in the life of a child.
    Once,
    /// As often as it likes, once it is ready.
    WhenReady,
    /// Once for each ping.
    ForPing,
    /// Once for each connection that it was given.
    ForConnection,
}

/// The table. While main goes away child may not have heard of it yet, so that it may say whatever it could before:
/// what its requests come to then is not decided here.
pub(super) const fn permit(state: State, kind: Kind) -> Permit {
    match (state, kind) {
        (State::Starting | State::Stopping | State::Leaving, Kind::Ready) => Permit::Once,
        (State::Serving | State::Stopping | State::Leaving, Kind::Launch | Kind::Signal | Kind::Stop) => {
            Permit::WhenReady
        }
        (State::Starting | State::Serving | State::Stopping | State::Leaving, Kind::Pong) => Permit::ForPing,
        (State::Serving | State::Stopping | State::Leaving, Kind::Disconnected) => Permit::ForConnection,
        (State::Starting, Kind::Launch | Kind::Signal | Kind::Stop | Kind::Disconnected)
        | (State::Serving, Kind::Ready)
        | (
            State::Down | State::Over,
            Kind::Ready | Kind::Launch | Kind::Signal | Kind::Stop | Kind::Pong | Kind::Disconnected,
        ) => Permit::Never,
    }
}

/// What has passed already, as far as it decides what may pass.
#[derive(Debug, Default)]
pub(super) struct Gate {
    ready: bool,
    /// The ping that is not answered yet.
    ping: Option<u64>,
    /// It has a connection whose loss it has not told.
    connected: bool,
}

impl Gate {
    /// A frame is on its way to child.
    pub(super) const fn told(&mut self, frame: &ToChild) {
        match frame {
            ToChild::Ping(number) => self.ping = Some(*number),
            ToChild::Connection(_) => self.connected = true,
            ToChild::Hello(_)
            | ToChild::Launched(_)
            | ToChild::LaunchFailed(_)
            | ToChild::Exited(_)
            | ToChild::Stopping(()) => {}
        }
    }

    /// A frame has come from child.
    ///
    /// # Errors
    /// Why it may not, in words.
    pub(super) fn hear(&mut self, state: State, frame: &ToMain) -> Result<(), String> {
        let kind = Kind::of(frame);
        let answers = matches!((frame, self.ping), (ToMain::Pong(number), Some(ping)) if *number == ping);
        let (passes, why) = match permit(state, kind) {
            Permit::Never => (false, "in this state"),
            Permit::Once => (!self.ready, "for the second time"),
            Permit::WhenReady => (self.ready, "before it is ready"),
            Permit::ForPing => (answers, "without its ping"),
            Permit::ForConnection => (self.ready && self.connected, "without a connection"),
        };
        if !passes {
            return Err(format!("{kind:?} {why} ({state:?})"));
        }
        match kind {
            Kind::Ready => self.ready = true,
            Kind::Pong => self.ping = None,
            Kind::Disconnected => self.connected = false,
            Kind::Launch | Kind::Signal | Kind::Stop => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use erluv_proto::ids::{NodeName, WorkerId};
    use erluv_proto::ipc::{Connection, Program, Ready, Signal, Stop};

    use super::*;

    const STATES: [State; 6] =
        [State::Starting, State::Serving, State::Down, State::Stopping, State::Leaving, State::Over];

    /// One frame of each type.
    fn frames() -> [ToMain; 6] {
        let worker = WorkerId(2);
        [
            ToMain::Ready(Ready { missing: Vec::new() }),
            ToMain::Launch(crate::audit::tests::launch(Program::Direct(Vec::new()))),
            ToMain::Signal(Signal { worker, signal: 15 }),
            ToMain::Stop(Stop { worker, grace: 0 }),
            ToMain::Pong(1),
            ToMain::Disconnected("closed".to_owned()),
        ]
    }

    fn connection() -> ToChild {
        ToChild::Connection(Connection { peer: NodeName::parse("a@b").unwrap(), flags: 0 })
    }

    /// All that may have gone before.
    fn gates() -> impl Iterator<Item = Gate> {
        (0..8_u8).map(|bits| Gate {
            ready: bits & 1 != 0,
            ping: (bits & 2 != 0).then_some(1),
            connected: bits & 4 != 0,
        })
    }

    #[test]
    fn s50_the_table_of_all_states_and_types() {
        use Permit::{ForConnection, ForPing, Never, Once, WhenReady};
        let expected = [
            (State::Starting, [Once, Never, Never, Never, ForPing, Never]),
            (State::Serving, [Never, WhenReady, WhenReady, WhenReady, ForPing, ForConnection]),
            (State::Down, [Never; 6]),
            (State::Stopping, [Once, WhenReady, WhenReady, WhenReady, ForPing, ForConnection]),
            (State::Leaving, [Once, WhenReady, WhenReady, WhenReady, ForPing, ForConnection]),
            (State::Over, [Never; 6]),
        ];
        for (state, permits) in expected {
            assert_eq!(frames().map(|frame| permit(state, Kind::of(&frame))), permits, "{state:?}");
        }
    }

    #[test]
    fn s50_what_passes_has_its_bit_and_what_does_not_changes_nothing() {
        for (state, frame) in STATES.into_iter().flat_map(|state| frames().map(|frame| (state, frame))) {
            for mut gate in gates() {
                let Gate { ready, ping, connected } = gate;
                let may = match permit(state, Kind::of(&frame)) {
                    Permit::Never => false,
                    Permit::Once => !ready,
                    Permit::WhenReady => ready,
                    Permit::ForPing => ping.is_some(),
                    Permit::ForConnection => ready && connected,
                };
                assert_eq!(gate.hear(state, &frame).is_ok(), may, "{state:?}, {frame:?}, {gate:?}");
                if !may {
                    assert_eq!((gate.ready, gate.ping, gate.connected), (ready, ping, connected));
                }
            }
        }
    }

    #[test]
    fn s50_what_may_come_once_does_not_come_twice() {
        let [ready, _, _, _, pong, lost] = frames();
        for frame in [ready, pong, lost] {
            for state in STATES {
                for mut gate in gates() {
                    if gate.hear(state, &frame).is_ok() {
                        assert!(gate.hear(state, &frame).is_err(), "{state:?}, {frame:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn s50_before_ready_nothing_can_be_asked_in_any_state() {
        for state in STATES {
            for frame in frames() {
                let mut gate = Gate { ready: false, ping: Some(1), connected: true };
                let harmless = matches!(frame, ToMain::Ready(_) | ToMain::Pong(_));
                assert!(harmless || gate.hear(state, &frame).is_err(), "{state:?}, {frame:?}");
            }
        }
    }

    #[test]
    fn s50_a_pong_has_the_number_of_its_ping_and_a_connection_is_lost_once() {
        let mut gate = Gate::default();
        gate.told(&ToChild::Ping(7));
        assert!(gate.hear(State::Starting, &ToMain::Pong(6)).is_err());
        assert!(gate.hear(State::Starting, &ToMain::Pong(7)).is_ok());
        let [ready, .., lost] = frames();
        gate.hear(State::Starting, &ready).unwrap();
        for _ in 0..2 {
            assert!(gate.hear(State::Serving, &lost).is_err());
            gate.told(&connection());
            assert!(gate.hear(State::Serving, &lost).is_ok());
        }
    }
}
