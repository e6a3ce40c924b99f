//! Who is in a hub, what its record lets it do from one moment to the next, and what nobody can do to others.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hivemind_node::agent::echo::Echo;
use hivemind_node::close::Close;
use hivemind_node::event::{Event, Observer};
use hivemind_node::hub::{Arrival, Hub, Setup};
use hivemind_node::outbox::{Item, outbox};
use hivemind_node::policy::{Denial, Verdict, judge};
use hivemind_node::settings::Policy;
use hivemind_protocol::{BinaryFrame, Message, MessageType};
use hivemind_store::Client;
use serde_json::{Value, json};

#[path = "../common/mod.rs"]
mod common;
mod messages;
mod records;

use common::{ADDRESS, Satellite, World};

const UTTERANCE: &str = "recognizer_loop:utterance";

/// Longer than anything takes that does not hang.
const HANGS: Duration = Duration::from_secs(120);

fn record(id: i64) -> Value {
    json!({"client_id": id, "api_key": format!("secret-key-{id}"), "name": "kitchen", "allowed_types": [UTTERANCE]})
}

fn arrival(client: &Arc<Client>) -> Arrival {
    let session_id = format!("greeted-{}", client.id);
    Arrival { client: Arc::clone(client), user_agent: "ua".to_owned(), address: ADDRESS, session_id }
}

fn hello(session_id: &str) -> Value {
    json!({"msg_type": "hello", "payload": {"session": {"session_id": session_id}, "site_id": "here"}})
}

fn bus(kind: &str) -> Value {
    json!({"msg_type": "bus", "payload": {"type": kind, "data": {}, "context": {}}})
}

fn code(message: &Value) -> &str {
    message["payload"]["data"]["code"].as_str().unwrap_or_default()
}

/// Keeps the words of events.
#[derive(Debug, Default)]
struct Events(Mutex<Vec<String>>);

impl Observer for Events {
    fn see(&self, event: &Event<'_>) {
        let word = match event {
            Event::Judged { envelope, message_type, denied, party, .. } => {
                format!("{envelope} {message_type} of {} {}", party.client.unwrap_or(0), denied.unwrap_or("passed"))
            }
            Event::TooSlow { party } => format!("too slow {}", party.client.unwrap_or(0)),
            Event::NotRelayed { party } => format!("not relayed {}", party.client.unwrap_or(0)),
            Event::Delivered { receivers } => format!("delivered {receivers}"),
            _ => return,
        };
        self.0.lock().expect("a lock").push(word);
    }
}

impl Events {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("a lock"))
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !is_so() {
        assert!(Instant::now() < end, "not after {HANGS:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
