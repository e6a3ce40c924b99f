//! Adding clients.

use std::fmt;
use std::sync::Arc;

use hivemind_model::json::{self, Json};
use hivemind_model::{Code, Key, Mutation, Outcome, Row, RowBuilder, Value};

use super::Clients;
use super::client::{Client, Shortened};
use super::description::REVOKED;
use super::text;
use crate::error::{Error, Result};

/// A client to be added. Only the access key must be given.
#[derive(Clone)]
pub struct NewClient {
    /// What identifies it.
    pub api_key: String,
    /// The secret it authenticates with.
    pub password: Option<String>,
    /// What people call it.
    pub name: String,
    /// More words about it.
    pub description: String,
    /// Whether it is an administrator.
    pub is_admin: bool,
    /// The message types it may send; repeats are dropped.
    pub allowed_types: Vec<String>,
    /// Its metadata: the text of a JSON object, kept as it is.
    pub metadata: String,
}

impl NewClient {
    /// A client with this access key that may send nothing.
    #[must_use]
    pub fn new(api_key: impl Into<String>) -> Self {
        Self {
            api_key: api_key.into(),
            password: None,
            name: String::new(),
            description: String::new(),
            is_admin: false,
            allowed_types: Vec::new(),
            metadata: "{}".to_owned(),
        }
    }
}

impl fmt::Debug for NewClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewClient")
            .field("api_key", &Shortened(&self.api_key))
            .field("name", &self.name)
            .field("is_admin", &self.is_admin)
            .field("allowed_types", &self.allowed_types)
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// Adds a client under the next id and returns it as stored.
    ///
    /// # Errors
    /// [`Error::KeyTaken`] if another client has the access key, [`Error::Refused`] if something in it cannot be stored, the backend's.
    pub async fn add(&self, new: NewClient) -> Result<Arc<Client>> {
        let builder = self.row_of(&new)?;
        let mutation = Mutation::InsertNext { collection: self.id, row: builder.build() };
        let applied = match self.storage.apply(vec![mutation]).await {
            Err(error) if error.code() == Code::Conflict => {
                return Err(Error::KeyTaken {
                    holder: match error.detail().key {
                        Some(Key::Int(id)) => Some(id),
                        _ => None,
                    },
                });
            }
            other => other?,
        };
        let Some(Outcome::Inserted(key)) = applied.outcomes.first() else {
            return Err(unexpected(&applied.outcomes));
        };
        Ok(Arc::new(Client::from_row(&self.collection, &builder.build_with_key(key))?))
    }

    fn row_of(&self, new: &NewClient) -> Result<RowBuilder<'_>> {
        match new.api_key.as_str() {
            "" => return Err(Error::refused("an access key cannot be empty")),
            REVOKED => {
                return Err(Error::refused(format!("the access key {REVOKED:?} marks revoked clients; choose another")));
            }
            key => text::check("the access key", key)?,
        }
        text::check("the name", &new.name)?;
        text::check("the description", &new.description)?;
        if let Some(password) = &new.password {
            text::check("the password", password)?;
        }
        let mut types: Vec<&str> = Vec::with_capacity(new.allowed_types.len());
        for name in &new.allowed_types {
            text::check_message_type(name)?;
            if !types.contains(&name.as_str()) {
                types.push(name);
            }
        }
        let Json::Object(_) = text::check_json("the metadata", &new.metadata)? else {
            return Err(Error::refused("the metadata must be a JSON object"));
        };
        let quoted: Vec<String> = types.into_iter().map(json::quote).collect();
        Ok(Row::builder(&self.collection)
            .set("api_key", new.api_key.as_str())?
            .set("name", new.name.as_str())?
            .set("description", new.description.as_str())?
            .set("is_admin", new.is_admin)?
            .set("allowed_types", Value::Json(format!("[{}]", quoted.join(", "))))?
            .set("password", new.password.clone())?
            .set("metadata", Value::Json(new.metadata.trim().to_owned()))?)
    }
}

pub(super) fn unexpected(outcomes: &[Outcome]) -> Error {
    let found = outcomes.len();
    Error::Backend(hivemind_model::Error::invalid(format!(
        "the backend answered {found} outcomes of another kind than its mutations have; check it with the conformance kit"
    )))
}
