//! Whatever a satellite says, the node goes on, and what the agent gets bears the node's labels and no other.

use std::sync::Arc;

use hivemind_node::hub::{Arrival, Hub, Setup};
use hivemind_node::settings::Policy;
use hivemind_protocol::{Envelope, Object, RawJson};
use hivemind_store::Client;
use serde_json::{Value, json};

mod common;

use common::{ADDRESS, Satellite, World};

/// What the node itself tells the agent.
const OWN: [&str; 5] =
    ["hive.client.connect", "hive.client.disconnect", "hive.ping.received", "hive.query.received", "hive.cascade.received"];

/// Every message of the cases that were compared with the Python node.
fn messages() -> Vec<String> {
    let vectors: Value = serde_json::from_str(include_str!("../testdata/vectors.json")).expect("JSON");
    let steps = vectors["cases"].as_array().expect("cases").iter().flat_map(|case| case["steps"].as_array().expect("steps"));
    steps.filter_map(|step| step.get("message")).map(Value::to_string).collect()
}

fn pick(random: &mut fastrand::Rng, length: usize) -> std::ops::Range<usize> {
    let start = random.usize(..=length);
    start..random.usize(start..=length.min(start + 40))
}

/// One change somewhere: what breaks a message, or makes another one of it.
fn change(random: &mut fastrand::Rng, text: &mut Vec<u8>, all: &[String]) {
    const WORDS: [&str; 16] = [
        "null",
        "\"\"",
        "{}",
        "[]",
        "\\u0073",
        "\\ud800",
        "NaN",
        "1e999",
        "\"",
        "}",
        "{\"a\":",
        "[[[[",
        "ua::1::kitchen::s-1",
        ",\"session\":{\"session_id\":\"default\"}",
        "\"source\":\"x\",",
        "true",
    ];
    let place = pick(random, text.len());
    match random.u8(..5) {
        0 => drop(text.drain(place)),
        1 => drop(text.splice(place, random.choice(WORDS).unwrap_or_default().bytes())),
        2 => {
            let again = text[place.clone()].to_vec();
            drop(text.splice(place.end..place.end, again));
        }
        3 => {
            let other = random.choice(all).map(String::as_bytes).unwrap_or_default();
            let part = other[pick(random, other.len())].to_vec();
            drop(text.splice(place, part));
        }
        _ => {
            if let Some(byte) = text.get_mut(place.start) {
                *byte = random.u8(0x20..0x7f);
            }
        }
    }
}

/// A message for the agent's bus says who sent it, as the node knows it.
fn check(message: &str, names: &[(String, String)]) -> bool {
    let object = Object::parse(message).unwrap_or_else(|e| panic!("{e}: {message}"));
    if object.text("type").is_some_and(|kind| OWN.contains(&&*kind)) {
        return false;
    }
    let context = object.get("context").expect("a context").object().expect("an object");
    if context.get("query_id").is_some() && context.get("source").is_none() {
        return false; // a question, asked in a session of its own
    }
    let source = context.text("source").expect("a source");
    let (_, namespace) = names.iter().find(|(name, _)| *name == source).unwrap_or_else(|| panic!("{source} sent {message}"));
    assert_eq!(context.text("peer").as_deref(), Some(&*source), "{message}");
    assert_eq!(context.text("destination").as_deref(), Some("hivemind"), "{message}");
    let session = context.get("session").map(RawJson::object).expect("a session").expect("an object");
    assert!(session.get("session_id").expect("an id").get().starts_with(&format!("\"{namespace}:")), "{message}");
    true
}

fn join(hub: &Arc<Hub>, client: &Arc<Client>) -> Satellite {
    let session_id = format!("s-{}", client.id);
    Satellite::join(hub, Arrival { client: Arc::clone(client), user_agent: "ua".to_owned(), address: ADDRESS, session_id })
}

#[tokio::test]
async fn no_message_stops_the_node_or_passes_for_anothers() {
    let world = World::new();
    let hub = Hub::new(Setup { policy: vec![Policy::Ovos], site_id: Some("here".to_owned()), ..world.setup() });
    let types = ["recognizer_loop:utterance", "ovos.utterance.handle", "a.b", "x.y", "speak", "default", "null", ""];
    let namespaces = ["b96740a3e0d95c96", "073d147f995614a7"];
    let mut clients = Vec::new();
    for id in 1..=2 {
        let record = json!({"client_id": id, "api_key": format!("key-{id}"), "name": "kitchen", "allowed_types": types,
            "metadata": {"skill_blacklist": ["s"]}});
        clients.push(world.insert(&record).await);
    }
    let mut satellites: Vec<Satellite> = clients.iter().map(|client| join(&hub, client)).collect();
    let (all, mut random, mut passed) = (messages(), fastrand::Rng::with_seed(6), 0);
    for _ in 0..20_000 {
        let mut text = random.choice(&all).expect("messages").clone().into_bytes();
        for _ in 0..random.u8(..4) {
            change(&mut random, &mut text, &all);
        }
        let at = random.usize(..satellites.len());
        satellites[at].say(&String::from_utf8_lossy(&text)).await;
        let names: Vec<(String, String)> =
            satellites.iter().zip(namespaces).map(|(s, namespace)| (s.seat.peer().to_owned(), namespace.to_owned())).collect();
        passed += world.agent.texts().iter().filter(|message| check(message, &names)).count();
        for (satellite, client) in satellites.iter_mut().zip(&clients) {
            for text in satellite.texts() {
                Envelope::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            }
            if satellite.closed.is_some() {
                *satellite = join(&hub, client);
            }
        }
    }
    assert!(passed > 1000, "only {passed} messages reached the agent: this test shows nothing");
}
