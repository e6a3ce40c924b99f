//! The collection of clients, as backends are told it.
//!
//! Names, order and defaults are those of the Python node's `Client`, because both programs work on one store.

use hivemind_model::{Collection, Index, Kind, Legacy, LegacyRule, Retired, Value};

/// The collection's name.
pub const NAME: &str = "clients";

/// The version of the stored form.
pub const VERSION: u32 = 2;

/// The access key of a revoked client. It is a marker, not a key: nobody is ever admitted with it.
pub const REVOKED: &str = "revoked";

/// Positions of the fields.
pub(crate) mod at {
    pub(crate) const CLIENT_ID: usize = 0;
    pub(crate) const API_KEY: usize = 1;
    pub(crate) const NAME: usize = 2;
    pub(crate) const IS_ADMIN: usize = 4;
    pub(crate) const LAST_SEEN: usize = 5;
    pub(crate) const ALLOWED_TYPES: usize = 6;
    pub(crate) const CAN_BROADCAST: usize = 8;
    pub(crate) const CAN_ESCALATE: usize = 9;
    pub(crate) const CAN_PROPAGATE: usize = 10;
    pub(crate) const METADATA: usize = 11;
}

/// The description of the collection.
#[must_use]
pub fn collection() -> Collection {
    let unique = Index::Unique { except: vec![REVOKED.into()] };
    let json = |text: &str| Value::Json(text.to_owned());
    let mut clients = Collection::new(NAME, VERSION, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, unique)
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
    let retired = |name: &str| Retired { name: name.to_owned(), before: Some(at::ALLOWED_TYPES) };
    clients.primary = true;
    clients.extras = Some(at::METADATA);
    clients.legacy = vec![
        legacy("skill_blacklist", LegacyRule::Fold),
        legacy("intent_blacklist", LegacyRule::Fold),
        legacy("message_blacklist", LegacyRule::Drop),
    ];
    clients.retired = vec![retired("intent_blacklist"), retired("skill_blacklist"), retired("message_blacklist")];
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_valid_and_positions_have_their_names() {
        let clients = collection();
        clients.validate().expect("a valid collection");
        for (position, name) in [
            (at::CLIENT_ID, "client_id"),
            (at::API_KEY, "api_key"),
            (at::NAME, "name"),
            (at::IS_ADMIN, "is_admin"),
            (at::LAST_SEEN, "last_seen"),
            (at::ALLOWED_TYPES, "allowed_types"),
            (at::CAN_BROADCAST, "can_broadcast"),
            (at::CAN_ESCALATE, "can_escalate"),
            (at::CAN_PROPAGATE, "can_propagate"),
            (at::METADATA, "metadata"),
        ] {
            assert_eq!(clients.position(name), Some(position), "{name}");
        }
        assert_eq!(clients.fields.len(), 12);
    }
}
