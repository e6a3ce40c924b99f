//! What the crate's own tests share.

use std::sync::Arc;

use hivemind_model::Row;
use hivemind_store::{Client, clients};

/// A client that was never stored.
pub(crate) fn client(id: i64) -> Arc<Client> {
    let collection = clients::collection();
    let row = Row::builder(&collection).set("client_id", id).and_then(|b| b.set("api_key", format!("key-{id}")));
    Arc::new(Client::from_row(&collection, &row.expect("known fields").build()).expect("a client"))
}
