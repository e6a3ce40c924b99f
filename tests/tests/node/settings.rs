//! Settings of server.json, from the file to what satellites and operators see of them.

use std::time::{Duration, Instant};

use hivemind_tests::node::raw::{Device, Frame};
use hivemind_tests::waiting::{HANGS, wait_until};

use super::*;

/// When the store says that a client was last seen.
fn last_seen(site: &Site, id: i64) -> f64 {
    site.client(id)["last_seen"].as_f64().expect("a time")
}

/// Sends an utterance that must pass, and waits until it has.
fn passes(device: &mut Device, tap: &Tap) -> Value {
    let mark = format!("{:016x}", fastrand::u64(..));
    device.send(UTTERANCE, &json!({"mark": mark}));
    tap.wait("what was sent", |message| message["data"]["mark"] == mark)
}

/// Unchanged it is a minute, so the times of two writes would be that far apart; and with an hour there is but one.
#[test]
fn last_seen_is_written_as_often_as_last_seen_update_interval_says() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let site = Site::new(Backend::Sqlite, &[kitchen.clone(), garden.clone()]);
    let tap = site.bus().tap();
    site.change(|config| config["last_seen_update_interval"] = json!(0.5));
    let node = site.start(Make::Ours);
    let mut device = Device::up(site.port(), "one", &kitchen);
    let mut times = vec![last_seen(&site, 1)];
    let end = Instant::now() + HANGS;
    while times.len() < 4 {
        assert!(Instant::now() < end, "{times:?}");
        passes(&mut device, &tap);
        let seen = last_seen(&site, 1);
        if times.last() != Some(&seen) {
            times.push(seen);
        }
    }
    // The first may be that of nobody.
    let apart: Vec<f64> = times[1..].windows(2).map(|two| two[1] - two[0]).collect();
    assert!(apart.iter().all(|seconds| (0.4..30.0).contains(seconds)), "{times:?}");
    drop((device, node));

    site.change(|config| config["last_seen_update_interval"] = json!(3600));
    let _node = site.start(Make::Ours);
    let before = times.pop().expect("a time");
    let mut device = Device::up(site.port(), "one", &kitchen);
    wait_until("its coming is written", || last_seen(&site, 1) > before);
    let at_first = last_seen(&site, 1);
    for _ in 0..20 {
        passes(&mut device, &tap);
    }
    // They are written one after another: had it been written again, it would have been before this one.
    let mut another = Device::up(site.port(), "two", &garden);
    passes(&mut another, &tap);
    wait_until("the other's is written", || last_seen(&site, 2) > at_first);
    assert_eq!(last_seen(&site, 1).to_bits(), at_first.to_bits());
}

#[test]
fn a_password_must_be_as_strong_as_min_password_bits_says_where_it_is_checked() {
    let (weak, strong) = (Client::new("key-weak").with_password("password1"), Client::new("key-strong"));
    let site = Site::new(Backend::Sqlite, &[weak.clone(), strong.clone()]);
    let mut satellites = Satellites::of(&site);
    let cases = [
        // min_password_bits, runtime_password_strength_check, whether the environment switches it off; who is let in.
        (None, None, false, (false, true)),
        (None, Some(true), false, (false, true)),
        (None, Some(false), false, (true, true)),
        (Some(200), None, false, (false, false)),
        (Some(200), Some(false), false, (true, true)),
        (Some(200), Some(true), true, (true, true)),
        (Some(0), Some(true), false, (true, true)),
    ];
    for (bits, check, off, expected) in cases {
        site.change(|config| {
            config["min_password_bits"] = json!(bits);
            config["runtime_password_strength_check"] = json!(check);
        });
        let node = site.start_with(Make::Ours, &[], |command| {
            if off {
                command.env("HIVEMIND_DISABLE_PASSWORD_STRENGTH_CHECK", "1");
            }
        });
        let mut is_let_in = |name: &str, client: &Client| match satellites.connect(name, client) {
            Outcome::Up(_) => satellites.ask(name, "close", &json!({})) == json!(true),
            Outcome::Refused(reason) if reason == "this node requires a stronger password" => false,
            other => panic!("{name}: {other:?}"),
        };
        let found = (is_let_in("one", &weak), is_let_in("two", &strong));
        assert_eq!(found, expected, "{bits:?} {check:?} {off}:\n{}", node.log());
    }
}

