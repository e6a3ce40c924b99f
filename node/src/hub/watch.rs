//! Ends the connections of clients that were revoked, whoever did it, and questions that nobody answers any more.
//!
//! The storage is asked what changed, which costs next to nothing when nothing did. A client is only looked up if its record changed or
//! its connection is new.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hivemind_model::{Changes, Key, Token};

use super::Hub;
use crate::close::Close;
use crate::peer::Peer;

/// How often is looked, and after how many clients at most: a storage that cannot say what changed is asked about all of them.
const INTERVAL: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 1000;

/// What a revoked client hears. Once it comes back it is told that its access key is unknown.
const REVOKED: &str = "this client was revoked";

/// Connections whose client's record is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<VecDeque<Weak<Peer>>>);

impl Unsure {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Weak<Peer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection waits once, however often its record changes.
    pub(super) fn add(&self, peer: &Arc<Peer>) {
        let mut queue = self.queue();
        if !peer.is_unsure.swap(true, Ordering::Relaxed) {
            queue.push_back(Arc::downgrade(peer));
        }
    }

    fn take(&self) -> Vec<Arc<Peer>> {
        let mut queue = self.queue();
        let some = AT_ONCE.min(queue.len());
        let peers: Vec<_> = queue.drain(..some).filter_map(|peer| peer.upgrade()).collect();
        peers.iter().for_each(|peer| peer.is_unsure.store(false, Ordering::Relaxed));
        peers
    }

    fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }
}

/// The close of a revoked client's connection.
pub(crate) fn revoked() -> Close {
    Close::new(Close::POLICY, REVOKED)
}

pub(super) async fn watch(hub: Weak<Hub>) {
    let mut token = Token::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        token = hub.close_revoked(token).await;
    }
}

/// Questions end on time, however long the storage takes to answer.
pub(super) async fn end_questions(hub: Weak<Hub>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        hub.end_stale_questions();
    }
}

impl Hub {
    /// Looks at those whose record changed since the token was given, and returns the token for the next time.
    async fn close_revoked(&self, token: Token) -> Token {
        let now = match self.directory.changes_since(token).await {
            Ok((now, Changes::Nothing)) => now,
            Ok((now, Changes::Keys(keys))) => {
                let ids = keys.iter().filter_map(|key| if let Key::Int(id) = key { Some(*id) } else { None });
                self.registry.of_clients(ids).iter().for_each(|peer| self.unsure.add(peer));
                now
            }
            Ok((now, _)) => {
                // Who waits to be looked at is looked at later than this.
                if self.unsure.is_empty() {
                    self.registry.all().iter().for_each(|peer| self.unsure.add(peer));
                    now
                } else {
                    token
                }
            }
            Err(_) => token,
        };
        let mut peers = self.unsure.take().into_iter();
        while let Some(peer) = peers.next() {
            match self.directory.current(peer.client_id, peer.access_key()).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    if peer.close(revoked()) {
                        tracing::info!(peer = &*peer.name(), "closing the connection of a revoked client");
                    }
                }
                // The storage cannot say, or has lost the records of others too: it is asked again later, and not now about each of the
                // others. Those come first then: it may be this one record alone.
                Err(_) => {
                    peers.by_ref().for_each(|peer| self.unsure.add(&peer));
                    self.unsure.add(&peer);
                }
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::outbox::outbox;
    use crate::testing::client;

    #[test]
    fn a_connection_waits_once_however_often_its_record_changes() {
        let unsure = Unsure::default();
        let peer = |id| Arc::new(Peer::new(&client(id), Ipv4Addr::LOCALHOST.into(), String::new(), outbox(1000).0));
        let (first, second) = (peer(1), peer(2));
        for _ in 0..100 {
            unsure.add(&first);
            unsure.add(&second);
        }
        assert_eq!(unsure.queue().len(), 2);
        assert_eq!(unsure.take().len(), 2);
        unsure.add(&first);
        assert_eq!(unsure.take().len(), 1, "and again once it was looked at");
    }
}
