//! What the Python node assumes where `server.json` says nothing, and what it writes on its first run. The same values, because both
//! programs read the file that either of them created.

use std::path::Path;

use serde_json::{Map, Value, json};

/// The module that is used when nothing is configured: SQLite, unless only a JSON store is there, which an upgrade must not strand.
#[must_use]
pub fn module(data: &Path) -> &'static str {
    let folder = data.join("hivemind-core");
    if folder.join("clients.json").is_file() && !folder.join("clients.db").is_file() {
        "hivemind-json-db-plugin"
    } else {
        "hivemind-sqlite-db-plugin"
    }
}

/// The settings of a first run, in the order of the file.
#[must_use]
pub fn first_run(data: &Path) -> Map<String, Value> {
    let module = module(data);
    let all = json!({
        "binarize": false,
        "allowed_encodings": ["JSON-B64", "JSON-URLSAFE-B64", "JSON-B91", "JSON-Z85B", "JSON-Z85P", "JSON-B32", "JSON-HEX"],
        "allowed_ciphers": ["CHACHA20-POLY1305", "AES-GCM"],
        "min_password_bits": 40,
        "runtime_password_strength_check": true,
        "agent_protocol": {
            "module": "hivemind-ovos-agent-plugin",
            "hivemind-ovos-agent-plugin": { "host": "127.0.0.1", "port": 8181 },
        },
        "binary_protocol": { "module": null },
        "presence": { "enabled": true, "name": "HiveMind-Node", "zeroconf": true, "upnp": false },
        "rendezvous": { "enabled": false, "max_pending_per_mailbox": 256 },
        "upstream": {
            "enabled": false,
            "host": "127.0.0.1",
            "port": 5678,
            "key": "",
            "password": "",
            "ssl": false,
            "self_signed": true,
        },
        "network_protocol": {
            "hivemind-websocket-plugin": {
                "host": "0.0.0.0",
                "port": 5678,
                "ssl": false,
                "cert_dir": data.join("hivemind").to_string_lossy(),
                "cert_name": "hivemind",
            },
        },
        "policy": { "chain": [{ "module": "hivemind-ovos-agent-policy" }] },
        "ping_flood_interval": 30,
        "last_seen_update_interval": 60,
        "database": { "module": module, module: { "name": "clients", "subfolder": "hivemind-core" } },
    });
    match all {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What is in force: the file's own settings first, then what is assumed for those it does not name.
#[must_use]
pub fn effective(stored: &Map<String, Value>, data: &Path) -> Map<String, Value> {
    let mut all = stored.clone();
    let mut defaults = first_run(data);
    for name in ["utterance_transformers", "metadata_transformers", "dialog_transformers"] {
        defaults.insert(name.to_owned(), json!({}));
    }
    for (name, default) in defaults {
        // Blocks that name a module, and those read member by member, keep the defaults of what they leave out. The members of
        // other blocks are a list of what is switched on.
        let completed = default.get("module").is_some() || matches!(name.as_str(), "upstream" | "policy");
        match all.get_mut(&name) {
            Some(Value::Object(block)) if completed => {
                if let Value::Object(default) = default {
                    for (name, value) in default {
                        block.entry(name).or_insert(value);
                    }
                }
            }
            Some(_) => {}
            None => {
                all.insert(name, default);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_json_store_keeps_its_backend() {
        let data = tempfile::tempdir().expect("a folder");
        assert_eq!(module(data.path()), "hivemind-sqlite-db-plugin");
        let folder = data.path().join("hivemind-core");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("clients.json"), "{}").expect("a file");
        assert_eq!(module(data.path()), "hivemind-json-db-plugin");
        std::fs::write(folder.join("clients.db"), "").expect("a file");
        assert_eq!(module(data.path()), "hivemind-sqlite-db-plugin");
    }

    #[test]
    fn what_is_left_out_is_completed_and_what_is_switched_off_stays_off() {
        let stored = json!({"mine": 1, "network_protocol": {}, "upstream": {"enabled": true}, "database": {"module": "x"}});
        let all = Value::Object(effective(stored.as_object().expect("an object"), Path::new("/data")));
        assert_eq!(all.as_object().and_then(|o| o.keys().next()).map(String::as_str), Some("mine"), "the file's order first");
        assert_eq!((&all["upstream"]["enabled"], &all["upstream"]["port"]), (&json!(true), &json!(5678)));
        assert_eq!((&all["network_protocol"], &all["database"]["module"]), (&json!({}), &json!("x")));
        assert_eq!(all["policy"]["chain"][0]["module"], "hivemind-ovos-agent-policy");
    }
}
