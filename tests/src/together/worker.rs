//! The process of ours that works beside others: the typed store with its cache over the loaded library, open for as long as it lives.
//!
//! It reads one JSON object per line and answers one per line, `{"ok": …}` or `{"error": …}`, as the Python peer does:
//!
//! - `add`: a client with this access `key` → its id
//! - `set`: `member` of the metadata of client `id` becomes `value`
//! - `rekey`: client `id` gets the access key `key`
//! - `revoke`: client `id`
//! - `look`: client `id`, or the one with the access key `key`, through the cache → the client or null
//! - `watch`: client `id` is looked up over and over, by another thread, until `unwatch` → how often; it fails if `member` of its
//!   metadata, a number, ever went back
//! - `beside`, `same_rows`: a run, see there → counts
//! - `staleness`: for how many milliseconds a change of another process may go unseen, as the backend declares it

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hivemind_model::{Change, Key, Mutation};
use hivemind_store::clients::{MetadataChange, NewClient};
use hivemind_store::{Client, Clients, Options, Storage};
use pollster::block_on;
use serde_json::{Map, Value, json};

use super::{as_json, beside, same_rows};

/// Opens a store as the program does, below this data folder or where its settings say.
///
/// # Errors
/// What the loader or the backend said.
pub fn open(plugins: &Path, module: &str, data: &Path, settings: &str) -> Result<Clients, String> {
    let loader = crate::loader(&[plugins], data);
    let settings: Map<String, Value> = serde_json::from_str(settings).map_err(|e| e.to_string())?;
    let opened = loader.open(module, &settings).map_err(|e| e.to_string())?;
    let storage = Storage::new(opened.backend, Options::default());
    block_on(Clients::open(&storage)).map_err(|e| e.to_string())
}

/// Answers until the input ends.
///
/// # Panics
/// If the store does not open, or nobody listens.
pub fn serve(plugins: &Path, module: &str, data: &Path, settings: &str) {
    let clients = open(plugins, module, data, settings).unwrap_or_else(|e| panic!("{e}"));
    let mut watch = None;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let answer = match answer(&clients, &mut watch, &request) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error }),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody listens");
    }
}

fn answer(clients: &Clients, watch: &mut Option<Watch>, request: &Value) -> Result<Value, String> {
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
        "watch" => {
            *watch = Some(Watch::start(clients.clone(), request["id"].as_i64().ok_or("which client?")?, text("member")));
            Ok(Value::Null)
        }
        "staleness" => Ok(json!(clients.storage().backend().capabilities().staleness().as_millis())),
        "unwatch" => watch.take().ok_or("nothing is watched")?.stop(),
        "beside" => beside::run(clients, &beside::Part::read(request)?),
        "same_rows" => same_rows::run(clients, &same_rows::Part::read(request)?),
        other => Err(format!("there is no op {other:?}")),
    }
}

/// A thread that looks one client up over and over.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Watch {
    fn start(clients: Clients, id: i64, member: &str) -> Self {
        let (stop, member) = (Arc::new(AtomicBool::new(false)), member.to_owned());
        let is_over = Arc::clone(&stop);
        let watch = move || {
            let (mut last, mut looks) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let client = block_on(clients.by_id(id)).map_err(|e| e.to_string())?.ok_or("it is gone")?;
                let now: u64 = client.metadata.member(&member).and_then(|n| n.parse().ok()).unwrap_or(0);
                if now < last {
                    return Err(format!("client {id}: {member} went back from {last} to {now}"));
                }
                (last, looks) = (now, looks + 1);
                // The others need the processor too.
                std::thread::sleep(Duration::from_micros(20));
            }
            Ok(looks)
        };
        Self { stop, thread: std::thread::spawn(watch) }
    }

    fn stop(self) -> Result<Value, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watching thread panicked".to_owned())?.map(|looks| json!(looks))
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
