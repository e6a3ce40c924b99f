//! Encrypted connections, and satellites that show a certificate.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use hivemind_tests::redis::Certificates;
use hivemind_tests::waiting::wait_until;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;

use super::*;

on_both!(encrypted);

fn with_tls(site: &Site) {
    let folder = site.home().join("tls");
    site.change(|config| {
        let listener = &mut config["network_protocol"]["hivemind-websocket-plugin"];
        listener["ssl"] = json!(true);
        listener["cert_dir"] = json!(folder);
        listener["cert_name"] = json!("node");
    });
}

/// On the first run the node makes itself a certificate; the other node takes it over.
fn encrypted(make: Make) {
    let kitchen = Client::new("key-kitchen");
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&kitchen));
    with_tls(&site);
    let mut stage = Stage::on(site, make);
    let tls = json!({"tls": true});
    assert_eq!(stage.satellites.connect_with("one", &kitchen, &tls), Outcome::Up("XXpsk2".to_owned()));
    stage.satellites.send("one", UTTERANCE, &json!({"n": 1}));
    stage.tap.wait_for(UTTERANCE);
    let made = std::fs::read(stage.site.home().join("tls/node.crt")).expect("a certificate");
    drop(stage.node);
    let other = if make == Make::Ours { Make::Python } else { Make::Ours };
    let _node = stage.site.start(other);
    assert_eq!(stage.satellites.connect_with("one", &kitchen, &tls), Outcome::Up("KKpsk0".to_owned()));
    assert!(std::fs::read(stage.site.home().join("tls/node.crt")).is_ok_and(|now| now == made), "another certificate");
}

/// How the record names a certificate, of which `add-client --cert` stores nothing else.
fn fingerprint(certificate: &Path) -> String {
    let pem = std::fs::read(certificate).expect("a certificate");
    let digest = X509::from_pem(&pem).and_then(|certificate| certificate.digest(MessageDigest::sha256())).expect("a digest");
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Who has a certificate in its record shows it or is not let in, whatever else it knows, its own Noise key too.
fn asked(backend: Backend, configured: &str, words: &[&str], expected: &[(&str, &str, &str)]) {
    let (own, foreign) = (Certificates::new(), Certificates::new());
    let (mut with, without) = (Client::new("key-with"), Client::new("key-without"));
    let mut clients = vec![without.clone()];
    if backend == Backend::Memory {
        // There is no command that could store it: it is in the seed.
        with = with.with_metadata(json!({"client_cert": fingerprint(&own.client().0)}));
        clients.push(with.clone());
    }
    let site = Site::new(backend, &clients);
    if backend != Backend::Memory {
        site.add_with(&with, &["--cert", own.client().0.to_str().expect("UTF-8")]);
        assert_eq!(site.client(2)["metadata"]["client_cert"], fingerprint(&own.client().0));
    }
    with_tls(&site);
    site.change(|config| config["hivemind-host"]["client_certificates"] = json!(configured));
    let node = site.start_with(Make::Ours, words, |_| {});
    let mut stage = Stage { satellites: Satellites::of(&site), tap: site.bus().tap(), node, site };
    for (who, shows, expected) in expected {
        let client = if *who == "with" { &with } else { &without };
        let shown = match *shows {
            "own" => json!({"tls": true, "cert": own.client()}),
            "foreign" => json!({"tls": true, "cert": foreign.client()}),
            _ => json!({"tls": true}),
        };
        let found = match stage.satellites.connect_with(who, client, &shown) {
            Outcome::Up(_) => {
                stage.satellites.send(who, UTTERANCE, &json!({"mark": shows}));
                stage.tap.wait(shows, |message| message["data"]["mark"] == *shows);
                "up".to_owned()
            }
            Outcome::Refused(reason) => reason,
            Outcome::Ended(code, _) => format!("ended {code:?}"),
        };
        assert_eq!(found, *expected, "{who}, {shows}");
        stage.satellites.ask(who, "close", &json!({}));
    }
    // Each that is not let in stands in the audit log, with who it was to be.
    let id = |who: &str| if who == "with" { 2 } else { 1 };
    let refused: Vec<_> = expected.iter().filter(|(.., found)| *found != "up").map(|(who, ..)| id(who)).collect();
    let mut told = Vec::new();
    wait_until("all stand in the audit log", || {
        told = audited(&stage.site, &["--outcome", "certificate"]);
        told.len() >= refused.len()
    });
    assert!(told.iter().all(|entry| entry["event"] == "refused" && entry["address"] == "127.0.0.1"), "{told:?}");
    assert_eq!(told.iter().map(|entry| entry["client"].as_i64().expect("a client")).collect::<Vec<_>>(), refused);
}

const ANOTHER: &str = "client certificate is not the one of this client";
const MISSING: &str = "client certificate required";

/// Required and optional, on one backend.
fn certificates(backend: Backend) {
    asked(
        backend,
        "require",
        &[],
        &[
            ("with", "own", "up"),
            ("with", "foreign", ANOTHER),
            ("with", "none", MISSING),
            ("without", "own", "no client certificate is known for this client"),
            ("without", "none", MISSING),
        ],
    );
    asked(
        backend,
        "optional",
        &[],
        &[
            ("with", "own", "up"),
            ("with", "foreign", ANOTHER),
            ("with", "none", MISSING),
            ("without", "none", "up"),
            ("without", "foreign", "up"),
        ],
    );
}

#[test]
fn certificates_are_compared_with_those_of_the_records_on_sqlite() {
    certificates(Backend::Sqlite);
}

#[test]
fn certificates_are_compared_with_those_of_the_records_on_json() {
    certificates(Backend::Json);
}

#[test]
fn certificates_are_compared_with_those_of_the_records_on_redis() {
    certificates(Backend::Redis);
}

#[test]
fn certificates_are_compared_with_those_of_the_records_on_memory() {
    certificates(Backend::Memory);
}

/// The option counts and not the file, and what a satellite shows unasked is nobody's business.
#[test]
fn where_certificates_are_off_nobody_is_asked() {
    let all = [("with", "own", "up"), ("with", "foreign", "up"), ("with", "none", "up"), ("without", "foreign", "up")];
    asked(Backend::Sqlite, "require", &["--client-certs", "off"], &all);
}

/// The certificate that whoever connects now is shown.
fn shown(port: u16) -> Vec<u8> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("a connector");
    // As a satellite that was told to accept a certificate of the node's own.
    connector.set_verify(SslVerifyMode::NONE);
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let stream = connector.build().connect("localhost", stream).expect("TLS");
    stream.ssl().peer_certificate().expect("a certificate").to_der().expect("DER")
}

