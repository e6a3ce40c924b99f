//! Who answers the satellites.

pub mod echo;
pub mod ovos;

use std::sync::{Arc, Weak};

use crate::account::Account;
use crate::hub::Hub;

/// A backend that takes bus messages and answers through [`Hub::deliver`]. It never blocks whoever calls it.
pub trait Agent: Send + Sync {
    /// Begins to work, on the current runtime. It ends when the hub is gone.
    fn start(self: Arc<Self>, hub: Weak<Hub>);

    /// Takes a bus message: the JSON text of `{"type", "data", "context"}`.
    ///
    /// # Errors
    /// If it cannot be passed on now.
    fn send(&self, message: String) -> Result<(), Unavailable>;

    /// The same for a message that a client has caused. An agent that lets messages wait lets no client have all the room.
    ///
    /// # Errors
    /// If it cannot be passed on now.
    fn send_for(&self, message: String, _client: &Arc<Account>) -> Result<(), Unavailable> {
        self.send(message)
    }

    /// Whether messages can be passed on.
    fn is_up(&self) -> bool;
}

/// A message could not be passed to the agent; the text is for the satellite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable(pub &'static str);
