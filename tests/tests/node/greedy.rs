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

/// One access key is enough for any number of sessions, each of which may begin a message of 32 MiB. All of them share a part.
#[test]
fn messages_that_are_never_finished_have_a_budget() {
    const BUDGET: u64 = 64 << 20;
    let clients = ["key-in", "key-greedy"].map(Client::new);
    let site = Site::new(Backend::Sqlite, &clients);
    site.change(|config| config["hivemind-host"]["limits"] = json!({"incoming_bytes": BUDGET}));
    let stage = Stage::on(site, Make::Ours);
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let body = envelope("bus", &bus(UTTERANCE, &json!({"text": "a".repeat(30_000_000)}))).to_string();
    let before = stage.node.resident();
    let mut greedy = Vec::new();
    let mut refused = 0;
    for n in 0..10 {
        let mut one = Device::up(port, &format!("greedy-{n}"), &clients[1]);
        let mut frames = one.sealed(body.as_bytes());
        frames.pop();
        match frames.into_iter().try_for_each(|frame| one.raw.binary(frame)) {
            Ok(()) => greedy.push(one),
            Err(_) => refused += 1,
        }
    }
    device.send(UTTERANCE, &json!({"text": "b".repeat(1_000_000)}));
    stage.tap.wait("a long message of another", |m| m["data"]["text"].as_str().is_some_and(|text| text.starts_with('b')));
    let grown = most(&stage.node, before);
    assert!(grown < BUDGET + SLACK, "{} MiB more, and {refused} of 10 refused", grown >> 20);
}

/// What is dealt with is let go of, though its connection says nothing more.
#[test]
fn messages_that_were_dealt_with_are_let_go() {
    let client = Client::new("key-in");
    let stage = Stage::new(Make::Ours, Backend::Sqlite, std::slice::from_ref(&client));
    let body = envelope("bus", &bus("not.allowed", &json!({"text": "a".repeat(30_000_000)}))).to_string();
    let before = stage.node.resident();
    let mut devices = Vec::new();
    for n in 0..8 {
        let mut device = Device::up(stage.node.port(), &format!("device-{n}"), &client);
        device.sealed(body.as_bytes()).into_iter().try_for_each(|frame| device.raw.binary(frame)).expect("sent");
        assert_eq!(device.wait("hive.policy.denied")["payload"]["data"]["code"], "acl_disallowed_type");
        devices.push(device);
    }
    let grown = stage.node.resident().saturating_sub(before);
    assert!(grown < SLACK + (32 << 20), "{} MiB more", grown >> 20);
}

/// A message of millions of members costs not much more than its text, whoever sends it: this one may send nothing.
#[test]
fn a_message_of_millions_of_members_costs_its_text() {
    let mut nobody = Client::new("key-nobody");
    nobody.allowed.clear();
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &[nobody.clone()]);
    let mut device = Device::up(stage.node.port(), "device", &nobody);
    device.send(UTTERANCE, &json!({}));
    device.wait("hive.policy.denied");
    let members: String = (0..2_500_000).map(|n| format!(",\"{n:x}\":0")).collect();
    let messages = [
        format!("{{\"msg_type\":\"bus\",\"payload\":{{\"type\":\"x\"{members}}}}}"),
        format!(
            "{{\"msg_type\":\"propagate\",\"payload\":{{\"msg_type\":\"bus\",\"payload\":{{\"type\":\"x\"}}}},\"route\":[0{}]}}",
            ",0".repeat(14_000_000)
        ),
    ];
    for message in &messages {
        assert!(message.len() > 24_000_000 && message.len() < 32 << 20, "{}", message.len());
        let before = stage.node.resident();
        stage.node.forget_peak();
        device.sealed(message.as_bytes()).into_iter().try_for_each(|frame| device.raw.binary(frame)).expect("sent");
        let denial = device.wait("hive.policy.denied");
        let grown = stage.node.peak().saturating_sub(before);
        assert!(grown < 2 * (32 << 20) + SLACK / 2, "{} MiB more", grown >> 20);
        assert_eq!(denial["payload"]["data"]["code"], "malformed_payload");
    }
}
