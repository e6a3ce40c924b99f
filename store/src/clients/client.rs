//! One client, decoded.
//!
//! Reading is lenient where the Python node's own data is (a nil name, a nil flag) and fails closed where permissions are concerned: a
//! whitelist that cannot be read allows nothing.

use std::borrow::Cow;
use std::fmt;

use hivemind_model::json::{self, Json};
use hivemind_model::{Collection, Error, Result, Row, RowView};
use serde::Deserialize;

use super::description::REVOKED;

/// A client as it was when it was read.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Client {
    /// Its id.
    pub id: i64,
    /// What identifies it; [`REVOKED`] once it is revoked. Empty if the stored record has none.
    pub api_key: String,
    /// What people call it; `None` where a foreign program stored no name. [`Client::label`] is for showing.
    pub name: Option<String>,
    /// More words about it.
    pub description: Option<String>,
    /// Whether it is an administrator.
    pub is_admin: bool,
    /// Unix seconds; below zero: never.
    pub last_seen: f64,
    /// The message types it may send.
    pub allowed_types: Vec<String>,
    /// Whether what is stored as its whitelist is no list of texts. It allows nothing then.
    pub unreadable_whitelist: bool,
    /// The secret it authenticates with. A client without one is never admitted by password.
    pub password: Option<String>,
    /// Whether it may send BROADCAST messages.
    pub can_broadcast: bool,
    /// Whether it may send ESCALATE messages.
    pub can_escalate: bool,
    /// Whether it may send PROPAGATE messages.
    pub can_propagate: bool,
    /// Everything else that is stored with it.
    pub metadata: Metadata,
}

/// The row's values in their order. `Option` everywhere, as nil may stand in every field.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    client_id: Option<i64>,
    api_key: Option<String>,
    name: Option<String>,
    description: Option<String>,
    is_admin: Option<bool>,
    last_seen: Option<f64>,
    #[serde(borrow)]
    allowed_types: Option<&'a str>,
    password: Option<String>,
    can_broadcast: Option<bool>,
    can_escalate: Option<bool>,
    can_propagate: Option<bool>,
    metadata: Option<String>,
}

impl Client {
    /// Decodes a row of the clients' collection.
    ///
    /// # Errors
    /// `corrupt`, naming the field.
    pub fn from_row(collection: &Collection, row: &Row) -> Result<Self> {
        // The decoder's own words quote the value it met, which may be a password: they are not passed on.
        let record: Record<'_> = rmp_serde::from_slice(row.as_bytes()).map_err(|_| unreadable(collection, row))?;
        let id = record.client_id.ok_or_else(|| unreadable(collection, row))?;
        if record.last_seen.is_some_and(|seen| !seen.is_finite()) {
            return Err(unreadable(collection, row));
        }
        let (allowed_types, unreadable_whitelist) = match record.allowed_types {
            None | Some("" | "[]") => (Vec::new(), false),
            Some(text) => serde_json::from_str(text).map_or((Vec::new(), true), |types| (types, false)),
        };
        Ok(Self {
            id,
            api_key: record.api_key.unwrap_or_default(),
            name: record.name,
            description: record.description,
            is_admin: record.is_admin.unwrap_or_default(),
            last_seen: record.last_seen.unwrap_or(-1.0),
            allowed_types,
            unreadable_whitelist,
            password: record.password,
            can_broadcast: record.can_broadcast.unwrap_or_default(),
            can_escalate: record.can_escalate.unwrap_or_default(),
            can_propagate: record.can_propagate.unwrap_or_default(),
            metadata: Metadata(record.metadata.unwrap_or_default()),
        })
    }

    /// Its name, or nothing if it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Whether it was revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.api_key == REVOKED
    }

    /// Whether it may send messages of this type. Being an administrator makes no difference.
    #[must_use]
    pub fn allows(&self, message_type: &str) -> bool {
        self.allowed_types.iter().any(|t| t == message_type)
    }
}

fn unreadable(collection: &Collection, row: &Row) -> Error {
    match RowView::new(collection, row.as_bytes()) {
        Err(error) => {
            let detail = error.detail().clone();
            Error::corrupt(error.message()).with_detail(detail)
        }
        Ok(view) => Error::corrupt("the record does not read as a client").collection(&collection.name).key(view.key().to_key()),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("api_key", &Shortened(&self.api_key))
            .field("name", &self.name)
            .field("description", &self.description)
            .field("is_admin", &self.is_admin)
            .field("last_seen", &self.last_seen)
            .field("allowed_types", &self.allowed_types)
            .field("unreadable_whitelist", &self.unreadable_whitelist)
            .field("password", &self.password.as_ref().map(|_| Hidden))
            .field("can_broadcast", &self.can_broadcast)
            .field("can_escalate", &self.can_escalate)
            .field("can_propagate", &self.can_propagate)
            .field("metadata", &self.metadata)
            .finish()
    }
}

struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Enough of a key to tell two apart.
pub(super) struct Shortened<'a>(pub(super) &'a str);

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == REVOKED || self.0.is_empty() {
            return fmt::Debug::fmt(self.0, f);
        }
        let shown: String = self.0.chars().take(self.0.chars().count().min(8) / 2).collect();
        write!(f, "\"{shown}…\"")
    }
}

/// A client's free-form data: a JSON object, kept as the text it is stored as, so that no number loses digits.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(String);

impl Metadata {
    /// The JSON text; `{}` where nothing or no object is stored.
    #[must_use]
    pub fn as_json(&self) -> &str {
        if matches!(json::parse(&self.0), Ok(Json::Object(_))) { &self.0 } else { "{}" }
    }

