//! Everything that is JSON: records, `clients.json`, `server.json`, manifests.

use hivemind_fuzz_properties::Specimen::{Clients, Kinds, Notes};

use crate::Seeds;

const CLIENT: &str = r#"{"allowed_types": ["recognizer_loop:utterance", "speak"], "api_key": "0123456789abcdef0123456789abcdef", "can_broadcast": true, "can_escalate": true, "can_propagate": false, "client_id": 1, "description": "", "is_admin": false, "last_seen": 1712345678.25, "metadata": {"noise_psk": "aa", "skill_blacklist": ["skill-x.y"], "big": 123456789012345678901234567890, "r": 1.50}, "name": "küche", "password": "correct horse"}"#;
const LEGACY: &str = r#"{"client_id": 2, "api_key": "k2", "name": "old", "description": null, "is_admin": 0, "last_seen": -1, "intent_blacklist": ["i:j"], "skill_blacklist": ["s"], "message_blacklist": ["m"], "crypto_key": "0123456789abcdef", "password": null, "can_broadcast": 1, "metadata": {"skill_blacklist": ["kept"], "message_blacklist": ["dropped"]}}"#;
const REVOKED: &str = r#"{"client_id": 3, "api_key": "revoked"}"#;

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

pub(crate) fn write() {
    records();
    clients();
    server();
    manifests();
    texts();
}

