//! Satellites that are let in and want more than their part: what they cannot take from others.

use std::time::Duration;

use hivemind_protocol::envelope::wrap;
use hivemind_protocol::{Body, MessageType};
use tokio_tungstenite::tungstenite::Message;

use crate::common::{Fixture, Happened, Satellite, Told, add, eventually};

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

/// Sends all of a message but its last frame.
async fn begin(satellite: &mut Satellite, length: usize) {
    let body = wrap(MessageType::Bus, format!(r#"{{"type":"{}"}}"#, "x".repeat(length)).as_bytes());
    let (mut frames, session) = (Vec::new(), satellite.session.as_mut().expect("a session"));
    session.seal(Body::Json, &body, &mut |frame| frames.push(Message::binary(frame))).expect("sealed");
    frames.pop();
    for frame in frames {
        satellite.say(frame).await;
    }
}

async fn end(satellite: &mut Satellite) -> Told {
    loop {
        if let Err(told) = satellite.receive().await {
            return told;
        }
    }
}

#[tokio::test]
async fn messages_that_are_never_finished_leave_room_for_others() {
    let fixture = Fixture::with(|settings| settings.limits.incoming_bytes = 2_000_000).await;
    add(&fixture.clients, "attic").await;
    let mut honest = connected(&fixture, "kitchen").await;
    let mut first = connected(&fixture, "attic").await;
    begin(&mut first, 700_000).await;
    is_answered(&mut honest).await;
    // All connections of a client have one account.
    for _ in 0..3 {
        let mut next = fixture.satellite("attic");
        next.key = first.key.clone();
        next.connect().await.expect("a session");
        begin(&mut next, 700_000).await;
        assert_eq!(end(&mut next).await, Told::Closed(1013, "too many long messages are on their way".to_owned()));
    }
    honest.utter(&"word ".repeat(60_000)).await;
    is_answered(&mut honest).await;
    // What came to its end does not count any more, however little comes after it.
    let mut others = Vec::new();
    for _ in 0..6 {
        let mut other = fixture.satellite("kitchen");
        other.key = honest.key.clone();
        other.connect().await.expect("a session");
        other.send(MessageType::Bus, &format!(r#"{{"type":"not.allowed","data":{{"x":"{}"}}}}"#, "x".repeat(400_000))).await;
        other.receive().await.expect("a denial");
        others.push(other);
    }
    drop(first);
    eventually("it is gone", async || fixture.node.health().satellites == 7).await;
    begin(&mut honest, 900_000).await;
    is_still_there(&fixture, 7).await;
}

/// Nobody is put out in the next moment.
async fn is_still_there(fixture: &Fixture, satellites: usize) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fixture.node.health().satellites, satellites);
}

#[tokio::test]
async fn a_message_has_its_time() {
    let fixture = Fixture::with(|settings| settings.limits.message_time = Duration::from_millis(300)).await;
    let mut satellite = connected(&fixture, "kitchen").await;
    begin(&mut satellite, 66_000).await;
    assert_eq!(end(&mut satellite).await, Told::Closed(1013, "a message was not finished in time".to_owned()));
}

/// What a satellite calls a message stands three times in the denial, which has to be short enough to be sent.
#[tokio::test]
async fn a_type_of_any_length_is_denied() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture, "kitchen").await;
    for (length, told) in [(200, 200), (300, 256), (12_000_000, 256)] {
        satellite.send(MessageType::Bus, &format!(r#"{{"type":"{}"}}"#, "x".repeat(length))).await;
        let (_, denial) = satellite.receive().await.expect("a denial");
        let reason = format!("\"{} not in allowed_types\"", "x".repeat(told));
        assert!(denial.contains(&reason) && denial.len() < 3 * told + 500, "{}", denial.len());
    }
}
