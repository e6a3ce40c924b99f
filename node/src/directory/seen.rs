//! When clients were last seen: written once in an interval for each, one after another, by one task.
//!
//! A storage that is slow or away so holds up nobody, and what waits is bounded by the number of clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hivemind_store::{Client, Error};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Directory;

/// While a client's write waits it is asked about again so soon, if there is no interval.
const SOON: Duration = Duration::from_millis(100);

/// The fewest entries among which old ones are looked for.
const FEW: usize = 1024;

/// A client to be written, and the Unix time it was seen.
pub(super) type Touch = (Arc<Client>, f64);

#[derive(Debug)]
pub(super) struct Seen {
    interval: Duration,
    last: Mutex<Last>,
    touches: UnboundedSender<Touch>,
}

/// By the client's number.
#[derive(Debug, Default)]
struct Last {
    clients: HashMap<i64, Entry>,
    /// How many there were left when old ones were last dropped.
    kept: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Instant,
    waits: bool,
}

impl Seen {
    pub(super) fn new(interval: Duration) -> (Self, UnboundedReceiver<Touch>) {
        let (touches, receiver) = unbounded_channel();
        (Self { interval, last: Mutex::default(), touches }, receiver)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn heard(&self, client: &Arc<Client>) -> Instant {
        let now = Instant::now();
        let mut last = self.last();
        if let Some(entry) = last.clients.get(&client.id) {
            let next = entry.at + self.interval;
            if next > now {
                return next;
            }
            if entry.waits {
                return now + SOON;
            }
        }
        last.clients.insert(client.id, Entry { at: now, waits: true });
        last.forget_old(now, self.interval);
        drop(last);
        // In a clock before 1970 nothing is seen at a time worth writing.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let _ = self.touches.send((Arc::clone(client), unix));
        now + self.interval
    }

    fn written(&self, id: i64) {
        if let Some(entry) = self.last().clients.get_mut(&id) {
            entry.waits = false;
        }
    }
}

impl Last {
    /// Looks through all of them whenever they have doubled, so that each costs little.
    fn forget_old(&mut self, now: Instant, interval: Duration) {
        if self.clients.len() >= (self.kept * 2).max(FEW) {
            self.clients.retain(|_, entry| entry.waits || now.duration_since(entry.at) < interval);
            self.kept = self.clients.len();
        }
    }
}

/// Writes until the directory is gone. What fails is not repeated: the client will be seen again.
pub(super) async fn write(directory: Weak<Directory>, mut touches: UnboundedReceiver<Touch>) {
    while let Some((client, unix)) = touches.recv().await {
        let Some(directory) = directory.upgrade() else { return };
        match directory.call("touch", directory.clients.touch(&client, unix)).await {
            Ok(_) | Err(Error::Revoked { .. } | Error::Unknown { .. } | Error::Changed { .. }) => {}
            Err(error) => tracing::warn!(client = client.id, %error, "when a client was last seen could not be written"),
        }
        directory.seen.written(client.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_written_once_in_an_interval_and_old_ones_are_forgotten() {
        let (seen, mut touches) = Seen::new(Duration::from_secs(3600));
        let client = crate::testing::client(1);
        let next = seen.heard(&client);
        assert!(next > Instant::now() && touches.try_recv().is_ok());
        assert_eq!(seen.heard(&client), next);
        seen.written(1);
        assert_eq!(seen.heard(&client), next);
        assert!(touches.try_recv().is_err());
    }

    #[test]
    fn without_an_interval_at_most_one_write_of_a_client_waits() {
        let (seen, mut touches) = Seen::new(Duration::ZERO);
        let client = crate::testing::client(1);
        for _ in 0..10 {
            seen.heard(&client);
        }
        assert!(touches.try_recv().is_ok() && touches.try_recv().is_err());
        seen.written(1);
        seen.heard(&client);
        assert!(touches.try_recv().is_ok());
        for id in 0..10_000 {
            let other = crate::testing::client(id);
            seen.heard(&other);
            seen.written(id);
        }
        assert!(seen.last().clients.len() <= FEW, "{}", seen.last().clients.len());
    }
}
