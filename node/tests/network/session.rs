//! The session: messages, what ends it, and what does not.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};

use crate::common::{ALLOWED, Fixture, Happened, Told, eventually};
use hivemind_protocol::{Body, MessageType};
use tokio_tungstenite::tungstenite::Message;

const FOREIGN: &str = "invalid Noise transport message (tampered, replayed or out-of-order)";

fn closed(code: u16, reason: &str) -> Told {
    Told::Closed(code, reason.to_owned())
}

async fn connected(fixture: &Fixture) -> crate::common::Satellite {
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    satellite
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture).await;
    let words = "word ".repeat(60_000);
    satellite.utter(&words).await;
    loop {
        let (_, payload) = satellite.receive().await.expect("an answer");
        if payload.contains("\"speak\"") {
            assert!(payload.len() > words.len(), "{}", payload.len());
            return;
        }
    }
}

#[tokio::test]
async fn what_no_session_can_hold_ends_it() {
    let fixture = Fixture::new().await;
    let utterance = format!(r#"{{"msg_type":"bus","payload":{{"type":"{ALLOWED}","data":{{}},"context":{{}}}}}}"#);
    let sealed = |satellite: &mut crate::common::Satellite, times: usize| {
        let mut frames = Vec::new();
        for _ in 0..times {
            let session = satellite.session.as_mut().expect("a session");
            session.seal(Body::Json, utterance.as_bytes(), &mut |frame| frames.push(Message::binary(frame))).expect("sealed");
        }
        frames
    };
    let mut satellite = fixture.satellite("kitchen");
    for case in ["text", "garbage", "replayed", "reordered", "too big", "not masked"] {
        satellite.connect().await.expect("a session");
        let (messages, expected) = match case {
            "text" => {
                let text = r#"{"msg_type":"shake","payload":{}}"#;
                (vec![Message::text(text)], closed(1008, "non-Noise message received on a protocol v3 session"))
            }
            "garbage" => (vec![Message::binary(vec![7; 200])], closed(1008, FOREIGN)),
            "replayed" => {
                let frames = sealed(&mut satellite, 1);
                (vec![frames[0].clone(), frames[0].clone()], closed(1008, FOREIGN))
            }
            "reordered" => {
                let frames = sealed(&mut satellite, 2);
                (vec![frames[1].clone(), frames[0].clone()], closed(1008, FOREIGN))
            }
            "too big" => (vec![Message::binary(vec![7; 65_536])], closed(1009, "message too big")),
            _ => {
                use tokio::io::AsyncWriteExt as _;
                let tcp = satellite.socket.as_mut().expect("open").get_mut();
                tcp.write_all(&[0x82, 0x01, 0x00]).await.expect("written");
                (Vec::new(), closed(1002, "not the WebSocket protocol"))
            }
        };
        for message in messages {
            satellite.say(message).await;
        }
        let told = loop {
            match satellite.receive().await {
                Ok(_) => {}
                Err(told) => break told,
            }
        };
        assert_eq!(told, expected, "{case}");
    }
    eventually("all are gone", async || fixture.node.health().satellites == 0 && fixture.node.health().connections == 0).await;
    assert_eq!(fixture.watch.count(|h| matches!(h, Happened::Left(Some(_), _))), 6);
}

#[tokio::test]
async fn a_handshake_within_the_session_is_ignored() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture).await;
    satellite.send(MessageType::Handshake, r#"{"noise":{"msg":"zz"}}"#).await;
    satellite.utter("still here").await;
    loop {
        if satellite.receive().await.expect("an answer").1.contains("still here") {
            return;
        }
    }
}

#[tokio::test]
async fn a_denied_message_is_answered_and_the_connection_stays() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture).await;
    satellite.send(MessageType::Bus, r#"{"type":"not.allowed","data":{},"context":{}}"#).await;
    let (kind, payload) = satellite.receive().await.expect("an answer");
    assert_eq!(kind, MessageType::Bus);
    assert!(payload.contains("hive.policy.denied") && payload.contains(ALLOWED), "{payload}");
    satellite.utter("and this is").await;
    assert!(satellite.receive().await.is_ok());
}

#[tokio::test]
async fn a_revoked_clients_connection_is_closed() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture).await;
    let client = fixture.stored("kitchen").await;
    fixture.clients.revoke(&client).await.expect("revoked");
    let told = loop {
        match satellite.receive().await {
            Ok(_) => {}
            Err(told) => break told,
        }
    };
    assert!(matches!(told, Told::Closed(1008, _)), "{told:?}");
}

#[tokio::test]
async fn a_client_is_seen_again_and_again_but_written_seldom() {
    let fixture = Fixture::with(|settings| settings.last_seen_interval = Duration::from_millis(300)).await;
    let mut satellite = connected(&fixture).await;
    let mut seen = Vec::new();
    eventually("written three times", async || {
        satellite.utter("I am here").await;
        while satellite.receive().await.is_ok_and(|(_, payload)| !payload.contains("I am here")) {}
        let now = fixture.stored("kitchen").await.last_seen;
        if now > 0.0 && seen.last() != Some(&now) {
            seen.push(now);
        }
        seen.len() == 3
    })
    .await;
    assert!(seen.is_sorted(), "{seen:?}");
    let (spoken, written) = (fixture.watch.called("by_id"), fixture.watch.called("touch"));
    assert!(written < spoken, "{written} of {spoken}");
}

