//! Satellites that are let in and want more than their part: what the node holds for them.

use std::time::{Duration, Instant};

use hivemind_tests::node::raw::{Device, bus, envelope};

use super::*;

/// Bytes that a node may grow by, whatever they were for: messages are copied while they are taken apart, and what was given back to the
/// allocator is not all given back to the system.
const SLACK: u64 = 64 << 20;

/// The most that a node has grown by in the next moment.
fn most(node: &Node, before: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(2);
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(node.resident().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(20));
    }
    most
}

/// What goes to many is held once, and for each that does not read only what fits its connection.
#[test]
fn a_long_message_for_many_is_there_once() {
    const MANY: usize = 24;
    const LONG: usize = 8_000_000;
    let clients = ["key-in", "key-deaf"].map(Client::new);
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &clients);
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let mut deaf: Vec<Device> = (0..MANY).map(|n| Device::up(port, &format!("deaf-{n}"), &clients[1])).collect();
    for (n, deaf) in deaf.iter_mut().enumerate() {
        deaf.send(UTTERANCE, &json!({"mark": n}));
        stage.tap.wait("a deaf one", |m| m["data"]["mark"] == n);
    }
    let before = stage.node.resident();
    let text = "a".repeat(LONG);
    let payload = envelope("bus", &bus("news", &json!({"text": text})));
    stage.tap.say(&json!({"type": "hive.send.downstream", "data": {"msg_type": "broadcast", "payload": payload}, "context": {}}));
    let heard = |device: &mut Device| {
        let heard = device.hear().expect("it is there");
        heard["payload"]["payload"]["data"]["text"].as_str().map(str::len)
    };
    assert_eq!(heard(&mut device), Some(LONG));
    let grown = most(&stage.node, before);
    assert!(grown < SLACK + (MANY as u64) * (1 << 20), "{} MiB more for one message of 8 MB", grown >> 20);
    for deaf in &mut deaf {
        assert_eq!(heard(deaf), Some(LONG));
    }
}
