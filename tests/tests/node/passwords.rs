//! What is derived from passwords: kept in the records, where either node finds it, and bounded while it is derived.

use std::time::Duration;

use hivemind_protocol::{Psk, StaticKey, psk_binding};
use hivemind_tests::node::PASSWORD;
use hivemind_tests::node::handshake::Asked;
use hivemind_tests::node::raw::{self, Device, Frame, Raw};
use hivemind_tests::waiting::wait_until;

use super::*;

on_each!(what_a_record_keeps_counts);

/// In place of what is derived: nothing that any password comes to.
fn another() -> String {
    "5a".repeat(32)
}

/// A stock satellite that has this in place of what it would derive, and is let in by it, with a device of its own.
fn gets_in_by(stage: &mut Stage, client: &Client, psk: &str) {
    let psks = json!({stage.node_id(): psk});
    assert_eq!(stage.satellites.swarm(&[json!([client.key, client.password])], &psks), ["up"]);
    stage.satellites.send("swarm-0", UTTERANCE, &json!({"mark": psk}));
    stage.tap.wait("what it says", |message| message["data"]["mark"] == psk);
}

/// A node goes by what the record keeps for this password and this node, and does not derive it: other bytes in that place are what lets
/// a satellite in, and the password is not.
fn what_a_record_keeps_counts(make: Make, backend: Backend) {
    let node_id = "a node that is known beforehand";
    let kept = json!({"noise_psk": another(), "noise_psk_for": psk_binding(node_id, PASSWORD)});
    let kitchen = Client::new("key-kitchen").with_metadata(kept.clone());
    let site = Site::new(backend, std::slice::from_ref(&kitchen)).with_node_id(node_id);
    let mut stage = Stage::on(site, make);
    assert_eq!(stage.satellites.connect("one", &kitchen), Outcome::Ended(Some(1000), String::new()));
    stage.satellites.ask("one", "close", &json!({}));
    gets_in_by(&mut stage, &kitchen, &another());
    if backend != Backend::Memory {
        let now = &stage.site.client(1)["metadata"];
        assert_eq!((&now["noise_psk"], &now["noise_psk_for"]), (&kept["noise_psk"], &kept["noise_psk_for"]));
    }
}

/// What one node keeps in a record the other goes by: as the first wrote it but for the bytes, by which it is told that the second has
/// not derived it.
fn handed_over(from: Make, to: Make, backend: Backend) {
    let kitchen = Client::new("key-kitchen");
    let mut stage = Stage::new(from, backend, std::slice::from_ref(&kitchen));
    stage.satellites.up("one", &kitchen);
    stage.satellites.ask("one", "close", &json!({}));
    let kept = |site: &Site| site.client(1)["metadata"].clone();
    wait_until("kept", || kept(&stage.site)["noise_psk_for"].is_string());
    let node_id = stage.node_id();
    let written = kept(&stage.site);
    assert_eq!(written["noise_psk"], raw::psk(PASSWORD, &node_id).to_hex().as_str());
    assert_eq!(written["noise_psk_for"], psk_binding(&node_id, PASSWORD));
    let Stage { node, site, .. } = stage;
    node.stop();

    site.run(&["set-metadata", "key-kitchen", "--metadata", &json!({"noise_psk": another()}).to_string()]).well();
    site.run(&["reset-noise-pin", "key-kitchen"]).well();
    let mut stage = Stage::on(site, to);
    gets_in_by(&mut stage, &kitchen, &another());
    let now = kept(&stage.site);
    assert_eq!((&now["noise_psk"], &now["noise_psk_for"]), (&json!(another()), &written["noise_psk_for"]));
}

#[test]
fn what_the_python_node_keeps_ours_goes_by_on_sqlite() {
    handed_over(Make::Python, Make::Ours, Backend::Sqlite);
}

#[test]
fn what_the_python_node_keeps_ours_goes_by_on_json() {
    handed_over(Make::Python, Make::Ours, Backend::Json);
}

#[test]
fn what_the_python_node_keeps_ours_goes_by_on_redis() {
    handed_over(Make::Python, Make::Ours, Backend::Redis);
}

#[test]
fn what_ours_keeps_the_python_node_goes_by_on_sqlite() {
    handed_over(Make::Ours, Make::Python, Backend::Sqlite);
}

#[test]
fn what_ours_keeps_the_python_node_goes_by_on_json() {
    handed_over(Make::Ours, Make::Python, Backend::Json);
}

#[test]
fn what_ours_keeps_the_python_node_goes_by_on_redis() {
    handed_over(Make::Ours, Make::Python, Backend::Redis);
}

/// What one derivation takes, and what else may be taken meanwhile.
const DERIVATION: u64 = 64 << 20;
const SLACK: u64 = 32 << 20;

/// Whoever knows access keys can have as many passwords stretched: that takes the memory of two and no more, and happens where it holds
/// up nobody whose session is up.
#[test]
fn many_passwords_at_once_take_the_memory_of_two_and_hold_up_nobody() {
    let many = 12;
    let strangers: Vec<Client> =
        (0..many).map(|n| Client::new(&format!("key-{n}")).with_password(&format!("kettle-orbit-{n}-mango-lantern"))).collect();
    let kitchen = Client::new("key-kitchen");
    let site = Site::new(Backend::Sqlite, &[strangers.clone(), vec![kitchen.clone()]].concat());
    site.change(|config| {
        config["agent_protocol"] = json!({"module": "echo"});
        config["hivemind-host"]["limits"] = json!({"derivations": 2});
    });
    // One thread for the network: what held it up would hold up everybody, however many processors there are.
    let node = site.start_with(Make::Ours, &[], |command| _ = command.env("TOKIO_WORKER_THREADS", "1"));
    let mut device = Device::up(node.port(), "device", &kitchen);
    let round_trip = |device: &mut Device| {
        device.send(UTTERANCE, &json!({"utterances": ["still there?"], "lang": "en-us"}));
        device.wait("speak");
    };
    round_trip(&mut device);
    let before = node.resident();
    node.forget_peak();
    // What they know does not matter: the node answers when it has derived its own side.
    let (key, psk) = (StaticKey::generate().expect("randomness"), Psk::from_hex(&another()).expect("a key"));
    let psk = std::sync::Arc::new(psk);
    let asked: Vec<Asked> = strangers
        .iter()
        .map(|client| Asked::of(Raw::of(node.port(), "stranger", &client.key), &key, |_| psk.clone()).expect("it begins"))
        .collect();
    let mut round_trips = 0;
    for mut stranger in asked {
        let answer = loop {
            match stranger.raw.read_within(Duration::from_millis(1)) {
                Some(answer) => break answer,
                None => round_trip(&mut device),
            }
            round_trips += 1;
        };
        assert!(matches!(&answer, Frame::Text(text) if text["msg_type"] == "shake"), "{answer:?}");
    }
    let grown = node.peak().saturating_sub(before);
    println!("{round_trips} round trips while {many} passwords were stretched, in {} MiB", grown >> 20);
    assert!(grown > DERIVATION / 2, "{grown} bytes more: that is not what a derivation takes, so nothing was measured");
    assert!(grown < 2 * DERIVATION + SLACK, "{grown} bytes more");
    // On the thread of the network each of them would have had to wait for a derivation.
    assert!(round_trips > 2 * many, "{round_trips} round trips");
}
