//! A satellite that is connected, as all others in the node see it.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hivemind_store::Client;

use crate::account::Account;
use crate::close::Close;
use crate::event::{Event, Observer, Party};
use crate::outbox::{Item, Outbox, Refused};

/// What a satellite hears that does not read.
pub(crate) const TOO_SLOW: &str = "too slow: more is waiting for this connection than it may hold";

/// A connected satellite.
pub(crate) struct Peer {
    pub(crate) client_id: i64,
    access_key: String,
    label: String,
    address: IpAddr,
    /// What its client's sessions begin with on the agent's bus.
    pub(crate) namespace: String,
    name: RwLock<Arc<str>>,
    outbox: Outbox,
    /// What its client makes the node hold, with all its connections.
    pub(crate) account: Arc<Account>,
    closing: AtomicBool,
    /// Whether it waits for a look at its client's record.
    pub(crate) is_unsure: AtomicBool,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name()).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peer {
    pub(crate) fn new(client: &Client, address: IpAddr, namespace: String, outbox: Outbox) -> Self {
        Self {
            client_id: client.id,
            access_key: client.api_key.clone(),
            label: client.label().to_owned(),
            address,
            namespace,
            name: RwLock::new(Arc::from("")),
            outbox,
            account: Arc::default(),
            closing: AtomicBool::new(false),
            is_unsure: AtomicBool::new(false),
        }
    }

    /// The same with the account of its client.
    pub(crate) fn charged_to(self, account: Arc<Account>) -> Self {
        Self { account, ..self }
    }

    /// Its name among the peers.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_name(&self, name: Arc<str>) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name;
    }

    pub(crate) fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(crate) fn party(&self) -> Party<'_> {
        Party { address: self.address, client: Some(self.client_id), name: &self.label, access_key: &self.access_key }
    }

    /// Puts something into its outbox and says whether it is in. One that does not read loses its connection.
    pub(crate) fn send(&self, item: Item, observer: &dyn Observer) -> bool {
        if self.closing.load(Ordering::Relaxed) {
            return false;
        }
        match self.outbox.send(item) {
            Ok(()) => true,
            Err(Refused::Gone) => false,
            Err(Refused::Full) => {
                if self.close(Close::new(Close::INTERNAL, TOO_SLOW)) {
                    observer.see(&Event::TooSlow { party: self.party() });
                }
                false
            }
        }
    }

    /// Puts something into its outbox that another satellite has sent, and says whether it is in. What does not fit is dropped: nobody
    /// loses a connection by what others send.
    pub(crate) fn relay(&self, item: Item, observer: &dyn Observer) -> bool {
        if self.closing.load(Ordering::Relaxed) {
            return false;
        }
        let offered = self.outbox.offer(item);
        if offered == Err(Refused::Full) {
            observer.see(&Event::NotRelayed { party: self.party() });
        }
        offered.is_ok()
    }

    /// Closes its connection after what is waiting for it, and says whether nobody did before.
    pub(crate) fn close(&self, close: Close) -> bool {
        let first = !self.closing.swap(true, Ordering::Relaxed);
        if first {
            // A connection that is gone already needs no close.
            let _ = self.outbox.send(Item::Close(close));
        }
        first
    }
}
