//! What says that a store is the target of a move that is not finished.
//!
//! It is a record among the clients, with an id that no client has and the access key of revoked ones. Elsewhere, in a collection of its
//! own, it would cost every store a table or a file that only says "no": a collection that is asked for is created. As a client it is
//! found with one look-up by key on every backend. A Python node cannot know what it means; it lists a revoked client with this name.

use hivemind_model::json::{self, Json};
use hivemind_model::{Code, Collection, Error, Key, KeyRef, Mutation, Result, Row, Value};
use hivemind_store::clients::REVOKED;

use super::store::Store;
use crate::failure::{Exit, Failure};

/// The id of the marker; clients have 1 and more.
const ID: i64 = 0;
/// The member of its metadata that says what it is.
const MEMBER: &str = "hivemind_migration";
const NAME: &str = "(an unfinished move into this store; do not use it)";

/// How a target that holds something is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It held nothing.
    Copy,
    /// What it holds stays, and the source's records are added.
    Merge,
    /// What it holds is replaced.
    Replace,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Copy, Self::Merge, Self::Replace];

    /// The word in the marker and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Merge => "merge",
            Self::Replace => "replace",
        }
    }
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Where from.
    pub from: String,
    /// How.
    pub mode: Mode,
}

/// Whether a record of this collection is a marker.
#[must_use]
pub fn is_marker(collection: &Collection, row: &Row) -> bool {
    collection.primary && read(collection, row).is_some()
}

fn read(collection: &Collection, row: &Row) -> Option<Marker> {
    let view = row.view(collection).ok()?;
    if view.key() != KeyRef::Int(ID) {
        return None;
    }
    let metadata = json::parse(view.get("metadata")?.as_str()?).ok()?;
    let state = &metadata.member(MEMBER)?.value;
    let text = |name: &str| match state.member(name).map(|m| &m.value) {
        Some(Json::String(text)) => text.decode().into_owned(),
        _ => String::new(),
    };
    let mode = text("mode");
    // What a later version writes here is a marker all the same.
    let mode = Mode::ALL.into_iter().find(|known| known.name() == mode).unwrap_or(Mode::Copy);
    Some(Marker { from: text("from"), mode })
}

/// The marker of a store, whose clients are its first collection.
///
/// # Errors
/// The backend's.
pub fn find(store: &Store) -> Result<Option<Marker>> {
    look(store.collection(0).1, store.get(0, KeyRef::Int(ID)))
}

/// The marker in what a look-up gave.
fn look(collection: &Collection, found: Result<Option<Row>>) -> Result<Option<Marker>> {
    match found {
        Ok(row) => Ok(row.and_then(|row| read(collection, &row))),
        // One record that cannot be read is reported where records are read, and fails no store.
        Err(error) if error.code() == Code::Corrupt && error.detail().key.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks a store. A client with the id of the marker, which only a hand can have made, is not written over.
///
/// # Errors
/// The backend's.
pub fn set(store: &Store, marker: &Marker) -> Result<()> {
    let (id, collection) = store.collection(0);
    let there = store.get(0, KeyRef::Int(ID))?;
    if marker.mode != Mode::Replace && there.is_some_and(|row| read(collection, &row).is_none()) {
        let message = format!("{} has a client with the id {ID}, which no client can have; remove it there", store.place());
        return Err(Error::conflict(message).key(Key::Int(ID)));
    }
    let state =
        format!("{{\"{MEMBER}\": {{\"from\": {}, \"mode\": {}}}}}", json::quote(&marker.from), json::quote(marker.mode.name()));
    let row = Row::builder(collection)
        .set(collection.key_name(), ID)?
        .set("api_key", REVOKED)?
        .set("name", NAME)?
        .set("metadata", Value::Json(state))?
        .build();
    store.apply(&[Mutation::Put { collection: id, row }])
}

/// Takes the mark away.
///
/// # Errors
/// The backend's.
pub fn clear(store: &Store) -> Result<()> {
    store.apply(&[Mutation::Delete { collection: store.collection(0).0, key: Key::Int(ID), when: Vec::new() }])
}

/// Refuses a store that is marked, before anything else is made of it.
///
/// # Errors
/// `migrating`, and the backend's.
pub fn refuse(clients: &hivemind_store::Clients) -> std::result::Result<(), Failure> {
    let id = clients.id();
    let found = pollster::block_on(clients.storage().read(move |backend, cx| backend.get(cx, id, KeyRef::Int(ID))));
    match look(&hivemind_store::clients::collection(), found)? {
        Some(marker) => Err(refusal(&marker)),
        None => Ok(()),
    }
}

/// What is said to whoever opens a marked store.
#[must_use]
pub fn refusal(marker: &Marker) -> Failure {
    let message =
        format!("records are being moved into this store from {}, and that is not finished", crate::plain::plain(&marker.from));
    Failure::new(Exit::Unavailable, "migrating", message).help(
        "wait for the command that does it; if it was cut, run it again and it goes on where it was, or run it with --replace to begin anew",
    )
}
