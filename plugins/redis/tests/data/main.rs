//! What is in Redis after our writes, what we make of what others put there, and what is repaired.

mod batches;
#[path = "../common/mod.rs"]
mod common;

use common::Server;
use hivemind_abi::Host;
use hivemind_abi::model::{
    Backend, Change, Code, Collection, CollectionId, Condition, Context, Error, Index, Key, Kind, Legacy, LegacyRule, Mutation,
    Op, Outcome, Query, Row, Task, Value,
};
use hivemind_redis_plugin::backend::{self, Redis};
use redis::FromRedisValue;

fn cx() -> Context<'static> {
    Context::within(std::time::Duration::from_secs(60))
}

/// The clients as the typed store describes them, as far as it matters here.
fn clients() -> Collection {
    let unique = Index::Unique { except: vec!["revoked".into()] };
    let mut clients = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, unique)
        .field_with("name", Kind::Text, "", Index::None)
        .field_with("last_seen", Kind::Real, -1.0, Index::None)
        .field_with("metadata", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    clients.primary = true;
    clients.extras = Some(4);
    clients.legacy = vec![Legacy { name: "message_blacklist".to_owned(), rule: LegacyRule::Drop }];
    clients
}

struct Store {
    server: Server,
    backend: Redis,
    clients: Collection,
    id: CollectionId,
}

fn open(server: &Server, more: &str) -> Redis {
    backend::open(&format!(r#"{{"port": {}{more}}}"#, server.port), Host::detached("/nowhere")).expect("a handle")
}

impl Store {
    fn begin(args: &[&str]) -> Self {
        let server = Server::start(args);
        let backend = open(&server, "");
        Self::over(server, backend)
    }

    /// A store whose handle has these rights only.
    fn with_rights(rights: &[&str]) -> Self {
        let store = Self::begin(&[]);
        store.ask::<()>(&[&["ACL", "SETUSER", "node", "on", ">pw", "~*", "&*", "+@all"], rights].concat());
        let handle = open(&store.server, r#", "username": "node", "password": "pw""#);
        Self::over(store.server, handle)
    }

    fn over(server: Server, backend: Redis) -> Self {
        let clients = clients();
        let id = backend.prepare(&cx(), std::slice::from_ref(&clients)).expect("prepared")[0];
        Self { server, backend, clients, id }
    }

    fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(("127.0.0.1", self.server.port)).expect("a client");
        let mut connection = client.get_connection().expect("a connection");
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        command.query(&mut connection).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    fn row(&self, set: &[(&str, &str)]) -> Row {
        let builder = Row::builder(&self.clients);
        set.iter().fold(builder, |builder, (name, value)| builder.set(name, *value).expect(name)).build()
    }

    fn add(&self, api_key: &str, name: &str) -> Result<i64, Error> {
        let row = self.row(&[("api_key", api_key), ("name", name)]);
        let applied = self.backend.apply(&cx(), &[Mutation::InsertNext { collection: self.id, row }])?;
        match applied.outcomes[..] {
            [Outcome::Inserted(Key::Int(id))] => Ok(id),
            ref other => panic!("{other:?}"),
        }
    }

    fn by_key(&self, api_key: &str) -> Result<Option<i64>, Error> {
        let row = self.backend.get_by(&cx(), self.id, 1, Value::from(api_key).as_ref())?;
        Ok(row.map(|row| match row.view(&self.clients).expect("a view").key().to_key() {
            Key::Int(id) => id,
            Key::Text(_) => panic!("a text"),
        }))
    }

    fn set(&self, id: i64, field: &str, value: &str) -> Result<(), Error> {
        let changes = vec![Change::set(self.clients.position(field).expect(field), value)];
        let update = Mutation::Update { collection: self.id, key: Key::Int(id), changes, when: Vec::new() };
        self.backend.apply(&cx(), &[update]).map(drop)
    }

    /// Every key and what it holds, receipts and counts of writes aside.
    fn dump(&self) -> Vec<(String, String)> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "*"]);
        keys.retain(|key| !key.contains(":handles:") && !key.ends_with(":writes"));
        keys.sort();
        let show = |key: &String| match self.ask::<String>(&["TYPE", key]).as_str() {
            "string" => self.ask(&["GET", key]),
            "set" => format!("{:?}", self.ask::<std::collections::BTreeSet<String>>(&["SMEMBERS", key])),
            "hash" => format!("{:?}", self.ask::<std::collections::BTreeMap<String, String>>(&["HGETALL", key])),
            other => other.to_owned(),
        };
        keys.iter().map(|key| (key.clone(), show(key))).collect()
    }

    fn problems(&self) -> Vec<String> {
        let report = self.backend.maintain(&cx(), &Task::Verify).expect("verified");
        report.problems.into_iter().map(|problem| problem.message).collect()
    }

    fn sync(&self) {
        self.backend.sync(&cx()).expect("synced");
    }
}

