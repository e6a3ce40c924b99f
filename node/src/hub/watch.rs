//! Ends the connections of clients that were revoked, whoever did it, and questions that nobody answers any more.
//!
//! The storage is asked what changed, which costs next to nothing when nothing did. A client is only looked up if its record changed or
//! its connection is new.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hivemind_model::{Changes, Key, Token};

use super::Hub;
use crate::close::Close;
use crate::peer::Peer;

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a revoked client hears. Once it comes back it is told that its access key is unknown.
const REVOKED: &str = "this client was revoked";

/// Connections that nobody has looked at yet.
#[derive(Debug, Default)]
pub(super) struct Newcomers(Mutex<Vec<Weak<Peer>>>);

impl Newcomers {
    pub(super) fn add(&self, peer: &Arc<Peer>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(peer));
    }

    fn take(&self) -> Vec<Arc<Peer>> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().filter_map(|peer| peer.upgrade()).collect()
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
        hub.end_stale_questions();
        token = hub.close_revoked(token).await;
    }
}

impl Hub {
    /// Looks at those whose record changed since the token was given, and returns the token for the next time.
    async fn close_revoked(&self, token: Token) -> Token {
        let newcomers = self.newcomers.take();
        let (now, changed) = match self.directory.changes_since(token).await {
            Ok((now, Changes::Nothing)) => (now, Vec::new()),
            Ok((now, Changes::Keys(keys))) => {
                let ids = keys.iter().filter_map(|key| if let Key::Int(id) = key { Some(*id) } else { None });
                (now, self.registry.of_clients(ids))
            }
            Ok((now, _)) => (now, self.registry.all()),
            // Whether anything changed is asked again; without a history everybody is looked at each time.
            Err(error) if error_is_for_ever(&error) => (token, self.registry.all()),
            Err(_) => (token, Vec::new()),
        };
        for peer in newcomers.iter().chain(&changed) {
            match self.directory.current(peer.client_id, peer.access_key()).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    if peer.close(revoked()) {
                        tracing::info!(peer = &*peer.name(), "closing the connection of a revoked client");
                    }
                }
                // It is looked up again next time, so the token may move on.
                Err(_) => self.newcomers.add(peer),
            }
        }
        now
    }
}

fn error_is_for_ever(error: &hivemind_store::Error) -> bool {
    matches!(error, hivemind_store::Error::Backend(error) if error.code() == hivemind_model::Code::Unsupported)
}
