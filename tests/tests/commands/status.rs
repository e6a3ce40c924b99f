//! `status`: an operator sees which file is in use, where the data is, and what an acknowledged write is worth there.

use hivemind_tests::{build, place};
use serde_json::{Value, json};

use super::*;

fn facts(operator: &Operator) -> Value {
    let facts = parsed(&operator.run(&["status", "--json"]).well());
    let shown = operator.run(&["status"]).well();
    for name in ["backend", "plugin_version", "plugin_vendor", "plugin_file", "plugin_sha256", "abi", "acknowledged_write"] {
        let value = facts[name].as_str().unwrap_or_else(|| panic!("{name}: {facts}"));
        assert!(!value.is_empty() && shown.contains(value), "{name}: {shown}");
    }
    let file = std::fs::read(facts["plugin_file"].as_str().expect("a file")).expect("the plugin");
    assert_eq!(facts["plugin_sha256"].as_str(), Some(hivemind_host::plugins::candidate::sha256(&file).as_str()));
    assert_eq!((&facts["schema_version"], &facts["abi"]), (&json!(2), &json!("1.0.0")));
    assert_eq!(facts["config"].as_str(), Some(text(&operator.config())));
    for label in ["Capabilities", "Data", "Schema version", "Clients", "Revoked clients", "Unreadable"] {
        assert!(shown.contains(label), "{label}: {shown}");
    }
    facts
}

fn capabilities(facts: &Value) -> Vec<&str> {
    facts["capabilities"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn durable_stores_say_where_they_are_and_that_a_write_survives_a_power_cut() {
    for (module, file) in [("sqlite", "clients.db"), ("json", "clients.json")] {
        let operator = with_two(module);
        operator.run(&["delete-client", "2", "--yes"]).well();
        let facts = facts(&operator);
        assert_eq!(facts["backend"], format!("hivemind-{module}-db-plugin"));
        assert_eq!(facts["location"].as_str(), Some(text(&operator.data().join(file))));
        assert_eq!((&facts["clients"], &facts["revoked_clients"]), (&json!(1), &json!(1)));
        let worth = facts["acknowledged_write"].as_str().expect("text");
        assert!(worth.contains("power"), "{worth}");
        for name in ["durable", "atomic-batch", "unique", "multi-process"] {
            assert!(capabilities(&facts).contains(&name), "{name}");
        }
    }
    let operator = Operator::new();
    operator.configure(&json!({"database": {"module": "sqlite", "sqlite": {"synchronous": "normal"}}}));
    let worth = facts(&operator)["acknowledged_write"].as_str().expect("text").to_owned();
    assert!(worth.contains("may"), "less is promised: {worth}");
}

/// SQLite keeps the shared memory of its log beside the file while anybody has it open.
#[test]
fn another_program_that_has_an_sqlite_store_open_is_noticed() {
    let operator = with_two("sqlite");
    let alone = operator.run(&["status", "--json"]);
    assert!(parsed(&alone.out).get("in_use").is_none() && alone.err.is_empty(), "{alone:?}");
    std::fs::write(operator.data().join("clients.db-shm"), "").expect("written");
    let beside = operator.run(&["status", "--json"]);
    assert!(parsed(&beside.out)["in_use"].as_str().is_some_and(|text| text.contains("another program")), "{beside:?}");
    assert!(beside.err.contains("another program has this SQLite store open") && beside.err.contains("3.51.2"), "{beside:?}");
}

#[test]
fn memory_says_that_all_is_lost() {
    let facts = facts(&Operator::with_seed(&two_records()));
    assert_eq!((&facts["clients"], &facts["location"]), (&json!(2), &json!("memory")));
    assert_eq!(facts["acknowledged_write"], "lost when the process ends");
    assert!(!capabilities(&facts).contains(&"durable"));
}

/// The vendor's example tells nothing about itself, so what is known of any plugin is said.
#[test]
fn a_vendors_backend_that_tells_nothing_of_itself_still_has_every_line() {
    let operator = Operator::new();
    let folder = operator.home().join("vendor");
    std::fs::create_dir(&folder).expect("a folder");
    let file = place(&build::fixture("ledger"), &folder, "x.so");
    operator.configure(&json!({"database": {"module": "ledger"}, "plugins_dir": folder}));
    operator.run(&["add-client"]).well();
    let facts = facts(&operator);
    assert_eq!(
        (&facts["backend"], &facts["plugin_vendor"], &facts["clients"]),
        (&json!("ledger-db-plugin"), &json!("Example Ltd"), &json!(1))
    );
    assert_eq!(facts["plugin_file"].as_str(), Some(text(&file)));
    assert_eq!(capabilities(&facts), ["durable", "atomic-batch", "unique"]);
    assert!(facts["acknowledged_write"].as_str().is_some_and(|worth| worth.contains("survives the end of the process")));
    assert!(facts.get("location").is_some());
}

#[test]
fn a_fresh_store_tells_what_to_type_next_and_that_works() {
    let operator = Operator::new();
    let out = operator.run(&["status"]).well();
    let (_, next) = out.split_once("There are no clients yet. Next:").expect("advice");
    let lines: Vec<&str> = next.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{next}");
    for line in lines {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        operator.run(&words).well();
    }
    assert!(!operator.run(&["status"]).well().contains("There are no clients yet"));
}