fn der(pem: &Path) -> Vec<u8> {
    let pem = std::fs::read(pem).expect("a file");
    openssl::x509::X509::from_pem(&pem).and_then(|certificate| certificate.to_der()).expect("a certificate")
}

/// What a renewal that breaks off leaves is not used, and is said; the rest of it is, without a restart. Nobody who is connected notices.
#[test]
fn a_renewed_certificate_is_shown_to_who_comes_and_a_broken_one_to_nobody() {
    let kitchen = Client::new("key-kitchen");
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&kitchen));
    with_tls(&site);
    let mut stage = Stage::on(site, Make::Ours);
    let (port, tls) = (stage.site.port(), json!({"tls": true}));
    assert_eq!(stage.satellites.connect_with("one", &kitchen, &tls), Outcome::Up("XXpsk2".to_owned()));
    let place = |name: &str| stage.site.home().join("tls").join(name);
    let old = shown(port);
    assert_eq!(old, der(&place("node.crt")));

    let renewed = Certificates::new();
    let [certificate, key] = <[_; 2]>::from(renewed.server()).map(|path| std::fs::read(path).expect("a file"));
    let mut refused = 0;
    let mut put = |name: &str, content: &[u8], why: &str| {
        std::fs::write(place(name), content).expect("written");
        wait_until(&format!("{name} is refused: {why}"), || {
            std::thread::sleep(Duration::from_millis(20));
            let lines = stage.node.log().lines().filter(|line| line.contains("is not used: ")).count();
            lines > std::mem::replace(&mut refused, lines)
        });
        let log = stage.node.log();
        let said = log.lines().rfind(|line| line.contains("the renewed certificate is not used: ")).expect("a line");
        assert!(said.contains(name) && said.contains(why), "{said}");
        assert!(!log.contains("PRIVATE KEY"), "{log}");
        assert_eq!(shown(port), old);
    };
    put("node.crt", &certificate[..certificate.len() / 2], "expected PEM");
    put("node.crt", &certificate, "cannot be used together");
    put("node.key", &key[..key.len() / 2], "expected PEM");

    std::fs::write(place("node.key"), &key).expect("written");
    let new = der(&place("node.crt"));
    wait_until("the renewed one is shown", || {
        std::thread::sleep(Duration::from_millis(20));
        shown(port) == new
    });
    assert!(stage.node.log().contains("the renewed certificate is used from now on"), "{}", stage.node.log());
    stage.satellites.send("one", UTTERANCE, &json!({"n": 1}));
    stage.tap.wait_for(UTTERANCE);
    let ended = stage.satellites.try_ask("one", "end", &json!({"seconds": 0}));
    assert!(ended.is_err(), "the old connection has ended: {ended:?}");
    assert_eq!(stage.satellites.connect_with("one", &kitchen, &tls), Outcome::Up("KKpsk0".to_owned()));
}
