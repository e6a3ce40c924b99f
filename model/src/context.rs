//! What a caller allows a call: how long it may take, and a flag to give up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The deadline and cancel flag of one call.
///
/// Deadlines are relative where they cross a boundary, because two processes or languages share no monotonic clock.
///
/// Reading the clock costs as much as finding a record in memory. A context made by [`Context::starting_late`] therefore reads it as
/// late as it can: a call that is answered at once never does.
#[derive(Debug, Default)]
pub struct Context<'a> {
    limit: Option<Duration>,
    /// When the limit began to count; [`FRESH`] or [`ENTERED`] while it does not yet.
    start: AtomicU64,
    cancel: Option<&'a AtomicBool>,
}

/// Nobody has looked yet.
const FRESH: u64 = 0;
/// Somebody has looked once, and was told that all of the limit is left.
const ENTERED: u64 = 1;

/// The clock, in nanoseconds from a moment in this process's life.
fn now() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = ORIGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_add(ENTERED + 1)
}

impl Clone for Context<'_> {
    fn clone(&self) -> Self {
        Self { limit: self.limit, start: AtomicU64::new(self.start.load(Relaxed)), cancel: self.cancel }
    }
}

impl<'a> Context<'a> {
    /// No deadline, cannot be cancelled.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { limit: None, start: AtomicU64::new(FRESH), cancel: None }
    }

    /// A call that must end within `limit` from now.
    #[must_use]
    pub fn within(limit: Duration) -> Self {
        Self { limit: Some(limit), start: AtomicU64::new(now()), cancel: None }
    }

    /// A call that must end within `limit` and begins right away. What is left is all of it the first time that somebody
    /// [checks](Self::check) or [passes it on](Self::passed_on), and counts from the second time, or from the first question for the
    /// time that [remains](Self::remaining): what comes before either is taken for nothing.
    #[must_use]
    pub const fn starting_late(limit: Duration) -> Self {
        Self { limit: Some(limit), start: AtomicU64::new(FRESH), cancel: None }
    }

    /// The same, given up when `flag` becomes true.
    #[must_use]
    pub const fn cancelled_by(self, flag: &'a AtomicBool) -> Self {
        Self { limit: self.limit, start: self.start, cancel: Some(flag) }
    }

    /// The time left: `None` without a deadline, zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let limit = self.limit?;
        let start = self.start.load(Relaxed);
        if start > ENTERED {
            return Some(limit.saturating_sub(Duration::from_nanos(now().saturating_sub(start))));
        }
        // Of two threads that start it, one wins.
        let _ = self.start.compare_exchange(start, now(), Relaxed, Relaxed);
        Some(limit)
    }

    /// The time left, but at most `limit`.
    #[must_use]
    pub fn remaining_or(&self, limit: Duration) -> Duration {
        self.remaining().map_or(limit, |left| left.min(limit))
    }

    /// The time that a call made on behalf of this one may take, as [`Context::remaining`] has it; but the first to ask does not start
    /// a clock that starts late. So what comes behind each boundary that a call crosses begins anew once: on the way from a host over
    /// the ABI into a plugin, a call may take up to twice its limit.
    #[must_use]
    pub fn passed_on(&self) -> Option<Duration> {
        // Of two threads one is the first; a plain store by the other would set back a clock that has begun to count.
        if self.limit.is_some() && self.start.compare_exchange(FRESH, ENTERED, Relaxed, Relaxed).is_ok() {
            return self.limit;
        }
        self.remaining()
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
        if self.cancel.is_some_and(|flag| flag.load(Relaxed)) {
            return Err(Error::deadline("the caller cancelled"));
        }
        match self.passed_on() {
            Some(Duration::ZERO) => Err(Error::deadline("the time allowed for this call is over")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(2);

    #[test]
    fn a_limit_counts_from_now() {
        let cx = Context::within(BRIEF);
        std::thread::sleep(BRIEF);
        assert!(cx.check().is_err());
        assert_eq!(cx.clone().remaining(), Some(Duration::ZERO));
        assert!(Context::within(Duration::ZERO).check().is_err());
        assert!(Context::within(Duration::MAX).check().is_ok());
        assert_eq!(Context::unbounded().remaining(), None);
    }

    #[test]
    fn one_that_starts_late_counts_from_the_second_look() {
        let cx = Context::starting_late(BRIEF);
        std::thread::sleep(BRIEF);
        assert!(cx.check().is_ok(), "the first look");
        assert!(cx.check().is_ok(), "the second starts the clock");
        std::thread::sleep(BRIEF);
        assert!(cx.check().is_err());
        assert!(Context::starting_late(Duration::ZERO).check().is_err(), "no time is no time");

        let cx = Context::starting_late(BRIEF);
        assert_eq!(cx.passed_on(), Some(BRIEF));
        assert_eq!(cx.remaining(), Some(BRIEF), "starts it");
        std::thread::sleep(BRIEF);
        assert_eq!(cx.passed_on(), Some(Duration::ZERO));
    }

    #[test]
    fn of_many_threads_only_one_is_the_first_to_look() {
        for _ in 0..2000 {
            let cx = Context::starting_late(Duration::MAX);
            let together = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        together.wait();
                        cx.passed_on()
                    });
                }
            });
            assert!(cx.start.load(Relaxed) > ENTERED, "the second look started the clock");
        }
    }

    #[test]
    fn a_cancelled_call_ends_whatever_time_it_has() {
        let flag = AtomicBool::new(false);
        let cx = Context::starting_late(Duration::MAX).cancelled_by(&flag);
        assert!(cx.check().is_ok());
        flag.store(true, Relaxed);
        assert!(cx.check().is_err() && Context::unbounded().cancelled_by(&flag).check().is_err());
    }
}
