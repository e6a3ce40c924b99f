//! Everything around the node fails, and comes back: what satellites see meanwhile, and that all is well again without a restart.

use std::time::{Duration, Instant};

use hivemind_tests::clock::Clock;
use hivemind_tests::mounts::{Mounted, fill, in_namespace, is_inside};
use hivemind_tests::node::raw::{Device, Frame, Raw, bus};
use hivemind_tests::waiting::{HANGS, wait_until};

use super::*;

/// Sends an utterance: the code of its denial, or `None` if it is on the bus.
fn sent(device: &mut Device, tap: &Tap) -> Option<String> {
    let (end, marked) = (Instant::now() + HANGS, format!("{:016x}", fastrand::u64(..)));
    device.send(UTTERANCE, &json!({"mark": marked}));
    loop {
        assert!(Instant::now() < end, "neither denied nor on the bus");
        if tap.heard().iter().any(|m| m["data"]["mark"] == marked) {
            return None;
        }
        if let Some(denial) = device.hear_soon() {
            return Some(denial["payload"]["data"]["code"].as_str().expect("a code").to_owned());
        }
    }
}

/// Sends utterances until one passes; gives the codes of the denials before.
pub(crate) fn until_it_passes(device: &mut Device, tap: &Tap) -> Vec<String> {
    let (end, mut codes) = (Instant::now() + HANGS, Vec::new());
    while let Some(code) = sent(device, tap) {
        codes.push(code);
        assert!(Instant::now() < end, "nothing passes: {codes:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    codes
}

/// The denial of the next utterance.
fn denied(device: &mut Device) -> String {
    device.send(UTTERANCE, &json!({}));
    device.wait("hive.policy.denied")["payload"]["data"]["code"].as_str().expect("a code").to_owned()
}

/// What those hear who watch over the node: its metrics and its health agree, and hold for some of the node's own looks at everything.
fn watched(site: &Site, storage: bool, agent: bool) {
    let gauge = |name: &str| site.measured(name, &[]) == Some(1.0);
    let status = if storage && agent { "ok" } else { "degraded" };
    let is_so = || {
        let (code, health) = site.health();
        let told = (&health["status"], &health["storage"], &health["agent"]);
        let agree = told == (&json!(status), &json!(storage), &json!(agent));
        // Who starts the node anew would not help it.
        (agree && code == 200 && gauge("hivemind_storage_up") == storage && gauge("hivemind_agent_up") == agent)
            .then_some(())
            .ok_or_else(|| format!("{code} {health}\n{}", site.metrics()))
    };
    wait_until(&format!("{status}, storage {storage}, agent {agent}"), || is_so().is_ok());
    let end = Instant::now() + Duration::from_millis(3500);
    while Instant::now() < end {
        is_so().unwrap_or_else(|found| panic!("it was {status}, and is not any more: {found}"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Messages of satellites that came to this verdict.
fn judged(site: &Site, verdict: &str) -> f64 {
    let label = format!("verdict=\"{verdict}\"");
    site.measured("hivemind_messages_total", &["envelope=\"bus\"", &label]).unwrap_or_default()
}

/// Connections that came to this end before a session, or to a session.
fn shaken(site: &Site, outcome: &str) -> f64 {
    site.measured("hivemind_handshakes_total", &[&format!("outcome=\"{outcome}\"")]).unwrap_or_default()
}

#[test]
fn a_bus_that_is_gone_denies_what_cannot_be_passed_on_and_all_is_well_when_it_is_back() {
    let kitchen = Client::new("key-kitchen");
    let stage = Stage::new(Make::Ours, Backend::Sqlite, std::slice::from_ref(&kitchen));
    let (tap, site) = (&stage.tap, &stage.site);
    let mut device = Device::up(stage.node.port(), "device", &kitchen);
    assert_eq!(until_it_passes(&mut device, tap), [] as [&str; 0]);
    tap.answer(&tap.wait_for(UTTERANCE), "speak", json!({}));
    device.wait("speak");
    watched(site, true, true);
    assert_eq!(site.measured("hivemind_delivered_total", &[]), Some(1.0));
    assert_eq!((judged(site, "allowed"), judged(site, "backend_unavailable")), (1.0, 0.0));
    site.bus().kill();
    // The last before the loss is known may still be lost on the way.
    let (end, mut sent) = (Instant::now() + HANGS, 0.0);
    loop {
        assert!(Instant::now() < end, "never denied");
        sent += 1.0;
        if device.denied_soon(UTTERANCE).is_some_and(|code| code == "backend_unavailable") {
            break;
        }
    }
    watched(site, true, false);
    let lost = judged(site, "allowed") - 1.0;
    assert_eq!(lost + judged(site, "backend_unavailable"), sent);
    while device.hear_soon().is_some() {}
    site.bus().restart();
    let tap = site.bus().tap();
    let codes = until_it_passes(&mut device, &tap);
    assert!(codes.iter().all(|code| code == "backend_unavailable"), "{codes:?}");
    watched(site, true, true);
    assert_eq!(judged(site, "allowed"), lost + 2.0);
}

/// A message is denied rather than let pass unseen, nobody is told that the node does not know them, and nobody has to come back.
#[test]
fn a_redis_that_is_gone_denies_and_lets_nobody_in_and_all_is_well_when_it_is_back() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let stage = Stage::new(Make::Ours, Backend::Redis, &[kitchen.clone(), garden.clone()]);
    let (port, site) = (stage.node.port(), &stage.site);
    let mut device = Device::up(port, "device", &kitchen);
    until_it_passes(&mut device, &stage.tap);
    let cached = || site.measured("hivemind_cache_lookups_total", &["result=\"hit\""]).expect("it is counted");
    wait_until("a message's client comes from the cache", || {
        until_it_passes(&mut device, &stage.tap);
        cached() > 0.0
    });
    watched(site, true, true);
    assert_eq!(site.measured("hivemind_storage_errors_total", &[]), None);
    site.redis().kill();
    let (end, before, mut passed) = (Instant::now() + HANGS, judged(site, "allowed"), 0.0);
    // What is known of the client counts until it is known that nothing more will be told of it.
    loop {
        match sent(&mut device, &stage.tap) {
            None => passed += 1.0,
            Some(code) => break assert_eq!(code, "policy_error"),
        }
        assert!(Instant::now() < end, "never denied");
    }
    for _ in 0..5 {
        assert_eq!(Raw::of(port, "another", "key-garden").end(), Frame::Close(1011, "client database unavailable".to_owned()));
        assert_eq!(Raw::of(port, "nobody", "key-of-nobody").end(), Frame::Close(1011, "client database unavailable".to_owned()));
        assert_eq!(denied(&mut device), "policy_error");
    }
    watched(site, false, true);
    assert_eq!((shaken(site, "admitted"), shaken(site, "storage")), (1.0, 10.0));
    assert_eq!((judged(site, "allowed") - before, judged(site, "policy_error")), (passed, 6.0));
    let failed = |call: &str| site.measured("hivemind_storage_errors_total", &[&format!("call=\"{call}\"")]).unwrap_or_default();
    assert!(failed("by_access_key") >= 10.0 && failed("by_id") >= 6.0, "{}", site.metrics());
    let told = audited(site, &["--event", "refused", "--outcome", "storage"]);
    assert!(told.len() == 10 && told.iter().all(|e| e["client"].is_null() && e["address"] == "127.0.0.1"), "{told:?}");
    site.redis().restart();
    let codes = until_it_passes(&mut device, &stage.tap);
    assert!(codes.iter().all(|code| code == "policy_error"), "{codes:?}");
    let _garden = comes_in(port, &garden);
    watched(site, true, true);
    let before = cached();
    wait_until("the cache is used again", || {
        until_it_passes(&mut device, &stage.tap);
        cached() > before
    });
    // Each connection came to one end; but the one by which it was seen that the node listens, which asked for nothing.
    let taken = site.measured("hivemind_connections_taken_total", &[]).expect("it is counted");
    assert_eq!(site.measured("hivemind_handshakes_total", &[]), Some(taken - 1.0), "{}", site.metrics());
    assert_eq!((shaken(site, "admitted"), site.measured("hivemind_satellites", &[])), (2.0, Some(2.0)));
}

/// Nobody is connected who would notice, and whoever watches over the node hears of it all the same, also of the end.
#[test]
fn a_redis_that_is_gone_is_told_of_where_nobody_is_connected() {
    let site = Site::new(Backend::Redis, &[Client::new("key-kitchen")]);
    let node = site.start(Make::Ours);
    watched(&site, true, true);
    site.redis().kill();
    assert!(matches!(Raw::of(node.port(), "one", "key-kitchen").end(), Frame::Close(1011, _)));
    watched(&site, false, true);
    site.redis().restart();
    watched(&site, true, true);
}

/// Strangers connect while the storage is away: what they cause is counted, and not written line by line.
#[test]
fn an_outage_is_a_few_lines_however_many_come() {
    let stage = Stage::new(Make::Ours, Backend::Redis, &[Client::new("key-kitchen")]);
    stage.site.redis().kill();
    for n in 0..30 {
        let end = Raw::of(stage.node.port(), "one", &format!("key-{n}")).end();
        assert!(matches!(&end, Frame::Close(1011, _)), "{end:?}");
    }
    let log = stage.node.log();
    let loud = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).count();
    assert!(loud < 15 && log.contains("the storage failed"), "{log}");
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