/// The chain is what carries a client's blacklists into its sessions; the whitelist is none of it and always holds.
#[test]
fn without_a_policy_in_the_chain_no_blacklist_goes_into_the_session() {
    let blacklists = json!({"skill_blacklist": ["skill-a"], "intent_blacklist": ["intent-b"]});
    let kitchen = Client::new("key-kitchen").with_metadata(blacklists);
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&kitchen));
    let tap = site.bus().tap();
    for (policy, is_there) in
        [(json!(null), true), (json!({"chain": [{"module": "hivemind-ovos-agent-policy"}]}), true), (json!({"chain": []}), false)]
    {
        site.change(|config| config["policy"] = policy.clone());
        let _node = site.start(Make::Ours);
        let mut device = Device::up(site.port(), "one", &kitchen);
        let passed = passes(&mut device, &tap);
        let session = &passed["context"]["session"];
        let found = (session["blacklisted_skills"].clone(), session["blacklisted_intents"].clone());
        let expected = if is_there { (json!(["skill-a"]), json!(["intent-b"])) } else { (json!(null), json!(null)) };
        assert_eq!(found, expected, "{policy}: {passed}");
        device.send("ovos.not.allowed", &json!({}));
        assert_eq!(device.wait("hive.policy.denied")["payload"]["data"]["code"], "acl_disallowed_type", "{policy}");
    }
}

/// A satellite whose power is cut says nothing, and its connection stays: it is asked, and put out when it does not answer. Unchanged that
/// takes 50 seconds.
#[test]
fn who_answers_no_ping_is_put_out_after_the_time_that_is_set_and_nobody_else() {
    const TIMEOUT: u32 = 8;
    let clients = ["key-mute", "key-raw", "key-stock"].map(Client::new);
    let site = Site::new(Backend::Sqlite, &clients);
    site.change(|config| {
        let listener = &mut config["network_protocol"]["hivemind-websocket-plugin"];
        listener["websocket_ping_interval"] = json!(1);
        listener["websocket_ping_timeout"] = json!(TIMEOUT);
    });
    let mut stage = Stage::on(site, Make::Ours);
    stage.satellites.up("stock", &clients[2]);
    let mut mute = Device::up(stage.site.port(), "mute", &clients[0]);
    let mut answering = Device::up(stage.site.port(), "raw", &clients[1]);
    passes(&mut mute, &stage.tap);
    wait_until("all are there", || stage.site.measured("hivemind_satellites", &[]) == Some(3.0));
    assert_eq!(stage.site.measured("hivemind_connections", &[]), Some(3.0));
    // Pongs are sent by whoever reads. This one does nothing more, and the system it runs on takes all that comes.
    let end = Instant::now() + HANGS;
    while stage.site.measured("hivemind_connections", &[]) != Some(2.0) {
        assert!(Instant::now() < end, "it is still there");
        assert_eq!(answering.raw.read_within(Duration::from_millis(100)), None);
    }
    assert_eq!(stage.site.measured("hivemind_satellites", &[]), Some(2.0));
    assert_eq!(mute.raw.end(), Frame::Close(1000, "no answer to a ping".to_owned()));
    // The others were asked as often and are as they were.
    passes(&mut answering, &stage.tap);
    stage.satellites.send("stock", UTTERANCE, &json!({"mark": "stock"}));
    stage.tap.wait("the stock client", |message| message["data"]["mark"] == "stock");
    let mut left = Vec::new();
    wait_until("it is in the log", || {
        left = audited(&stage.site, &["--event", "left"]);
        !left.is_empty()
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((&left[0]["client"], &left[0]["reason"]), (&json!(1), &json!("no answer to a ping")));
    let lasted = left[0]["ms"].as_u64().expect("a time");
    assert!((u64::from(TIMEOUT) * 1000..45_000).contains(&lasted), "{lasted} ms");
}
