//! What the tests share: the collection of clients as the store describes it, and handles on files in a folder of their own.

#![allow(dead_code, reason = "no test uses all of it")]

use std::path::{Path, PathBuf};

use hivemind_abi::Host;
use hivemind_abi::model::{
    Backend, Collection, CollectionId, Context, Index, Key, Kind, Legacy, LegacyRule, Mutation, Outcome, Retired, Row, Value,
    record,
};
use hivemind_sqlite_plugin::backend::{Sqlite, open};
use tempfile::TempDir;

pub(crate) static CX: Context<'static> = Context::unbounded();
pub(crate) const ID: usize = 0;
pub(crate) const API_KEY: usize = 1;
pub(crate) const NAME: usize = 2;
pub(crate) const LAST_SEEN: usize = 5;

/// The table as the Python node makes it.
pub(crate) const PYTHON_TABLE: &str = "CREATE TABLE IF NOT EXISTS clients (client_id INTEGER PRIMARY KEY, api_key VARCHAR(255) NOT NULL, \
    name VARCHAR(255), description VARCHAR(255), is_admin BOOLEAN DEFAULT FALSE, last_seen REAL DEFAULT -1, intent_blacklist TEXT, \
    skill_blacklist TEXT, message_blacklist TEXT, allowed_types TEXT, password TEXT, can_broadcast BOOLEAN DEFAULT TRUE, \
    can_escalate BOOLEAN DEFAULT TRUE, can_propagate BOOLEAN DEFAULT TRUE, metadata TEXT); \
    CREATE INDEX IF NOT EXISTS idx_clients_api_key ON clients(api_key)";

pub(crate) fn clients() -> Collection {
    let json = |text: &str| Value::Json(text.to_owned());
    let mut c = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, Index::Unique { except: vec!["revoked".into()] })
        .field_with("name", Kind::Text, "", Index::None)
        .field_with("description", Kind::Text, "", Index::None)
        .field_with("is_admin", Kind::Bool, false, Index::None)
        .field_with("last_seen", Kind::Real, -1.0, Index::None)
        .field_with("allowed_types", Kind::Json, json("[]"), Index::None)
        .field("password", Kind::Text)
        .field_with("can_broadcast", Kind::Bool, true, Index::None)
        .field_with("can_escalate", Kind::Bool, true, Index::None)
        .field_with("can_propagate", Kind::Bool, true, Index::None)
        .field_with("metadata", Kind::Json, json("{}"), Index::None);
    let legacy = |name: &str, rule| Legacy { name: name.to_owned(), rule };
    c.primary = true;
    c.extras = c.position("metadata");
    c.legacy = vec![
        legacy("skill_blacklist", LegacyRule::Fold),
        legacy("intent_blacklist", LegacyRule::Fold),
        legacy("message_blacklist", LegacyRule::Drop),
    ];
    let before = c.position("allowed_types");
    c.retired = ["intent_blacklist", "skill_blacklist", "message_blacklist"]
        .map(|name| Retired { name: name.to_owned(), before })
        .to_vec();
    c
}

/// A folder with a database file in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("hivemind-core").join("clients.db")
    }

    /// A handle with settings of its own.
    pub(crate) fn open_with(&self, config: &str) -> Sqlite {
        open(config, Host::detached(self.path())).expect("opens")
    }

    /// A handle with clients prepared.
    pub(crate) fn clients(&self) -> (Sqlite, CollectionId) {
        let store = self.open_with("{}");
        let ids = store.prepare(&CX, &[clients()]).expect("prepares");
        (store, ids[0])
    }

    /// A plain connection, as another program has it.
    pub(crate) fn other_program(&self) -> rusqlite::Connection {
        std::fs::create_dir_all(self.file().parent().expect("a parent")).expect("a folder");
        let connection = rusqlite::Connection::open(self.file()).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
        connection
    }

    /// A database that another program wrote.
    pub(crate) fn written(&self, sql: &str) {
        self.other_program().execute_batch(sql).expect("SQL");
    }
}

/// A client with this access key; key 0 stands for one that is to be assigned.
pub(crate) fn client(id: i64, api_key: &str) -> Row {
    let clients = clients();
    let builder = Row::builder(&clients).set("client_id", id).expect("id").set("api_key", api_key).expect("key");
    builder.build()
}

/// A client as JSON, to compare with.
pub(crate) fn shown(row: &Row) -> String {
    record::to_json(&row.view(&clients()).expect("a view"))
}

pub(crate) fn insert(store: &dyn Backend, collection: CollectionId, row: Row) -> Key {
    match store.apply(&CX, &[Mutation::Insert { collection, row }]).expect("inserts").outcomes.remove(0) {
        Outcome::Inserted(key) => key,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn get(store: &dyn Backend, collection: CollectionId, key: i64) -> Option<Row> {
    store.get(&CX, collection, Key::Int(key).as_ref()).expect("gets")
}
