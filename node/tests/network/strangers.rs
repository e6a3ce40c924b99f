//! Those who have proved nothing: what they can hold up, and for how long.

use std::time::Duration;

use hivemind_node::event::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Fixture, HANGS, Told, eventually};

async fn end(tcp: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(HANGS, tcp.read_to_end(&mut heard)).await.expect("an end");
    heard
}

#[tokio::test]
async fn connections_that_never_finish_keep_nobody_out() {
    let fixture = Fixture::with(|settings| settings.limits.handshakes = 4).await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut tcp = TcpStream::connect(fixture.node.address()).await.expect("a connection");
        if n % 2 == 0 {
            tcp.write_all(b"GET /?authorization=").await.expect("written");
        }
        silent.push(tcp);
    }
    // They have named a client, and give way last.
    let mut named = Vec::new();
    for _ in 0..2 {
        let mut satellite = fixture.satellite("kitchen");
        satellite.open().await;
        satellite.greeted().await.expect("greeted");
        named.push(satellite);
    }
    eventually("the others are gone", async || fixture.node.health().connections <= 4).await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    eventually("it is in", async || fixture.node.health().satellites == 1).await;
    for tcp in &mut silent[..190] {
        assert!(end(tcp).await.is_empty());
    }
    assert!(fixture.watch.refused(Refusal::TooMany) >= 190);
    for mut satellite in named {
        let told = tokio::time::timeout(Duration::from_millis(50), satellite.hear()).await;
        assert!(told.is_err(), "it still may finish: {told:?}");
    }
}

#[tokio::test]
async fn a_handshake_has_its_time_and_no_more() {
    let fixture = Fixture::with(|settings| settings.limits.handshake_time = Duration::from_millis(500)).await;
    let mut half = TcpStream::connect(fixture.node.address()).await.expect("a connection");
    half.write_all(b"GET / HTTP/1.1\r\nHost: no").await.expect("written");
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    satellite.greeted().await.expect("greeted");
    assert_eq!(satellite.hear().await, Told::Closed(1013, "the handshake was not finished in time".to_owned()));
    assert!(end(&mut half).await.is_empty());
    assert_eq!(fixture.watch.refused(Refusal::Late), 2);
    drop(satellite);
    eventually("their places are free", async || fixture.node.health().connections == 0).await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_there_may_be() {
    let fixture = Fixture::with(|settings| settings.limits.connections = 2).await;
    let (mut a, mut b) = (fixture.satellite("kitchen"), fixture.satellite("kitchen"));
    a.connect().await.expect("a session");
    b.key = a.key.clone();
    b.connect().await.expect("a session");
    let mut third = TcpStream::connect(fixture.node.address()).await.expect("taken by the system");
    assert!(end(&mut third).await.is_empty());
    assert_eq!(fixture.watch.refused(Refusal::TooMany), 1);
    drop(b);
    eventually("a place is free", async || fixture.node.health().connections == 1).await;
    a.connect().await.expect("a session");
}

#[tokio::test]
async fn other_requests_are_answered_and_done() {
    let fixture = Fixture::new().await;
    for (request, expected) in [
        ("GET / HTTP/1.1", "HTTP/1.1 400 "),
        ("GET /_healthz HTTP/1.1", "HTTP/1.1 204 "),
        ("GET /other HTTP/1.1", "HTTP/1.1 404 "),
        ("no HTTP at all", "HTTP/1.1 400 "),
    ] {
        let mut tcp = TcpStream::connect(fixture.node.address()).await.expect("a connection");
        tcp.write_all(format!("{request}\r\nHost: node\r\n\r\n").as_bytes()).await.expect("written");
        let heard = end(&mut tcp).await;
        assert!(heard.starts_with(expected.as_bytes()), "{request}: {}", String::from_utf8_lossy(&heard));
    }
    eventually("all are gone", async || fixture.node.health().connections == 0).await;
    assert_eq!(fixture.watch.refused(Refusal::Malformed), 1);
}
