//! Satellites that are let in and want more than their part: what they cannot take from others.

use hivemind_protocol::MessageType;

use crate::common::{Fixture, Happened, Satellite, add};

async fn connected(fixture: &Fixture, access_key: &str) -> Satellite {
    let mut satellite = fixture.satellite(access_key);
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    satellite
}

/// A message that a satellite which has not read for a while still gets, and the node's answer to it.
async fn is_answered(satellite: &mut Satellite) {
    satellite.utter("are you still there").await;
    loop {
        if satellite.receive().await.expect("an answer").1.contains("are you still there") {
            return;
        }
    }
}

#[tokio::test]
async fn nobody_is_put_out_by_what_others_send() {
    let fixture = Fixture::new().await;
    add(&fixture.clients, "attic").await;
    let (mut loud, mut quiet) = (connected(&fixture, "attic").await, connected(&fixture, "kitchen").await);
    is_answered(&mut quiet).await;
    // More than both ends of a connection and the outbox hold.
    let payload = format!(r#"{{"msg_type":"bus","payload":{{"type":"{}"}}}}"#, "x".repeat(1_000_000));
    for _ in 0..48 {
        loud.send(MessageType::Propagate, &payload).await;
    }
    is_answered(&mut loud).await;
    is_answered(&mut quiet).await;
    assert_eq!(fixture.watch.count(|h| matches!(h, Happened::TooSlow | Happened::Left(..))), 0);
    let dropped = fixture.watch.count(|h| *h == Happened::NotRelayed);
    assert!((1..48).contains(&dropped), "{dropped} of 48: this test shows nothing");
}
