//! The collections that inputs are read against.

use hivemind_model::{Collection, Index, Kind, Legacy, LegacyRule, Retired, Value};

/// How many collections there are, and which byte of an input chooses which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Specimen {
    /// The node's clients.
    Clients = 0,
    /// A field of every kind, without an index and with one; an int key.
    Kinds = 1,
    /// A text key that is not the first field, and no field for extras.
    Notes = 2,
}

/// The collections, in the order of [`Specimen`].
#[must_use]
pub fn collections() -> [Collection; 3] {
    [hivemind_store::clients::collection(), kinds(), notes()]
}

/// The collection that an input's first byte chooses, and the rest of the input.
pub(crate) fn chosen(data: &[u8]) -> Option<(Collection, &[u8])> {
    let (choice, rest) = data.split_first()?;
    let mut all = collections();
    all.reverse();
    let mut all = Vec::from(all);
    for _ in 0..choice % 3 {
        all.pop();
    }
    Some((all.pop()?, rest))
}

fn kinds() -> Collection {
    let kinds = [("flag", Kind::Bool), ("n", Kind::Int), ("r", Kind::Real), ("t", Kind::Text), ("b", Kind::Blob)];
    let mut collection = Collection::new("kinds", 1, "id", Kind::Int);
    for (name, kind) in kinds {
        collection = collection.field(name, kind);
    }
    collection = collection.field("j", Kind::Json).field_with("more", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    for (name, kind) in kinds {
        collection = collection.field_with(&format!("{name}_indexed"), kind, Value::Nil, Index::Plain);
    }
    let unique = Index::Unique { except: vec!["free".into()] };
    collection = collection.field_with("code", Kind::Text, Value::Nil, unique);
    collection.extras = collection.position("more");
    collection.legacy = vec![
        Legacy { name: "old".to_owned(), rule: LegacyRule::Fold },
        Legacy { name: "gone".to_owned(), rule: LegacyRule::Drop },
    ];
    collection.retired = vec![Retired { name: "old".to_owned(), before: Some(2) }];
    collection
}

fn notes() -> Collection {
    let mut collection = Collection::new("notes", 3, "body", Kind::Text)
        .field("name", Kind::Text)
        .field_with("seen", Kind::Real, -1.0, Index::None)
        .field("tags", Kind::Json);
    collection.key = 1;
    collection
}
