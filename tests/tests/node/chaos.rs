//! Everything around the node fails, and comes back: what satellites see meanwhile, and that all is well again without a restart.

use std::time::{Duration, Instant};

use hivemind_tests::clock::Clock;
use hivemind_tests::mounts::{Mounted, fill, in_namespace, is_inside};
use hivemind_tests::node::raw::{Device, Frame, Raw, bus};
use hivemind_tests::waiting::{HANGS, wait_until};

use super::*;

/// Sends utterances until one passes; gives the codes of the denials before.
pub(crate) fn until_it_passes(device: &mut Device, tap: &Tap) -> Vec<String> {
    let (end, mut codes) = (Instant::now() + HANGS, Vec::new());
    for number in 0.. {
        assert!(Instant::now() < end, "nothing passes: {codes:?}");
        let marked = format!("try {number} of {:016x}", fastrand::u64(..));
        device.send(UTTERANCE, &json!({"mark": marked}));
        // One of the two comes: it is denied, or it is on the bus.
        let denied = loop {
            if tap.heard().iter().any(|m| m["data"]["mark"] == marked) {
                break None;
            }
            if let Some(denial) = device.hear_soon() {
                break Some(denial["payload"]["data"]["code"].as_str().expect("a code").to_owned());
            }
        };
        match denied {
            None => return codes,
            Some(code) => codes.push(code),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    unreachable!("it ends above")
}

/// The denial of the next utterance.
fn denied(device: &mut Device) -> String {
    device.send(UTTERANCE, &json!({}));
    device.wait("hive.policy.denied")["payload"]["data"]["code"].as_str().expect("a code").to_owned()
}

#[test]
fn a_bus_that_is_gone_denies_what_cannot_be_passed_on_and_all_is_well_when_it_is_back() {
    let kitchen = Client::new("key-kitchen");
    let stage = Stage::new(Make::Ours, Backend::Sqlite, std::slice::from_ref(&kitchen));
    let mut device = Device::up(stage.node.port(), "device", &kitchen);
    assert_eq!(until_it_passes(&mut device, &stage.tap), [] as [&str; 0]);
    stage.site.bus().kill();
    // The last before the loss is known may still be lost on the way.
    let end = Instant::now() + HANGS;
    while device.denied_soon(UTTERANCE).is_none_or(|code| code != "backend_unavailable") {
        assert!(Instant::now() < end, "never denied");
    }
    stage.site.bus().restart();
    let tap = stage.site.bus().tap();
    let codes = until_it_passes(&mut device, &tap);
    assert!(codes.iter().all(|code| code == "backend_unavailable"), "{codes:?}");
}

/// A message is denied rather than let pass unseen, nobody is told that the node does not know them, and nobody has to come back.
#[test]
fn a_redis_that_is_gone_denies_and_lets_nobody_in_and_all_is_well_when_it_is_back() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let stage = Stage::new(Make::Ours, Backend::Redis, &[kitchen.clone(), garden.clone()]);
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &kitchen);
    until_it_passes(&mut device, &stage.tap);
    stage.site.redis().kill();
    let end = Instant::now() + HANGS;
    while device.denied_soon(UTTERANCE).is_none_or(|code| code != "policy_error") {
        assert!(Instant::now() < end, "never denied");
    }
    for _ in 0..5 {
        assert_eq!(Raw::of(port, "another", "key-garden").end(), Frame::Close(1011, "client database unavailable".to_owned()));
        assert_eq!(Raw::of(port, "nobody", "key-of-nobody").end(), Frame::Close(1011, "client database unavailable".to_owned()));
        assert_eq!(denied(&mut device), "policy_error");
    }
    stage.site.redis().restart();
    let codes = until_it_passes(&mut device, &stage.tap);
    assert!(codes.iter().all(|code| code == "policy_error"), "{codes:?}");
    comes_in(port, &garden);
}

