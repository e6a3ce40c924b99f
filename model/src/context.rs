//! What a caller allows a call: how long it may take, and a flag to give up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The deadline and cancel flag of one call.
///
/// Deadlines are relative where they cross a boundary, because two processes or languages share no monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    deadline: Option<Instant>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> Context<'a> {
    /// No deadline, cannot be cancelled.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { deadline: None, cancel: None }
    }

    /// A call that must end within `limit` from now.
    #[must_use]
    pub fn within(limit: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(limit), cancel: None }
    }

    /// The same, given up when `flag` becomes true.
    #[must_use]
    pub const fn cancelled_by(self, flag: &'a AtomicBool) -> Self {
        Self { deadline: self.deadline, cancel: Some(flag) }
    }

    /// The time left: `None` without a deadline, zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// The time left, but at most `limit`.
    #[must_use]
    pub fn remaining_or(&self, limit: Duration) -> Duration {
        self.remaining().map_or(limit, |left| left.min(limit))
    }

    /// The cancel flag, for a boundary to pass on.
    #[must_use]
    pub const fn cancel_flag(&self) -> Option<&'a AtomicBool> {
        self.cancel
    }

    /// To be called before work starts and between steps of long work.
    ///
    /// # Errors
    /// `deadline` when the time is up or the caller cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(Error::deadline("the caller cancelled"));
        }
        match self.deadline {
            Some(at) if Instant::now() >= at => Err(Error::deadline("the time allowed for this call is over")),
            _ => Ok(()),
        }
    }
}
