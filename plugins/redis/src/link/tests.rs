//! Against real servers.

use std::sync::atomic::AtomicBool;

use super::*;

#[path = "../../tests/common/mod.rs"]
pub(super) mod common;

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
fn a_script_that_only_reads_answers_while_writes_are_paused() {
    let server = Server::start(&[]);
    let link = at(&server);
    set(&link, "a", "1").expect("set");
    let script = Script::new("return redis.call('GET', KEYS[1])");
    link.query(&cx(), cmd("CLIENT").arg("PAUSE").arg(600_000).arg("WRITE"), Repeat::Safe).expect("paused");
    // By its hash, which the server does not know, in full, and by its hash again.
    for _ in 0..2 {
        let answer = link.reading_script(&cx(), &script, &["a"], &[] as &[&str]).expect("an answer");
        assert_eq!(text(&answer), Some("1"));
    }
    let brief = Context::within(Duration::from_millis(300));
    let error = link.script(&brief, &script, &["a"], &[] as &[&str], Repeat::Safe).expect_err("it waits, as writes do");
    assert_eq!(error.code(), Code::Deadline, "{error}");
    link.query(&cx(), cmd("CLIENT").arg("UNPAUSE"), Repeat::Safe).expect("on again");
    // One that writes is refused, and so not taken for one that reads.
    let writes = Script::new("return redis.call('SET', KEYS[1], '2')");
    link.reading_script(&cx(), &writes, &["a"], &[] as &[&str]).expect_err("a write");
    assert_eq!(get(&link, "a").expect("get").as_deref(), Some("1"));
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
    assert!(link.track(&cx(), vec![b"a".to_vec()]).expect("tracking"));
    common::until("tracking", || link.tracking().now().is_some());
    let ours = || server.tell("CLIENT LIST").matches("name=hivemind-host").count();
    assert_eq!(ours(), 2, "one for calls and one for news");
    link.close();
    let error = get(&link, "a").expect_err("closed");
    assert!(error.code() == Code::Unavailable && !error.retryable(), "{error}");
    assert_eq!(link.tracking().now(), None);
    common::until("the end of both", || ours() == 0);
}

#[test]
fn slots_are_those_of_the_server() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    for key in ["client:client:1", "a{b}c", "{}a", "a{}{b}", "123456789", "{{a}}", "a}b{c", "{"] {
        assert_eq!(server.tell(&format!("CLUSTER KEYSLOT {key}")), format!(":{}\r\n", slot::slot_of(key.as_bytes())), "{key}");
    }
}

#[test]
fn a_cluster_is_found_by_itself_and_calls_go_to_the_slots_owner() {
    let nodes = common::cluster();
    let link = at(&nodes[1]);
    assert_eq!(link.topology(), Topology::Cluster);
    let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.cmd("SET").arg(key).arg(key);
    }
    let answers = link.pipeline(&cx(), &pipe, Repeat::Idempotent).expect("a pipeline");
    assert!(answers.len() == 50 && answers.iter().all(|a| *a == Value::Okay), "{answers:?}");
    for key in &keys {
        assert_eq!(get(&link, key).expect("get").as_deref(), Some(key.as_str()));
    }
    let mut found = Vec::new();
    link.scan(&cx(), "key:*", |portion| {
        found.extend(portion);
        Ok(())
    })
    .expect("a scan");
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 50, "of every master");
    let mut atomic = redis::pipe();
    atomic.atomic().cmd("SET").arg("{hub}a").arg(1).cmd("SET").arg("{hub}b").arg(2);
    link.pipeline(&cx(), &atomic, Repeat::Never).expect("one slot");
    let mut apart = redis::pipe();
    apart.atomic().cmd("SET").arg("{hub}a").arg(3).cmd("SET").arg("key:1").arg(3);
    link.pipeline(&cx(), &apart, Repeat::Never).expect_err("two slots");
    assert_eq!(get(&link, "{hub}a").expect("get").as_deref(), Some("1"));
    let script = Script::new("return redis.call('GET', KEYS[1])");
    let answer = link.script(&cx(), &script, &[b"{hub}b".to_vec()], &[] as &[&str], Repeat::Safe).expect("a script");
    assert_eq!(text(&answer), Some("2"));
}

#[test]
fn a_cluster_goes_on_when_a_replica_takes_over() {
    let mut nodes = common::cluster();
    let owner = usize::from(slot::slot_of(b"{hub}")) / 5462;
    let replica = common::cluster_replica(&nodes[owner]);
    let link = at(&nodes[(owner + 1) % 3]);
    assert!(link.track(&cx(), vec![b"{hub}".to_vec()]).expect("tracking"));
    set(&link, "{hub}a", "1").expect("set");
    common::until("the copy", || replica.tell("INFO keyspace").contains("keys=1"));
    nodes[owner].kill();
    common::until("the new master", || set(&link, "{hub}a", "2").is_ok());
    assert_eq!(get(&link, "{hub}a").expect("get").as_deref(), Some("2"));
    common::until("tracking at the new master", || link.tracking().now().is_some());
}

