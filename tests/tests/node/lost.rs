//! A store that has lost its clients: nobody is told that they are unknown, nobody's session ends, and all is well when they are back.

use std::path::Path;
use std::time::{Duration, Instant};

use hivemind_tests::node::raw::{Device, Frame, Raw};
use hivemind_tests::waiting::wait_until;

use super::chaos::{comes_in, until_it_passes};
use super::*;

fn unavailable() -> Frame {
    Frame::Close(1011, "client database unavailable".to_owned())
}

fn unknown() -> Frame {
    Frame::Close(1008, "invalid api key".to_owned())
}

fn told(stage: &Stage, key: &str) -> Frame {
    Raw::of(stage.node.port(), "device-of-somebody", key).end()
}

fn is_well(stage: &Stage) {
    wait_until("it is well", || stage.site.health().1["status"] == "ok");
}

/// It is the storage that is not, whether the bus is there or not.
fn is_not_well(stage: &Stage) {
    wait_until("it is not well", || {
        let health = stage.site.health().1;
        health["status"] == "degraded" && health["storage"] == false
    });
}

/// A store without clients where there were some, or at the first start, is not taken for one in which nobody is known: satellites that
/// are told so would give up for ever.
#[test]
fn an_empty_store_tells_nobody_that_they_are_unknown_unless_that_is_said() {
    let site = Site::new(Backend::Sqlite, &[]);
    let node = site.start(Make::Ours);
    assert!(matches!(Raw::of(node.port(), "one", "key-kitchen").end(), Frame::Close(1011, _)));
    // The first client is let in without a restart.
    site.add(&Client::new("key-kitchen"));
    comes_in(node.port(), &Client::new("key-kitchen"));
    drop(node);
    let site = Site::new(Backend::Sqlite, &[]);
    let node = site.start_with(Make::Ours, &["--allow-empty"], |_| {});
    assert_eq!(Raw::of(node.port(), "one", "key-kitchen").end(), Frame::Close(1008, "invalid api key".to_owned()));
}

/// Takes all records away, as an accident does.
fn wipe(site: &Site) {
    match site.backend {
        Backend::Redis => site.redis().ask::<()>(&["FLUSHALL"]),
        // Another file in its place.
        Backend::Json => {
            let empty = site.write("data/hivemind-core/empty", b"{}");
            std::fs::rename(empty, site.data().join("clients.json")).expect("replaced");
        }
        Backend::Sqlite => {
            let database = rusqlite::Connection::open(site.data().join("clients.db")).expect("opened");
            database.busy_timeout(Duration::from_secs(60)).expect("set");
            assert_eq!(database.execute("DELETE FROM clients", ()).expect("deleted"), 4);
        }
        Backend::Memory => panic!("nobody else can change it"),
    }
}

/// Under a running node: who is connected stays so and is denied, who comes is told to come back, also in the first second, in which the
/// node has just counted them all. With the records back everybody goes on, and who is revoked then is put out.
fn under_a_running_node(backend: Backend) {
    let clients = ["key-kitchen", "key-garden", "key-cellar", "key-attic"].map(Client::new);
    let [kitchen, garden, cellar, _] = &clients;
    let mut stage = Stage::new(Make::Ours, backend, &clients);
    let mut device = Device::up(stage.node.port(), "device", kitchen);
    until_it_passes(&mut device, &stage.tap);
    stage.satellites.up("one", garden);
    let backup = stage.site.home().join("all.backup");
    let backup = backup.to_str().expect("UTF-8");
    stage.site.run(&["backup", backup]).well();
    is_well(&stage);

    assert_eq!(told(&stage, "key-of-nobody"), unknown());
    wipe(&stage.site);
    for key in ["key-cellar", "key-of-nobody", "key-attic"] {
        assert_eq!(told(&stage, key), unavailable(), "{key}");
    }
    // On Redis a change is known after a second at most.
    wait_until("it is denied", || device.denied_soon(UTTERANCE).is_some_and(|code| code == "policy_error"));
    // Whoever looks after revoked clients has looked several times.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let denied = device.denied_soon(UTTERANCE);
        assert!(denied.as_ref().is_none_or(|code| code == "policy_error"), "{denied:?}");
        assert_eq!(told(&stage, "key-cellar"), unavailable());
    }
    assert_eq!(stage.satellites.denied("one", UTTERANCE)["code"], "policy_error");
    is_not_well(&stage);
    let log = stage.node.log();
    let loud: Vec<_> = log.lines().filter(|line| line.contains("holds 0 client records, where this node has seen 4")).collect();
    // Once a minute, however often it is asked.
    assert!((1..4).contains(&loud.len()) && loud[0].contains("ERROR") && loud[0].contains("--allow-empty"), "{loud:#?}");

    stage.site.run(&["restore", backup, "--yes", "--no-keep"]).well();
    let codes = until_it_passes(&mut device, &stage.tap);
    assert!(codes.iter().all(|code| code == "policy_error"), "{codes:?}");
    comes_in(stage.node.port(), cellar);
    wait_until("its satellites speak", || {
        stage.satellites.send("one", UTTERANCE, &json!({"mark": "garden"}));
        stage.tap.heard().iter().any(|m| m["data"]["mark"] == "garden")
    });
    is_well(&stage);
    wait_until("strangers are strangers", || told(&stage, "key-of-nobody") == unknown());
    let left = stage.site.run(&["audit", "grep", "--json", "--event", "left"]).well();
    assert!(!left.contains("revoked"), "{left}");

    stage.site.run(&["delete-client", "key-kitchen", "--yes"]).well();
    assert_eq!(device.raw.end(), Frame::Close(1008, "this client was revoked".to_owned()));
    assert_eq!(told(&stage, "key-kitchen"), unknown());
}

