//! Many at once.

use std::sync::{Mutex, PoisonError};

use hivemind_protocol::{Psk, psk_binding};
use hivemind_tests::node::PASSWORD;

use super::*;

/// Stock clients in one process, which all connect at the same moment, ask at the same moment, and each get their own answer.
fn crowd(make: Make, backend: Backend, many: usize) {
    // One crowd after the other: stock clients that get no processor time for half a minute leave by themselves.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The node's id has to be known before there is a node: what is derived from a password would take each of them a moment.
    let node_id = "a node that is known beforehand";
    let derived = Psk::derive(PASSWORD, node_id);
    let known = json!({"noise_psk": derived.to_hex().as_str(), "noise_psk_for": psk_binding(node_id, PASSWORD)});
    let clients: Vec<Client> = (0..many).map(|n| Client::new(&format!("key-{n}")).with_metadata(known.clone())).collect();
    let mut stage = Stage::on(Site::new(backend, &clients).with_node_id(node_id), make);
    let _skill = stage.site.bus().skill(UTTERANCE, "speak");
    let credentials: Vec<_> = clients.iter().map(|client| json!([client.key, client.password])).collect();
    let psks = json!({node_id: derived.to_hex().as_str()});
    let outcomes = stage.satellites.swarm(&credentials, &psks);
    assert_eq!(outcomes, vec!["up"; many]);
    let answers = stage.satellites.ask("", "ask_all", &json!({"type": UTTERANCE, "reply": "speak"}));
    let numbers: Vec<_> = answers.as_array().expect("a list").iter().map(|answer| answer["number"].as_u64()).collect();
    assert_eq!(numbers, (0..many as u64).map(Some).collect::<Vec<_>>());
}

/// So many.
const MANY: usize = 200;

#[test]
fn two_hundred_satellites_at_once_on_sqlite() {
    crowd(Make::Ours, Backend::Sqlite, MANY);
}

#[test]
fn two_hundred_satellites_at_once_on_json() {
    crowd(Make::Ours, Backend::Json, MANY);
}

#[test]
fn two_hundred_satellites_at_once_on_redis() {
    crowd(Make::Ours, Backend::Redis, MANY);
}

#[test]
fn two_hundred_satellites_at_once_on_memory() {
    crowd(Make::Ours, Backend::Memory, MANY);
}

#[test]
#[ignore = "the yardstick takes its time"]
fn two_hundred_satellites_at_once_on_the_python_node() {
    crowd(Make::Python, Backend::Sqlite, MANY);
}
