//! Encrypted connections, and satellites that show a certificate.

use hivemind_tests::redis::Certificates;

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

/// Who has a certificate in its record shows it or is not let in, whatever else it knows.
fn asked(whether: &str, expected: &[(&str, &str, &str)]) {
    let (own, foreign) = (Certificates::new(), Certificates::new());
    let (with, without) = (Client::new("key-with"), Client::new("key-without"));
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&without));
    site.add_with(&with, &["--cert", own.client().0.to_str().expect("UTF-8")]);
    with_tls(&site);
    site.change(|config| config["hivemind-host"]["client_certificates"] = json!(whether));
    let mut stage = Stage::on(site, Make::Ours);
    for (n, (who, shows, expected)) in expected.iter().enumerate() {
        let client = if *who == "with" { &with } else { &without };
        let shown = match *shows {
            "own" => json!({"tls": true, "cert": own.client()}),
            "foreign" => json!({"tls": true, "cert": foreign.client()}),
            _ => json!({"tls": true}),
        };
        // A device of its own each time: what is looked at is not the Noise key.
        stage.site.run(&["reset-noise-pin", &client.key]).well();
        let found = match stage.satellites.connect_with(&format!("device-{n}"), client, &shown) {
            Outcome::Up(_) => "up".to_owned(),
            Outcome::Refused(reason) => reason,
            Outcome::Ended(code, _) => format!("ended {code:?}"),
        };
        assert_eq!(found, *expected, "{who}, {shows}");
        stage.satellites.ask(&format!("device-{n}"), "close", &json!({}));
    }
}

const ANOTHER: &str = "client certificate is not the one of this client";
const MISSING: &str = "client certificate required";

#[test]
fn where_certificates_are_required_each_shows_its_own() {
    asked(
        "require",
        &[
            ("with", "own", "up"),
            ("with", "foreign", ANOTHER),
            ("with", "none", MISSING),
            ("without", "own", "no client certificate is known for this client"),
            ("without", "none", MISSING),
        ],
    );
}

#[test]
fn where_certificates_are_optional_who_has_one_shows_it() {
    asked(
        "optional",
        &[
            ("with", "own", "up"),
            ("with", "foreign", ANOTHER),
            ("with", "none", MISSING),
            ("without", "none", "up"),
            ("without", "foreign", "up"),
        ],
    );
}
