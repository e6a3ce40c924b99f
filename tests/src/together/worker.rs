//! The process of ours that works beside others: the typed store with its cache over the loaded library, open for as long as it lives.
//!
//! It reads one JSON object per line and answers one per line, `{"ok": …}` or `{"error": …}`, as the Python peer does:
//!
//! - `add`: a client with this access `key` → its id
//! - `set`: `member` of the metadata of client `id` becomes `value`
//! - `rekey`: client `id` gets the access key `key`
//! - `revoke`: client `id`
//! - `look`: client `id`, or the one with the access key `key`, through the cache → the client or null
//! - `beside`, `same_rows`: a run, see there → counts

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use hivemind_model::{Change, Key, Mutation};
use hivemind_store::clients::{MetadataChange, NewClient};
use hivemind_store::{Client, Clients, Options, Storage};
use pollster::block_on;
use serde_json::{Map, Value, json};

use super::{as_json, beside, same_rows};

/// Opens a store as the program does, below this data folder.
///
/// # Errors
/// What the loader or the backend said.
pub fn open(plugins: &Path, module: &str, data: &Path) -> Result<Clients, String> {
    let loader = crate::loader(&[plugins], data);
    let opened = loader.open(module, &Map::new()).map_err(|e| e.to_string())?;
    let storage = Storage::new(opened.backend, Options::default());
    block_on(Clients::open(&storage)).map_err(|e| e.to_string())
}

/// Answers until the input ends.
///
/// # Panics
/// If the store does not open, or nobody listens.
pub fn serve(plugins: &Path, module: &str, data: &Path) {
    let clients = open(plugins, module, data).unwrap_or_else(|e| panic!("{e}"));
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let answer = match answer(&clients, &request) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error }),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody listens");
    }
}

fn answer(clients: &Clients, request: &Value) -> Result<Value, String> {
    let said = |e: hivemind_store::Error| e.to_string();
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    match text("op") {
        "add" => block_on(clients.add(NewClient::new(text("key")))).map(|c| json!(c.id)).map_err(said),
        "set" => set(clients, &*known(clients, request)?, text("member"), &request["value"]).map(|()| Value::Null).map_err(said),
        "rekey" => rekey(clients, request["id"].as_i64().unwrap_or_default(), text("key")).map(|()| Value::Null),
        "revoke" => block_on(clients.revoke(&*known(clients, request)?)).map(|_| Value::Null).map_err(said),
        "look" => {
            let found = match request["id"].as_i64() {
                Some(id) => block_on(clients.by_id(id)),
                None => block_on(clients.by_access_key(text("key"))),
            };
            Ok(found.map_err(said)?.map_or(Value::Null, |client| as_json(&client)))
        }
        "beside" => beside::run(clients, &beside::Part::read(request)?),
        "same_rows" => same_rows::run(clients, &same_rows::Part::read(request)?),
        other => Err(format!("there is no op {other:?}")),
    }
}

fn known(clients: &Clients, request: &Value) -> Result<Arc<Client>, String> {
    let id = request["id"].as_i64().ok_or("which client?")?;
    block_on(clients.by_id(id)).map_err(|e| e.to_string())?.ok_or_else(|| format!("there is no client {id}"))
}

/// Sets a member of a client's metadata.
///
/// # Errors
/// The store's.
pub fn set(clients: &Clients, client: &Client, member: &str, value: &Value) -> Result<(), hivemind_store::Error> {
    let change = MetadataChange { set: vec![(member.to_owned(), value.to_string())], unset: Vec::new() };
    block_on(clients.set_metadata(client, &change)).map(drop)
}

/// Gives a client another access key, which no command does and a node that renews keys would.
///
/// # Errors
/// The backend's.
pub fn rekey(clients: &Clients, id: i64, key: &str) -> Result<(), String> {
    let field = hivemind_store::clients::collection().position("api_key").expect("a field");
    let changes = vec![Change::set(field, key)];
    let update = Mutation::Update { collection: clients.id(), key: Key::Int(id), changes, when: Vec::new() };
    block_on(clients.storage().apply(vec![update])).map(drop).map_err(|e| e.to_string())
}
