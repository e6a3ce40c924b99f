//! A Python node goes on writing to the source.

use std::process::Stdio;
use std::time::Duration;

use hivemind_tests::python::Peer;
use hivemind_tests::waiting::KillOnDrop;

use super::*;

const CLIENTS: u64 = 1000;

/// The real node's database on the source.
fn node(operator: &Operator, kind: &str) -> Peer {
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": kind, "name": "clients", "subfolder": "hivemind-core"}));
    peer
}

/// Changes, adds and revokes, as a node does; each is acknowledged.
fn write(peer: &mut Peer, n: u64) {
    let id = 1 + n * 37 % CLIENTS;
    peer.ask(&json!({"op": "set_field", "id": id, "fields": {"description": format!("written {n}"), "last_seen": n}}));
    if n.is_multiple_of(3) {
        peer.ask(&json!({"op": "add_client", "name": format!("new {n}"), "key": format!("new-{n}"), "password": "pw"}));
    }
    if n % 5 == 1 {
        peer.ask(&json!({"op": "revoke", "id": 1 + n * 11 % CLIENTS}));
        peer.ask(&json!({"op": "commit"}));
    }
}

/// No odd numbers, which Python's own plugin would change when it writes the file.
fn plain() -> String {
    let all: Vec<_> = (1..=CLIENTS).map(|id| (id, format!("key-{id}"))).collect();
    few(&all.iter().map(|(id, key)| (*id, key.as_str())).collect::<Vec<_>>())
}

fn followed_until_it_stands_still(kind: &str, from: &str, to: &str) {
    let operator = with_json(&plain());
    if from == SQLITE {
        operator.run(&["migrate-db"]).well();
        std::fs::remove_file(store(&operator, JSON)).expect("removed");
        std::fs::remove_file(operator.data().join("clients.schema_version")).expect("removed");
    }
    let peer = node(&operator, kind);
    let (source, target) = (store(&operator, from), store(&operator, to));
    followed(&operator, peer, (from, &source), (to, &target));
}

fn followed(operator: &Operator, mut peer: Peer, (from, source): (&str, &Path), (to, target): (&str, &Path)) {
    write(&mut peer, 1);
    let words = ["migrate-db", "--from", from, "--to", to, "--rounds", "500", "--batch", "16384"];
    let mut command = operator.command(&words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = KillOnDrop(command.spawn().expect("the program starts"));
    let mut written = 1;
    while written < 40 && child.0.try_wait().expect("a child").is_none() {
        written += 1;
        write(&mut peer, written);
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = child.0.wait().expect("a child");
    assert!(status.success(), "{status}");
    // If a pause between two writes was taken for the end of them, what came behind it is carried by the next run.
    operator.run(&["migrate-db", "--from", from, "--to", to, "--replace"]).well();
    assert_same(source, target, &[]);
    assert!(written > 1);
    drop(peer);
}

#[test]
fn json_into_sqlite() {
    followed_until_it_stands_still("json", JSON, SQLITE);
}

#[test]
fn redis_into_json() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&plain(), &server);
    operator.run(&["migrate-db", "--to", "redis"]).well();
    std::fs::remove_file(store(&operator, JSON)).expect("removed");
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": "redis", "host": "127.0.0.1", "port": server.port(), "index_prefix": "client"}));
    followed(&operator, peer, (REDIS, &in_redis(&server)), (JSON, &store(&operator, JSON)));
}

#[test]
fn json_into_redis() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&plain(), &server);
    let peer = node(&operator, "json");
    followed(&operator, peer, (JSON, &store(&operator, JSON)), (REDIS, &in_redis(&server)));
}

#[test]
fn sqlite_into_json() {
    followed_until_it_stands_still("sqlite", SQLITE, JSON);
}

/// All that was acknowledged before the last round is in the target, without a second run.
#[test]
fn what_was_written_before_the_writers_stopped_is_in_the_target() {
    let operator = with_json(&plain());
    let mut peer = node(&operator, "json");
    let mut command = operator.command(&["migrate-db", "--rounds", "500", "--batch", "4096"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = KillOnDrop(command.spawn().expect("the program starts"));
    // The target is marked: the copying has begun.
    hivemind_tests::waiting::wait_until("the target", || store(&operator, SQLITE).exists());
    let mut last = None;
    for n in 2..12 {
        if child.0.try_wait().expect("a child").is_some() {
            break;
        }
        write(&mut peer, n);
        // One that was acknowledged while the program still ran, and after which it read everything again.
        last = child.0.try_wait().expect("a child").is_none().then_some(n).or(last);
    }
    assert!(child.0.wait().expect("a child").success());
    let target: Vec<Value> = serde_json::from_str(
        &operator.run(&["list-clients", "--all", "--json", "--show-secrets", "--db-backend", "sqlite"]).well(),
    )
    .expect("JSON");
    // The very last may have come after the last look.
    for n in 2..last.unwrap_or(2) {
        let id = 1 + n * 37 % CLIENTS;
        let found = target.iter().find(|c| c["client_id"] == id).expect("the client");
        assert!(found["description"] == format!("written {n}") || found["api_key"] == "revoked", "{found}");
    }
}
