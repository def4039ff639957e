//! Telling a service manager (systemd's sd_notify(3)) how far main is. Without one, nothing happens.

use sd_notify::NotifyState;

/// The start is over.
pub(crate) fn ready() {
    say(&[NotifyState::Ready]);
}

/// Main is going.
pub(crate) fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("telling the service manager: {error}");
    }
}
