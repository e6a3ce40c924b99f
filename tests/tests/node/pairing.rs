//! Two devices with the credentials of one client that come for the first time at the same moment: one of them is the client from then
//! on, and the other is told so.

use std::sync::Barrier;
use std::time::Instant;

use hivemind_protocol::StaticKey;
use hivemind_tests::node::handshake::{Answered, Asked};
use hivemind_tests::node::raw::{self, Device, Frame, Raw};
use hivemind_tests::waiting::HANGS;

use super::*;

const CONTRADICTS: &str = "client Noise static key contradicts the pinned key";

/// All steps of both but the last, then those at once: each time one is in, and the record has its key.
fn one_of_two_devices_stays(backend: Backend) {
    let clients: Vec<Client> = (0..races::rounds()).map(|n| Client::new(&format!("key-{n}"))).collect();
    let stage = Stage::new(Make::Ours, backend, &clients);
    let mut stayed = Vec::new();
    for client in &clients {
        let pair = ["first", "second"].map(|device| {
            let key = StaticKey::generate().expect("randomness");
            let raw = Raw::of(stage.node.port(), device, &client.key);
            let asked = Asked::of(raw, &key, |node_id| raw::psk(&client.password, node_id)).expect("it begins");
            (device, key, asked.answered().expect("the node answers"))
        });
        let start = Barrier::new(2);
        let come_in = |device: &str, answered: Answered| {
            start.wait();
            let mut device: Device = answered.finish(device)?;
            // It hears only now whether it is in: an answer to what it is not allowed to say.
            let said = device.try_say("bus", &raw::bus("ovos.not.allowed", &json!({})));
            said.map_err(|_| device.raw.end())?;
            device.hear().map(|denial| (device, denial))
        };
        let ends = std::thread::scope(|scope| {
            let all = pair.map(|(device, key, answered)| (key, scope.spawn(move || come_in(device, answered))));
            all.map(|(key, end)| (key, end.join().expect("no panic")))
        });
        let (is_in, is_out): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(_, end)| end.is_ok());
        let ended: Vec<_> = is_out.into_iter().filter_map(|(_, end)| end.err()).collect();
        assert_eq!(ended, [Frame::Close(1008, CONTRADICTS.to_owned())], "{}", client.key);
        stayed.extend(is_in.into_iter().map(|(key, _)| key.public().map(|byte| format!("{byte:02x}")).concat()));
    }
    let pinned: Vec<_> = stage.site.clients().iter().map(|client| client["metadata"]["noise_pubkey"].clone()).collect();
    assert_eq!(pinned, stayed);
}

#[test]
fn one_of_two_devices_stays_on_sqlite() {
    one_of_two_devices_stays(Backend::Sqlite);
}

#[test]
fn one_of_two_devices_stays_on_json() {
    one_of_two_devices_stays(Backend::Json);
}

#[test]
fn one_of_two_devices_stays_on_redis() {
    one_of_two_devices_stays(Backend::Redis);
}

/// The same with stock satellites, whose processes are told at once: each has its session for a moment, and one keeps it.
fn one_of_two_satellites_stays(backend: Backend) {
    let kitchen = Client::new("key-kitchen");
    let stage = Stage::new(Make::Ours, backend, std::slice::from_ref(&kitchen));
    let mut rivals = [Satellites::of(&stage.site), Satellites::beside(&stage.site, "rivals")];
    // Both processes are there when it begins.
    for rival in &mut rivals {
        assert_eq!(rival.connect("nobody", &Client::new("key-of-nobody")), Outcome::Refused("invalid api key".to_owned()));
    }
    rivals.iter_mut().for_each(|rival| rival.begin("one", &kitchen));
    for rival in &mut rivals {
        assert_eq!(rival.outcome(), Outcome::Up("XXpsk2".to_owned()));
    }
    let end = Instant::now() + HANGS;
    let ends = |rival: &mut Satellites| rival.try_ask("one", "end", &json!({"seconds": 0.2})).ok();
    let (out, told) = loop {
        assert!(Instant::now() < end, "both stay");
        if let Some(found) = rivals.iter_mut().enumerate().find_map(|(n, rival)| Some((n, ends(rival)?))) {
            break found;
        }
    };
    assert_eq!(told, json!({"code": 1008, "reason": CONTRADICTS}));
    let winner = &mut rivals[1 - out];
    winner.send("one", UTTERANCE, &json!({"mark": "the winner"}));
    stage.tap.wait("the winner", |message| message["data"]["mark"] == "the winner");
    assert_eq!(ends(winner), None, "it stays");
}

#[test]
fn one_of_two_satellites_stays_on_sqlite() {
    one_of_two_satellites_stays(Backend::Sqlite);
}

#[test]
fn one_of_two_satellites_stays_on_json() {
    one_of_two_satellites_stays(Backend::Json);
}

#[test]
fn one_of_two_satellites_stays_on_redis() {
    one_of_two_satellites_stays(Backend::Redis);
}