#[tokio::test]
async fn who_does_not_answer_a_ping_is_gone_and_who_does_stays() {
    let fixture = Fixture::with(|settings| {
        settings.limits.ping_interval = Duration::from_millis(200);
        settings.limits.ping_timeout = Duration::from_millis(200);
    })
    .await;
    // It reads nothing, so it answers nothing.
    let mute = connected(&fixture).await;
    let mute_is_gone = || fixture.watch.count(|h| *h == Happened::Left(Some(1000), "no answer to a ping".to_owned())) == 1;
    eventually("the mute one is gone", async || mute_is_gone()).await;
    drop(mute);
    eventually("its place is free", async || fixture.node.health().connections == 0).await;
}

/// On a slow link there is always more to be sent, for a while. Whoever reads it is there, and is heard meanwhile.
#[tokio::test]
async fn who_reads_slowly_is_heard_and_stays() {
    let fixture = Fixture::with(|settings| {
        settings.limits.outbox_bytes = 32 << 20;
        settings.limits.ping_interval = Duration::from_secs(1);
        settings.limits.ping_timeout = Duration::from_secs(2);
    })
    .await;
    let mut satellite = fixture.satellite("kitchen");
    let tcp = tokio::net::TcpSocket::new_v4().expect("a socket");
    tcp.set_recv_buffer_size(16 << 10).expect("set");
    let tcp = tcp.connect(satellite.node).await.expect("a connection");
    let url = format!("ws://{}/?{}", satellite.node, crate::common::query("kitchen"));
    satellite.socket = Some(tokio_tungstenite::client_async(url, tcp).await.expect("an upgrade").0);
    let initiator = satellite.greeted().await.expect("greeted");
    satellite.shake(initiator).await.expect("a session");
    satellite.hello("here").await;
    let words = "word ".repeat(600_000);
    for _ in 0..3 {
        satellite.utter(&words).await;
    }
    let socket = satellite.socket.as_mut().expect("open");
    let (mut frames, mut answered) = (0, None);
    while frames < 3 * words.len() / 65_000 {
        match socket.next().await.expect("it is not closed").expect("a message") {
            Message::Binary(_) => frames += 1,
            Message::Pong(_) => answered = Some(frames),
            Message::Close(close) => panic!("closed after {frames} frames: {close:?}"),
            _ => {}
        }
        if frames == 1 {
            socket.send(Message::Ping("there?".into())).await.expect("sent");
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let answered = answered.expect("an answer while there is more to be read");
    assert!(answered < frames * 3 / 4, "{answered} of {frames}");
    assert_eq!(fixture.watch.count(|h| matches!(h, Happened::Left(..))), 0);
}

/// A satellite that never reads is cut, and what waited for it is given back.
#[tokio::test]
async fn who_never_reads_loses_its_connection() {
    let fixture = Fixture::with(|settings| {
        settings.limits.outbox_bytes = 1 << 20;
        settings.limits.ping_interval = Duration::from_millis(500);
        settings.limits.ping_timeout = Duration::from_millis(500);
    })
    .await;
    let mut satellite = connected(&fixture).await;
    let words = "word ".repeat(20_000);
    // The node stops reading it at some point, too.
    let speaking = async {
        loop {
            satellite.utter(&words).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = speaking => {}
        () = eventually("it is noticed", async || fixture.watch.count(|h| *h == Happened::TooSlow) == 1) => {}
    }
    eventually("its place is free", async || fixture.node.health().connections == 0).await;
}

#[tokio::test]
async fn a_node_that_stops_says_so_to_each() {
    let fixture = Fixture::new().await;
    let mut satellite = connected(&fixture).await;
    let mut stranger = fixture.satellite("kitchen");
    stranger.open().await;
    stranger.greeted().await.expect("greeted");
    let Fixture { node, watch, .. } = fixture;
    let address = node.address();
    let expected = closed(1001, "the node is stopping");
    let hearing = async {
        let heard = loop {
            match satellite.receive().await {
                Ok(_) => {}
                Err(told) => break told,
            }
        };
        let other = stranger.hear().await;
        drop((satellite, stranger));
        (heard, other)
    };
    let (heard, ()) = tokio::join!(hearing, node.stop(Duration::from_secs(60)));
    assert_eq!(heard, (expected.clone(), expected));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(watch.count(|h| *h == Happened::Disconnected), 2);
}

#[tokio::test]
async fn a_node_that_stops_waits_no_longer_than_it_may() {
    let fixture = Fixture::new().await;
    let satellite = connected(&fixture).await;
    let Fixture { node, watch, .. } = fixture;
    // It neither reads nor goes.
    node.stop(Duration::ZERO).await;
    assert_eq!(watch.count(|h| *h == Happened::Disconnected), 1);
    drop(satellite);
}

#[tokio::test]
async fn a_node_that_stops_at_once_has_told_of_every_end_when_it_is_over() {
    let fixture = Fixture::new().await;
    let satellite = connected(&fixture).await;
    let Fixture { node, watch, .. } = fixture;
    // It neither reads nor goes, and somebody grows tired of waiting for it.
    let stopping = tokio::time::timeout(Duration::from_millis(10), node.stop(Duration::from_secs(60)));
    assert!(stopping.await.is_err(), "it is waited for");
    assert_eq!(watch.count(|h| *h == Happened::Disconnected), 0);
    node.stop_at_once().await;
    assert_eq!(watch.count(|h| *h == Happened::Disconnected), 1);
    drop(satellite);
}
