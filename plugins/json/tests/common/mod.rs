//! What the tests share: the clients of the node, and handles on a folder.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hivemind_abi::Host;
use hivemind_abi::model::json::{self, Json};
use hivemind_abi::model::{
    Backend, Change, Collection, CollectionId, Context, Index, Key, Kind, Legacy, LegacyRule, Mutation, Query, Retired, Row,
    Value, record,
};
use hivemind_json_plugin::backend::{JsonStore, open};

pub(crate) fn cx() -> Context<'static> {
    Context::unbounded()
}

/// The node's own collection.
pub(crate) fn clients() -> Collection {
    let none = || Index::None;
    let text = |json: &str| Value::Json(json.to_owned());
    let mut c = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, Index::Unique { except: vec!["revoked".into()] })
        .field_with("name", Kind::Text, "", none())
        .field_with("description", Kind::Text, "", none())
        .field_with("is_admin", Kind::Bool, false, none())
        .field_with("last_seen", Kind::Real, -1.0, none())
        .field_with("allowed_types", Kind::Json, text("[]"), none())
        .field("password", Kind::Text)
        .field_with("can_broadcast", Kind::Bool, true, none())
        .field_with("can_escalate", Kind::Bool, true, none())
        .field_with("can_propagate", Kind::Bool, true, none())
        .field_with("metadata", Kind::Json, text("{}"), none());
    c.primary = true;
    c.extras = c.position("metadata");
    let legacy = |name: &str, rule| Legacy { name: name.to_owned(), rule };
    c.legacy = vec![
        legacy("skill_blacklist", LegacyRule::Fold),
        legacy("intent_blacklist", LegacyRule::Fold),
        legacy("message_blacklist", LegacyRule::Drop),
    ];
    let before = c.position("allowed_types");
    let retired = |name: &str| Retired { name: name.to_owned(), before };
    c.retired = ["intent_blacklist", "skill_blacklist", "message_blacklist"].map(retired).into();
    c
}

/// Another collection, beside the clients.
pub(crate) fn notes() -> Collection {
    Collection::new("notes", 1, "id", Kind::Text).field("body", Kind::Text)
}

/// A store's folder in a data directory that vanishes with it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::of(tempfile::tempdir().expect("a folder"))
    }

    /// One that can be watched wherever the tests run. In a container the temporary folder often lies on an overlay, which tells of
    /// no changes.
    pub(crate) fn watchable() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if cfg!(target_os = "linux") && !has_inotify(&folder) {
            return Self::of(tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
        }
        Self::of(folder)
    }

    fn of(folder: tempfile::TempDir) -> Self {
        let folder = Self(folder);
        fs::create_dir(folder.path()).expect("a subfolder");
        folder
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("hivemind-core")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.file(name), content).expect(name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("a list").map(|e| e.expect("an entry").file_name());
        let mut names: Vec<_> = entries.map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A handle with its clients prepared.
    pub(crate) fn open(&self) -> (JsonStore, CollectionId) {
        let store = self.handle();
        let ids = store.prepare(&cx(), &[clients()]).expect("prepared");
        (store, ids[0])
    }

    pub(crate) fn handle(&self) -> JsonStore {
        open("{}", Host::detached(self.data_dir())).expect("a handle")
    }
}

/// Whether a store in this folder is watched, as the store itself says.
fn has_inotify(folder: &tempfile::TempDir) -> bool {
    let store = open("{}", Host::detached(folder.path())).expect("a handle");
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    warm(&store, id);
    let found = means(&store) == "inotify";
    drop(store);
    fs::remove_dir_all(folder.path().join("hivemind-core")).expect("removed");
    found
}

/// How a store notices what others do.
pub(crate) fn means(store: &JsonStore) -> String {
    match store.stats(&cx()).expect("facts").get("change_detection") {
        Some(Value::Text(means)) => means.clone(),
        other => panic!("{other:?}"),
    }
}

/// What a system without such a means does, and what one with it must do.
pub(crate) fn assert_watched(store: &JsonStore) {
    assert_eq!(means(store), if cfg!(target_os = "linux") { "inotify" } else { "stat" });
}

/// A mounted file system, unmounted when this goes.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts with these arguments; `None` without the rights.
    pub(crate) fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(arguments).arg(at).status().is_ok_and(|status| status.success());
        done.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok_and(|status| status.success());
        assert!(done || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}

/// A client with a key and a name.
pub(crate) fn client(id: i64, api_key: &str, name: &str) -> Row {
    let collection = clients();
    let row =
        Row::builder(&collection).set("client_id", id).and_then(|b| b.set("api_key", api_key)).and_then(|b| b.set("name", name));
    row.expect("a client").build()
}

/// The same client with other values.
pub(crate) fn with(row: &Row, values: &[(&str, Value)]) -> Row {
    let collection = clients();
    let mut builder = row.view(&collection).expect("a view").to_builder();
    for (name, value) in values {
        builder = builder.set(name, value.clone()).expect("a value");
    }
    builder.build()
}

pub(crate) fn put(store: &JsonStore, id: CollectionId, row: Row) {
    store.apply(&cx(), &[Mutation::Put { collection: id, row }]).expect("stored");
}

pub(crate) fn rename(id: CollectionId, key: i64, name: &str) -> Mutation {
    let changes = vec![Change::set(2, name)];
    Mutation::Update { collection: id, key: Key::Int(key), changes, when: Vec::new() }
}

/// A client as JSON, names sorted.
pub(crate) fn shown(store: &JsonStore, id: CollectionId, key: i64) -> Option<String> {
    let row = store.get(&cx(), id, Key::Int(key).as_ref()).expect("a look-up")?;
    Some(record::to_json(&row.view(&clients()).expect("a view")))
}

/// Looks so often that watching the file is worth it.
pub(crate) fn warm(store: &JsonStore, id: CollectionId) {
    for _ in 0..100 {
        store.get(&cx(), id, Key::Int(1).as_ref()).expect("a look-up");
    }
}

/// A client's name.
pub(crate) fn name(store: &JsonStore, id: CollectionId, key: i64) -> Option<String> {
    let row = store.get(&cx(), id, Key::Int(key).as_ref()).expect("a look-up")?;
    row.view(&clients()).expect("a view").get("name").and_then(|v| v.as_str()).map(str::to_owned)
}

pub(crate) fn count(store: &JsonStore, id: CollectionId) -> u64 {
    store.count(&cx(), &Query::all(id)).expect("a count")
}

/// The member of a JSON text's object, as it is written.
pub(crate) fn member(text: &str, path: &[&str]) -> Option<String> {
    let parsed = json::parse(text).expect("strict JSON");
    let mut found: Option<(&Json<'_>, &str)> = Some((&parsed, text));
    for name in path {
        found = found.and_then(|(json, _)| json.member(name)).map(|m| (&m.value, m.raw));
    }
    found.map(|(_, raw)| raw.to_owned())
}