    /// Whether something is stored that is no object, so that nobody knows what it was to say.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        !matches!(self.0.trim(), "" | "null") && !matches!(json::parse(&self.0), Ok(Json::Object(_)))
    }

    fn parsed(&self) -> Json<'_> {
        match json::parse(&self.0) {
            Ok(object @ Json::Object(_)) => object,
            _ => Json::Object(Vec::new()),
        }
    }

    /// The JSON text of one member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.parsed().member(name).map(|m| m.raw)
    }

    /// The names of the members, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self.parsed() {
            Json::Object(members) => members.iter().map(|m| m.name.decode().into_owned()).collect(),
            _ => Vec::new(),
        }
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.parsed().member(name)?.value {
            Json::String(text) => text.to_str().map(Cow::into_owned),
            _ => None,
        }
    }

    /// The strings of a member that is a list; empty for anything else.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        match self.parsed().member(name).map(|m| &m.value) {
            Some(Json::Array(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Json::String(text) => text.to_str().map(Cow::into_owned),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The skills this client may not use.
    #[must_use]
    pub fn skill_blacklist(&self) -> Vec<String> {
        self.texts("skill_blacklist")
    }

    /// The intents this client may not use.
    #[must_use]
    pub fn intent_blacklist(&self) -> Vec<String> {
        self.texts("intent_blacklist")
    }
}

impl fmt::Debug for Metadata {
    /// Names only: any value may be a secret, and `noise_psk` is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use hivemind_model::{Code, Value};

    use super::super::description::collection;
    use super::*;

    fn row(fields: &[(&str, Value)]) -> Row {
        let collection = collection();
        let start = Row::builder(&collection).set("client_id", 7).expect("an id");
        let mut builder = start;
        for (name, value) in fields {
            builder = builder.set(name, value.clone()).expect(name);
        }
        builder.build()
    }

    fn json(text: &str) -> Value {
        Value::Json(text.to_owned())
    }

    #[test]
    fn nil_reads_as_the_python_node_reads_it() {
        let nils: Vec<(&str, Value)> =
            ["name", "description", "is_admin", "allowed_types", "can_broadcast", "metadata", "last_seen"]
                .into_iter()
                .map(|name| (name, Value::Nil))
                .collect();
        let client = Client::from_row(&collection(), &row(&nils)).expect("a client");
        assert_eq!((client.label(), client.is_admin, client.can_broadcast), ("", false, false));
        assert!(client.can_escalate, "its default, as it is not nil");
        assert_eq!((client.metadata.as_json(), client.unreadable_whitelist), ("{}", false));

        let mut writer = hivemind_model::msgpack::Writer::new();
        writer.array(2);
        writer.int(7);
        writer.str("k");
        let short = Client::from_row(&collection(), &Row::from_bytes(writer.into_bytes())).expect("a shorter row");
        assert!(!short.can_propagate && short.api_key == "k" && (short.last_seen - -1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_whitelist_that_is_no_list_of_texts_allows_nothing_and_says_so() {
        for bad in [r#""speak""#, r#"["speak", 5]"#, "5", "{}", r#"["\ud800"]"#] {
            let client = Client::from_row(&collection(), &row(&[("allowed_types", json(bad))])).expect("a client");
            assert!(client.unreadable_whitelist && !client.allows("speak") && client.allowed_types.is_empty(), "{bad}");
        }
        let good = Client::from_row(&collection(), &row(&[("allowed_types", json(r#"["speak"]"#))])).expect("a client");
        assert!(good.allows("speak") && !good.allows("Speak") && !good.unreadable_whitelist);
    }

    #[test]
    fn metadata_members_are_found_and_a_non_object_counts_as_empty() {
        let text = r#"{"skill_blacklist": ["a", 1, "b"], "big": 123456789012345678901234567890, "n": NaN, "t": "\u00fc"}"#;
        let client = Client::from_row(&collection(), &row(&[("metadata", json(text))])).expect("a client");
        assert_eq!(client.metadata.skill_blacklist(), ["a", "b"]);
        assert_eq!(client.metadata.member("big"), Some("123456789012345678901234567890"));
        assert_eq!(client.metadata.text("t").as_deref(), Some("ü"));
        assert_eq!(client.metadata.member("absent"), None);
        let list = Client::from_row(&collection(), &row(&[("metadata", json("[1]"))])).expect("a client");
        assert_eq!((list.metadata.as_json(), list.metadata.names().len()), ("{}", 0));
    }

    #[test]
    fn neither_debug_nor_an_error_shows_a_secret() {
        let secrets = [
            ("api_key", "0123456789abcdef".into()),
            ("password", "hunter2".into()),
            ("metadata", json(r#"{"noise_psk": "topsecret"}"#)),
        ];
        let client = Client::from_row(&collection(), &row(&secrets)).expect("a client");
        let shown = format!("{client:?}");
        for secret in ["456789", "hunter2", "topsecret"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("0123") && shown.contains("noise_psk"), "{shown}");

        let mut writer = hivemind_model::msgpack::Writer::new();
        writer.array(5);
        writer.int(7);
        writer.str("k");
        writer.nil();
        writer.nil();
        writer.str("hunter2");
        let error = Client::from_row(&collection(), &Row::from_bytes(writer.into_bytes())).expect_err("text as a flag");
        assert_eq!((error.code(), error.detail().field.as_deref()), (Code::Corrupt, Some("is_admin")));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