fn of(dump: &[(String, String)]) -> Vec<(&str, &str)> {
    dump.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn a_write_leaves_what_python_expects_and_nothing_else() {
    let store = Store::begin(&[]);
    let key = |n: i64| format!("key-{n}");
    assert_eq!([1, 2].map(|n| store.add(&key(n), if n == 1 { "Küche" } else { "" }).expect("added")), [1, 2]);
    store.ask::<()>(&["SET", "client:api_key_record:key-1", "{}"]);
    store.ask::<()>(&["SET", "client:api_key_record:key-2", "{}"]);
    store.set(1, "name", "garden").expect("renamed");
    store.set(2, "api_key", "revoked").expect("revoked");
    let record = |id: i64, key: &str, name: &str| {
        format!("{{\"api_key\": \"{key}\", \"client_id\": {id}, \"last_seen\": -1, \"metadata\": {{}}, \"name\": \"{name}\"}}")
    };
    let (first, second) = (record(1, "key-1", "garden"), record(2, "revoked", ""));
    let expected = [
        ("client:api_key:key-1", "{\"1\"}"),
        ("client:api_key:revoked", "{\"2\"}"),
        ("client:client:1", first.as_str()),
        ("client:client:2", second.as_str()),
        ("client:count", "2"),
        ("client:id_seq", "2"),
        ("client:idx:1", "{\"api_key\": \"key-1\", \"name\": \"garden\"}"),
        ("client:idx:2", "{\"api_key\": \"revoked\", \"name\": \"\"}"),
        ("client:name:garden", "{\"1\"}"),
        ("client:schema_version", "2"),
    ];
    assert_eq!(of(&store.dump()), expected);
    assert_eq!(store.problems(), Vec::<String>::new());
    store.backend.close(&cx()).expect("closed");
    assert_eq!(store.ask::<Vec<String>>(&["KEYS", "*:handles:*"]), Vec::<String>::new(), "receipts go with their handle");
}

#[test]
fn every_kind_of_drift_is_reported_and_repaired() {
    let store = Store::begin(&[]);
    for n in 1..=3 {
        store.add(&format!("key-{n}"), &format!("name {n}")).expect("added");
    }
    let right = store.dump();
    let kinds: [(&[&str], bool); 12] = [
        (&["SREM", "client:api_key:key-1", "1"], true),
        (&["DEL", "client:name:name 2"], true),
        (&["SADD", "client:api_key:key-1", "2"], true),
        (&["SADD", "client:name:gone", "7"], true),
        (&["SADD", "client:name:gone", "no id"], true),
        (&["DEL", "client:idx:3"], true),
        (&["HSET", "client:idx:1", "name", "another"], true),
        (&["HSET", "client:idx:1", "more", "fields"], true),
        (&["HSET", "client:idx:9", "name", "nobody", "api_key", "x"], true),
        (&["INCR", "client:count"], true),
        (&["SET", "client:id_seq", "17"], true),
        // The Python node adds without it.
        (&["SET", "client:id_seq", "0"], false),
    ];
    for (words, reported) in kinds {
        store.ask::<redis::Value>(words);
        assert_eq!(!store.problems().is_empty(), reported, "{words:?}: {:?}", store.problems());
        store.sync();
        assert_eq!(store.dump(), right, "{words:?}");
    }
    store.ask::<()>(&["SET", "client:api_key_record:key-1", r#"{"client_id": 1, "api_key": "key-1", "name": "as it was"}"#]);
    assert_eq!(store.problems().len(), 1, "what other nodes remember wrongly");
    store.sync();
    assert_eq!(store.dump(), right);
}

#[test]
fn an_index_that_is_wrong_is_not_believed() {
    let store = Store::begin(&[]);
    for n in 1..=3 {
        store.add(&format!("key-{n}"), "name").expect("added");
    }
    // Python would answer with another client, or none.
    store.ask::<i64>(&["SADD", "client:api_key:nobody", "2"]);
    assert_eq!(store.by_key("nobody").expect("looked up"), None);
    store.ask::<i64>(&["SMOVE", "client:api_key:key-3", "client:api_key:key-2", "3"]);
    store.ask::<i64>(&["SADD", "client:api_key:key-3", "99"]);
    assert_eq!((store.by_key("key-3"), store.by_key("key-2")), (Ok(Some(3)), Ok(Some(2))));
    let named = Query::all(store.id).filter(Condition::new(1, Op::Eq, "key-3"));
    assert_eq!(store.backend.count(&cx(), &named), Ok(1));
    // Nobody has that key, whatever the set says.
    let id = store.add("nobody", "new").expect("added");
    assert_eq!(store.by_key("nobody"), Ok(Some(id)));
}

#[test]
fn a_record_that_another_node_is_making_is_waited_for() {
    let store = Store::begin(&[]);
    store.add("key-1", "a").expect("added");
    store.ask::<()>(&["SET", "client:client:2", "__hivemind_creating__", "PX", "400"]);
    assert_eq!(store.backend.get(&cx(), store.id, Key::Int(2).as_ref()), Ok(None));
    let short = Context::within(std::time::Duration::from_millis(100));
    let row = store.row(&[("api_key", "key-2")]);
    let add = [Mutation::InsertNext { collection: store.id, row }];
    let error = store.backend.apply(&short, &add).expect_err("the mark is there");
    assert_eq!(error.code(), Code::Deadline, "{error}");
    assert_eq!(store.ask::<String>(&["GET", "client:client:2"]), "__hivemind_creating__");
    // The other node never came back, and its mark expires.
    assert_eq!(store.add("key-2", "b"), Ok(2));
    // Here it does.
    store.ask::<()>(&["SET", "client:client:3", "__hivemind_creating__"]);
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| store.add("key-4", "d"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let python = r#"{"client_id": 3, "api_key": "key-3", "name": "c"}"#;
        store.ask::<()>(&["SET", "client:client:3", python]);
        store.ask::<i64>(&["SADD", "client:api_key:key-3", "3"]);
        store.ask::<i64>(&["INCR", "client:count"]);
        assert_eq!(adding.join().expect("a thread"), Ok(4));
    });
    assert_eq!(store.by_key("key-3"), Ok(Some(3)));
}

#[test]
fn ids_go_on_behind_whatever_is_there() {
    let store = Store::begin(&[]);
    for (id, key) in [(1, "a"), (40, "b")] {
        store.ask::<()>(&["SET", &format!("client:client:{id}"), &format!(r#"{{"client_id": {id}, "api_key": "{key}"}}"#)]);
        store.ask::<i64>(&["SADD", &format!("client:api_key:{key}"), &id.to_string()]);
        store.ask::<i64>(&["INCR", "client:count"]);
    }
    assert_eq!(store.add("c", ""), Ok(41), "as Python adds by number, no counter knows of 40");
    // One that lies in the way all of a sudden.
    store.ask::<()>(&["SET", "client:client:42", r#"{"client_id": 42, "api_key": "d"}"#]);
    assert_eq!(store.add("e", ""), Ok(43));
    store.ask::<()>(&["SET", "client:count", "many"]);
    let error = store.add("f", "").expect_err("no number");
    assert_eq!(error.code(), Code::Corrupt, "{error}");
    store.sync();
    assert_eq!(store.add("f", ""), Ok(44));
}

#[test]
fn what_is_no_record_is_left_alone_and_hides_nothing() {
    let store = Store::begin(&[]);
    store.add("key-1", "a").expect("added");
    store.ask::<i64>(&["RPUSH", "client:client:2", "x"]);
    store.ask::<()>(&["SET", "client:client:3", "{"]);
    store.ask::<()>(&["SET", "client:client:4", r#"{"client_id": 5, "api_key": "key-4"}"#]);
    store.ask::<()>(&["SET", "client:client:x", "stray"]);
    for id in 2..=4 {
        let error = store.backend.get(&cx(), store.id, Key::Int(id).as_ref()).expect_err("damaged");
        assert_eq!((error.code(), error.detail().key.clone()), (Code::Corrupt, Some(Key::Int(id))), "{error}");
        assert_eq!(store.set(id, "name", "new").expect_err("damaged").code(), Code::Corrupt);
    }
    let page = store.backend.find(&cx(), &Query::all(store.id), usize::MAX).expect("found");
    assert_eq!((page.rows.len(), page.unreadable.len()), (1, 3));
    assert_eq!(store.by_key("key-1"), Ok(Some(1)));
    assert_eq!(store.add("key-5", ""), Ok(5));
    assert_eq!(store.problems().len(), 4, "{:?}", store.problems());
    assert_eq!(store.ask::<Vec<String>>(&["LRANGE", "client:client:2", "0", "-1"]), ["x"]);
}

#[test]
fn a_key_that_belongs_to_something_else_stops_a_write_before_it_begins() {
    let store = Store::begin(&[]);
    store.add("key-1", "a").expect("added");
    for key in ["client:api_key:key-2", "client:name:b", "client:idx:2"] {
        store.ask::<()>(&["SET", key, "something else"]);
        let before = store.dump();
        let error = store.add("key-2", "b").expect_err(key);
        assert_eq!(error.code(), Code::Corrupt, "{error}");
        assert!(!error.to_string().contains("key-2"), "{error}");
        assert_eq!(store.dump(), before, "{key}");
        store.ask::<i64>(&["DEL", key]);
    }
    assert_eq!(store.add("key-2", "b"), Ok(2));
}

#[test]
fn a_full_memory_refuses_the_whole_write_and_lets_clients_be_revoked() {
    let store = Store::begin(&[]);
    store.add("key-1", "a").expect("added");
    store.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = store.dump();
    let error = store.add("key-2", "b").expect_err("no memory");
    assert!(error.code() == Code::Io && error.retryable() && error.message().contains("maxmemory"), "{error}");
    assert_eq!(store.dump(), before);
    store.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.add("key-2", "b"), Ok(2));
}

#[test]
fn a_right_that_is_missing_stops_a_write_before_it_begins() {
    let store = Store::with_rights(&["-hset"]);
    let before = store.dump();
    let error = store.add("key-1", "a").expect_err("no right");
    assert!(error.code() == Code::Denied && error.message().contains("hset"), "{error}");
    assert_eq!(store.dump(), before);
    store.ask::<()>(&["ACL", "SETUSER", "node", "+hset"]);
    assert_eq!(store.add("key-1", "a"), Ok(1));
}

#[test]
fn without_scripts_everything_is_as_with_them() {
    let store = Store::with_rights(&["-@scripting"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || (0..10).for_each(|n| assert!(store.add(&format!("{thread}-{n}"), "a").is_ok())));
        }
    });
    assert_eq!(store.backend.count(&cx(), &Query::all(store.id)), Ok(40));
    assert_eq!(store.by_key("3-9").map(|id| id.is_some()), Ok(true));
    assert_eq!(store.add("3-9", "b").expect_err("taken").code(), Code::Conflict);
    assert_eq!(store.problems(), Vec::<String>::new());
}

#[test]
fn an_old_store_is_migrated_and_a_newer_one_is_not_touched() {
    let server = Server::start(&[]);
    let probe = Store { backend: open(&server, ""), server, clients: clients(), id: CollectionId(0) };
    let old = r#"{"client_id": 1, "api_key": "k", "skill_blacklist": ["s"], "message_blacklist": ["m"], "crypto_key": "c", "name": "n"}"#;
    probe.ask::<()>(&["SET", "client:client:1", old]);
    probe.ask::<()>(&["SET", "client:client:2", "not JSON"]);
    probe.ask::<()>(&["SET", "client:schema_version", "3"]);
    let before = probe.dump();
    let error = probe.backend.prepare(&cx(), &[clients()]).expect_err("newer");
    assert_eq!((error.code(), probe.dump()), (Code::TooNew, before));
    probe.ask::<i64>(&["DEL", "client:schema_version"]);
    probe.backend.prepare(&cx(), &[clients()]).expect("migrated");
    let new: String = probe.ask(&["GET", "client:client:1"]);
    assert!(new.contains(r#""metadata": {"skill_blacklist": ["s"], "crypto_key": "c"}"#) && !new.contains("message"), "{new}");
    assert_eq!(probe.ask::<String>(&["GET", "client:client:2"]), "not JSON");
    assert_eq!(probe.ask::<Vec<String>>(&["MGET", "client:schema_version", "client:count"]), ["2", "1"]);
    assert_eq!(probe.by_key("k"), Ok(Some(1)));
}

#[test]
fn a_namespace_is_moved_to_a_tag_and_the_old_one_stays() {
    let store = Store::begin(&[]);
    for n in 1..=3 {
        store.add(&format!("key-{n}"), &format!("name {n}")).expect("added");
    }
    store.ask::<()>(&["SET", "client:client:9", "damaged"]);
    store.sync();
    let before = store.dump();
    let move_to = |to: &str, dry_run| store.backend.maintain(&cx(), &Task::Move { to: to.to_owned(), dry_run });
    assert_eq!(move_to("a{b", false).expect_err("no tag").code(), Code::Invalid);
    let report = move_to("hub", true).expect("tried");
    assert_eq!((report.get("records"), report.get("copied")), (Some(&Value::Int(4)), Some(&Value::Int(4))));
    assert_eq!((report.problems.len(), store.dump()), (1, before.clone()));
    move_to("hub", false).expect("moved");
    let moved: Vec<(String, String)> = store
        .dump()
        .into_iter()
        .filter_map(|(key, value)| Some((format!("client:{}", key.strip_prefix("client:{hub}:")?), value)))
        .collect();
    assert_eq!(moved, before);
    assert_eq!(move_to("hub", false).expect("again").get("copied"), Some(&Value::Int(0)));
    let tagged = Store::over(store.server, open_tagged(store.backend, "hub"));
    assert_eq!((tagged.by_key("key-3"), tagged.add("key-4", "d")), (Ok(Some(3)), Ok(4)));
}

/// A handle beside another one, with a tag.
fn open_tagged(beside: Redis, tag: &str) -> Redis {
    let report = beside.stats(&cx()).expect("stats");
    let Some(Value::Text(location)) = report.get("location") else { panic!("no location") };
    let port = location.split([':', ',']).nth(1).and_then(|port| port.parse::<u16>().ok()).expect("a port");
    backend::open(&format!(r#"{{"port": {port}, "cluster_hash_tag": "{tag}"}}"#), Host::detached("/nowhere")).expect("a handle")
}
