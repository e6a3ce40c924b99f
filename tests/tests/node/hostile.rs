//! Peers that do harm.

use hivemind_tests::node::raw::{Device, Frame, bus, envelope};

use super::*;

on_both!(frames_that_are_not_the_next);

const NOT_NEXT: &str = "invalid Noise transport message (tampered, replayed or out-of-order)";

/// In a session every frame is the next one of the one who has the key, or the session is over; what came before has counted once.
fn frames_that_are_not_the_next(make: Make) {
    let deeds: [(&str, fn(&mut Device)); 6] = [
        (NOT_NEXT, |device| drop(device.raw.binary(vec![7; 200]))),
        (NOT_NEXT, |device| drop(device.raw.binary(Vec::new()))),
        ("non-Noise message received on a protocol v3 session", |device| drop(device.raw.text("{}"))),
        (NOT_NEXT, |device| {
            let frame = utterance(device, "once").remove(0);
            let _ = device.raw.binary(frame.clone()).and_then(|()| device.raw.binary(frame));
        }),
        (NOT_NEXT, |device| {
            let (first, second) = (utterance(device, "never").remove(0), utterance(device, "never").remove(0));
            let _ = device.raw.binary(second).and_then(|()| device.raw.binary(first));
        }),
        (NOT_NEXT, |device| {
            let mut frame = utterance(device, "never").remove(0);
            frame[20] ^= 1;
            let _ = device.raw.binary(frame);
        }),
    ];
    let clients: Vec<Client> = (0..=deeds.len()).map(|n| Client::new(&format!("key-{n}"))).collect();
    let stage = Stage::new(make, Backend::Sqlite, &clients);
    let mut bystander = Device::up(stage.node.port(), "bystander", &clients[deeds.len()]);
    for (n, (reason, deed)) in deeds.into_iter().enumerate() {
        let mut device = Device::up(stage.node.port(), "device", &clients[n]);
        deed(&mut device);
        assert_eq!(device.raw.end(), Frame::Close(1008, reason.to_owned()), "deed {n}");
    }
    bystander.send(UTTERANCE, &json!({"utterances": ["last"]}));
    stage.tap.wait("the bystander", |m| m["data"]["utterances"][0] == "last");
    let said: Vec<_> = stage.tap.heard().into_iter().filter(|m| m["type"] == UTTERANCE).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["data"]["utterances"][0], "once");
}

fn utterance(device: &mut Device, text: &str) -> Vec<Vec<u8>> {
    device.sealed(envelope("bus", &bus(UTTERANCE, &json!({"utterances": [text]}))).to_string().as_bytes())
}
