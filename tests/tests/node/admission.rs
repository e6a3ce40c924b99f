//! Who is let in, who is not, and what those hear who are not.

use hivemind_tests::node::OTHER_PASSWORD;
use hivemind_tests::node::raw::Device;
use hivemind_tests::python;

use super::*;

on_each!(known_and_unknown, pinned_keys, revoked);

/// The right key and password; a wrong key; a wrong password, which the satellite notices and not the node.
fn known_and_unknown(make: Make, backend: Backend) {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden").with_password(OTHER_PASSWORD));
    let mut stage = Stage::new(make, backend, &[kitchen.clone(), garden.clone()]);
    let satellites = &mut stage.satellites;
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Up("XXpsk2".to_owned()));
    assert_eq!(satellites.connect("two", &garden), Outcome::Up("XXpsk2".to_owned()));
    let nobody = Client::new("key-of-nobody");
    assert_eq!(satellites.connect("three", &nobody), Outcome::Refused("invalid api key".to_owned()));
    let wrong = kitchen.clone().with_password(OTHER_PASSWORD);
    assert_eq!(satellites.connect("four", &wrong), Outcome::Ended(Some(1000), String::new()));
    // Two are in, and nobody else's attempt has harmed them.
    satellites.send("one", UTTERANCE, &json!({"utterances": ["one"]}));
    satellites.send("two", UTTERANCE, &json!({"utterances": ["two"]}));
    for name in ["one", "two"] {
        stage.tap.wait(name, |m| m["type"] == UTTERANCE && m["data"]["utterances"][0] == name);
    }
}

/// Both sides keep each other's Noise key and go by it from then on; another's key for the same client is refused.
fn pinned_keys(make: Make, backend: Backend) {
    let kitchen = Client::new("key-kitchen");
    let mut stage = Stage::new(make, backend, std::slice::from_ref(&kitchen));
    let satellites = &mut stage.satellites;
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Up("XXpsk2".to_owned()));
    // It is up before the node has its key; whose message has arrived, is pinned.
    satellites.send("one", UTTERANCE, &json!({}));
    stage.tap.wait_for(UTTERANCE);
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Up("KKpsk0".to_owned()));
    // It has sent all there is to send when its key is looked at, so it believes for a moment that it is in.
    assert_eq!(satellites.connect("thief", &kitchen), Outcome::Up("XXpsk2".to_owned()));
    let (code, reason) = satellites.end("thief");
    assert_eq!(code, Some(1008));
    let contradicts = "client Noise static key contradicts the pinned key";
    // The Python node reads the satellite's next frame while the connection is closing, and may stumble over it.
    let allowed = if make == Make::Ours { &[contradicts][..] } else { &[contradicts, "invalid message"] };
    assert!(allowed.contains(&reason.as_str()), "{reason}");
    // With a wrong password it is the node that notices, and the satellite tries once more without the pinned key.
    let wrong = kitchen.clone().with_password(OTHER_PASSWORD);
    satellites.ask("one", "close", &json!({}));
    satellites.forget_password("one");
    let outcome = satellites.connect("one", &wrong);
    assert!(matches!(&outcome, Outcome::Ended(Some(1008), reason) if reason.starts_with("handshake failure")), "{outcome:?}");
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Up("KKpsk0".to_owned()));
}

/// After so many seconds at most a revoked client's connection is closed, though nobody says anything: the node looks every second, and
/// on Redis knows of a change after one more.
const PUT_OUT: u64 = 30;

/// The connection of a satellite that says nothing is closed because its client was revoked.
fn put_out(satellites: &mut Satellites, name: &str) {
    let end = satellites.ask(name, "end", &json!({"seconds": PUT_OUT}));
    assert_eq!(end, json!({"code": 1008, "reason": "this client was revoked"}));
}

/// A revoked client is nobody, and so is the word that stands in place of its key. Who is connected is put out, whichever node's command
/// it was that revoked.
fn revoked(make: Make, backend: Backend) {
    if backend == Backend::Memory {
        return revoked_in_the_seed();
    }
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let mut stage = Stage::new(make, backend, &[kitchen.clone(), garden.clone()]);
    let satellites = &mut stage.satellites;
    satellites.up("one", &kitchen);
    satellites.up("two", &garden);
    stage.site.run(&["delete-client", "key-kitchen", "--yes"]).well();
    if make == Make::Ours {
        put_out(satellites, "one");
    } else {
        // It stays and is denied everything, from at most five seconds on.
        let denial = loop {
            satellites.send("one", UTTERANCE, &json!({}));
            let answer = satellites.try_ask("one", "wait", &json!({"type": "hive.policy.denied", "seconds": 1}));
            if let Ok(denial) = answer {
                break denial;
            }
        };
        assert_eq!(denial["payload"]["data"]["data"]["allowed"], json!([]));
    }
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Refused("invalid api key".to_owned()));
    let word = Client::new("revoked");
    assert!(matches!(satellites.connect("three", &word), Outcome::Refused(_)));
    let (code, said) = python::hivemind_core(stage.site.home(), &["delete-client", "2", "--yes"]);
    assert_eq!(code, 0, "{said}");
    if make == Make::Ours {
        put_out(satellites, "two");
    }
    assert_eq!(satellites.connect("two", &garden), Outcome::Refused("invalid api key".to_owned()));
}

/// Of the memory backend nobody but the node has anything: no command and no other program could revoke while it runs. Who is revoked in
/// its seed is nobody.
fn revoked_in_the_seed() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let mut stage = Stage::new(Make::Ours, Backend::Memory, &[kitchen.revoked(), garden.clone()]);
    let satellites = &mut stage.satellites;
    for nobody in [&kitchen, &Client::new("revoked")] {
        assert_eq!(satellites.connect("one", nobody), Outcome::Refused("invalid api key".to_owned()));
    }
    // Whoever comes after it has its own number still.
    let mut device = Device::up(stage.node.port(), "two", &garden);
    device.send(UTTERANCE, &json!({}));
    assert_eq!(stage.tap.wait_for(UTTERANCE)["context"]["peer"], peer("two", 2, &garden, "session-of-two"));
}
