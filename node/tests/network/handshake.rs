//! The handshake: who gets in, who does not, and what is written for it.

use std::sync::Arc;

use crate::common::{ALLOWED, Fixture, Happened, PASSWORD, Satellite, Told, add, eventually};
use hivemind_node::event::Refusal;
use hivemind_protocol::{MessageType, Pattern, Psk, Suite, psk_binding};
use tokio_tungstenite::tungstenite::Message;

fn closed(code: u16, reason: &str) -> Told {
    Told::Closed(code, reason.to_owned())
}

/// A satellite believes that its session is up before its key is pinned.
async fn pinned(fixture: &Fixture) {
    eventually("pinned", async || fixture.stored("kitchen").await.metadata.text("noise_pubkey").is_some()).await;
}

async fn echoed(satellite: &mut Satellite, words: &str) {
    satellite.utter(words).await;
    loop {
        let (kind, payload) = satellite.receive().await.expect("an answer");
        if kind == MessageType::Bus && payload.contains(words) {
            return;
        }
    }
}

#[tokio::test]
async fn a_satellite_gets_in_by_both_patterns_and_both_suites() {
    let fixture = Fixture::new().await;
    for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
        let name = format!("{suite:?}");
        let client = add(&fixture.clients, &name).await;
        let mut satellite = Satellite { suite, ..fixture.satellite(&name) };
        assert_eq!(satellite.connect().await, Ok(Pattern::XXpsk2));
        satellite.hello("first").await;
        echoed(&mut satellite, "one two").await;
        assert_eq!(satellite.connect().await, Ok(Pattern::KKpsk0));
        satellite.hello("second").await;
        echoed(&mut satellite, "three four").await;
        let admitted = |pattern| fixture.watch.count(|h| *h == Happened::Admitted(client.id, pattern));
        assert_eq!((admitted("XXpsk2"), admitted("KKpsk0")), (1, 1));
    }
}

#[tokio::test]
async fn key_and_stretched_password_are_kept_and_the_rest_of_the_record_stays() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    eventually("kept", async || fixture.stored("kitchen").await.metadata.text("noise_psk").is_some()).await;
    pinned(&fixture).await;
    eventually("seen", async || fixture.stored("kitchen").await.last_seen > 1.0e9).await;
    let stored = fixture.stored("kitchen").await;
    let hex: String = satellite.key.public().iter().map(|byte| format!("{byte:02x}")).collect();
    let psk = Psk::derive(PASSWORD, fixture.node.node_id());
    assert_eq!(stored.metadata.text("noise_pubkey"), Some(hex));
    assert_eq!(stored.metadata.text("noise_psk").as_deref(), Some(psk.to_hex().as_str()));
    assert_eq!(stored.metadata.text("noise_psk_for"), Some(psk_binding(fixture.node.node_id(), PASSWORD)));
    assert_eq!((stored.allowed_types.as_slice(), stored.label()), ([ALLOWED.to_owned()].as_slice(), "kitchen"));
}

/// What the record holds counts only for its password and node.
#[tokio::test]
async fn a_kept_key_of_another_password_is_not_used() {
    let fixture = Fixture::new().await;
    let other = Psk::derive("another", fixture.node.node_id());
    let set = vec![
        ("noise_psk".to_owned(), format!("\"{}\"", other.to_hex().as_str())),
        ("noise_psk_for".to_owned(), format!("\"{}\"", psk_binding(fixture.node.node_id(), "another"))),
    ];
    let change = hivemind_store::clients::MetadataChange { set, unset: Vec::new() };
    let client = fixture.stored("kitchen").await;
    fixture.clients.set_metadata(&client, &change).await.expect("set");
    let mut satellite = Satellite { password: "another".to_owned(), ..fixture.satellite("kitchen") };
    satellite.connect().await.expect_err("another password");
    fixture.satellite("kitchen").connect().await.expect("a session");
}

#[tokio::test]
async fn a_wrong_password_gets_nobody_in() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.password = "not this one".to_owned();
    satellite.connect().await.expect_err("the satellite notices");
    eventually("refused", async || fixture.watch.refused(Refusal::Handshake) == 1).await;
    assert!(
        fixture.stored("kitchen").await.metadata.text("noise_pubkey").is_none()
            && fixture.stored("kitchen").await.last_seen < 0.0
    );

    satellite.password = PASSWORD.to_owned();
    satellite.connect().await.expect("a session");
    pinned(&fixture).await;
    satellite.password = "not this one".to_owned();
    assert_eq!(satellite.connect().await, Err(closed(1008, "handshake failure: ")), "known to each other, the node notices");
}

