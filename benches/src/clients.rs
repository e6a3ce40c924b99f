//! The clients that every store of a bench holds.

use hivemind_model::{Backend, CollectionId, Context, Mutation, Row, Value};

use crate::Failure;

/// The access key of the client with this number, from 0: 32 hex digits, as the node makes them.
pub(crate) fn key(number: u64) -> String {
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    format!("{mixed:032x}")
}

/// The keys that a round's random numbers mean in a store of so many clients.
pub(crate) fn keys(picks: &[u64], clients: u64) -> Vec<String> {
    picks.iter().map(|pick| key(pick % clients)).collect()
}

/// Adds so many clients, `batch` in one commit.
pub(crate) fn add_all(backend: &dyn Backend, clients: u64, batch: u64) -> Result<(), Failure> {
    let cx = Context::unbounded();
    let collection = hivemind_store::clients::collection();
    let id = backend.prepare(&cx, std::slice::from_ref(&collection))?[0];
    let mut next = 0;
    while next < clients {
        let end = clients.min(next + batch);
        let mutations: Result<Vec<_>, _> = (next..end).map(|number| insert(&collection, id, number)).collect();
        backend.apply(&cx, &mutations?)?;
        next = end;
    }
    Ok(())
}

/// The client with this number, under the next id.
pub(crate) fn insert(collection: &hivemind_model::Collection, id: CollectionId, number: u64) -> hivemind_model::Result<Mutation> {
    insert_as(collection, id, number, key(number))
}

/// The same with another access key.
pub(crate) fn insert_as(
    collection: &hivemind_model::Collection,
    id: CollectionId,
    number: u64,
    key: String,
) -> hivemind_model::Result<Mutation> {
    let metadata = format!(r#"{{"skill_blacklist": [], "room": "room {}", "noise_pubkey": "{key}{key}"}}"#, number % 30);
    let row = Row::builder(collection)
        .set("name", format!("satellite {number}"))?
        .set("api_key", key)?
        .set("password", format!("password of {number} with some length"))?
        .set("allowed_types", Value::Json(r#"["recognizer_loop:utterance", "speak:b64_audio"]"#.to_owned()))?
        .set("metadata", Value::Json(metadata))?
        .build();
    Ok(Mutation::InsertNext { collection: id, row })
}

/// A time at which a client was seen, another one for each random number.
pub(crate) fn seen(pick: u64) -> f64 {
    1.7e9 + (pick % 100_000_000) as f64
}
