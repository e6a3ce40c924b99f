//! What can be wrong with a server, and what is said about it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;

/// Somebody who answers everything with these bytes, and then waits, or closes.
fn impostor(says: &'static [u8], closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut heard = [0; 4096];
                while stream.read(&mut heard).is_ok_and(|n| n > 0) && stream.write_all(says).is_ok() && !closes {}
            });
        }
    });
    port
}

fn refused(block: &str) -> Error {
    link(block).expect_err(block)
}

fn brief(port: u16) -> String {
    format!(r#"{{"port": {port}, "retry_attempts": 0, "connect_timeout_ms": 300}}"#)
}

#[test]
fn what_is_no_redis_is_said_to_be_none() {
    for (says, closes, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, "no Redis server"),
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], false, "no Redis server"),
        (&b"+OK\r\n"[..], false, "no Redis server"),
        (&b"*-7\r\n"[..], false, "no Redis server"),
        (&b""[..], false, "let us wait"),
        (&b"*2"[..], false, "let us wait"),
        (&b""[..], true, "closed the connection"),
    ] {
        let error = refused(&brief(impostor(says, closes)));
        assert!(error.code() == Code::Unavailable && error.message().contains(words), "{words}: {error}");
    }
}

#[test]
fn nobody_there_is_unavailable_and_may_pass() {
    let error = refused(&brief(common::free_port()));
    assert!(error.code() == Code::Unavailable && error.retryable() && error.message().contains("bind"), "{error}");
    let error = refused(r#"{"unix_socket": "/nowhere/redis.sock"}"#);
    assert!(error.code() == Code::Unavailable && error.message().contains("unixsocket"), "{error}");
    let error = refused(r#"{"host": "no-such-host.invalid", "retry_attempts": 0}"#);
    assert!(error.code() == Code::Unavailable && error.message().contains("name service"), "{error}");
}

/// As a Redis 5 answers, which knows neither `HELLO` nor ACL users.
#[test]
fn a_server_that_is_too_old_is_told_from_what_is_no_redis() {
    let says = b"-ERR unknown command `HELLO`, with args beginning with: `2`, `AUTH`, `hub`, `tulip-98`, \r\n";
    let block = format!(r#"{{"port": {}, "username": "hub", "password": "tulip-98"}}"#, impostor(says, false));
    let error = refused(&block);
    assert_eq!(error.code(), Code::Unsupported, "{error}");
    assert!(error.message().contains("6.0.0") && error.message().contains("Upgrade"), "{error}");
    assert!(!format!("{error:?}").contains("tulip"), "{error:?}");
    let five = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n5.0.14\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n\
        $10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    let error = refused(&brief(impostor(five, false)));
    assert!(error.code() == Code::Unsupported && error.message().contains("5.0.14"), "{error}");
}

#[test]
fn a_server_without_hello_is_not_called_old() {
    let server = Server::start(&["--rename-command", "HELLO", "GREET"]);
    let error = refused(&brief(server.port));
    assert!(error.code() == Code::Unsupported && error.message().contains("renamed"), "{error}");
}

#[test]
fn passwords_and_users_are_checked_and_never_shown() {
    let server = Server::start(&["--requirepass", "tulip-98"]);
    let block = |more: &str| format!(r#"{{"port": {}{more}}}"#, server.port);
    for (more, words) in [
        ("", "wants a password"),
        (r#", "password": "rose-77""#, "username and password"),
        (r#", "password": "tulip-98", "username": "nobody""#, "\"nobody\""),
    ] {
        let error = refused(&block(more));
        assert_eq!(error.code(), Code::Denied, "{error}");
        assert!(error.message().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("rose") && !format!("{error:?}").contains("tulip"), "{error:?}");
    }
    let link = link(&block(r#", "password": "tulip-98""#)).expect("let in");
    assert!(!format!("{link:?}").contains("tulip"), "{link:?}");
}

#[test]
fn what_an_acl_forbids_is_named_with_the_line_that_allows_it() {
    let server = Server::start(&[]);
    server.tell("ACL SETUSER hub on >tulip-98 ~client:* +@all -incr -evalsha -eval -multi");
    let link = link(&format!(r#"{{"port": {}, "username": "hub", "password": "tulip-98"}}"#, server.port)).expect("a link");
    assert!(!link.scripts_allowed());
    set(&link, "client:a", "1").expect("allowed");
    let error = link.query(&cx(), cmd("INCR").arg("client:a"), Repeat::Never).expect_err("forbidden");
    assert!(error.code() == Code::Denied && error.message().contains("ACL SETUSER hub +incr"), "{error}");
    let error = set(&link, "other", "1").expect_err("forbidden");
    assert!(error.code() == Code::Denied && error.message().contains('~'), "{error}");
    let mut atomic = redis::pipe();
    atomic.atomic().cmd("SET").arg("client:a").arg(7).cmd("SET").arg("client:b").arg(7);
    let error = link.pipeline(&cx(), &atomic, Repeat::Never).expect_err("no MULTI");
    assert!(error.code() == Code::Denied && error.message().contains("+multi"), "{error}");
    assert_eq!(get(&link, "client:a").expect("get").as_deref(), Some("1"), "nothing was carried out without a transaction");
}

#[test]
fn a_full_memory_and_a_replica_take_no_writes_and_nothing_was_applied() {
    let server = Server::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let full = at(&server);
    let error = set(&full, "a", "1").expect_err("full");
    assert!(error.code() == Code::Io && error.retryable() && error.message().contains("maxmemory"), "{error}");
    let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
    let error = full.script(&cx(), &script, &[b"a".to_vec()], &[b"1".to_vec()], Repeat::Never).expect_err("full");
    assert!(error.retryable() && error.message().contains("maxmemory"), "{error}");
    let mut atomic = redis::pipe();
    atomic.atomic().cmd("SET").arg("a").arg(1);
    let error = full.pipeline(&cx(), &atomic, Repeat::Never).expect_err("full");
    assert!(error.retryable() && error.message().contains("maxmemory"), "{error}");
    assert_eq!(get(&full, "a").expect("reading goes on"), None);

    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    common::until("the replica", || master.tell("INFO replication").contains("state=online"));
    let link = link(&brief(replica.port)).expect("a link");
    let error = set(&link, "a", "1").expect_err("read only");
    assert!(error.code() == Code::Unavailable && error.retryable() && error.message().contains("replica"), "{error}");
    replica.tell("REPLICAOF NO ONE");
    set(&link, "a", "1").expect("a master now");
}

/// A server that sends a byte from time to time is never silent, and its caller's time is over all the same.
#[test]
fn a_server_that_answers_byte_by_byte_does_not_outlast_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            while stream.write_all(b"+").is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let error = refused(&brief(port));
    assert!(error.code() == Code::Unavailable, "{error}");
    assert!(sent.load(Ordering::Relaxed) > 3, "it was not silent");
}

#[test]
fn callers_share_a_small_pool_and_none_waits_for_ever() {
    let server = Server::start(&[]);
    let link = link(&format!(r#"{{"port": {}, "max_connections": 2}}"#, server.port)).expect("a link");
    set(&link, "n", "0").expect("set");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    link.query(&cx(), cmd("INCR").arg("n"), Repeat::Never).expect("counted");
                }
            });
        }
    });
    assert_eq!(get(&link, "n").expect("get").as_deref(), Some("400"));
    assert!(link.about(&cx()).expect("about")[0].connections.0 <= 2);
    server.tell("CLIENT PAUSE 1500 ALL");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| link.query(&cx(), &cmd("PING"), Repeat::Safe));
        }
        std::thread::sleep(Duration::from_millis(50));
        let error =
            link.query(&Context::within(Duration::from_millis(50)), &cmd("PING"), Repeat::Safe).expect_err("none is free");
        assert_eq!(error.code(), Code::Deadline, "{error}");
    });
}

/// What was sent when the server died may or may not have been carried out, and is not sent again.
#[test]
fn writes_under_way_when_a_server_dies_are_unknown_and_never_doubled() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let link = Arc::new(at(&server));
    let (acknowledged, unknown) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (link, acknowledged, unknown, stop) =
                (Arc::clone(&link), Arc::clone(&acknowledged), Arc::clone(&unknown), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match link.query(&cx(), cmd("INCR").arg("n"), Repeat::Never) {
                        Ok(_) => acknowledged.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.code() == Code::OutcomeUnknown => unknown.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert!(error.retryable(), "{error}");
                            0
                        }
                    };
                }
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(100));
        server.restart();
    }
    std::thread::sleep(Duration::from_millis(100));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no panic");
    }
    let stored: usize = get(&link, "n").expect("get").expect("a number").parse().expect("a number");
    let (acknowledged, unknown) = (acknowledged.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
    assert!((acknowledged..=acknowledged + unknown).contains(&stored), "{acknowledged} + {unknown}: {stored}");
}
