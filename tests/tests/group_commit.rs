//! The Python node beside eight threads of ours that write one `clients.db` without a gap: its patience is ten seconds.

use std::sync::atomic::{AtomicBool, Ordering};

use hivemind_model::{Change, Context, Key, KeyRef, Mutation};
use hivemind_store::clients::collection;
use hivemind_tests::python::Peer;
use hivemind_tests::waiting::StopOnDrop;
use hivemind_tests::{build, loader};
use serde_json::json;

static CX: Context<'_> = Context::unbounded();

#[test]
fn the_python_node_gets_its_turn_and_nothing_of_either_is_lost() {
    let home = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(home.path());
    peer.ask(&json!({"op": "open", "kind": "sqlite"}));
    for id in 1..=9 {
        peer.ask(&json!({"op": "add", "client": {"client_id": id, "api_key": format!("key-{id}")}}));
    }
    let data = home.path().join("data");
    let settings = json!({"subfolder": data.join("hivemind-core")});
    let store = loader(&[&build::shipped_plugins()], &data)
        .open("sqlite", settings.as_object().expect("an object"))
        .unwrap_or_else(|e| panic!("{e}"))
        .backend;
    let clients = collection();
    let last_seen = clients.position("last_seen").expect("a field");
    let id = store.prepare(&CX, std::slice::from_ref(&clients)).expect("prepares")[0];
    let stop = AtomicBool::new(false);
    let totals: Vec<u32> = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=8)
            .map(|key| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count += 1;
                        let changes = vec![Change::set(last_seen, f64::from(count))];
                        let update = Mutation::Update { collection: id, key: Key::Int(key), changes, when: Vec::new() };
                        store.apply(&CX, &[update]).expect("applied");
                    }
                    count
                })
            })
            .collect();
        let stops = StopOnDrop(&stop);
        // Its row is one that ours leave alone: it writes whole rows.
        let wrote: Result<Vec<_>, String> = (0..15)
            .map(|n| peer.try_ask(&json!({"op": "set_field", "id": 9, "fields": {"name": format!("round {n}")}})))
            .collect();
        drop(stops);
        wrote.expect("it got the lock each time");
        writers.into_iter().map(|w| w.join().expect("no panic")).collect()
    });
    assert_eq!(peer.ask(&json!({"op": "get_by_id", "id": 9}))["name"], "round 14");
    for (key, total) in (1..=8).zip(totals) {
        let row = store.get(&CX, id, KeyRef::Int(key)).expect("gets").expect("a client");
        let value = row.view(&clients).expect("a view").at(last_seen).to_value();
        assert_eq!(value, hivemind_model::Value::Real(f64::from(total)));
        assert_eq!(peer.ask(&json!({"op": "get_by_id", "id": key}))["last_seen"], f64::from(total));
    }
}
