//! `add-client --cert` and `set-metadata --cert`: only the fingerprint is stored, and nothing that TLS could not read.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509NameBuilder};

use super::*;

fn certificate() -> (X509, Vec<u8>) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", "kitchen").expect("a name");
    let name = name.build();
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("set");
    builder.set_subject_name(&name).expect("set");
    builder.set_issuer_name(&name).expect("set");
    builder.set_pubkey(&key).expect("set");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("a time")).expect("set");
    builder.set_not_after(&Asn1Time::days_from_now(30).expect("a time")).expect("set");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    (builder.build(), key.private_key_to_pem_pkcs8().expect("PEM"))
}

#[test]
fn the_fingerprint_of_a_certificate_is_stored_and_taken_away_again() {
    let operator = Operator::new();
    let (certificate, key) = certificate();
    let digest = certificate.digest(MessageDigest::sha256()).expect("a hash");
    let expected = format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let pem = operator.write("kitchen.crt", &certificate.to_pem().expect("PEM"));
    let der = operator.write("kitchen.der", &certificate.to_der().expect("DER"));
    let both = [&key[..], &certificate.to_pem().expect("PEM")].concat();
    let both = operator.write("both.pem", &both);
    operator.run(&["add-client", "--access-key", "a", "--cert", text(&pem)]).well();
    operator.run(&["add-client", "--access-key", "b", "--cert", text(&der), "--metadata", r#"{"n": 1.50}"#]).well();
    operator.run(&["add-client", "--access-key", "c"]).well();
    operator.run(&["set-metadata", "c", "--cert", text(&both)]).well();
    for id in 1..=3 {
        assert_eq!(operator.client(id)["metadata"]["client_cert"], expected.as_str(), "{id}");
    }
    assert!(operator.run(&["list-clients", "--json"]).well().contains("1.50"), "other members keep their digits");
    operator.run(&["set-metadata", "c", "--unset", "client_cert"]).well();
    assert_eq!(operator.client(3)["metadata"], json!({}));
}

#[test]
fn what_is_no_certificate_is_refused_and_nobody_is_added() {
    let operator = Operator::new();
    let (certificate, key) = certificate();
    let pem = operator.write("kitchen.crt", &certificate.to_pem().expect("PEM"));
    let der = certificate.to_der().expect("DER");
    let files = [
        ("key.pem", key),
        ("empty", Vec::new()),
        ("cut.der", der[..der.len() - 5].to_vec()),
        ("text", b"not a certificate".to_vec()),
        ("cut.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n".to_vec()),
        ("large", vec![0; 2 << 20]),
    ];
    for (name, content) in &files {
        let file = operator.write(name, content);
        operator.run(&["add-client", "--cert", text(&file)]).fails(2, &["--cert", name]);
    }
    operator.run(&["add-client", "--cert", "nowhere"]).fails(2, &["--cert", "nowhere"]);
    let twice = ["add-client", "--cert", text(&pem), "--metadata", r#"{"client_cert": "x"}"#];
    operator.run(&twice).fails(2, &["client_cert", "leave one out"]);
    assert_eq!(operator.clients().len(), 0);
}
