//! The storage calls of a node.

use std::sync::Arc;

use hivemind_model::{Changes, Token};
use hivemind_store::{Client, Result};

/// The clients' records, as connections and the hub ask for them.
#[derive(Debug)]
pub struct Directory;

impl Directory {
    /// The record as it is now; `None` if the client was revoked or has another access key.
    ///
    /// # Errors
    /// The backend's.
    pub async fn current(&self, id: i64, access_key: &str) -> Result<Option<Arc<Client>>> {
        let _ = (id, access_key);
        todo!()
    }

    /// Which records changed since a token was given.
    ///
    /// # Errors
    /// The backend's.
    pub async fn changes_since(&self, token: Token) -> Result<(Token, Changes)> {
        let _ = token;
        todo!()
    }
}
