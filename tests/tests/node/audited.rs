//! Everybody who is not let in stands in the audit log: why, who it was to be, and from where. The report names what is unusual among it.

use std::net::Ipv4Addr;

use hivemind_tests::node::OTHER_PASSWORD;
use hivemind_tests::node::raw::{Device, Frame, Raw};
use hivemind_tests::waiting::wait_until;
use openssl::hash::{MessageDigest, hash};

use super::*;

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the log has in the place of an access key.
fn fingerprint(key: &str) -> Value {
    let digest = hash(MessageDigest::sha256(), key.as_bytes()).expect("a digest");
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The refusals of this outcome, once there are as many: of which client, with which key, from where.
fn refusals(site: &Site, outcome: &str, expected: &[(Option<i64>, Option<&str>, Ipv4Addr)]) {
    let mut told = Vec::new();
    wait_until(&format!("{outcome} stands in the audit log"), || {
        told = audited(site, &["--event", "refused", "--outcome", outcome]);
        told.len() >= expected.len()
    });
    let found: Vec<_> = told.iter().map(|e| (e["client"].as_i64(), e["key"].clone(), e["address"].clone())).collect();
    let expected: Vec<_> =
        expected.iter().map(|(id, key, from)| (*id, key.map_or(Value::Null, fingerprint), json!(from.to_string()))).collect();
    assert_eq!(found, expected, "{outcome}");
}

/// All but those of certificates, which need TLS, and of a storage that is away: these are looked for where they are made.
#[test]
fn every_refusal_stands_in_the_log_with_its_reason_its_client_and_its_address() {
    let (kitchen, weak, gone) =
        (Client::new("key-kitchen"), Client::new("key-weak").with_password("password1"), Client::new("key-gone"));
    let mut stage = Stage::new(Make::Ours, Backend::Sqlite, &[kitchen.clone(), weak, gone.clone()]);
    let (port, here) = (stage.site.port(), Ipv4Addr::LOCALHOST);
    stage.site.run(&["delete-client", "key-gone", "--yes"]).well();
    stage.satellites.up("one", &kitchen);

    // A handshake with another password, which the satellite notices first; and one with another Noise key.
    let wrong = kitchen.clone().with_password(OTHER_PASSWORD);
    assert!(matches!(stage.satellites.connect("two", &wrong), Outcome::Ended(..)));
    stage.satellites.ask("two", "close", &json!({}));
    refusals(&stage.site, "handshake", &[(Some(1), Some("key-kitchen"), here)]);
    let thief = Raw::of_at(ELSEWHERE, port, "thief", "key-kitchen");
    let end = Device::try_up_on(thief, "thief", &kitchen).map_or_else(|end| end, |mut thief| thief.raw.end());
    assert!(matches!(end, Frame::Close(1008, _)), "{end:?}");
    refusals(&stage.site, "foreign_key", &[(Some(1), Some("key-kitchen"), ELSEWHERE)]);

    assert!(matches!(Raw::of_at(ELSEWHERE, port, "three", "key-weak").end(), Frame::Close(1008, _)));
    refusals(&stage.site, "password", &[(Some(2), Some("key-weak"), ELSEWHERE)]);
    assert!(matches!(Raw::open(port, "?authorization=").end(), Frame::Close(1008, _)));
    refusals(&stage.site, "no_authorization", &[(None, None, here)]);
    for (key, from) in [("key-gone", here), ("revoked", here), ("key-of-nobody", ELSEWHERE)] {
        assert!(matches!(Raw::of_at(from, port, "four", key).end(), Frame::Close(1008, _)));
    }
    let unknown = [(None, Some("key-gone"), here), (None, Some("revoked"), here), (None, Some("key-of-nobody"), ELSEWHERE)];
    refusals(&stage.site, "unknown_key", &unknown);
    let mut malformed = Raw::of_at(ELSEWHERE, port, "five", "key-kitchen");
    malformed.opening().expect("it begins");
    malformed.text("{").expect("sent");
    malformed.end();
    refusals(&stage.site, "malformed", &[(Some(1), Some("key-kitchen"), ELSEWHERE)]);
    let mut leaving = Raw::of(port, "six", "key-kitchen");
    leaving.opening().expect("it begins");
    leaving.cut();
    refusals(&stage.site, "gone", &[(Some(1), Some("key-kitchen"), here)]);
    let mut waiting = Raw::of(port, "seven", "key-kitchen");
    waiting.opening().expect("it begins");
    let (status, log) = stage.node.stop();
    assert!(status.success(), "{log}");
    refusals(&stage.site, "stopping", &[(Some(1), Some("key-kitchen"), here)]);

    // It would come back to the next one.
    stage.satellites.ask("one", "close", &json!({}));

    // Found by the access key and by the address too, also of who is no client.
    assert_eq!(audited(&stage.site, &["--client", "key-of-nobody"]).len(), 1);
    let elsewhere = audited(&stage.site, &["--address", "127.0.0.2"]);
    assert_eq!(
        elsewhere.iter().map(|entry| entry["outcome"].as_str()).collect::<Vec<_>>(),
        [Some("foreign_key"), Some("password"), Some("unknown_key"), Some("malformed"),]
    );
    assert_eq!(audited(&stage.site, &["--event", "admitted"]).len(), 1, "nobody else was let in");

    // The least that may be set.
    stage.site.change(|config| config["hivemind-host"]["limits"] = json!({"handshakes": 2, "handshake_seconds": 5}));
    let _node = stage.site.start(Make::Ours);
    // The one by which it was seen that it listens.
    wait_until("nobody is connected", || stage.site.measured("hivemind_connections", &[]) == Some(0.0));
    let mut slow: Vec<Raw> = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::of(port, "eight", "key-kitchen");
        raw.opening().expect("it begins");
        slow.push(raw);
    }
    let ends: Vec<Frame> = slow.iter_mut().map(Raw::end).collect();
    assert!(ends.iter().all(|end| matches!(end, Frame::Close(1013, _))), "{ends:?}");
    refusals(&stage.site, "late", &[(Some(1), Some("key-kitchen"), here); 2]);
    refusals(&stage.site, "too_many", &[(Some(1), Some("key-kitchen"), here)]);
}

