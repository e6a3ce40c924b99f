//! What meets a node that comes to the wrong door: each refused at once, by name, with what to do.

use hivemind_tests::redis::{Certificates, Impostor, Manner, Proxy, Server};

use super::*;

fn refused(settings: &Map<String, Value>) -> Error {
    match in_time("opening", || open(settings).and_then(|backend| Collections::prepare(&*backend))) {
        Ok(_) => panic!("it opened with {:?}", settings.keys().collect::<Vec<_>>()),
        Err(error) => error,
    }
}

fn at(port: u16) -> Map<String, Value> {
    but(Map::new(), &json!({"host": "127.0.0.1", "port": port, "index_prefix": PREFIX}))
}

#[test]
fn a_wrong_password_an_unknown_user_and_none_at_all_are_denied_by_name() {
    let server = Server::start(&["requirepass hunter2", "user reader on >hunter2 ~* +@all"]);
    let place = at(server.port());
    for (wrong, parts) in [
        (json!({"password": "hunter1"}), ["password", "username"]),
        (json!({"username": "nobody", "password": "hunter2"}), ["nobody", "password"]),
        (json!({"username": "reader", "password": "hunter3"}), ["reader", "password"]),
        (json!({}), ["password", "set"]),
    ] {
        let error = refused(&but(place.clone(), &wrong));
        assert_helpful(&error, &[Code::Denied], &parts);
        assert_helpful(&error, &[Code::Denied], &[&server.port().to_string()]);
        assert!(!error.retryable(), "{error}");
    }
    for right in [json!({"password": "hunter2"}), json!({"username": "reader", "password": "hunter2"})] {
        open(&but(place.clone(), &right)).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn what_is_wrong_with_tls_is_said() {
    let (own, other) = (Certificates::new(), Certificates::new());
    let server = Server::with_tls(&own, &[]);
    let (cert, key) = own.client();
    let right = but(
        at(server.port()),
        &json!({"use_ssl": true, "ssl_certfile": cert, "ssl_keyfile": key, "ssl_ca_certs": own.authority()}),
    );
    open(&right).unwrap_or_else(|e| panic!("{e}"));
    let (others_cert, others_key) = other.client();
    let codes = [Code::Denied, Code::Unavailable, Code::Invalid];
    for (wrong, parts) in [
        (json!({"ssl_ca_certs": other.authority()}), &["certificate", "ssl_ca_certs"][..]),
        (json!({"ssl_ca_certs": null}), &["certificate", "ssl_ca_certs"]),
        (json!({"ssl_certfile": others_cert, "ssl_keyfile": others_key}), &["ssl_certfile"]),
        (json!({"ssl_certfile": null, "ssl_keyfile": null}), &["ssl_certfile"]),
        (json!({"ssl_certfile": "/nonexistent/cert.pem"}), &["ssl_certfile", "/nonexistent/cert.pem"]),
        (json!({"ssl_keyfile": others_key}), &["ssl_keyfile"]),
        (json!({"use_ssl": false, "ssl_certfile": null, "ssl_keyfile": null}), &["use_ssl"]),
    ] {
        let error = refused(&but(but(right.clone(), &impatient()), &wrong));
        assert_helpful(&error, &codes, parts);
    }
    let plain = Server::start(&[]);
    let error = refused(&but(but(right, &impatient()), &json!({"port": plain.port()})));
    assert_helpful(&error, &codes, &["use_ssl"]);
}

#[test]
fn a_certificate_for_another_name_is_refused_unless_the_name_does_not_matter() {
    let certificates = Certificates::naming(&["redis.example"], &[]);
    let server = Server::with_tls(&certificates, &[]);
    let (cert, key) = certificates.client();
    let settings = but(
        at(server.port()),
        &json!({"use_ssl": true, "ssl_certfile": cert, "ssl_keyfile": key, "ssl_ca_certs": certificates.authority()}),
    );
    let error = refused(&settings);
    assert_helpful(&error, &[Code::Denied, Code::Unavailable, Code::Invalid], &["127.0.0.1", "ssl_check_hostname"]);
    for right in [json!({"ssl_check_hostname": false}), json!({"ssl_cert_reqs": "none"})] {
        open(&but(settings.clone(), &right)).unwrap_or_else(|e| panic!("{right}: {e}"));
    }
    // Who trusts nobody is not let off by the name alone.
    let unknown = Certificates::new();
    let error = refused(&but(settings, &json!({"ssl_check_hostname": false, "ssl_ca_certs": unknown.authority()})));
    assert_helpful(&error, &[Code::Denied, Code::Unavailable, Code::Invalid], &["ssl_ca_certs"]);
}

#[test]
fn what_is_no_redis_is_told_apart() {
    for manner in Manner::ALL {
        let impostor = Impostor::start(manner);
        let error = refused(&but(at(impostor.port()), &impatient()));
        let codes = [Code::Unavailable, Code::Unsupported, Code::Io];
        assert_helpful(&error, &codes, &["Redis", &impostor.port().to_string()]);
        // The same behind TLS, where it does not even get that far.
        let error = refused(&but(but(at(impostor.port()), &impatient()), &json!({"use_ssl": true})));
        assert_helpful(&error, &[Code::Unavailable, Code::Denied, Code::Io, Code::Unsupported], &[&impostor.port().to_string()]);
    }
}

#[test]
fn nobody_listens_or_the_name_leads_nowhere() {
    let server = Server::start(&[]);
    let port = server.port();
    drop(server);
    let error = refused(&but(at(port), &json!({"retry_attempts": 0})));
    assert_helpful(&error, &[Code::Unavailable], &[&port.to_string(), "runs"]);
    let error = refused(&but(at(port), &json!({"host": "no-such-host.invalid", "retry_attempts": 0})));
    assert_helpful(&error, &[Code::Unavailable, Code::Deadline], &["no-such-host.invalid"]);
    let socket = json!({"unix_socket": "/nonexistent/redis.sock", "retry_attempts": 0, "index_prefix": PREFIX});
    let error = refused(&but(Map::new(), &socket));
    assert_helpful(&error, &[Code::Unavailable], &["/nonexistent/redis.sock"]);
}

/// No server that old is to be had here, so a real one is made to say that it is: this shows what is said to an operator who has one,
/// not how it behaves.
#[test]
fn a_server_that_says_that_it_is_too_old_is_not_supported() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port());
    let version = server.info("redis_version");
    let old = format!("5{}", &version[1..]);
    proxy.replace(&version, &old);
    let error = refused(&at(proxy.port()));
    assert_helpful(&error, &[Code::Unsupported], &[&old, "too old", "expected"]);
    assert!(server.dump("").0.is_empty(), "nothing was written there");
}

