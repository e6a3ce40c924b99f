//! What the hub looks after by itself while the storage is slow or fails.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::{ADDRESS, Satellite, World};
use hivemind_model::Key;
use hivemind_node::hub::{Arrival, Hub};
use hivemind_store::Client;
use serde_json::{Value, json};

/// Longer than anything takes that does not hang.
const HANGS: Duration = Duration::from_secs(60);

const UTTERANCE: &str = "recognizer_loop:utterance";

fn record(id: i64) -> Value {
    json!({"client_id": id, "api_key": format!("key-{id}"), "name": "kitchen", "allowed_types": [UTTERANCE]})
}

fn arrival(client: &Arc<Client>) -> Arrival {
    Arrival { client: Arc::clone(client), user_agent: "ua".into(), address: ADDRESS, session_id: format!("s-{}", client.id) }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A storage that takes its time, up to its deadline, to say what changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn questions_end_although_the_storage_does_not_answer() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let client = world.insert(&record(1)).await;
    let mut satellite = Satellite::join(&hub, arrival(&client));
    let (hangs, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (entered, over) = (Arc::clone(&hangs), Arc::clone(&is_over));
    *world.backend.after_lookup.lock().expect("a lock") = Some(Box::new(move || {
        entered.store(true, SeqCst);
        let end = Instant::now() + HANGS;
        while !over.load(SeqCst) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }));
    // The first that looks at the record is the hub, for a connection that is new.
    world.backend.log.lock().expect("a lock").push(Key::Int(1));
    hub.start();
    until("it hangs", || hangs.load(SeqCst)).await;
    let said = json!({"type": UTTERANCE, "data": {"utterances": ["is anybody there"]}, "context": {}});
    let question = json!({"msg_type": "query", "payload": {"msg_type": "bus", "payload": said}, "metadata": {"query_id": "q"}});
    satellite.send(&question).await;
    let mut heard = Vec::new();
    until("its end", || {
        heard.extend(satellite.heard());
        heard.iter().any(|message| message["payload"]["payload"]["type"] == "hive.query.timeout")
    })
    .await;
    assert!(!is_over.swap(true, SeqCst));
}

/// One call that fails says all there is to know of a storage; nobody is forgotten for it.
#[tokio::test]
async fn a_storage_that_fails_is_not_asked_about_everybody() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let mut satellites = Vec::new();
    for id in 1..=50 {
        satellites.push(Satellite::join(&hub, arrival(&world.insert(&record(id)).await)));
    }
    world.backend.database_down.store(true, SeqCst);
    world.backend.log.lock().expect("a lock").extend((1..=50).map(Key::Int));
    hub.start();
    until("it is asked again", || world.looks.records_failed.load(SeqCst) >= 3).await;
    let (failed, ticks) = (world.looks.records_failed.load(SeqCst), world.looks.answered.load(SeqCst));
    assert!(failed <= ticks + 1, "{failed} calls in {ticks} rounds");
    world.backend.database_down.store(false, SeqCst);
    for id in 1..=50 {
        world.revoke(id).await;
    }
    until("all are closed", || {
        satellites.iter_mut().for_each(|satellite| drop(satellite.heard()));
        satellites.iter().all(|satellite| satellite.closed.is_some())
    })
    .await;
}