/// A slot is on its way, and then gone, while a link knows only the old owner.
#[test]
fn redirections_are_followed_and_nothing_is_done_twice() {
    let nodes = common::cluster();
    let link = at(&nodes[0]);
    let slot = slot::slot_of(b"{hub}");
    let owner = usize::from(slot) / 5462;
    let (from, to) = (&nodes[owner], &nodes[(owner + 1) % 3]);
    let id = |node: &Server| node.tell("CLUSTER MYID").lines().nth(1).expect("an id").to_owned();
    set(&link, "{hub}old", "1").expect("set");
    assert_eq!(to.tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from))), "+OK\r\n");
    assert_eq!(from.tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to))), "+OK\r\n");
    let incr = |key: &str| link.query(&cx(), cmd("INCR").arg(key), Repeat::Never);
    assert_eq!(incr("{hub}new").expect("asked at the new owner"), Value::Int(1));
    assert_eq!(incr("{hub}old").expect("still here"), Value::Int(2));
    let mut pipe = redis::pipe();
    pipe.cmd("INCR").arg("{hub}new").cmd("INCR").arg("{hub}old").cmd("INCR").arg("elsewhere");
    assert_eq!(link.pipeline(&cx(), &pipe, Repeat::Never).expect("both"), [Value::Int(2), Value::Int(3), Value::Int(1)]);
    from.tell(&format!("MIGRATE 127.0.0.1 {} {{hub}}old 0 5000", to.port));
    for node in [to, from] {
        assert_eq!(node.tell(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to))), "+OK\r\n");
    }
    assert_eq!(incr("{hub}new").expect("moved"), Value::Int(3));
    assert_eq!(incr("{hub}old").expect("moved"), Value::Int(4));
}

#[test]
fn what_is_watched_is_looked_for_where_its_slot_is_now() {
    let nodes = common::cluster();
    let link = at(&nodes[0]);
    let slot = slot::slot_of(b"{hub}");
    let owner = usize::from(slot) / 5462;
    let to = nodes[(owner + 1) % 3].tell("CLUSTER MYID").lines().nth(1).expect("an id").to_owned();
    for node in [&nodes[(owner + 1) % 3], &nodes[owner], &nodes[(owner + 2) % 3]] {
        assert_eq!(node.tell(&format!("CLUSTER SETSLOT {slot} NODE {to}")), "+OK\r\n");
    }
    let (key, question) = (b"{hub}a".to_vec(), cmd("GET").arg("{hub}a").to_owned());
    let watched = link.watched(&cx(), std::slice::from_ref(&key), std::slice::from_ref(&question), |answers| {
        assert_eq!(answers, [Value::Nil]);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("SET").arg("{hub}a").arg(1);
        Ok(AfterLook::<()>::CarryOut(pipe))
    });
    assert!(matches!(watched, Ok(Watched::Done)));
    assert_eq!(get(&link, "{hub}a").expect("get").as_deref(), Some("1"));
}

#[test]
fn the_sentinels_lead_to_the_master_also_after_a_failover() {
    let (mut master, replica, sentinel) = common::sentinel();
    let block = |port: u16, name: &str| {
        format!(r#"{{"sentinels": [{{"host": "127.0.0.1", "port": {port}}}], "sentinel_master": "{name}", "retry_attempts": 0}}"#)
    };
    let error = link(&block(sentinel.port, "bub")).expect_err("another name");
    assert!(error.message().contains("\"bub\"") && error.message().contains("hub"), "{error}");
    let error = link(&block(replica.port, "hub")).expect_err("a server");
    assert!(error.message().contains("no Sentinel"), "{error}");
    let error = link(&format!(r#"{{"port": {}}}"#, sentinel.port)).expect_err("a Sentinel");
    assert!(error.code() == Code::Invalid && error.message().contains("sentinels"), "{error}");

    let link = link(&block(sentinel.port, "hub")).expect("a link");
    set(&link, "a", "1").expect("set");
    common::until("the copy", || replica.tell("GET a").contains('1'));
    master.kill();
    common::until("the new master", || set(&link, "a", "2").is_ok());
    assert!(replica.tell("GET a").contains('2'), "it is the replica that was");
    assert_eq!(get(&link, "a").expect("get").as_deref(), Some("2"));
    drop(sentinel);
    set(&link, "a", "3").expect("nobody needs a Sentinel while the master is there");
}

#[test]
fn a_server_says_what_it_is_and_what_it_keeps() {
    let server = Server::start(&["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let about = at(&server).about(&cx()).expect("about").remove(0);
    assert!(about.version >= Version(6, 0, 0) && about.role == "master" && about.replicas == Some(0), "{about:?}");
    assert!(about.appends == Some(true) && about.syncs.as_deref() == Some("everysec"), "{about:?}");
    assert!(about.snapshots.as_deref() == Some("") && about.persists == Some(true), "{about:?}");
    assert!(about.memory.is_some_and(|(used, most)| used > 0 && most == 100 << 20), "{about:?}");
    assert_eq!(about.eviction.as_deref(), Some("allkeys-lru"));
}

mod faults;
mod tls;
