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

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use hivemind_tests::redis::Certificates;
use hivemind_tests::waiting::wait_until;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
}