/// Connects until it is let in, which a node that recovers does soon.
pub(crate) fn comes_in(port: u16, client: &Client) -> Device {
    let end = Instant::now() + HANGS;
    loop {
        let came = Device::try_up(port, "device-that-comes-back", client).and_then(|mut device| {
            // It hears only now whether it is in: an answer to what it is not allowed to say.
            device.try_say("bus", &bus("ovos.not.allowed", &json!({}))).map_err(|_| device.raw.end())?;
            device.hear().map(|_| device)
        });
        match came {
            Ok(device) => return device,
            Err(Frame::Close(1011, _) | Frame::Gone) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A server that takes everything and answers nothing for a while: what needs it is denied in its time, the rest goes on.
#[test]
fn a_redis_that_pauses_holds_up_nobody_for_good() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let stage = Stage::new(Make::Ours, Backend::Redis, &[kitchen.clone(), garden.clone()]);
    let mut device = Device::up(stage.node.port(), "device", &kitchen);
    until_it_passes(&mut device, &stage.tap);
    stage.site.redis().ask::<()>(&["CLIENT", "PAUSE", "6000", "ALL"]);
    let codes = until_it_passes(&mut device, &stage.tap);
    assert!(codes.iter().all(|code| code == "policy_error"), "{codes:?}");
    comes_in(stage.node.port(), &garden);
    until_it_passes(&mut device, &stage.tap);
}

#[test]
fn a_clock_that_jumps_ends_no_session_and_keeps_nobody_out() {
    let clients: Vec<Client> = (0..8).map(|n| Client::new(&format!("key-{n}"))).collect();
    let site = Site::new(Backend::Sqlite, &clients);
    let clock = Clock::at(&site.home().join("clock"));
    let node = site.start_with(Make::Ours, &[], |command| clock.prepare(command));
    let tap = site.bus().tap();
    let mut device = Device::up(node.port(), "device", &clients[0]);
    until_it_passes(&mut device, &tap);
    for (n, jump) in ["-3650d", "+3650d", "-1h", "+20y", "+0"].into_iter().enumerate() {
        clock.set(jump);
        assert_eq!(until_it_passes(&mut device, &tap), [] as [&str; 0], "{jump}");
        let mut another = Device::up(node.port(), "another", &clients[n + 1]);
        assert_eq!(until_it_passes(&mut another, &tap), [] as [&str; 0], "{jump}");
    }
    let (status, log) = node.stop();
    assert!(status.success(), "{log}");
}

/// Whoever is connected goes on talking, whoever comes is let in or told to come back, and all of it works again when there is room.
fn full_disk(backend: Backend) {
    let clients: Vec<Client> = (0..4).map(|n| Client::new(&format!("key-{n}"))).collect();
    let site = Site::new(backend, &[]);
    std::fs::create_dir_all(site.data()).expect("a folder");
    let _mounted = Mounted::tmpfs("1m", &site.data());
    clients.iter().for_each(|client| site.add(client));
    let (node, tap) = (site.start(Make::Ours), site.bus().tap());
    let mut device = Device::up(node.port(), "device", &clients[0]);
    until_it_passes(&mut device, &tap);
    let filler = site.data().join("filler");
    fill(&filler, 0);
    for client in &clients[1..] {
        assert_eq!(until_it_passes(&mut device, &tap), [] as [&str; 0], "what is read needs no room");
        // Its key cannot be pinned. It has sent all there is to send by then, and hears of it afterwards.
        let end = Device::try_up(node.port(), "another", client).map_or_else(|end| end, |mut another| another.raw.end());
        assert_eq!(end, Frame::Close(1011, "client database unavailable".to_owned()));
    }
    std::fs::remove_file(&filler).expect("freed");
    for client in &clients[1..] {
        let mut another = comes_in(node.port(), client);
        until_it_passes(&mut another, &tap);
    }
    until_it_passes(&mut device, &tap);
    let (status, log) = node.stop();
    assert!(status.success(), "{log}");
}

/// The audit log on a disk of its own that is full: the node says so once, serves as before, and tells in the log what is missing.
fn full_disk_of_the_audit_log() {
    let clients: Vec<Client> = (0..2).map(|n| Client::new(&format!("key-{n}"))).collect();
    let site = Site::new(Backend::Sqlite, &clients);
    let folder = site.home().join("log");
    std::fs::create_dir_all(&folder).expect("a folder");
    let _mounted = Mounted::tmpfs("1m", &folder);
    let file = folder.join("audit.jsonl");
    let (node, tap) = (site.start_with(Make::Ours, &["--audit", file.to_str().expect("UTF-8")], |_| {}), site.bus().tap());
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("it is written", || lines().contains("started"));
    fill(&folder.join("filler"), 0);
    let mut device = Device::up(node.port(), "device", &clients[0]);
    // More than what is left of the file's last page.
    for n in 0..100 {
        device.send(&format!("not.allowed.{n}"), &json!({}));
        assert_eq!(device.wait("hive.policy.denied")["payload"]["data"]["code"], "acl_disallowed_type");
    }
    let told = || node.log().lines().filter(|line| line.contains("audit log") && line.contains("cannot be written")).count();
    wait_until("it is said", || told() == 1);
    // Some more tries to write it.
    let before = lines().len();
    for n in 0..3 {
        std::thread::sleep(Duration::from_millis(1100));
        device.send(&format!("not.allowed.later.{n}"), &json!({}));
        until_it_passes(&mut device, &tap);
        until_it_passes(&mut comes_in(node.port(), &clients[1]), &tap);
    }
    assert_eq!((told(), lines().len()), (1, before));
    std::fs::remove_file(folder.join("filler")).expect("freed");
    wait_until("it is written again", || lines().contains("\"lost\""));
    device.send("not.allowed.at.last", &json!({}));
    while device.wait("hive.policy.denied")["payload"]["data"]["denied_type"] != "not.allowed.at.last" {}
    let (status, log) = node.stop();
    assert!(status.success() && log.contains("is written again"), "{log}");
    // Nothing but the one line that was cut is damaged.
    let damaged: Vec<_> =
        lines().lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).map(str::to_owned).collect();
    assert!(damaged.len() <= 1, "{damaged:?}");
    let entries: Vec<Value> = lines().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lost = entries.iter().find(|entry| entry["event"] == "lost").expect("what is missing");
    assert!(lost["count"].as_u64().is_some_and(|count| count > 50), "{lost}");
    let has = |event: &str, kind: &str| entries.iter().any(|entry| entry["event"] == event && entry["type"] == kind);
    assert!(has("denied", "not.allowed.at.last") && entries.iter().any(|entry| entry["event"] == "stopped"), "{log}");
}

#[test]
fn a_full_disk_of_the_audit_log() {
    in_namespace("chaos::inside_a_full_disk_of_the_audit_log");
}

#[test]
#[ignore = "run by a_full_disk_of_the_audit_log where it may mount"]
fn inside_a_full_disk_of_the_audit_log() {
    if is_inside() {
        full_disk_of_the_audit_log();
    }
}

#[test]
fn a_full_disk_on_sqlite() {
    in_namespace("chaos::inside_a_full_disk_on_sqlite");
}

#[test]
fn a_full_disk_on_json() {
    in_namespace("chaos::inside_a_full_disk_on_json");
}

#[test]
#[ignore = "run by a_full_disk_on_sqlite where it may mount"]
fn inside_a_full_disk_on_sqlite() {
    if is_inside() {
        full_disk(Backend::Sqlite);
    }
}

#[test]
#[ignore = "run by a_full_disk_on_json where it may mount"]
fn inside_a_full_disk_on_json() {
    if is_inside() {
        full_disk(Backend::Json);
    }
}