#[test]
fn the_report_names_who_tries_keys_and_a_key_that_is_at_two_places() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &[kitchen.clone(), garden.clone()]);
    let port = stage.site.port();
    for n in 0..15 {
        // Fewer from here than make a burst.
        for from in [ELSEWHERE, Ipv4Addr::LOCALHOST].into_iter().take(if n < 5 { 2 } else { 1 }) {
            let end = Raw::of_at(from, port, "guesser", &format!("key-guessed-{n}")).end();
            assert!(matches!(end, Frame::Close(1008, _)), "{end:?}");
        }
    }
    let up = |from: Ipv4Addr, client: &Client| {
        let up = Device::try_up_on(Raw::of_at(from, port, "device", &client.key), "device", client);
        let mut up = up.unwrap_or_else(|end| panic!("{end:?}"));
        // An answer: it is in.
        up.send("ovos.not.allowed", &json!({}));
        up.wait("hive.policy.denied");
        up
    };
    let here = up(Ipv4Addr::LOCALHOST, &kitchen);
    let there = up(ELSEWHERE, &kitchen);
    // One that moves is at one place at a time.
    up(Ipv4Addr::LOCALHOST, &garden).raw.cut();
    wait_until("it has left", || audited(&stage.site, &["--event", "left", "--client", "2"]).len() == 1);
    let moved = up(ELSEWHERE, &garden);
    wait_until("all is written", || audited(&stage.site, &["--event", "denied"]).len() == 4);

    let report = stage.site.run(&["audit", "report", "--json"]).well();
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let burst = &report["bursts"][0];
    assert_eq!(report["bursts"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(
        (&burst["source"], &burst["refusals"], &burst["keys"], &burst["outcomes"]),
        (&json!("127.0.0.2"), &json!(15), &json!(15), &json!({"unknown_key": 15}))
    );
    assert_eq!(report["shared"].as_array().map(Vec::len), Some(1), "{report}");
    let shared = &report["shared"][0];
    assert_eq!(
        (&shared["client"], &shared["name"], &shared["addresses"], &shared["times"]),
        (&json!(1), &json!("key-kitchen"), &json!(["127.0.0.1", "127.0.0.2"]), &json!(1))
    );
    let denied = |client: i64| {
        let entry = json!({
            "client": client, "name": if client == 1 { "key-kitchen" } else { "key-garden" },
            "code": "acl_disallowed_type", "type": "ovos.not.allowed", "times": 2,
        });
        entry
    };
    assert_eq!(report["denied"], json!([denied(1), denied(2)]));
    assert_eq!((&report["events"]["refused"], &report["events"]["admitted"]), (&json!(20), &json!(4)));
    assert_eq!((&report["returned"], &report["silent"], &report["damaged_lines"]), (&json!([]), &json!([]), &json!(0)));
    drop((here, there, moved));
}
