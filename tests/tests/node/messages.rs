//! What may be said, where it goes, and who hears the answer.

use openssl::hash::{MessageDigest, hash};

use super::*;

on_each!(allowed_and_denied, answers, big);

/// The prefix that keeps one client's sessions apart from another's.
fn namespace(stage: &Stage, id: usize) -> String {
    let identity = std::fs::read(stage.site.identity().join("_identity.json")).expect("an identity");
    let identity: Value = serde_json::from_slice(&identity).expect("JSON");
    let node = identity["public_key"].as_str().expect("the node's id");
    let digest = hash(MessageDigest::sha256(), format!("{node}:{id}").as_bytes()).expect("a digest");
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn session(satellites: &mut Satellites, name: &str, client: &Client) -> String {
    let session = format!("session-of-{name}");
    let outcome = satellites.connect_with(name, client, &json!({"session_id": session, "site_id": "room"}));
    assert!(matches!(outcome, Outcome::Up(_)), "{outcome:?}");
    session
}

/// The whitelist alone decides, the satellite is told what was denied and why, and what passes carries who sent it.
fn allowed_and_denied(make: Make, backend: Backend) {
    let kitchen =
        Client::new("key-kitchen").with_metadata(json!({"skill_blacklist": ["skill-a"], "intent_blacklist": ["intent-b"]}));
    let mut chief = Client::new("key-chief");
    chief.is_admin = true;
    let mut stage = Stage::new(make, backend, &[kitchen.clone(), chief.clone()]);
    let prefix = namespace(&stage, 1);
    let own = session(&mut stage.satellites, "one", &kitchen);
    let bare = session(&mut stage.satellites, "two", &chief);
    let satellites = &mut stage.satellites;
    let data = json!({"utterances": ["ein Lied, bitte ☃"], "n": 12_345_678_901_234_567_u64, "x": 0.1, "list": [null, true, {}]});
    satellites.ask("one", "send", &json!({"type": UTTERANCE, "data": data, "context": {"source": "forged", "room": 3}}));
    let passed = stage.tap.wait_for(UTTERANCE);
    assert_eq!(passed["data"], data);
    let context = &passed["context"];
    let who = peer("one", 1, &kitchen, &own);
    assert_eq!((&context["peer"], &context["source"]), (&json!(who), &json!(who)));
    assert_eq!((&context["destination"], &context["room"]), (&json!("hivemind"), &json!(3)));
    assert_eq!(context["session"]["session_id"], format!("{prefix}:{own}"));
    assert_eq!(context["session"]["site_id"], "room");
    // Beside what the satellite itself has there.
    let blacklist = |name: &str| context["session"][name].as_array().cloned().unwrap_or_default();
    assert!(blacklist("blacklisted_skills").contains(&json!("skill-a")), "{context}");
    assert!(blacklist("blacklisted_intents").contains(&json!("intent-b")), "{context}");

    satellites.send("one", "ovos.not.allowed", &json!({}));
    let mut denial = satellites.wait("one", "hive.policy.denied");
    let expected = json!({
        "type": "hive.policy.denied",
        "data": {
            "denied_type": "ovos.not.allowed", "code": "acl_disallowed_type", "reason": "ovos.not.allowed not in allowed_types",
            "data": {"msg_type": "ovos.not.allowed", "allowed": [UTTERANCE]},
        },
        "context": {"source": "hivemind-core", "destination": who},
    });
    assert_eq!(denial["payload"].take(), expected);
    // An administrator is not exempt, but goes by the session it names.
    assert_eq!(satellites.denied("two", "ovos.not.allowed")["code"], "acl_disallowed_type");
    satellites.send("two", UTTERANCE, &json!({"n": 2}));
    assert_eq!(stage.tap.wait_for(UTTERANCE)["context"]["session"]["session_id"], bare);
    assert!(stage.tap.heard().iter().all(|message| message["type"] != "ovos.not.allowed"), "denied, and yet on the bus");
}

/// An answer reaches the satellite that asked, in the session as it knows it, and no other.
fn answers(make: Make, backend: Backend) {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let mut stage = Stage::new(make, backend, &[kitchen.clone(), garden.clone()]);
    let first = session(&mut stage.satellites, "one", &kitchen);
    let second = session(&mut stage.satellites, "two", &garden);
    let (satellites, tap) = (&mut stage.satellites, &stage.tap);
    satellites.send("one", UTTERANCE, &json!({"n": 1}));
    let asked = tap.wait_for(UTTERANCE);
    satellites.send("two", UTTERANCE, &json!({"n": 2}));
    tap.wait_for(UTTERANCE);
    tap.answer(&asked, "speak", json!({"utterance": "for one"}));
    let (one, two) = (peer("one", 1, &kitchen, &first), peer("two", 2, &garden, &second));
    let to = |whom: &Value, kind: &str, from: &str| {
        tap.say(&json!({"type": kind, "data": {}, "context": {"source": from, "destination": whom}}));
    };
    to(&json!("three::3::nobody::session"), "for.nobody", "skills");
    to(&json!("hivemind"), "for.the.node", "skills");
    // Somebody's request, and not an answer.
    to(&json!(one), "from.a.peer", &two);
    to(&json!([one, two]), "for.both", "skills");
    to(&json!(two), "last", "skills");
    to(&json!(one), "last", "skills");
    let heard = satellites.wait("one", "speak");
    assert_eq!(heard["payload"]["data"], json!({"utterance": "for one"}));
    assert_eq!(heard["payload"]["context"]["session"]["session_id"], first, "without the prefix");
    assert_eq!(heard["payload"]["context"]["source"], "hive");
    for name in ["one", "two"] {
        satellites.wait(name, "last");
        let rest: Vec<_> = satellites.heard(name).iter().map(|envelope| envelope["payload"]["type"].clone()).collect();
        assert_eq!(rest, [json!("for.both")], "{name}");
    }
}

/// Larger than a frame of Noise, in both directions.
fn big(make: Make, backend: Backend) {
    let kitchen = Client::new("key-kitchen");
    let mut stage = Stage::new(make, backend, std::slice::from_ref(&kitchen));
    let own = session(&mut stage.satellites, "one", &kitchen);
    let (satellites, tap) = (&mut stage.satellites, &stage.tap);
    for length in [64_900, 65_000, 130_000, 300_000] {
        satellites.ask("one", "fill", &json!({"type": UTTERANCE, "bytes": length}));
        let passed = tap.wait_for(UTTERANCE);
        assert_eq!(passed["data"]["text"], text(length), "{length} bytes up");
    }
    for length in [64_800, 65_000, 150_000] {
        let to = peer("one", 1, &kitchen, &own);
        tap.say(&json!({"type": "speak", "data": {"text": text(length)}, "context": {"source": "skills", "destination": to}}));
        let found = satellites.ask("one", "wait", &json!({"type": "speak", "measure": true}));
        assert_eq!(found, json!({"length": length, "whole": true}), "{length} bytes down");
    }
}

/// As the satellite makes it.
fn text(length: usize) -> String {
    let mut text: String = (0..=length / 8).map(|n| format!("{n:07} ")).collect();
    text.truncate(length);
    text
}
