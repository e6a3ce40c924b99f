//! From a Python node to ours and back again, on the same machine, without pairing a satellite anew.

use super::*;

/// Identity, storage and port stay; satellites come back by their pinned keys, those of each node on the other, and the sessions of a
/// client keep the names that skills know them by.
fn takeover(backend: Backend) {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let site = Site::new(backend, &[kitchen.clone(), garden.clone()]);
    let mut satellites = Satellites::of(&site);
    let tap = site.bus().tap();
    let mut seen = Vec::new();
    let mut round = |make: Make, first: &str, second: &str| {
        let node = site.start(make);
        assert_eq!(satellites.connect("one", &kitchen), Outcome::Up(first.to_owned()), "{make:?}");
        assert_eq!(satellites.connect("two", &garden), Outcome::Up(second.to_owned()), "{make:?}");
        let said = json!({"type": UTTERANCE, "context": {"session": {"session_id": "mine"}}});
        satellites.ask("one", "send", &said);
        seen.push(tap.wait_for(UTTERANCE)["context"]["session"]["session_id"].clone());
        for name in ["one", "two"] {
            satellites.ask(name, "close", &json!({}));
        }
        drop(node);
    };
    round(Make::Python, "XXpsk2", "XXpsk2");
    round(Make::Ours, "KKpsk0", "KKpsk0");
    // One that pairs with ours, then meets the Python node.
    site.run(&["reset-noise-pin", "2"]).well();
    round(Make::Ours, "KKpsk0", "XXpsk2");
    round(Make::Python, "KKpsk0", "KKpsk0");
    assert!(seen.iter().all(|session| *session == seen[0] && session.is_string()), "{seen:?}");
}

#[test]
fn on_sqlite() {
    takeover(Backend::Sqlite);
}

#[test]
fn on_json() {
    takeover(Backend::Json);
}

#[test]
fn on_redis() {
    takeover(Backend::Redis);
}

/// The other way round: our node makes the identity, and the Python node takes it for its own.
#[test]
fn an_identity_of_ours_is_one_of_the_python_node() {
    let kitchen = Client::new("key-kitchen");
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&kitchen));
    let mut satellites = Satellites::of(&site);
    for (make, pattern) in [(Make::Ours, "XXpsk2"), (Make::Python, "KKpsk0"), (Make::Ours, "KKpsk0")] {
        let _node = site.start(make);
        assert_eq!(satellites.connect("one", &kitchen), Outcome::Up(pattern.to_owned()), "{make:?}");
        satellites.ask("one", "close", &json!({}));
    }
}
