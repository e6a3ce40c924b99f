//! Against real servers.

use std::sync::atomic::AtomicBool;

use super::*;

#[path = "../../tests/common/mod.rs"]
mod common;

use common::Server;

fn link(block: &str) -> Result<Link> {
    Link::open(&Config::parse(block).expect(block), &Host::detached("/nowhere"))
}

fn at(server: &Server) -> Link {
    link(&format!(r#"{{"port": {}}}"#, server.port)).expect("a link")
}

fn cx() -> Context<'static> {
    Context::within(Duration::from_secs(20))
}

fn get(link: &Link, key: &str) -> Result<Option<String>> {
    let value = link.query(&cx(), cmd("GET").arg(key), Repeat::Safe)?;
    Ok(text(&value).map(str::to_owned))
}

fn set(link: &Link, key: &str, value: &str) -> Result<Value> {
    link.query(&cx(), cmd("SET").arg(key).arg(value), Repeat::Never)
}

#[test]
fn commands_pipelines_transactions_and_scripts_answer() {
    let server = Server::start(&[]);
    let link = at(&server);
    set(&link, "a", "1").expect("set");
    assert_eq!(get(&link, "a").expect("get").as_deref(), Some("1"));
    let mut pipe = redis::pipe();
    pipe.cmd("INCR").arg("a").cmd("LPUSH").arg("a").arg("x").cmd("GET").arg("a");
    let answers = link.pipeline(&cx(), &pipe, Repeat::Never).expect("a pipeline");
    assert!(matches!(&answers[..], [Value::Int(2), Value::ServerError(_), two] if text(two) == Some("2")), "{answers:?}");
    let mut atomic = redis::pipe();
    atomic.atomic().cmd("INCR").arg("a").cmd("INCR").arg("a");
    assert_eq!(link.pipeline(&cx(), &atomic, Repeat::Never).expect("a transaction"), [Value::Int(3), Value::Int(4)]);
    let mut refused = redis::pipe();
    refused.atomic().cmd("INCR").arg("a").cmd("NOSUCH").arg("tulip");
    let error = link.pipeline(&cx(), &refused, Repeat::Never).expect_err("no such command");
    assert!(error.code() == Code::Unsupported && !error.message().contains("tulip"), "{error}");
    assert_eq!(get(&link, "a").expect("get").as_deref(), Some("4"), "nothing of it was carried out");
    let script = Script::new("return {KEYS[1], ARGV[1]}");
    for _ in 0..2 {
        let answer = link.script(&cx(), &script, &[b"k".to_vec()], &[b"v\0".to_vec()], Repeat::Safe).expect("a script");
        assert_eq!(answer, Value::Array(vec![Value::BulkString(b"k".to_vec()), Value::BulkString(b"v\0".to_vec())]));
    }
    assert!(link.scripts_allowed() && link.topology() == Topology::Single);
}

#[test]
fn a_unix_socket_is_as_good_and_a_database_is_chosen() {
    let server = Server::start(&[]);
    let path = server.socket();
    let link = link(&format!(r#"{{"unix_socket": {path:?}, "db": 3}}"#)).expect("a link");
    set(&link, "a", "3").expect("set");
    assert_eq!(get(&at(&server), "a").expect("get"), None, "another database");
    let mut found = Vec::new();
    link.scan(&cx(), "a*", |keys| {
        found.extend(keys);
        Ok(())
    })
    .expect("a scan");
    assert_eq!(found, [b"a"]);
}

#[test]
fn a_call_ends_with_its_deadline_or_flag_and_the_next_gets_its_own_answer() {
    let server = Server::start(&[]);
    let link = at(&server);
    set(&link, "a", "1").expect("set");
    server.tell("CLIENT PAUSE 400 ALL");
    let brief = || Context::within(Duration::from_millis(50));
    let error = link.query(&brief(), cmd("INCR").arg("n"), Repeat::Never).expect_err("paused");
    assert_eq!(error.code(), Code::OutcomeUnknown, "{error}");
    let error = link.query(&brief(), cmd("GET").arg("a"), Repeat::Safe).expect_err("paused");
    assert_eq!(error.code(), Code::Deadline, "{error}");
    let flag = AtomicBool::new(true);
    let cancelled = Context::unbounded().cancelled_by(&flag);
    let error = link.query(&cancelled, cmd("GET").arg("a"), Repeat::Safe).expect_err("cancelled");
    assert_eq!(error.code(), Code::Deadline, "{error}");
    set(&link, "b", "own").expect("when the pause is over");
    assert_eq!(get(&link, "b").expect("get").as_deref(), Some("own"));
}

#[test]
fn a_server_that_was_restarted_is_used_again_and_nothing_is_done_twice() {
    let mut server = Server::start(&[]);
    let link = at(&server);
    set(&link, "a", "1").expect("set");
    server.restart();
    link.query(&cx(), cmd("INCR").arg("n"), Repeat::Never).expect("the idle connection is seen to be dead before it is used");
    assert_eq!(get(&link, "n").expect("get").as_deref(), Some("1"));
    server.kill();
    let error = set(&link, "a", "2").expect_err("nobody is there");
    assert!(error.code() == Code::Unavailable && error.retryable(), "{error}");
    server.restart();
    set(&link, "a", "2").expect("back");
}

#[test]
fn after_close_nothing_is_answered() {
    let server = Server::start(&[]);
    let link = at(&server);
    link.close();
    let error = get(&link, "a").expect_err("closed");
    assert!(error.code() == Code::Unavailable && !error.retryable(), "{error}");
}

#[test]
fn slots_are_those_of_the_server() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    for key in ["client:client:1", "a{b}c", "{}a", "a{}{b}", "123456789", "{{a}}", "a}b{c", "{"] {
        assert_eq!(server.tell(&format!("CLUSTER KEYSLOT {key}")), format!(":{}\r\n", slot::slot_of(key.as_bytes())), "{key}");
    }
}
