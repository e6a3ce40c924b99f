//! Everything around the node fails, and comes back: what satellites see meanwhile, and that all is well again without a restart.

use std::time::{Duration, Instant};

use hivemind_tests::clock::Clock;
use hivemind_tests::mounts::{Mounted, fill, in_namespace, is_inside};
use hivemind_tests::node::raw::{Device, Frame, Raw, bus};
use hivemind_tests::waiting::HANGS;

use super::*;

/// Sends utterances until one passes; gives the codes of the denials before.
fn until_it_passes(device: &mut Device, tap: &Tap) -> Vec<String> {
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

fn comes_in(port: u16, client: &Client) -> Device {
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
