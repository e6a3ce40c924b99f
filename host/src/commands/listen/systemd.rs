//! What systemd is told, if it started this process with `Type=notify`. Elsewhere all of it does nothing.

use std::time::{Duration, Instant};

use hivemind_node::Health;

use super::announce::Facts;

#[cfg(unix)]
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// The node listens.
pub(super) fn ready(facts: &Facts<'_>) {
    #[cfg(unix)]
    {
        let status = format!("listening on {} ({})", facts.address, facts.module);
        notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);
    }
    #[cfg(not(unix))]
    let _ = facts;
}

/// The node stops, and takes this long at most.
pub(super) fn stopping(grace: Duration) {
    #[cfg(unix)]
    {
        let more = u32::try_from((grace + Duration::from_secs(5)).as_micros()).unwrap_or(u32::MAX);
        notify(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::ExtendTimeoutUsec(more)]);
    }
    #[cfg(not(unix))]
    let _ = grace;
}

/// Tells that the node's threads get to run, and how it is when that changes.
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
    told: Option<Health>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        #[cfg(unix)]
        let every = sd_notify::watchdog_enabled();
        #[cfg(not(unix))]
        let every = None;
        Self { every, last: Instant::now(), told: None }
    }

    /// Called every second by a task of the node's own runtime: if that hangs, nothing is told and systemd starts the node anew.
    pub(super) fn look(&mut self, health: &Health) {
        #[cfg(unix)]
        {
            // Three times as often as needed, as seconds may come late.
            if self.every.is_some_and(|every| self.last.elapsed() >= every / 3) {
                self.last = Instant::now();
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
            if self.told != Some(*health) {
                self.told = Some(*health);
                let away = |is_there: bool, what: &'static str| if is_there { "" } else { what };
                let status = format!(
                    "{} satellites{}{}",
                    health.satellites,
                    away(health.storage, ", the storage does not answer"),
                    away(health.agent, ", the agent cannot be reached")
                );
                notify(&[sd_notify::NotifyState::Status(&status)]);
            }
        }
        #[cfg(not(unix))]
        let _ = (health, &self.every, &self.last, &self.told);
    }
}