#[tokio::test]
async fn another_key_than_the_pinned_one_is_refused() {
    let fixture = Fixture::new().await;
    fixture.satellite("kitchen").connect().await.expect("a session");
    pinned(&fixture).await;
    let mut foreign = fixture.satellite("kitchen");
    foreign.connect().await.expect("it believes so");
    assert_eq!(foreign.hear().await, closed(1008, "client Noise static key contradicts the pinned key"));
    assert_eq!(fixture.watch.refused(Refusal::ForeignKey), 1);
}

#[tokio::test]
async fn of_two_first_satellites_of_one_client_one_is_pinned() {
    let fixture = Fixture::new().await;
    let (mut a, mut b) = (fixture.satellite("kitchen"), fixture.satellite("kitchen"));
    let (first, second) = tokio::join!(a.connect(), b.connect());
    first.expect("it believes so");
    second.expect("it believes so");
    eventually("both are judged", async || {
        fixture.watch.count(|h| matches!(h, Happened::Admitted(..))) == 1 && fixture.watch.refused(Refusal::ForeignKey) == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_not_a_handshake_is_refused_in_clear_text() {
    let fixture = Fixture::new().await;
    let envelope = |kind: &str, payload: &str| format!(r#"{{"msg_type":"{kind}","payload":{payload}}}"#);
    let noise = |pattern: &str, msg: &str| {
        envelope("shake", &format!(r#"{{"noise":{{"pattern":"{pattern}","suite":"25519_ChaChaPoly_SHA256","msg":"{msg}"}}}}"#))
    };
    let said: [(String, u16, &str); 9] = [
        ("no JSON".to_owned(), 1008, "invalid message"),
        (envelope("nothing", "{}"), 1008, "invalid message"),
        (envelope("bus", r#"{"type":"speak","data":{},"context":{}}"#), 1008, "invalid message"),
        (envelope("hello", r#"{"session":{"session_id":"x"}}"#), 1008, "invalid message"),
        (envelope("shake", "{}"), 1008, "this node requires the v3 Noise handshake"),
        (noise("XXpsk2", "zz"), 1008, "malformed Noise envelope"),
        (noise("KKpsk0", &"00".repeat(48)), 1008, "pattern/suite not offered: KKpsk0/25519_ChaChaPoly_SHA256"),
        (noise("XXpsk2", &"00".repeat(48)), 1008, "handshake failure: "),
        ("x".repeat(10_000), 1009, "message too big"),
    ];
    for (text, code, reason) in said {
        let mut satellite = fixture.satellite("kitchen");
        satellite.open().await;
        satellite.greeted().await.expect("greeted");
        satellite.say(Message::text(text.clone())).await;
        assert_eq!(satellite.hear().await, closed(code, reason), "{text:.60}");
    }
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    satellite.greeted().await.expect("greeted");
    satellite.say(Message::binary(vec![0; 100])).await;
    assert_eq!(satellite.hear().await, closed(1008, "invalid message"));
    assert_eq!(fixture.node.health().satellites, 0);
}

#[tokio::test]
async fn the_first_step_said_twice_changes_nothing() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    let mut initiator = satellite.greeted().await.expect("greeted");
    // Both are there before the password can have been stretched.
    let first = initiator.first().expect("a first message");
    let twice = {
        let text = String::from_utf8(hivemind_protocol::envelope::wrap(MessageType::Handshake, &first)).expect("text");
        Message::text(text)
    };
    satellite.say(twice.clone()).await;
    satellite.say(twice).await;
    let answer = satellite.payload(MessageType::Handshake).await;
    // The second may come while the first waits, and is ignored, or as the last step, which it is not.
    assert!(answer.is_ok(), "{answer:?}");
}

/// As the stock client does where stretching the password takes it more than five seconds.
#[tokio::test]
async fn who_begins_anew_after_the_answer_is_told_to_come_back() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    let mut initiator = satellite.greeted().await.expect("greeted");
    let first = initiator.first().expect("a first message");
    satellite.say_step(&first).await;
    satellite.payload(MessageType::Handshake).await.expect("an answer");
    satellite.say_step(&first).await;
    assert_eq!(satellite.hear().await, closed(1013, "the handshake was begun twice; try again"));
}

/// The revocation falls between the first look at the record and the last.
#[tokio::test]
async fn who_is_revoked_during_the_handshake_stays_revoked() {
    let fixture = Fixture::new().await;
    for round in 0..20 {
        let name = format!("client-{round}");
        let client = add(&fixture.clients, &name).await;
        let mut satellite = fixture.satellite(&name);
        satellite.open().await;
        let mut initiator = satellite.greeted().await.expect("greeted");
        let first = initiator.first().expect("a first message");
        satellite.say_step(&first).await;
        let answer = satellite.payload(MessageType::Handshake).await.expect("an answer");
        fixture.clients.revoke(&client).await.expect("revoked");
        let step = initiator.read(hivemind_protocol::RawJson::parse(&answer).expect("JSON")).expect("the last step");
        let hivemind_protocol::Step::Done { reply: Some(last), .. } = step else { panic!("XXpsk2 has three") };
        satellite.say_step(&last).await;
        assert_eq!(satellite.hear().await, closed(1008, "invalid api key"));
        let row = fixture.clients.by_id(client.id).await.expect("an answer").expect("a row");
        assert!(row.is_revoked() && row.metadata.names().is_empty() && row.allowed_types.is_empty(), "{row:?}");
    }
    assert_eq!(fixture.watch.refused(Refusal::UnknownKey), 20);
}

/// Who knows the node's key already is not told that its session is up.
#[tokio::test]
async fn who_is_revoked_during_the_shorter_handshake_hears_nothing_of_a_session() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    pinned(&fixture).await;
    satellite.open().await;
    let initiator = satellite.greeted().await.expect("greeted");
    let client = fixture.stored("kitchen").await;
    fixture.clients.revoke(&client).await.expect("revoked");
    assert_eq!(satellite.shake(initiator).await, Err(closed(1008, "invalid api key")));
    assert_eq!(fixture.watch.count(|h| matches!(h, Happened::Admitted(_, "KKpsk0"))), 0);
}

#[tokio::test]
async fn a_changed_password_counts_from_the_next_handshake_on() {
    let fixture = Fixture::new().await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    pinned(&fixture).await;
    eventually("kept", async || fixture.stored("kitchen").await.metadata.text("noise_psk").is_some()).await;
    // There is no command for it: the row is what another program would make of it.
    let client = fixture.stored("kitchen").await;
    let change = hivemind_model::Change::Set { field: 7, value: "another sound that nobody else makes at noon".into() };
    let update = hivemind_model::Mutation::Update {
        collection: fixture.clients.id(),
        key: hivemind_model::Key::Int(client.id),
        changes: vec![change],
        when: Vec::new(),
    };
    fixture.clients.storage().apply(vec![update]).await.expect("changed");
    satellite.connect().await.expect_err("the old password");
    satellite.password = "another sound that nobody else makes at noon".to_owned();
    assert_eq!(satellite.connect().await, Ok(Pattern::KKpsk0));
    let expected = psk_binding(fixture.node.node_id(), &satellite.password);
    eventually("kept anew", async || fixture.stored("kitchen").await.metadata.text("noise_psk_for") == Some(expected.clone()))
        .await;
}

#[tokio::test]
async fn many_that_wait_for_one_password_wait_for_one_derivation() {
    let fixture = Arc::new(Fixture::with(|settings| settings.limits.derivations = 1).await);
    let names: Vec<String> = (0..12).map(|n| format!("client-{n}")).collect();
    for name in &names {
        add(&fixture.clients, name).await;
    }
    let mut waiting = tokio::task::JoinSet::new();
    for name in names {
        let fixture = Arc::clone(&fixture);
        waiting.spawn(async move { fixture.satellite(&name).connect().await });
    }
    while let Some(connected) = waiting.join_next().await {
        assert_eq!(connected.expect("no panic"), Ok(Pattern::XXpsk2));
    }
    eventually("all are kept", async || fixture.watch.called("set_metadata") == 12).await;
}