fn records() {
    let record = Seeds::of("record");
    for (name, text) in [("client", CLIENT), ("legacy", LEGACY), ("revoked", REVOKED)] {
        record.put_for(name, Clients, text);
    }
    record.put_for("metadata-no-object", Clients, r#"{"client_id": 4, "metadata": [1], "odd": 1e400, "x": {"a": null}}"#);
    record.put_for(
        "surrogates",
        Clients,
        r#"{"client_id": 5, "\ud800": 1, "name": "\ud83d\ude00", "metadata": {"\udc00": "\ud800"}}"#,
    );
    record.put_for("nan", Clients, r#"{"client_id": 6, "last_seen": NaN, "metadata": {"i": -Infinity}}"#);
    record.put_for("last-seen-nan-text", Clients, r#"{"client_id": "6", "last_seen": "never", "api_key": "saved"}"#);
    record.put_for(
        "repeated-names",
        Clients,
        r#"{"client_id": 7, "client_id": 8, "n": 1, "n": 2, "metadata": {"n": 3, "n": 4}}"#,
    );
    for depth in [197, 198, 199, 200] {
        record.put_for(&format!("unknown-nested-{depth}"), Clients, format!(r#"{{"client_id": 9, "deep": {}}}"#, nested(depth)));
        record.put_for(
            &format!("field-nested-{depth}"),
            Clients,
            format!(r#"{{"client_id": 9, "metadata": {{"d": {}}}}}"#, nested(depth - 1)),
        );
    }
    record.put_for(
        "kinds",
        Kinds,
        r#"{"id": -9223372036854775808, "flag": true, "n": 9007199254740993, "r": 5e-324, "t": "a\u0000b", "b": "AP8=", "j": [1, {"a": 1.0}], "more": {"k": 1}, "code": "free", "old": 0, "gone": 1, "n_indexed": 2.0}"#,
    );
    record.put_for("kinds-truths", Kinds, r#"{"id": 1, "flag": 1, "flag_indexed": 0, "n": 1e3, "r": -0.0, "r_indexed": 1E400}"#);
    record.put_for("notes", Notes, r#"{"name": "é\"\\\/\b\f\n\r\t", "body": null, "seen": 1, "tags": null, "unknown": {}}"#);
}

fn clients() {
    let clients = Seeds::of("clients_json");
    let three = format!("{{\n    \"1\": {CLIENT},\n    \"2\": {LEGACY},\n    \"3\": {REVOKED}\n}}");
    clients.put_chosen("three-current", 1, &three);
    clients.put_chosen("three-older", 0, &three);
    clients.put_chosen("empty-file", 1, "");
    clients.put_chosen("empty", 1, "{}");
    clients.put_chosen("no-object", 1, "[]");
    clients.put_chosen("byte-order-mark", 1, "\u{feff}{}");
    clients.put_chosen("not-utf-8", 1, b"{\"1\": \"\xff\"}");
    clients.put_chosen(
        "comments",
        1,
        "// of the node\n{\n  # first\n  \"1\": {\"client_id\": 1, // one\n \"api_key\": \"a//b#c\"}, \"2\": {\"client_id\": 2}\n}\n",
    );
    clients.put_chosen(
        "wrong-names",
        1,
        r#"{"1": {"client_id": 1, "api_key": "a"}, "01": {"client_id": 1}, "x": {"client_id": 5}, "7": {"client_id": 8}, "-1": {"client_id": -1}, "9": null, "10": {"name": "no id"}}"#,
    );
    clients.put_chosen(
        "duplicates",
        1,
        r#"{"1": {"client_id": 1, "api_key": "a"}, "2": {"client_id": 2, "api_key": "a"}, "2": {"client_id": 2, "api_key": "\u0061"}}"#,
    );
    clients.put_chosen(
        "separators",
        1,
        "{\"1\": {\"client_id\": 1, \"name\": \"\u{2028}\u{85}\"}, \"2\": {\"client_id\": 2, \"\u{2029}\": 1}}",
    );
    for depth in [196, 197, 198, 199, 230] {
        for choice in [0, 1] {
            let text = format!(
                r#"{{"1": {{"client_id": 1}}, "2": {{"client_id": 2, "deep": {}}}, "3": {{"client_id": 3, "metadata": {{"d": {}}}}}}}"#,
                nested(depth),
                nested(depth - 1)
            );
            clients.put_chosen(&format!("nested-{depth}-{choice}"), choice, text);
        }
    }
    clients.put_chosen("torn", 1, &three[..three.len() / 2]);
}

fn server() {
    let server = Seeds::of("server_json");
    server.put("example", include_str!("../../../../server.example.json"));
    server.put(
        "python",
        r#"{ "database": { "module": "hivemind-redis-db-plugin", "hivemind-redis-db-plugin": { "host": "127.0.0.1", "port": 6379, "password": "secret-of-redis", "cluster_nodes": [{"host": "a", "port": 1}] } },
  "agent_protocol": { "module": "hivemind-ovos-agent-plugin", "hivemind-ovos-agent-plugin": { "host": "127.0.0.1", "port": 8181 } },
  "network_protocol": { "hivemind-websocket-plugin": { "host": "0.0.0.0", "port": 5678, "ssl": false, "cert_dir": "/x/hivemind", "cert_name": "hivemind" } },
  "min_password_bits": 40, "runtime_password_strength_check": true, "last_seen_update_interval": 60, "ping_flood_interval": 30,
  "allowed_encodings": ["JSON-B64"], "allowed_ciphers": ["AES-GCM"], "binarize": false, "policy": { "chain": [] }, "presence": {}, "upstream": {"key": "upstream-key-1"}, "rendezvous": {} }"#,
    );
    server.put(
        "comments",
        "# the node\n{\n  // which store\n  \"database\": {\"module\": \"sqlite\", \"sqlite\": {\"db_paht\": \"/a/b/c.db\"}}\n}",
    );
    server.put(
        "wrong-settings",
        r#"{"database": {"module": "hivemind-json-db-plugin", "hivemind-json-db-plugin": {"name": 5, "password": {"a": "hidden-value-1"}, "lock_timeout_ms": "hidden-value-2", "subfolder": ["hidden-value-3"]}, "hivemind-sqlite-db-plugin": {"synchronous": "hidden-value-4", "readers": 1000, "name": ""}}}"#,
    );
    server.put("wrong-database", r#"{"database": ["hidden-value-1"], "plugins_dir": ["/a", 5], "min_password_bits": "NaN"}"#);
    server.put("wrong-module", r#"{"database": {"module": 5}, "plugins_dir": "relative", "min_password_bits": true}"#);
    server.put(
        "wrong-block",
        r#"{"database": {"module": "x", "x": "hidden-value-1", "hivemind-json-db-plugin": "hidden-value-2"}}"#,
    );
    server.put(
        "secrets",
        r#"{"a": [{"token": 5, "api_key": {"b": "hidden-value-1"}, "passwrd": "hidden-value-2"}], "url": "redis://u:p@ss@h:1/0 http://a:b@c", "pubkey": "open", "x": {"private-key": ["k"], "psk": ""}}"#,
    );
    server.put("no-object", "[]");
    server.put("unfinished", "{\"database\": {\"module\": ");
    server.put(
        "metadata",
        r#"{"z": 123456789012345678901, "a": [NaN, 1.50, 1e999], "noise_psk": "s", "m": {"password": "p", "\ud800": "\ud800"}}"#,
    );
}

fn manifests() {
    let manifest = Seeds::of("manifest");
    let target = hivemind_host::plugins::manifest::host_target();
    let with = |config: &str| {
        format!(
            r#"{{"manifest":1,"module":"some-db-plugin","aliases":["some"],"version":"1.2.3","vendor":"A \"vendor\"","licence":"MIT","abi":"1.0.0","target":"{target}","rustc":"rustc 1.95.0","panic":"unwind","capabilities":["durable","unique","new-one"],"config":{config}}}"#
        )
    };
    let schemas = [
        ("json", include_str!("../../../../plugins/json/src/config.schema.json")),
        ("sqlite", include_str!("../../../../plugins/sqlite/src/config.schema.json")),
        ("memory", include_str!("../../../../plugins/memory/src/config.schema.json")),
    ];
    for (name, schema) in schemas {
        manifest.put(name, format!("{}\0{{\"name\": 5, \"nmae\": \"x\", \"password\": \"hidden-value\"}}", with(schema)));
    }
    manifest.put("no-config", with("null"));
    manifest.put("refers-out", with(r#"{"properties": {"a": {"$ref": "http://example.org/x"}}}"#));
    manifest.put(
        "refers-in",
        format!(
            "{}\0{{\"a\": \"hidden-value\"}}",
            with(r##"{"$defs": {"t": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/t"}}}"##)
        ),
    );
    for (name, schema) in [
        ("refers-to-itself", r##"{"$ref": "#"}"##),
        ("refers-to-itself-deeper", r##"{"properties": {"a": {"$ref": "#"}}, "additionalProperties": true}"##),
        (
            "refers-in-a-circle",
            r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "allOf": [{"$ref": "#/$defs/a"}]}"##,
        ),
        (
            "patterns",
            r#"{"properties": {"a": {"type": "string", "pattern": "^(a+)+$", "maxLength": 3, "format": "uri"}}, "patternProperties": {"^b": {"const": 1}}}"#,
        ),
        (
            "combined",
            r#"{"anyOf": [{"required": ["x"]}, {"properties": {"a": {"enum": [1, "b"]}}}], "not": {"minProperties": 9}, "if": {"type": "object"}, "then": {"maxProperties": 1}}"#,
        ),
        (
            "draft-4",
            r#"{"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://example.org/", "properties": {"a": {"minimum": 1, "exclusiveMinimum": true}}}"#,
        ),
        (
            "unevaluated",
            r#"{"allOf": [{"properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}], "uniqueItems": true, "contains": {"multipleOf": 0.1}}}}], "unevaluatedProperties": false}"#,
        ),
        ("dynamic", r##"{"$id": "urn:x", "$dynamicAnchor": "n", "properties": {"a": {"$dynamicRef": "#n"}}}"##),
        ("wrong", r#"{"type": "strnig", "properties": 5}"#),
    ] {
        manifest.put(name, format!("{}\0{{\"a\": \"hidden-value\", \"b\": [1, 2.5], \"c\": {{\"a\": {{}}}}}}", with(schema)));
    }
    for (name, from, to) in [
        ("other-form", "\"manifest\":1", "\"manifest\":2"),
        ("other-major", "\"abi\":\"1.0.0\"", "\"abi\":\"2.0.0\""),
        ("no-abi", "\"abi\":\"1.0.0\"", "\"abi\":\"x\""),
        ("aborts", "unwind", "abort"),
        ("other-target", target, "sparc-unknown-none"),
        ("bad-name", "some-db-plugin", "../Some"),
        ("config-no-object", "\"config\":{}", "\"config\":5"),
    ] {
        manifest.put(name, with("{}").replace(from, to));
    }
}

fn texts() {
    let text = Seeds::of("text");
    for (name, content) in [("client", CLIENT), ("legacy", LEGACY)] {
        text.put(name, content);
    }
    text.put("numbers", "[0, -0, 1.50e3, 1500, 15e2, 9007199254740993, 9007199254740992.0, -9223372036854775808, 9223372036854775808.0, 1e-400, 1e400, NaN, 0.1, 0.10000000000000001]");
    text.put(
        "strings",
        r#"["", "\ud83d\ude00", "\ud800", "\u00e9", "é", "\"\\\/\b\f\n\r\t", {"\ud800": 1, "a": 2, "\u0061": 3}]"#,
    );
    text.put("comments", "// a\n{\"a\": \"//#\", # b\n \"c\": \"\\\"#\"}\n");
    text.put("base64", "Zm9vYmE=");
    for (n, (subject, pattern)) in
        [("kitchen", "k%n"), ("100%", "100\\%"), ("aaab", "%a_b"), ("xéyéz", "%é_é%"), ("aba", "ab%ba"), ("ab", "ab\\")]
            .into_iter()
            .enumerate()
    {
        text.put(&format!("pattern-{n}"), format!("{subject}\n{pattern}"));
    }
    text.put("long-segment", format!("{}c{}\n%{}_{}%", "a".repeat(90), "b".repeat(90), "a".repeat(70), "b".repeat(70)));
    for depth in [126, 127, 128, 199, 200, 201] {
        text.put(&format!("nested-{depth}"), nested(depth));
    }
}