#[test]
fn under_a_running_node_on_sqlite() {
    under_a_running_node(Backend::Sqlite);
}

#[test]
fn under_a_running_node_on_json() {
    under_a_running_node(Backend::Json);
}

#[test]
fn under_a_running_node_on_redis() {
    under_a_running_node(Backend::Redis);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("clients.")) {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// At the next start: a store of an earlier time, with two of ten clients. Those two are let in, all others are told to come back.
fn at_the_next_start(backend: Backend) {
    let clients: Vec<Client> = (0..10).map(|n| Client::new(&format!("key-{n}"))).collect();
    let site = Site::new(backend, &clients[..2]);
    let [two, ten] = ["two", "ten"].map(|name| site.home().join(name));
    copy(&site.data(), &two);
    clients[2..].iter().for_each(|client| site.add(client));
    copy(&site.data(), &ten);
    let put = |site: &Site, from: &Path| {
        for name in ["clients.db", "clients.db-wal", "clients.db-shm", "clients.json"] {
            let _ = std::fs::remove_file(site.data().join(name));
        }
        copy(from, &site.data());
    };
    let restart = |stage: Stage, from: &Path, words: &[&str]| {
        let (status, log) = stage.node.stop();
        assert!(status.success(), "{log}");
        put(&stage.site, from);
        let node = stage.site.start_with(Make::Ours, words, |_| {});
        Stage { node, tap: stage.site.bus().tap(), ..stage }
    };
    let lost = "holds 2 client records, where this node has seen 10";

    let stage = Stage::on(site, Make::Ours);
    comes_in(stage.node.port(), &clients[9]);
    let stage = restart(stage, &two, &[]);
    for key in ["key-9", "key-of-nobody", "key-2"] {
        assert_eq!(told(&stage, key), unavailable(), "{key}");
    }
    let mut device = comes_in(stage.node.port(), &clients[1]);
    until_it_passes(&mut device, &stage.tap);
    is_not_well(&stage);
    assert!(stage.node.log().lines().any(|line| line.contains("ERROR") && line.contains(lost)), "{}", stage.node.log());

    // A restart does not make it forget.
    let stage = restart(stage, &two, &[]);
    assert_eq!(told(&stage, "key-9"), unavailable());
    let stage = restart(stage, &ten, &[]);
    comes_in(stage.node.port(), &clients[9]);
    assert_eq!(told(&stage, "key-of-nobody"), unknown());
    is_well(&stage);

    // Meant to be so.
    let stage = restart(stage, &two, &["--allow-empty"]);
    assert_eq!(told(&stage, "key-9"), unknown());
    is_well(&stage);
    let stage = restart(stage, &two, &[]);
    assert_eq!(told(&stage, "key-9"), unknown());
}

#[test]
fn at_the_next_start_on_sqlite() {
    at_the_next_start(Backend::Sqlite);
}

#[test]
fn at_the_next_start_on_json() {
    at_the_next_start(Backend::Json);
}
