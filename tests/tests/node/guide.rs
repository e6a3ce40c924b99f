//! The operator guide's "Five minutes to this node, and back", as it stands there, on a Python node that is in use.

use hivemind_tests::python::hivemind_core;
use hivemind_tests::root;

use super::*;

const SECTION: &str = "### Five minutes to this node, and back";

/// The text of the section, and the commands in its blocks.
fn section() -> (String, Vec<String>) {
    let guide = std::fs::read_to_string(root().join("docs/operator.md")).expect("the guide");
    let (_, after) = guide.split_once(SECTION).expect("the section");
    let text = after.split("\n### ").next().expect("its text").to_owned();
    let commands = text.lines().filter_map(|line| line.strip_prefix("        ")).map(str::to_owned).collect();
    (text, commands)
}

/// A satellite says something, and it is on the bus in the session that skills know this client by.
fn heard(satellites: &mut Satellites, tap: &Tap, name: &str) -> Value {
    let mark = format!("{:016x}", fastrand::u64(..));
    satellites.ask(
        name,
        "send",
        &json!({"type": UTTERANCE, "data": {"mark": mark}, "context": {"session": {"session_id": "mine"}}}),
    );
    tap.wait(name, |message| message["data"]["mark"] == mark)["context"]["session"]["session_id"].clone()
}

/// Each command is run in its place; the satellite that is connected throughout comes back by itself, by the key it has pinned.
fn there_and_back(backend: Backend) {
    let (text, commands) = section();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let expected = ["status", "list-clients", "policy list", "backup", "listen", "audit tail", "audit report"];
    assert_eq!(commands, expected.map(|command| format!("hivemind-host {command}")));
    assert!(text.contains("stop this node, and start `hivemind-core listen`"), "{text}");

    let site = Site::new(backend, &[]);
    // A Python node's configuration knows nothing of ours.
    site.change(|config| drop(config.as_object_mut().expect("an object").remove("hivemind-host")));
    let [kitchen, garden, cellar] = ["kitchen", "garden", "cellar"].map(|name| Client::new(&format!("key-{name}")));
    for client in [&kitchen, &garden, &cellar] {
        let words = ["add-client", "--name", &client.key, "--access-key", &client.key, "--password", &client.password];
        let (code, said) = hivemind_core(site.home(), &[&words[..], &["--allow", UTTERANCE]].concat());
        assert_eq!(code, 0, "{said}");
    }
    let mut satellites = Satellites::of(&site);
    let tap = site.bus().tap();
    let mut python = Some(site.start(Make::Python));
    assert_eq!(satellites.connect("one", &kitchen), Outcome::Up("XXpsk2".to_owned()));
    assert_eq!(satellites.connect("two", &garden), Outcome::Up("XXpsk2".to_owned()));
    let session = heard(&mut satellites, &tap, "one");
    // Whose message has arrived, is pinned: a satellite is up before the node has its key.
    heard(&mut satellites, &tap, "two");
    // It is switched off for the time being.
    satellites.ask("two", "close", &json!({}));
    let config = std::fs::read(site.config()).expect("server.json");

    let mut ours = None;
    for line in &commands {
        let line = words(line);
        let line: Vec<&str> = line[1..].iter().map(String::as_str).collect();
        if line[0] == "listen" {
            python.take().expect("it runs until here").stop();
            let node = site.start_with(Make::Ours, &line[1..], |_| {});
            satellites.ask("one", "up", &json!({}));
            assert_eq!(heard(&mut satellites, &tap, "one"), session);
            assert_eq!(satellites.connect("three", &cellar), Outcome::Up("XXpsk2".to_owned()));
            heard(&mut satellites, &tap, "three");
            let said = node.log();
            assert!(said.contains(&format!("Listening on ws://127.0.0.1:{}", site.port())), "{said}");
            assert!(said.contains("Backend: ") && said.contains(", 3 clients"), "{said}");
            ours = Some(node);
            continue;
        }
        let ended = site.run(&line);
        assert_eq!(ended.code, 0, "{line:?}: {ended:?}");
        let shows = |parts: &[&str]| parts.iter().for_each(|part| assert!(ended.out.contains(part), "{part} in {ended:?}"));
        match line[..] {
            ["status"] => {
                let clients = ended.out.lines().find_map(|line| line.strip_prefix("Clients ")).map(str::trim);
                assert_eq!(clients, Some("3"), "{ended:?}");
            }
            ["list-clients"] => shows(&["key-kitchen", "key-garden", "key-cellar"]),
            ["policy", "list"] => shows(&["hivemind-ovos-agent-policy"]),
            ["backup"] => {
                let folder = std::fs::read_dir(site.data().join("backups")).expect("a folder of backups");
                let made: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
                assert_eq!(made.len(), 1, "{made:?}");
                site.run(&["db", "verify", made[0].to_str().expect("UTF-8")]).well();
                assert_eq!(heard(&mut satellites, &tap, "one"), session, "the Python node runs on meanwhile");
            }
            // Who came back, and by which key; who did not is not among them.
            ["audit", "tail"] => {
                shows(&["started", "admitted", "(key-kitchen)", "KKpsk0", "(key-cellar)"]);
                assert!(!ended.out.contains("key-garden"), "{ended:?}");
            }
            ["audit", "report"] => shows(&["2 admitted", "Bursts of refusals: none"]),
            _ => panic!("{line:?}"),
        }
    }

    let (status, log) = ours.expect("it was started").stop();
    assert!(status.success(), "{log}");
    assert_eq!(std::fs::read(site.config()).expect("server.json"), config, "nothing was added to it");
    let _python = site.start(Make::Python);
    satellites.ask("one", "up", &json!({}));
    assert_eq!(heard(&mut satellites, &tap, "one"), session);
    // Paired with the Python node before, and with ours meanwhile.
    assert_eq!(satellites.connect("two", &garden), Outcome::Up("KKpsk0".to_owned()));
    assert_eq!(satellites.connect("three", &cellar), Outcome::Up("KKpsk0".to_owned()));
}

#[test]
fn on_sqlite() {
    there_and_back(Backend::Sqlite);
}

#[test]
fn on_json() {
    there_and_back(Backend::Json);
}
