//! The node does with messages what the Python node does: each case was given to both, see `tests/python/node_vectors.py`.

use hivemind_node::hub::{Arrival, Hub, Setup};
use hivemind_node::settings::Policy;
use serde_json::{Value, json};

mod common;

use common::{NODE, Satellite, World};

/// Without what differs for a reason: the words for people where the Python node quotes its own exception, and what the case names.
fn comparable(case: &Value, mut message: Value) -> Value {
    if case["differs"].is_string() {
        message["payload"]["payload"]["context"] = Value::Null;
    }
    if message["payload"]["data"]["code"] == "policy_error" {
        message["payload"]["data"]["reason"] = Value::Null;
        message["payload"]["data"]["data"] = Value::Null;
    }
    // Its own PINGs say when.
    if message["msg_type"] == "propagate" && message["payload"]["payload"]["public_key"] == NODE {
        message["payload"]["payload"]["timestamp"] = json!(0);
    }
    message
}

async fn run(case: &Value) {
    let name = case["name"].as_str().expect("a name");
    let world = World::new();
    let chain = case["chain"].as_array().expect("a chain").iter().map(|_| Policy::Ovos).collect();
    if case["bus_up"] == json!(false) {
        world.agent.go_away();
    }
    let hub = Hub::new(Setup { site_id: case["site_id"].as_str().map(str::to_owned), policy: chain, ..world.setup() });
    let mut satellites = Vec::new();
    for (record, hello) in case["clients"].as_array().expect("clients").iter().zip(case["hellos"].as_array().expect("hellos")) {
        let client = world.insert(record).await;
        let session_id = format!("greeted-{}", client.id);
        let arrival = Arrival { client, user_agent: "ua".to_owned(), address: common::ADDRESS, session_id };
        let mut satellite = Satellite::join(&hub, arrival);
        satellite.send(&json!({"msg_type": "hello", "payload": hello})).await;
        satellites.push(satellite);
    }
    for step in case["steps"].as_array().expect("steps") {
        if let Some(database) = step["database"].as_str() {
            world.break_storage(database == "broken");
            for id in step["revoked"].as_array().into_iter().flatten() {
                world.revoke(id.as_i64().expect("an id")).await;
            }
        } else if let Some(from) = step["from"].as_u64() {
            satellites[usize::try_from(from).expect("few")].send(&step["message"]).await;
        } else {
            hub.deliver(&step["bus"].to_string());
        }
    }
    let lifecycle = |message: &Value| message["type"].as_str().is_some_and(|kind| kind.starts_with("hive.client.connect"));
    let agent: Vec<Value> = world.agent.heard().into_iter().filter(|message| !lifecycle(message)).collect();
    assert_eq!(json!(agent), case["agent"], "{name}: what the agent hears");
    for (at, satellite) in satellites.iter_mut().enumerate() {
        let sent: Vec<Value> = satellite.heard().into_iter().map(|message| comparable(case, message)).collect();
        let expected: Vec<Value> =
            case["sent"][at].as_array().expect("a list").iter().cloned().map(|message| comparable(case, message)).collect();
        assert_eq!(json!(sent), json!(expected), "{name}: what satellite {at} hears");
        // The Python node leaves a revoked client its connection, on which all it sends is denied.
        if case["name"] != "revoked while connected" {
            let closed = satellite.closed.as_ref().map(|close| json!([close.code, close.reason]));
            assert_eq!(json!(closed), case["closed"][at], "{name}: how satellite {at} is closed");
        }
    }
}

#[tokio::test]
async fn messages_become_what_the_python_node_makes_of_them() {
    let vectors: Value = serde_json::from_str(include_str!("../testdata/vectors.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() > 40 && vectors["node_id"] == NODE);
    for case in cases {
        run(case).await;
    }
}
