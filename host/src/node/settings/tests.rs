use serde_json::json;

use super::*;

fn config(stored: &serde_json::Value) -> (tempfile::TempDir, Config, Places) {
    let root = tempfile::tempdir().expect("a folder");
    let places = Places { config: root.path().join("c"), data: root.path().join("d") };
    let config = Config::parse(&stored.to_string(), root.path().join("server.json"), &places).expect("a configuration");
    (root, config, places)
}

fn read_with(stored: &serde_json::Value, given: &Given, environment: &[(&str, &str)]) -> Result<Read, Failure> {
    let (_root, config, places) = config(stored);
    let look = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    read(&config, &places, given, &look)
}

fn of(stored: &serde_json::Value) -> Read {
    read_with(stored, &Given::default(), &[]).unwrap_or_else(|failure| panic!("{stored}: {failure}"))
}

#[test]
fn an_empty_file_means_what_the_python_node_assumes() {
    let (_root, first_run, places) = config(&json!({}));
    let stored = crate::config::defaults::first_run(&places.data);
    for read in [of(&json!({})), of(&Value::Object(stored))] {
        let settings = read.settings;
        assert_eq!(settings.address, "0.0.0.0:5678");
        assert!(settings.tls.is_none() && settings.metrics.is_none() && !settings.allow_empty);
        assert!(matches!(&settings.agent, Agent::Ovos { url } if url == "ws://127.0.0.1:8181/core"));
        assert_eq!((settings.policy, settings.last_seen_interval), (vec![Policy::Ovos], Duration::from_secs(60)));
        assert_eq!((settings.min_password_bits, settings.limits), (Some(40.0), Limits::default()));
        assert!(settings.identity.ends_with("c/hivemind") && read.remarks.iter().any(|r| r.starts_with("presence ")));
        assert!(read.audit.file.is_some_and(|file| file.ends_with("d/hivemind-core/audit.jsonl")));
    }
    drop(first_run);
}

