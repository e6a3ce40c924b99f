//! Those who have proved nothing: what they can hold up, and for how long.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use hivemind_node::event::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Fixture, HANGS, PASSWORD, Satellite, Told, eventually};

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
    let fixture = Fixture::with(|settings| settings.limits.handshake_time = Duration::from_secs(5)).await;
    let mut half = TcpStream::connect(fixture.node.address()).await.expect("a connection");
    half.write_all(b"GET / HTTP/1.1\r\nHost: no").await.expect("written");
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    let told = loop {
        match satellite.hear().await {
            Told::Text(_) => {}
            told => break told,
        }
    };
    assert_eq!(told, Told::Closed(1013, "the handshake was not finished in time".to_owned()));
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

/// Told to go, and not going: as many as there are places. The next one has one at once.
#[tokio::test]
async fn strangers_that_hold_on_after_their_close_keep_nobody_out() {
    let fixture = Fixture::with(|settings| settings.limits.connections = 3).await;
    let mut holding = Vec::new();
    for _ in 0..3 {
        let mut satellite = fixture.satellite("nobody");
        satellite.open().await;
        assert_eq!(satellite.hear().await, Told::Closed(1008, "invalid api key".to_owned()));
        holding.push(satellite);
    }
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    eventually("it is in", async || fixture.node.health().satellites == 1).await;
    assert_eq!(fixture.watch.refused(Refusal::TooMany), 0);
    // Nor are they waited for where there is room.
    eventually("the others are gone", async || fixture.node.health().connections == 1).await;
    drop(holding);
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

/// How many files the node below may have open.
#[cfg(target_os = "linux")]
const FEW: u64 = 64;

/// Not a test: the node of the next one, in a process of its own, which ends with its standard input.
#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "it is run by the test below"]
async fn node_of_few_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), maximum: Some(FEW) }).expect("a limit");
    let fixture = Fixture::new().await;
    println!("\nlistens on {}", fixture.node.address());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await;
    ended.expect("the end of its input");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_node_without_file_descriptors_waits_until_there_are_some() {
    let mut node = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "strangers::node_of_few_descriptors", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut said = BufReader::new(node.stdout.take().expect("piped")).lines();
    let address = said.find_map(|line| line.expect("text").strip_prefix("listens on ").map(str::to_owned)).expect("an address");
    let address = address.parse().expect("an address");
    let mut satellite = Satellite::new(address, "kitchen", PASSWORD);
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;

    let mut others = Vec::new();
    for _ in 0..2 * FEW {
        others.push(TcpStream::connect(address).await.expect("taken by the system"));
    }
    let files = format!("/proc/{}/fd", node.id());
    eventually("all are used", async || std::fs::read_dir(&files).expect("files").count() as u64 >= FEW).await;
    satellite.utter("I am still here").await;
    while !satellite.receive().await.expect("an answer").1.contains("I am still here") {}
    drop(others);
    let mut late = Satellite { key: satellite.key.clone(), ..Satellite::new(address, "kitchen", PASSWORD) };
    late.connect().await.expect("a session");
    drop(node.stdin.take());
    assert!(node.wait().expect("its end").success());
}
