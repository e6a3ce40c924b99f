//! Secrets of satellites and of the node, looked for in all that a node writes while everything happens to it and everything is logged.

use std::path::Path;

use hivemind_tests::node::raw::{Device, Raw};
use hivemind_tests::node::{OTHER_PASSWORD, PASSWORD};

use super::*;

/// The files that are there to keep secrets, and what satellites themselves wrote.
const KEEPS: [&str; 4] = ["data/hivemind-core/clients", "config/hivemind/", "satellites/", "tls/"];

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn nowhere(backend: Backend) {
    let (kitchen, garden) = (Client::new("key-kitchen-4711"), Client::new("key-garden-4712").with_password(OTHER_PASSWORD));
    let site = Site::new(backend, &[kitchen.clone(), garden.clone()]);
    let node =
        site.start_with(Make::Ours, &["-v", "-v"], |command| _ = command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full"));
    let mut stage = Stage { satellites: Satellites::of(&site), tap: site.bus().tap(), node, site };
    let (satellites, port) = (&mut stage.satellites, stage.site.port());
    satellites.up("one", &kitchen);
    satellites.up("one", &kitchen);
    satellites.send("one", UTTERANCE, &json!({"utterances": ["psst"]}));
    stage.tap.wait_for(UTTERANCE);
    satellites.denied("one", "ovos.not.allowed");
    satellites.connect("two", &garden.clone().with_password("nobody-knows-17-rivers"));
    satellites.connect("three", &kitchen);
    satellites.end("three");
    satellites.connect("four", &Client::new("key-of-nobody-4713"));
    let mut raw = Raw::of(port, "five", &kitchen.key);
    raw.opening().expect("it begins");
    raw.text("{").expect("sent");
    raw.end();
    let mut device = Device::up(port, "six", &garden);
    device.raw.binary(vec![1; 99]).expect("sent");
    device.raw.end();
    let metrics = stage.site.metrics();

    let known: Vec<Value> = if backend == Backend::Memory { Vec::new() } else { stage.site.clients() };
    let mut secrets = vec![PASSWORD.to_owned(), OTHER_PASSWORD.to_owned(), "psst".to_owned()];
    for client in &known {
        let psk = client["metadata"]["noise_psk"].as_str().expect("it is kept");
        secrets.push(psk.to_owned());
    }
    let key = std::fs::read_dir(stage.site.identity())
        .expect("a folder")
        .flatten()
        .find(|entry| entry.file_name().to_str().is_some_and(|name| name.ends_with("_noise.key")));
    secrets.push(std::fs::read_to_string(key.expect("a key").path()).expect("text").trim().to_owned());
    let (status, log) = stage.node.stop();
    assert!(status.success() && log.len() > 1000, "{log}");

    assert!(metrics.contains("200 OK"), "{metrics}");
    let mut all = Vec::new();
    files(stage.site.home(), &mut all);
    let home = stage.site.home().display().to_string();
    let of_node = |path: &&std::path::PathBuf| {
        let name = path.display().to_string();
        let name = name.trim_start_matches(&home).trim_start_matches('/');
        !KEEPS.iter().any(|keeps| name.starts_with(keeps)) && name != "seed.json"
    };
    let looked: Vec<_> = all.iter().filter(of_node).collect();
    assert!(looked.iter().any(|path| path.to_string_lossy().contains("audit")), "no audit log among {looked:?}");
    for secret in &secrets {
        assert!(!metrics.contains(secret), "in the metrics");
        for path in &looked {
            let text = String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned();
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "a secret in {}", path.display());
        }
    }
    // An access key is no secret, but nothing to hand around either.
    for path in looked.iter().filter(|path| path.to_string_lossy().contains("audit")) {
        let text = std::fs::read_to_string(path).expect("text");
        assert!(!text.contains("key-of-nobody-4713") && !metrics.contains("key-of-nobody-4713"), "{text}");
    }
}

#[test]
fn in_nothing_that_a_node_on_sqlite_writes() {
    nowhere(Backend::Sqlite);
}

#[test]
fn in_nothing_that_a_node_on_redis_writes() {
    nowhere(Backend::Redis);
}

#[test]
fn in_nothing_that_a_node_on_json_writes() {
    nowhere(Backend::Json);
}
