//! When the poller comes back though nothing has happened.
//!
//! A wait that has an end costs the kernel a timer, set before it and taken back after it: a twentieth of child's time for
//! an echo. Ends that are far off are left to one timer of our own, timerfd_create(2), where the system has it: it is set
//! anew only where it has run out or would be late, and the poller waits without an end.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

/// An end that is nearer is the poller's own.
const NEAR: Duration = Duration::from_secs(1);

/// The clock of the loop.
#[derive(Debug)]
pub(crate) struct Clock<T = Timer> {
    timer: Option<T>,
    /// When it runs out.
    set: Option<Instant>,
}

/// What wakes the poller at a time.
pub(crate) trait Wake {
    /// After so long from now, and not earlier any more.
    ///
    /// # Errors
    /// Where it cannot be set.
    fn set(&mut self, after: Duration) -> io::Result<()>;

    /// The poller has told of it.
    fn heard(&mut self);
}

impl Clock {
    /// One whose timer the poller tells of by this token. To be made before the confinement, which lets no descriptor be
    /// made. Without a timer each wait has its end.
    pub(crate) fn new(registry: &Registry, token: Token) -> Self {
        let timer = Timer::new(registry, token).inspect_err(|error| ::log::debug!("no timer: {error}")).ok();
        Self { timer, set: None }
    }
}

impl<T: Wake> Clock<T> {
    /// How long the poller may wait so that it is back at this time: `None` is for ever, as the timer wakes it.
    pub(crate) fn patience(&mut self, deadline: Option<Instant>, now: Instant) -> Option<Duration> {
        let deadline = deadline?;
        let left = deadline.saturating_duration_since(now);
        let Some(timer) = self.timer.as_mut().filter(|_| left >= NEAR) else { return Some(left) };
        if self.set.is_none_or(|at| at > deadline) {
            if timer.set(left).is_err() {
                return Some(left);
            }
            self.set = Some(deadline);
        }
        None
    }

    /// The timer has run out.
    pub(crate) fn rang(&mut self) {
        self.set = None;
        if let Some(timer) = &mut self.timer {
            timer.heard();
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    /// A timerfd.
    #[derive(Debug)]
    pub(crate) struct Timer(OwnedFd);

    impl Timer {
        pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self(timer))
        }
    }

    impl super::Wake for Timer {
        fn set(&mut self, after: Duration) -> io::Result<()> {
            let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
            let value = Timespec::try_from(after).map_err(out_of_range)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }

        fn heard(&mut self) {
            // How often it ran out. Where that cannot be read, it was set anew meanwhile.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    /// The wait of kqueue(2) has its end for nothing.
    #[derive(Debug)]
    pub(crate) enum Timer {}

    impl Timer {
        pub(super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl super::Wake for Timer {
        fn set(&mut self, _: Duration) -> io::Result<()> {
            match *self {}
        }

        fn heard(&mut self) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times that were set.
    #[derive(Debug, Default)]
    struct Told(Vec<Duration>);

    impl Wake for Told {
        fn set(&mut self, after: Duration) -> io::Result<()> {
            if after > Duration::from_secs(1000) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            self.0.push(after);
            Ok(())
        }

        fn heard(&mut self) {}
    }

    #[test]
    fn an_end_that_is_far_off_is_left_to_the_timer_which_is_set_once() {
        let now = Instant::now();
        let in_millis = |millis| Some(now + Duration::from_millis(millis));
        let mut clock = Clock { timer: Some(Told::default()), set: None };
        assert_eq!(clock.patience(None, now), None);
        assert_eq!(clock.patience(in_millis(999), now), Some(Duration::from_millis(999)));
        // A later end needs nothing: the loop looks anew when the timer runs out.
        for millis in [5000, 5000, 15_000] {
            assert_eq!(clock.patience(in_millis(millis), now), None);
        }
        assert_eq!(clock.patience(in_millis(2000), now), None);
        let set = |clock: &Clock<Told>| clock.timer.as_ref().map(|told| told.0.clone()).unwrap_or_default();
        assert_eq!(set(&clock), [5, 2].map(Duration::from_secs));
        clock.rang();
        assert_eq!(clock.patience(in_millis(15_000), now), None);
        assert_eq!(set(&clock), [5, 2, 15].map(Duration::from_secs));
        // What has come is due at once.
        assert_eq!(clock.patience(Some(now), now + Duration::from_secs(1)), Some(Duration::ZERO));
    }

    #[test]
    fn without_a_timer_each_wait_has_its_end() {
        let now = Instant::now();
        let far = now + Duration::from_secs(2000);
        for timer in [None, Some(Told::default())] {
            let mut clock = Clock { timer, set: None };
            assert_eq!(clock.patience(Some(far), now), Some(Duration::from_secs(2000)));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_poller_is_woken_by_the_timer() {
        let (mut poll, token) = (mio::Poll::new().unwrap(), Token(9));
        let mut clock = Clock::new(poll.registry(), token);
        let mut events = mio::Events::with_capacity(8);
        for _ in 0..2 {
            let now = Instant::now();
            let patience = clock.patience(Some(now + NEAR), now);
            assert_eq!(patience, None);
            poll.poll(&mut events, patience).unwrap();
            assert!(now.elapsed() >= NEAR && events.iter().all(|event| event.token() == token));
            clock.rang();
        }
    }
}
