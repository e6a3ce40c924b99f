//! Trying again: how often, and how long to wait before.

use std::time::Duration;

use hivemind_abi::model::{Context, Error};

use super::failure::{Failure, Repeat, Then};
use super::limit::Limit;

/// Pauses grow no longer than this, unless they are configured longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What is configured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) attempts: u32,
    pub(crate) delay: Duration,
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Retry {
    policy: Policy,
    repeat: Repeat,
    done: u32,
}

impl Retry {
    pub(crate) const fn new(policy: Policy, repeat: Repeat) -> Self {
        Self { policy, repeat, done: 0 }
    }

    /// Waits before the next attempt, or gives the call's error.
    pub(crate) fn or_fail(&mut self, cx: &Context<'_>, failure: Failure) -> Result<Then, Error> {
        let may = !failure.maybe_applied || self.repeat != Repeat::Never;
        if failure.then == Then::GiveUp || !may || self.done >= self.policy.attempts {
            return Err(failure.into_error(self.repeat));
        }
        let pause = self.pause();
        self.done += 1;
        // An error that says what was wrong is worth more than that the time was over.
        if !Limit::new(cx, Duration::MAX).sleep(pause) {
            return Err(failure.into_error(self.repeat));
        }
        Ok(failure.then)
    }

    /// Doubles each time; a random half of it keeps callers apart that failed together.
    fn pause(&self) -> Duration {
        let longest = LONGEST_PAUSE.max(self.policy.delay);
        let whole = self.policy.delay.saturating_mul(1 << self.done.min(16)).min(longest);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;

    use super::*;

    const POLICY: Policy = Policy { attempts: 2, delay: Duration::from_millis(1) };

    fn failure(maybe_applied: bool) -> Failure {
        Failure { maybe_applied, ..Failure::new(Error::unavailable("cut").known_not_applied(), Then::Look) }
    }

    #[test]
    fn only_what_may_be_is_tried_again_and_not_for_ever() {
        let cx = Context::unbounded();
        for (repeat, maybe_applied, attempts, code) in [
            (Repeat::Safe, true, 2, Code::Unavailable),
            (Repeat::Idempotent, true, 2, Code::OutcomeUnknown),
            (Repeat::Never, true, 0, Code::OutcomeUnknown),
            (Repeat::Never, false, 2, Code::Unavailable),
        ] {
            let mut retry = Retry::new(POLICY, repeat);
            let mut tried = 0;
            let error = loop {
                match retry.or_fail(&cx, failure(maybe_applied)) {
                    Ok(_) => tried += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((tried, error.code()), (attempts, code), "{repeat:?}");
            assert_eq!(error.retryable(), code == Code::Unavailable, "{repeat:?}");
        }
    }

    #[test]
    fn a_pause_that_the_caller_has_no_time_for_is_not_made() {
        let policy = Policy { attempts: 9, delay: Duration::from_secs(60) };
        let cx = Context::within(Duration::from_secs(1));
        let error = Retry::new(policy, Repeat::Safe).or_fail(&cx, failure(false)).expect_err("no time");
        assert_eq!(error.code(), Code::Unavailable);
    }

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        let mut retry = Retry::new(Policy { attempts: 99, delay: Duration::from_millis(100) }, Repeat::Safe);
        for (done, most) in [(0, 100), (1, 200), (2, 400), (3, 500), (40, 500)] {
            retry.done = done;
            let pause = retry.pause();
            let most = Duration::from_millis(most);
            assert!(pause <= most && pause >= most / 2, "{done}: {pause:?}");
        }
    }
}
