//! A message that comes in several frames: what it may hold, and how long it may take.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::account::{Account, Budget};
use crate::close::Close;

/// Whoever sends slower than this, in bytes a second, has no more time than the first allowance. The slowest link that still carries a
/// voice is faster.
const SLOWEST: usize = 8 << 10;

/// What a connection holds of messages that are not whole, and until when it may.
pub(super) struct Incoming<'s> {
    budget: &'s Budget,
    account: Arc<Account>,
    held: usize,
    allowance: Duration,
    open: Option<Open>,
}

struct Open {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<'s> Incoming<'s> {
    pub(super) const fn new(budget: &'s Budget, account: Arc<Account>, allowance: Duration) -> Self {
        Self { budget, account, held: 0, allowance, open: None }
    }

    fn own(&self) -> &AtomicUsize {
        &self.account.incoming
    }

    /// A message that is not whole needs so many bytes in all.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Close> {
        if bytes > self.held {
            if !self.budget.take(self.own(), bytes - self.held) {
                return Err(Close::new(Close::TRY_AGAIN, "too many long messages are on their way"));
            }
            self.held = bytes;
        }
        let open = self.open.get_or_insert_with(|| {
            let since = Instant::now();
            Open { since, timer: Box::pin(sleep_until(since)) }
        });
        let earned = Duration::from_secs((bytes / SLOWEST) as u64);
        open.timer.as_mut().reset(open.since + self.allowance + earned);
        Ok(())
    }

    /// No message is open any more.
    pub(super) fn let_go(&mut self) {
        if self.held > 0 {
            self.budget.give_back(self.own(), self.held);
            self.held = 0;
        }
        self.open = None;
    }

    /// Waits until a message has taken too long, and gives the close for it. Nothing is lost if this is dropped.
    pub(super) async fn late(&mut self) -> Close {
        match &mut self.open {
            Some(open) => open.timer.as_mut().await,
            None => std::future::pending().await,
        }
        Close::new(Close::TRY_AGAIN, "a message was not finished in time")
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    const ALLOWANCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_message_has_its_time_and_more_for_what_has_come() {
        let (budget, account) = (Budget::new(1 << 20), Arc::new(Account::default()));
        let mut incoming = Incoming::new(&budget, Arc::clone(&account), ALLOWANCE);
        assert!(tokio::time::timeout(10 * ALLOWANCE, incoming.late()).await.is_err(), "nothing is open");
        let start = Instant::now();
        incoming.hold(65_000).expect("room");
        tokio::time::sleep(ALLOWANCE / 2).await;
        incoming.hold(10 * SLOWEST).expect("room");
        assert_eq!(incoming.late().await.code, Close::TRY_AGAIN);
        assert_eq!(start.elapsed().as_secs(), ALLOWANCE.as_secs() + 10);
        incoming.let_go();
        assert!(tokio::time::timeout(10 * ALLOWANCE, incoming.late()).await.is_err(), "it is over");
        incoming.hold(500).expect("room");
        assert_eq!(incoming.hold(1 << 20).expect_err("no room").code, Close::TRY_AGAIN);
        drop(incoming);
        assert_eq!(account.incoming.load(Relaxed), 0);
    }
}
