//! Options of `listen` that lead to another database than server.json does.

use hivemind_tests::redis::Server;
use hivemind_tests::waiting::wait_until;

use super::*;

/// The node says which backend it is on, lets in who is stored there, and knows nobody of the configured one.
fn leads_to(site: &Site, options: &[&str], module: &str) {
    let (here, there) = (Client::new("key-here"), Client::new("key-there"));
    site.add_with(&here, options);
    site.add(&there);
    let node = site.start_with(Make::Ours, options, |_| {});
    wait_until("it says where it is", || node.log().contains(&format!("Backend: {module}, 1 client\n")));
    let mut satellites = Satellites::of(site);
    assert_eq!(satellites.connect("one", &here), Outcome::Up("XXpsk2".to_owned()));
    let tap = site.bus().tap();
    satellites.send("one", UTTERANCE, &json!({}));
    tap.wait_for(UTTERANCE);
    assert_eq!(satellites.connect("two", &there), Outcome::Refused("invalid api key".to_owned()));
    drop(satellites);
    let (status, log) = node.stop();
    assert!(status.success() && !log.contains("MARK"), "{log}");
    // What the node writes about a client it wrote there too.
    let seen = |options: &[&str]| {
        let listed = site.run(&[&["list-clients", "--json"], options].concat()).well();
        let all: Value = serde_json::from_str(&listed).expect("JSON");
        let client = &all.as_array().expect("a list")[0];
        (client["api_key"].clone(), client["last_seen"].as_f64().is_some_and(|seen| seen > 0.0))
    };
    assert_eq!((seen(options), seen(&[])), ((json!("key-here"), true), (json!("key-there"), false)));
}

#[test]
fn db_backend_goes_before_the_configured_module() {
    let site = Site::new(Backend::Sqlite, &[]);
    leads_to(&site, &["--db-backend", "json"], "hivemind-json-db-plugin");
    assert!(site.data().join("clients.json").exists() && site.data().join("clients.db").exists());
}

#[test]
fn the_options_of_redis_go_before_another_configured_module() {
    let server = Server::durable(&["requirepass MARK-of-the-server"]);
    let port = server.port().to_string();
    let options =
        ["--db-backend", "redis", "--redis-host", "127.0.0.1", "--redis-port", &port, "--redis-password", "MARK-of-the-server"];
    leads_to(&Site::new(Backend::Json, &[]), &options, "hivemind-redis-db-plugin");
    assert_eq!(server.dump("client:").text("client:count"), Some("1"));
}

/// Each of them goes before its own setting, and the others of the block stay in force.
#[test]
fn the_options_of_redis_go_before_the_configured_server() {
    let server = Server::durable(&["requirepass MARK-of-the-server"]);
    let site = Site::new(Backend::Redis, &[]);
    site.change(|config| config["database"]["hivemind-redis-db-plugin"]["index_prefix"] = json!("hub"));
    let port = server.port().to_string();
    leads_to(&site, &["--redis-port", &port, "--redis-password", "MARK-of-the-server"], "hivemind-redis-db-plugin");
    assert_eq!(server.dump("hub:").text("hub:count"), Some("1"));
}