#[test]
fn a_server_whose_hello_is_disabled_is_told_so() {
    let server = Server::start(&["rename-command HELLO \"\""]);
    let error = refused(&at(server.port()));
    assert_helpful(&error, &[Code::Unsupported], &["HELLO", "disabled"]);
}

#[test]
fn a_database_that_the_server_does_not_have_is_named() {
    let server = Server::start(&["databases 2"]);
    open(&but(at(server.port()), &json!({"db": 1}))).unwrap_or_else(|e| panic!("{e}"));
    let error = refused(&but(at(server.port()), &json!({"db": 2})));
    assert_helpful(&error, &[Code::Invalid], &["db"]);
}

#[test]
fn a_server_with_no_connection_left_says_so_and_lets_us_in_later() {
    let server = Server::start(&["maxclients 10"]);
    let settings = but(at(server.port()), &json!({"retry_attempts": 0}));
    let others: Vec<_> = std::iter::from_fn(|| {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).expect("an address");
        client.get_connection_with_timeout(Duration::from_secs(5)).ok()
    })
    .collect();
    let error = refused(&settings);
    assert_helpful(&error, &[Code::Unavailable], &["maxclients"]);
    drop(others);
    hivemind_tests::waiting::wait_until("there is room again", || open(&settings).is_ok());
}
