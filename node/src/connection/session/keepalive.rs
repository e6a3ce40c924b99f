//! Whether the satellite is still there: asked now and then, and whether it reads what it is sent.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::Limits;

/// With nobody to be asked: some time that is far away.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To ask.
    Ping,
    /// Nothing was heard since it was asked, and it took nothing either.
    Gone,
    /// It was sent something and has not taken any of it.
    Stalled,
}

/// One timer for all of it, which is not touched when a message comes.
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    asked: Option<Instant>,
    heard: bool,
    /// What waited to be sent when it was last looked, and how much was sent before.
    progress: (usize, u64),
}

impl Keepalive {
    pub(super) fn new(limits: &Limits) -> Self {
        let interval = if limits.ping_interval.is_zero() { NEVER } else { limits.ping_interval };
        let timer = Box::pin(sleep_until(Instant::now() + interval));
        Self { interval, timeout: limits.ping_timeout, timer, asked: None, heard: false, progress: (0, 0) }
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Waits until it is time to [look](Self::look). Nothing is lost if this is dropped.
    pub(super) async fn tick(&mut self) {
        self.timer.as_mut().await;
    }

    /// What is due, with so much waiting to be sent and so much sent so far.
    pub(super) fn look(&mut self, progress: (usize, u64)) -> Option<Due> {
        let now = Instant::now();
        let Some(asked) = self.asked.take() else {
            self.asked = Some(now);
            self.heard = false;
            self.progress = progress;
            self.timer.as_mut().reset(now + self.timeout);
            return Some(Due::Ping);
        };
        let ((waited, before), (waits, sent)) = (self.progress, progress);
        if waited > 0 && sent == before {
            return Some(Due::Stalled);
        }
        // With more to be sent than a connection holds, what was sent was taken by somebody: the question waits behind the rest.
        let takes = sent > before && (waited > 0 || waits > 0);
        if !self.heard && !takes {
            return Some(Due::Gone);
        }
        self.timer.as_mut().reset((asked + self.interval).max(now));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(20);

    async fn next(keepalive: &mut Keepalive, progress: (usize, u64)) -> (Option<Due>, Duration) {
        let before = Instant::now();
        keepalive.tick().await;
        (keepalive.look(progress), before.elapsed())
    }

    fn keepalive() -> Keepalive {
        Keepalive::new(&Limits { ping_interval: INTERVAL, ping_timeout: TIMEOUT, ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_is_asked_again_and_who_does_not_is_gone() {
        let mut keepalive = keepalive();
        for round in 0..3 {
            let since = if round == 0 { INTERVAL } else { INTERVAL - TIMEOUT };
            assert_eq!(next(&mut keepalive, (0, 0)).await, (Some(Due::Ping), since), "{round}");
            keepalive.heard();
            assert_eq!(next(&mut keepalive, (0, 0)).await, (None, TIMEOUT));
        }
        assert_eq!(next(&mut keepalive, (0, 0)).await.0, Some(Due::Ping));
        assert_eq!(next(&mut keepalive, (0, 0)).await, (Some(Due::Gone), TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn who_speaks_but_does_not_read_is_stalled() {
        let mut keepalive = keepalive();
        assert_eq!(next(&mut keepalive, (500, 7)).await.0, Some(Due::Ping));
        keepalive.heard();
        assert_eq!(next(&mut keepalive, (900, 8)).await.0, None, "it has read a little");
        assert_eq!(next(&mut keepalive, (900, 8)).await.0, Some(Due::Ping));
        keepalive.heard();
        assert_eq!(next(&mut keepalive, (950, 8)).await.0, Some(Due::Stalled));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_what_it_is_sent_has_not_heard_the_question_yet() {
        let mut keepalive = keepalive();
        for round in 0..3 {
            assert_eq!(next(&mut keepalive, (500, 7 + round)).await.0, Some(Due::Ping));
            assert_eq!(next(&mut keepalive, (500, 8 + round)).await.0, None);
        }
        assert_eq!(next(&mut keepalive, (500, 10)).await.0, Some(Due::Ping));
        assert_eq!(next(&mut keepalive, (500, 10)).await.0, Some(Due::Stalled));
        let mut keepalive = super::tests::keepalive();
        assert_eq!(next(&mut keepalive, (0, 7)).await.0, Some(Due::Ping));
        assert_eq!(next(&mut keepalive, (0, 9)).await.0, Some(Due::Gone), "the question itself went nowhere");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_to_be_asked() {
        let mut keepalive = Keepalive::new(&Limits { ping_interval: Duration::ZERO, ..Limits::default() });
        let asked = tokio::time::timeout(Duration::from_secs(7 * 24 * 60 * 60), keepalive.tick()).await;
        assert!(asked.is_err());
    }
}
