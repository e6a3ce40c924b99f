//! The audit log through the program: what is written, by whom, and what is found in it.

use std::io::BufRead as _;
use std::process::Stdio;

use hivemind_tests::node::{Backend, Client, Make, OTHER_PASSWORD, Outcome, PASSWORD, Satellites, Site};
use hivemind_tests::waiting::{KillOnDrop, wait_until};

use super::listen::Running;
use super::*;

fn entries(operator: &Operator, words: &[&str]) -> Vec<Value> {
    let all = operator.run(&[&["audit", "grep", "--json"], words].concat()).well();
    all.lines().map(parsed).collect()
}

fn wait_for(operator: &Operator, words: &[&str], count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    wait_until(&format!("{count} entries for {words:?}"), || {
        found = entries(operator, words);
        found.len() >= count
    });
    assert_eq!(found.len(), count, "{found:?}");
    found
}

#[test]
fn every_admission_refusal_and_denial_is_found_by_who_what_and_when() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let site = Site::new(Backend::Sqlite, &[kitchen.clone(), garden.clone()]);
    let mut satellites = Satellites::of(&site);
    let node = site.start(Make::Ours);
    satellites.up("one", &kitchen);
    satellites.denied("one", "not.allowed");
    satellites.denied("one", "not.allowed.either");
    satellites.up("two", &garden);
    assert_eq!(satellites.connect("three", &Client::new("key-of-nobody")), Outcome::Refused("invalid api key".to_owned()));
    satellites.ask("two", "close", &json!({}));

    let operator = &*site;
    let admitted = wait_for(operator, &["--event", "admitted", "--client", "1"], 1);
    assert_eq!((admitted[0]["name"].as_str(), admitted[0]["pattern"].as_str()), (Some("key-kitchen"), Some("XXpsk2")));
    assert_eq!(admitted[0]["address"], "127.0.0.1");
    wait_for(operator, &["--event", "admitted"], 2);
    wait_for(operator, &["--event", "left", "--client", "key-garden"], 1);
    let refused = wait_for(operator, &["--event", "refused", "--outcome", "unknown_key"], 1);
    assert!(refused[0].get("client").is_none() && refused[0]["key"].as_str().is_some_and(|key| key.len() == 12), "{refused:?}");
    assert_eq!(entries(operator, &["--client", "key-of-nobody"]), refused, "an access key finds its fingerprint");
    let denied = wait_for(operator, &["--event", "denied", "--type", "not.allowed"], 1);
    assert_eq!((denied[0]["outcome"].as_str(), denied[0]["client"].as_i64()), (Some("acl_disallowed_type"), Some(1)));
    wait_for(operator, &["--event", "denied", "--address", "127.0.0.1", "--since", "1h"], 2);
    wait_for(operator, &["--until", "2020-01-01"], 0);
    // The clients were added by commands of this program.
    let added = wait_for(operator, &["--event", "admin", "--outcome", "done"], 2);
    assert_eq!((added[1]["command"].as_str(), added[1]["client"].as_i64()), (Some("add-client"), Some(2)));
    assert!(node.stop().0.success());
    wait_for(operator, &["--event", "stopped"], 1);

    let log = site.data().join("audit.jsonl");
    assert_eq!(mode(&log), 0o600);
    let text = std::fs::read_to_string(&log).expect("the log");
    for secret in [PASSWORD, OTHER_PASSWORD, "key-of-nobody", "noise_psk"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let last = site.run(&["audit", "tail", "-n", "2"]).well();
    assert!(last.lines().count() == 2 && last.lines().next_back().is_some_and(|line| line.contains("stopped")), "{last}");
}

