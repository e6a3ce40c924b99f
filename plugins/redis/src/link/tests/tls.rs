//! TLS, with every way in which certificates can be wrong.

use super::common::certificates::{Certificate, authority, expired, signed};
use super::*;

struct World {
    folder: tempfile::TempDir,
    ca: Certificate,
    other_ca: Certificate,
    client: Certificate,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = authority(folder.path(), "ca");
        let other_ca = authority(folder.path(), "other-ca");
        let client = signed(folder.path(), "client", None, &ca);
        Self { folder, ca, other_ca, client }
    }

    fn server(&self, certificate: &Certificate, auth_clients: &str) -> Server {
        let path = |p: &std::path::Path| p.to_str().expect("a path").to_owned();
        let (file, key, ca) = (path(&certificate.file), path(&certificate.key_file), path(&self.ca.file));
        let args =
            ["--tls-cert-file", &file, "--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--tls-auth-clients", auth_clients];
        Server::start_as("--tls-port", &args)
    }

    fn good_server(&self, auth_clients: &str) -> Server {
        self.server(&signed(self.folder.path(), "server", Some("127.0.0.1"), &self.ca), auth_clients)
    }

    fn block(&self, server: &Server, more: &str) -> String {
        format!(r#"{{"port": {}, "use_ssl": true, "ssl_ca_certs": {:?}{more}}}"#, server.port, self.ca.file)
    }

    fn with_client(&self) -> String {
        format!(r#", "ssl_certfile": {:?}, "ssl_keyfile": {:?}"#, self.client.file, self.client.key_file)
    }
}

fn denied(block: &str, words: &[&str]) {
    let error = link(block).expect_err(block);
    assert_eq!(error.code(), Code::Denied, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{word}: {error}");
    }
}

#[test]
fn commands_go_encrypted_with_a_client_certificate() {
    let world = World::new();
    let server = world.good_server("yes");
    let link = link(&world.block(&server, &world.with_client())).expect("a link");
    let long = "x".repeat(300_000);
    set(&link, "a", &long).expect("set");
    assert_eq!(get(&link, "a").expect("get"), Some(long));
    assert_eq!(link.about(&cx()).expect("about")[0].connections, (1, 0), "one connection served them all");
    assert!(link.track(&cx(), vec![b"a".to_vec()]).expect("tracking"));
    common::until("tracking", || link.tracking().now().is_some());
}

#[test]
fn a_missing_or_foreign_client_certificate_is_said() {
    let world = World::new();
    let server = world.good_server("yes");
    denied(&world.block(&server, ""), &["client certificate", "ssl_certfile"]);
    let foreign = signed(world.folder.path(), "foreign", None, &world.other_ca);
    let theirs = format!(r#", "ssl_certfile": {:?}, "ssl_keyfile": {:?}"#, foreign.file, foreign.key_file);
    denied(&world.block(&server, &theirs), &["does not accept our certificate", "ssl_certfile"]);
}

#[test]
fn a_server_that_is_not_trusted_is_refused_and_why() {
    let world = World::new();
    let good = world.good_server("no");
    let wrong_ca = format!(r#"{{"port": {}, "use_ssl": true, "ssl_ca_certs": {:?}}}"#, good.port, world.other_ca.file);
    denied(&wrong_ca, &["certificate of 127.0.0.1", "ssl_ca_certs"]);
    denied(&format!(r#"{{"port": {}, "ssl": true, "ssl_cert_reqs": "optional"}}"#, good.port), &["ssl_ca_certs"]);
    let anybody = format!(r#"{{"port": {}, "ssl": true, "ssl_cert_reqs": "none"}}"#, good.port);
    link(&anybody).expect("nobody looks");

    let old = world.server(&expired(world.folder.path(), "old", Some("127.0.0.1"), &world.ca), "no");
    denied(&world.block(&old, ""), &["expired", "renew"]);

    let elsewhere = world.server(&signed(world.folder.path(), "elsewhere", Some("redis.example.org"), &world.ca), "no");
    denied(&world.block(&elsewhere, ""), &["mismatch", "ssl_check_hostname"]);
    link(&world.block(&elsewhere, r#", "ssl_check_hostname": false"#)).expect("any name will do");
}

#[test]
fn one_side_with_tls_and_the_other_without_is_said() {
    let world = World::new();
    let (plain, encrypted) = (Server::start(&[]), world.good_server("no"));
    let error = link(&format!(r#"{{"port": {}, "use_ssl": true, "retry_attempts": 0, "connect_timeout_ms": 300}}"#, plain.port))
        .expect_err("no TLS there");
    assert!(error.code() == Code::Unavailable && error.message().contains("remove use_ssl"), "{error}");
    let error = link(&format!(r#"{{"port": {}, "retry_attempts": 0}}"#, encrypted.port)).expect_err("TLS there");
    assert!(error.code() == Code::Unavailable && error.message().contains("use_ssl"), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let world = World::new();
    let block = |key: &str, file: &std::path::Path| format!(r#"{{"use_ssl": true, "{key}": {file:?}}}"#);
    let missing = world.folder.path().join("missing.pem");
    let garbage = world.folder.path().join("garbage.pem");
    std::fs::write(&garbage, "tulip").expect("written");
    for (block, words) in [
        (block("ssl_ca_certs", &missing), "ssl_ca_certs"),
        (block("ssl_ca_certs", &garbage), "ssl_ca_certs"),
        (block("ssl_certfile", &missing), "ssl_certfile"),
        (block("ssl_certfile", &world.client.file), "private key"),
        (
            format!(r#"{{"use_ssl": true, "ssl_certfile": {:?}, "ssl_keyfile": {:?}}}"#, world.client.file, world.ca.key_file),
            "private key of ssl_certfile",
        ),
    ] {
        let error = link(&block).expect_err(&block);
        assert!(error.code() == Code::Invalid && error.message().contains(words), "{block}: {error}");
    }
}