/// `hivemind-client set-identity --host 127.0.0.1` keeps a Python node to this machine whose block says nothing else.
#[test]
fn a_listener_without_an_address_is_where_the_identity_says() {
    let listening = |network: serde_json::Value, identity: &str, given: &Given| {
        let (_root, config, places) = config(&json!({"network_protocol": {WEBSOCKET: network}}));
        let folder = places.config.join("hivemind");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("_identity.json"), identity).expect("written");
        let read = read(&config, &places, given, &|_| None).expect("read");
        let said = read.remarks.iter().any(|remark| remark.contains("_identity.json"));
        (read.settings.address, said)
    };
    let identity = r#"{"default_master": "ws://127.0.0.1", "default_port": 7000}"#;
    let nothing = Given::default();
    for (network, identity, address, said) in [
        (json!({}), identity, "127.0.0.1:7000", true),
        (json!({"host": "", "port": null}), identity, "127.0.0.1:7000", true),
        (json!({"host": "0.0.0.0"}), identity, "0.0.0.0:7000", true),
        (json!({"port": 1}), identity, "127.0.0.1:1", true),
        (json!({"host": "0.0.0.0", "port": 1}), identity, "0.0.0.0:1", false),
        (json!({}), r#"{"default_master": "", "default_port": "7001"}"#, "0.0.0.0:7001", true),
        (json!({}), r#"{"default_master": null, "default_port": 0}"#, "0.0.0.0:5678", false),
        (json!({}), "{}", "0.0.0.0:5678", false),
    ] {
        assert_eq!(listening(network.clone(), identity, &nothing), (address.to_owned(), said), "{network} {identity}");
    }
    let given = Given { host: Some("::1".to_owned()), port: Some(2), ..Given::default() };
    assert_eq!(listening(json!({}), identity, &given), ("[::1]:2".to_owned(), false));
}

/// Added to the clock, a time that is too long is a panic in every session.
#[test]
fn times_without_end_can_be_added_to_the_clock() {
    for seconds in [1e10, 1e18, 1e20, 1e300] {
        let read = of(&json!({
            "network_protocol": {WEBSOCKET: {"websocket_ping_interval": seconds, "websocket_ping_timeout": seconds}},
            "last_seen_update_interval": seconds,
            "ping_flood_interval": seconds,
        }));
        let limits = read.settings.limits;
        for time in [read.settings.last_seen_interval, limits.ping_flood_interval, limits.ping_interval + limits.ping_timeout] {
            assert!(std::time::Instant::now().checked_add(time).is_some_and(|_| time >= FAR), "{seconds}");
        }
    }
}

#[test]
fn what_is_set_is_heeded_and_the_command_line_goes_before_it() {
    let stored = json!({
        "network_protocol": {WEBSOCKET: {
            "host": "ws://::1/", "port": "7000", "ssl": true, "cert_dir": "/certificates", "cert_name": "n",
            "websocket_ping_interval": 0,
        }},
        "agent_protocol": {"module": OVOS, OVOS: {"host": "bus.lan", "port": 8282}},
        "policy": {"chain": []},
        "last_seen_update_interval": 0.5,
        "ping_flood_interval": 7,
        "min_password_bits": "55.5",
        OWN: {
            "limits": {"connections": 10, "connections_per_address": 2, "handshakes": 3, "handshake_seconds": 9, "outbox_bytes": 100000,
                       "incoming_bytes": 70_000_000, "message_seconds": 6, "derivations": 4},
            "client_certificates": "optional",
            "metrics": 9464,
            "audit": {"file": "log/a.jsonl", "max_bytes": 65536, "keep": 0},
            "storage_threads": 3,
            "stop_seconds": 1,
        },
    });
    let read = of(&stored);
    let settings = read.settings;
    assert_eq!(settings.address, "[::1]:7000");
    let tls = settings.tls.expect("TLS");
    assert_eq!((tls.folder, tls.name.as_str()), (PathBuf::from("/certificates"), "n"));
    assert_eq!(tls.client_certificates, ClientCertificates::Optional);
    assert!(matches!(&settings.agent, Agent::Ovos { url } if url == "ws://bus.lan:8282/core"));
    assert_eq!((settings.policy, settings.last_seen_interval), (vec![], Duration::from_millis(500)));
    let limits = settings.limits;
    assert_eq!((limits.connections, limits.connections_per_address, limits.handshakes, limits.derivations), (10, 2, 3, 4));
    assert_eq!((limits.handshake_time, limits.outbox_bytes), (Duration::from_secs(9), 100_000));
    assert_eq!((limits.message_time, limits.incoming_bytes), (Duration::from_secs(6), 70_000_000));
    assert_eq!(limits.ping_flood_interval, Duration::from_secs(7));
    assert_eq!((limits.ping_interval, limits.ping_timeout), (Duration::ZERO, Duration::from_secs(20)));
    let timeout = [("HIVEMIND_WEBSOCKET_PING_TIMEOUT", "2.5"), ("HIVEMIND_WEBSOCKET_PING_INTERVAL", "9")];
    let limits = read_with(&stored, &Given::default(), &timeout).expect("read").settings.limits;
    assert_eq!((limits.ping_interval, limits.ping_timeout), (Duration::ZERO, Duration::from_millis(2500)));
    assert!(read_with(&stored, &Given::default(), &[("HIVEMIND_WEBSOCKET_PING_TIMEOUT", "-1")]).is_err());
    assert_eq!((settings.min_password_bits, settings.metrics), (Some(55.5), Some(([127, 0, 0, 1], 9464).into())));
    assert_eq!((read.storage_threads, read.grace, read.audit.keep), (3, Duration::from_secs(1), 0));
    assert!(read.audit.file.is_some_and(|file| file.is_absolute() && file.ends_with("log/a.jsonl")));

    let given = Given {
        host: Some("127.0.0.1".to_owned()),
        port: Some(0),
        ssl: Some(true),
        cert_dir: Some("/other".into()),
        cert_name: Some("m".to_owned()),
        client_certificates: Some(ClientCertificates::Require),
        agent: Some(AgentKind::Echo),
        allow_empty: true,
        new_identity: true,
        metrics: Some(([127, 0, 0, 2], 1).into()),
        audit: Some("/a".into()),
    };
    let read = read_with(&stored, &given, &[]).expect("read");
    let tls = read.settings.tls.expect("TLS");
    assert_eq!((tls.folder, tls.name.as_str(), tls.client_certificates), ("/other".into(), "m", ClientCertificates::Require));
    assert_eq!((read.settings.address.as_str(), read.settings.allow_empty), ("127.0.0.1:0", true));
    assert!(matches!(read.settings.agent, Agent::Echo) && read.settings.new_identity);
    assert_eq!((read.settings.metrics, read.audit.file), (given.metrics, Some("/a".into())));
}

#[test]
fn the_check_of_passwords_is_switched_off_as_in_the_python_node() {
    let off = "HIVEMIND_DISABLE_PASSWORD_STRENGTH_CHECK";
    for (stored, environment, bits) in [
        (json!({"min_password_bits": 0}), &[][..], None),
        (json!({"runtime_password_strength_check": false}), &[], None),
        (json!({"min_password_bits": 60}), &[(off, "0")], Some(60.0)),
        (json!({"min_password_bits": 60}), &[(off, " On ")], None),
    ] {
        let read = read_with(&stored, &Given::default(), environment).expect("read");
        assert_eq!(read.settings.min_password_bits, bits, "{stored} {environment:?}");
    }
}

#[test]
fn a_wrong_value_names_file_and_key_and_is_not_quoted() {
    for (stored, said) in [
        (json!({"network_protocol": []}), "network_protocol: expected an object, found a list"),
        (json!({"network_protocol": {"hivemind-http-plugin": {}}}), "network_protocol: expected hivemind-websocket-plugin"),
        (json!({"network_protocol": {}}), "network_protocol: expected hivemind-websocket-plugin, found nothing"),
        (
            json!({"network_protocol": {WEBSOCKET: {"port": "MARK"}}}),
            "network_protocol.hivemind-websocket-plugin.port: expected a whole",
        ),
        (json!({"network_protocol": {WEBSOCKET: {"port": 70000}}}), "port: expected a whole number from 0 to 65535"),
        (json!({"network_protocol": {WEBSOCKET: {"ssl": "MARK"}}}), "ssl: expected true or false"),
        (json!({"network_protocol": {WEBSOCKET: {"host": "a b"}}}), "host: expected the name or address"),
        (json!({"network_protocol": {WEBSOCKET: {"ssl": true, "cert_name": "../x"}}}), "cert_name: expected a file's name"),
        (json!({"agent_protocol": {"module": "MARK"}}), "agent_protocol.module: expected hivemind-ovos-agent-plugin or echo"),
        (json!({"agent_protocol": {OVOS: {"host": "wss://MARK"}}}), "host: expected the name or address of a messagebus"),
        (json!({"policy": {"chain": [{"module": "MARK"}]}}), "policy.chain[0]: expected"),
        (json!({"policy": {"chain": 5}}), "policy.chain: expected a list of policies, found another number"),
        (json!({"last_seen_update_interval": -1}), "last_seen_update_interval: expected a number of at least 0"),
        (json!({"min_password_bits": []}), "min_password_bits: expected a number of at least 0, found a list"),
        (json!({"runtime_password_strength_check": "MARK"}), "runtime_password_strength_check: expected true or false"),
        (json!({OWN: {"limit": {}}}), "hivemind-host.limit: unknown setting; did you mean `limits`?"),
        (
            json!({OWN: {"limits": {"conections": 5}}}),
            "hivemind-host.limits.conections: unknown setting; did you mean `connections`?",
        ),
        (json!({OWN: {"limits": {"handshakes": 0}}}), "hivemind-host.limits.handshakes: expected a whole number from 1"),
        (json!({OWN: {"client_certificates": "MARK"}}), "hivemind-host.client_certificates: expected off, optional or require"),
        (json!({OWN: {"client_certificates": "require"}}), "client certificates are asked for"),
        (
            json!({OWN: {"metrics": "0.0.0.0:9464"}}),
            "hivemind-host.metrics: expected a loopback address such as 127.0.0.1, found 0.0.0.0",
        ),
        (json!({OWN: {"metrics": "MARK"}}), "hivemind-host.metrics: expected an address and port"),
        (json!({OWN: {"audit": {"fil": "x"}}}), "hivemind-host.audit.fil: unknown setting; did you mean `file`?"),
        (json!({OWN: {"audit": 5}}), "hivemind-host.audit: expected an object"),
    ] {
        let failure = read_with(&stored, &Given::default(), &[]).expect_err(&stored.to_string());
        assert!(failure.exit == Exit::Config && failure.message.contains(said), "{stored}: {failure}");
        assert!(failure.message.contains("server.json") && !failure.to_string().contains("MARK"), "{failure}");
        assert!(failure.help.is_some(), "{failure}");
    }
    for (given, said) in [
        (Given { host: Some("a/b".to_owned()), ..Given::default() }, "--host"),
        (Given { metrics: Some(([192, 0, 2, 1], 1).into()), ..Given::default() }, "--metrics"),
    ] {
        let failure = read_with(&json!({}), &given, &[]).expect_err("wrong");
        assert!(failure.exit == Exit::Usage && failure.message.starts_with(said), "{failure}");
    }
}

#[test]
fn what_is_switched_on_and_not_offered_is_said() {
    let stored = json!({
        "network_protocol": {WEBSOCKET: {"trusted_proxy_cidrs": "10.0.0.0/8"}, "hivemind-http-plugin": {}},
        "upstream": {"enabled": true, "key": "MARK"},
        "rendezvous": {"enabled": true},
        "presence": {"enabled": true},
        "binary_protocol": {"module": "x"},
        "utterance_transformers": {"y": {}},
        "metadata_transformers": {},
    });
    let remarks = of(&stored).remarks;
    assert_eq!(remarks.len(), 7, "{remarks:?}");
    assert!(!remarks.concat().contains("MARK"));
    // What a Python node does unasked is said too, unless it was switched off.
    let said = |stored: &serde_json::Value| {
        let remarks = of(stored).remarks;
        let of = |what: &str| remarks.iter().filter(|remark| remark.starts_with(what)).count();
        (of("presence "), of("network_protocol "))
    };
    assert_eq!(said(&json!({})), (1, 1));
    assert_eq!(said(&json!({"presence": {"enabled": false}, "network_protocol": {WEBSOCKET: {}}})), (0, 0));
}

#[test]
fn addresses_of_metrics_are_short_or_whole() {
    for (text, at) in
        [("9464", "127.0.0.1:9464"), ("localhost:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2"), ("127.0.0.5:0", "127.0.0.5:0")]
    {
        assert_eq!(parse_metrics(text).map(|a| a.to_string()).as_deref(), Ok(at));
    }
    for wrong in ["", "x", "localhost", "127.0.0.1", ":5", "70000"] {
        assert!(parse_metrics(wrong).is_err(), "{wrong}");
    }
    assert!(loopback("[::ffff:127.0.0.1]:1".parse().expect("an address")).is_ok());
    assert!(loopback("[::ffff:192.0.2.1]:1".parse().expect("an address")).is_err());
}