#[test]
fn what_commands_change_is_written_down_with_whom_and_by_whom_and_without_secrets() {
    let operator = with_two("hivemind-sqlite-db-plugin");
    for words in [
        &["allow-msg", "a.type", "b.type", "1"][..],
        &["blacklist-skill", "s9", "bbb"],
        &["set-metadata", "1", "--key", "noise_psk", "--value", "MARK-secret"],
        &["rename-client", "1", "--name", "cellar"],
        &["make-admin", "1"],
        &["export-clients", "--path", "out.csv"],
        &["delete-client", "2", "--yes"],
    ] {
        operator.run(words).well();
    }
    operator.run(&["make-admin", "77"]).fails(6, &[]);
    operator.run(&["allow-msg", "white space", "1"]).fails(2, &[]);
    // Those that only show something are not written down.
    operator.run(&["list-clients"]).well();
    operator.run(&["status"]).well();
    let told: Vec<_> = entries(&operator, &[])
        .iter()
        .map(|e| {
            let text = |name: &str| e[name].as_str().unwrap_or_default().to_owned();
            (text("command"), e["client"].as_i64(), text("detail"), text("outcome"))
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(c, id, d, o)| (c.as_str(), *id, d.as_str(), o.as_str())).collect();
    assert_eq!(
        told,
        [
            ("add-client", Some(1), "allowed: speak", "done"),
            ("add-client", Some(2), "as an administrator allowed: speak", "done"),
            ("allow-msg", Some(1), "a.type b.type", "done"),
            ("blacklist-skill", Some(2), "s9", "done"),
            ("set-metadata", Some(1), "noise_psk", "done"),
            ("rename-client", Some(1), "cellar", "done"),
            ("make-admin", Some(1), "", "done"),
            ("export-clients", None, "out.csv", "done"),
            ("delete-client", Some(2), "", "done"),
            ("make-admin", None, "", "unknown-client"),
        ]
    );
    assert!(entries(&operator, &[]).iter().all(|e| e["uid"].is_u64()));
    let log = std::fs::read_to_string(operator.data().join("audit.jsonl")).expect("the log");
    assert!(!log.contains("MARK") && !log.contains("\"pw\""), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_stops_neither_commands_nor_the_node() {
    let operator = Operator::new();
    let file = operator.write("a-file", b"");
    operator.configure(&json!({"hivemind-host": {"audit": {"file": file.join("audit.jsonl")}}}));
    let added = operator.run(&["add-client", "--name", "a"]);
    assert!(added.code == 0 && added.err.contains("warning: the audit log"), "{added:?}");
    let node = Running::start(&operator, &["--port", "0", "--agent", "echo"]);
    wait_until("it is said", || node.said().contains("cannot be written"));
    let log = operator.home().join("node.log");
    assert!(node.stop().success());
    let said = std::fs::read_to_string(log).expect("what it said");
    assert_eq!(said.matches("cannot be written").count(), 1, "{said}");

    operator.configure(&json!({"hivemind-host": {"audit": false}}));
    operator.run(&["add-client", "--name", "b"]).well();
    operator.run(&["audit", "tail"]).fails(3, &["switched off", "--file"]);
    operator.run(&["audit", "grep", "--file", "nowhere"]).fails(1, &["error[audit]", "nowhere"]);
    operator.run(&["audit", "grep", "--since", "yesterday"]).fails(2, &["--since", "24h"]);
}

#[test]
fn tail_follows_the_log_past_its_rotation() {
    let operator = Operator::new();
    operator.configure(&json!({"hivemind-host": {"audit": {"max_bytes": 65536, "keep": 2}}}));
    operator.run(&["add-client", "--name", "first"]).well();
    let mut command = operator.command(&["audit", "tail", "--follow", "--json"]);
    let mut tail = KillOnDrop(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts"));
    let mut lines = std::io::BufReader::new(tail.0.stdout.take().expect("a pipe")).lines();
    let mut next = || parsed(&lines.next().expect("it goes on").expect("UTF-8"));
    assert_eq!(next()["name"], "first");
    // As full as it gets, so that the next line begins another file.
    let log = operator.data().join("audit.jsonl");
    let filler = "x".repeat(65_400) + "\n";
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(&log).expect("the log"), filler.as_bytes())
        .expect("written");
    for name in ["second", "third"] {
        operator.run(&["add-client", "--name", name]).well();
        assert_eq!(next()["name"], name);
    }
    assert!(operator.data().join("audit.jsonl.1").exists(), "it was rotated");
    let all = operator.run(&["audit", "grep"]);
    assert!(all.code == 0 && all.err.contains("1 lines of the log cannot be read") && all.out.lines().count() == 3, "{all:?}");
}

#[test]
fn a_report_names_what_is_unusual() {
    let operator = with_two("hivemind-sqlite-db-plugin");
    let entry = |time: &str, event: &str, more: Value| {
        let mut entry = json!({"time": time, "event": event});
        more.as_object().expect("an object").iter().for_each(|(name, value)| entry[name] = value.clone());
        entry.to_string() + "\n"
    };
    let client = |id: i64, address: &str| json!({"client": id, "name": format!("c{id}"), "address": address});
    let mut log = entry("2026-01-01T00:00:00Z", "admitted", client(1, "192.0.2.1"));
    log += &entry("2026-01-01T01:00:00Z", "left", client(1, "192.0.2.1"));
    for minute in 0..12 {
        let refused = json!({"outcome": "unknown_key", "address": "198.51.100.9", "key": format!("{minute:012x}")});
        log += &entry(&format!("2026-03-01T00:{minute:02}:00Z"), "refused", refused);
    }
    log += "this is no JSON\n";
    log += &entry("2026-03-02T00:00:00Z", "admitted", client(1, "192.0.2.1"));
    log += &entry("2026-03-02T00:01:00Z", "admitted", client(1, "203.0.113.5"));
    let mut denied = client(2, "192.0.2.2");
    (denied["outcome"], denied["type"], denied["count"]) = (json!("acl_disallowed_type"), json!("x.y"), json!(500));
    log += &entry("2026-03-02T00:02:00Z", "denied", denied);
    let file = operator.write("audit.jsonl", log.as_bytes());
    let file = text(&file);
    let report = parsed(&operator.run(&["audit", "report", "--json", "--file", file]).well());
    assert_eq!(report["bursts"][0]["source"], "198.51.100.9");
    assert_eq!((report["bursts"][0]["refusals"].as_u64(), report["bursts"][0]["keys"].as_u64()), (Some(12), Some(12)));
    assert_eq!(
        (report["shared"][0]["client"].as_i64(), report["shared"][0]["addresses"].clone()),
        (Some(1), json!(["192.0.2.1", "203.0.113.5"]))
    );
    assert_eq!((report["returned"][0]["client"].as_i64(), report["returned"][0]["days"].as_i64()), (Some(1), Some(59)));
    assert_eq!((report["denied"][0]["type"].as_str(), report["denied"][0]["times"].as_u64()), (Some("x.y"), Some(500)));
    // Neither of the two clients was ever seen by the store.
    assert_eq!(report["silent"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["damaged_lines"], 1);
    let shown = operator.run(&["audit", "report", "--file", file, "--since", "2026-03-01"]);
    for part in [
        "Bursts of refusals: 1",
        "198.51.100.9",
        "One key at several addresses at once: 1",
        "Back after long silence: 1",
        "x.y",
        "500",
        "Silent for long",
        "never",
    ] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    assert!(shown.err.contains("1 lines of the log cannot be read"));
    let quiet = operator.run(&["audit", "report", "--file", file, "--since", "2026-03-03", "--no-store"]).well();
    assert!(quiet.contains("Entries: none") && !quiet.contains("Silent"), "{quiet}");
}

/// Whoever has no key may try as often as they like: what that costs on disk is bounded, and none of it goes uncounted.
#[test]
fn a_flood_of_refusals_costs_a_bounded_number_of_lines() {
    const ATTEMPTS: u64 = 600;
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let node = site.start(Make::Ours);
    for n in 0..ATTEMPTS {
        let authorization =
            openssl::base64::encode_block(format!("flood:nobody-{n}").as_bytes()).replace('+', "%2B").replace('/', "%2F");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.port())).expect("connected");
        let request = format!(
            "GET /?authorization={authorization} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("asked");
        stream.set_read_timeout(Some(hivemind_tests::waiting::HANGS)).expect("a limit");
        let (mut answer, mut part) = (Vec::new(), [0; 512]);
        // The reason stands in the close frame, as it is. Nobody answers it: the connection is dropped.
        while !answer.windows(15).any(|text| text == b"invalid api key") {
            let size = std::io::Read::read(&mut stream, &mut part).expect("an answer");
            assert!(size > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&part[..size]);
        }
    }
    wait_until("all were refused", || {
        let metrics = site.metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix("hivemind_handshakes_total{outcome=\"unknown_key\"} "));
        count.and_then(|count| count.trim().parse().ok()) == Some(ATTEMPTS)
    });
    assert!(node.stop().0.success());
    let refused = entries(&site, &["--event", "refused"]);
    // At most three minutes of at most 200 lines and a few counts, however long it took.
    assert!(refused.len() < 700, "{}", refused.len());
    let counted: u64 = refused.iter().map(|e| e["count"].as_u64().unwrap_or(1)).sum();
    let lost: u64 = entries(&site, &["--event", "lost"]).iter().filter_map(|e| e["count"].as_u64()).sum();
    assert_eq!(counted + lost, ATTEMPTS);
}
