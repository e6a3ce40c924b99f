//! Changing clients, narrowly.
//!
//! Every change carries the access key that the client was read with as its condition. A client that was revoked or got another key
//! in between is left alone, whatever the caller still believes of it.

use std::sync::Arc;

use hivemind_model::json::{self, Json};
use hivemind_model::{Change, Code, Condition, Error as Stored, Key, KeyRef, Mutation, Op, Outcome, Row, Value, ValueRef};

use super::add::unexpected;
use super::client::Client;
use super::description::{NAME, REVOKED, at};
use super::{Clients, text};
use crate::error::{Error, Result};

/// A kind of message that a client may or may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// BROADCAST.
    Broadcast,
    /// ESCALATE.
    Escalate,
    /// PROPAGATE.
    Propagate,
}

impl Permission {
    const fn field(self) -> usize {
        match self {
            Self::Broadcast => at::CAN_BROADCAST,
            Self::Escalate => at::CAN_ESCALATE,
            Self::Propagate => at::CAN_PROPAGATE,
        }
    }
}

/// A list in a client's metadata that forbids what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blacklist {
    /// Skills.
    Skill,
    /// Intents.
    Intent,
}

impl Blacklist {
    /// The metadata member that holds it.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Skill => "skill_blacklist",
            Self::Intent => "intent_blacklist",
        }
    }
}

/// Members of a client's metadata to set and to remove, in this order.
#[derive(Clone, Default)]
pub struct MetadataChange {
    /// Names and the JSON text that each becomes.
    pub set: Vec<(String, String)>,
    /// Names to remove; one that is not there is fine.
    pub unset: Vec<String>,
}

/// What became of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// This call set it.
    Now,
    /// It was set before, to this.
    Before(String),
}

impl Clients {
    /// Gives a client another name.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Revoked`] or [`Error::Changed`] if the client is not what it was when read; [`Error::Refused`]; the
    /// backend's. Likewise for all changes below.
    pub async fn rename(&self, client: &Client, name: &str) -> Result<Arc<Client>> {
        text::check("the name", name)?;
        self.change(client, vec![Change::set(at::NAME, name)]).await
    }

    /// Makes a client an administrator, or an ordinary one.
    #[allow(clippy::missing_errors_doc, reason = "see `rename`; likewise below")]
    pub async fn set_admin(&self, client: &Client, admin: bool) -> Result<Arc<Client>> {
        self.change(client, vec![Change::set(at::IS_ADMIN, admin)]).await
    }

    /// Lets a client send messages of a kind, or forbids it.
    #[allow(clippy::missing_errors_doc)]
    pub async fn set_permission(&self, client: &Client, permission: Permission, allowed: bool) -> Result<Arc<Client>> {
        self.change(client, vec![Change::set(permission.field(), allowed)]).await
    }

    /// Adds message types to a client's whitelist, at its end; those it has already stay where they are.
    #[allow(clippy::missing_errors_doc)]
    pub async fn allow_types(&self, client: &Client, types: &[&str]) -> Result<Arc<Client>> {
        types.iter().try_for_each(|name| text::check_message_type(name))?;
        let add = |name: &&str| Change::ListAdd { field: at::ALLOWED_TYPES, item: (*name).into() };
        self.change(client, types.iter().map(add).collect()).await
    }

    /// Replaces a client's whitelist, whatever is stored as one: the way out when it is no list.
    #[allow(clippy::missing_errors_doc)]
    pub async fn set_types(&self, client: &Client, types: &[&str]) -> Result<Arc<Client>> {
        types.iter().try_for_each(|name| text::check_message_type(name))?;
        let mut list: Vec<String> = Vec::with_capacity(types.len());
        for name in types.iter().map(|name| json::quote(name)) {
            if !list.contains(&name) {
                list.push(name);
            }
        }
        let list = Value::Json(format!("[{}]", list.join(", ")));
        self.change(client, vec![Change::set(at::ALLOWED_TYPES, list)]).await
    }

    /// Takes message types out of a client's whitelist.
    #[allow(clippy::missing_errors_doc)]
    pub async fn deny_types(&self, client: &Client, types: &[&str]) -> Result<Arc<Client>> {
        let remove = |name: &&str| Change::ListRemove { field: at::ALLOWED_TYPES, item: (*name).into() };
        self.change(client, types.iter().map(remove).collect()).await
    }

    /// Remembers when a client was last seen, in Unix seconds.
    #[allow(clippy::missing_errors_doc)]
    pub async fn touch(&self, client: &Client, seen: f64) -> Result<Arc<Client>> {
        self.change(client, vec![Change::set(at::LAST_SEEN, seen)]).await
    }

    /// Sets and removes members of a client's metadata; all others stay as they are stored.
    #[allow(clippy::missing_errors_doc)]
    pub async fn set_metadata(&self, client: &Client, change: &MetadataChange) -> Result<Arc<Client>> {
        for (name, json) in &change.set {
            text::check("a metadata name", name)?;
            text::check_json("the metadata", json)?;
        }
        let set = change.set.iter().map(|(name, json)| set_member(name, json.clone()));
        let unset = change.unset.iter().map(|name| Change::JsonUnset { field: at::METADATA, name: name.clone() });
        self.change(client, set.chain(unset).collect()).await
    }

    /// Sets a metadata member to a text if the client has none (or an empty one). Of several callers at once, exactly one sets it.
    #[allow(clippy::missing_errors_doc)]
    pub async fn pin(&self, client: &Client, member: &str, value: &str) -> Result<Pinned> {
        text::check("a pinned value", value)?;
        let absent = Condition::is_null(at::METADATA).on_member(member);
        let empty = Condition::new(at::METADATA, Op::Eq, "").on_member(member);
        for condition in [absent, empty] {
            match self.change_when(client, vec![set_member(member, json::quote(value))], vec![condition]).await {
                Ok(_) => return Ok(Pinned::Now),
                Err(Error::Changed { .. }) => {}
                Err(other) => return Err(other),
            }
            let stored = self.stored(client).await?;
            match stored.metadata.member(member) {
                Some("\"\"") | None => {}
                Some(other) => return Ok(Pinned::Before(stored.metadata.text(member).unwrap_or_else(|| other.to_owned()))),
            }
        }
        Err(Error::Changed { id: client.id })
    }

    /// Adds to a blacklist in a client's metadata; `false` if it is there already.
    #[allow(clippy::missing_errors_doc)]
    pub async fn blacklist(&self, client: &Client, list: Blacklist, item: &str) -> Result<bool> {
        text::check(list.member(), item)?;
        self.edit_list(client, list, item, true).await
    }

    /// Removes from a blacklist in a client's metadata; `false` if it is not there.
    #[allow(clippy::missing_errors_doc)]
    pub async fn unblacklist(&self, client: &Client, list: Blacklist, item: &str) -> Result<bool> {
        self.edit_list(client, list, item, false).await
    }

    /// Revokes a client: its row stays under its id, emptied of everything, its secrets included. There is no way back.
    #[allow(clippy::missing_errors_doc)]
    pub async fn revoke(&self, client: &Client) -> Result<Arc<Client>> {
        let fields = self.collection.fields.iter().enumerate().filter(|(at, _)| *at != at::CLIENT_ID);
        let changes = fields.map(|(at, field)| Change::Set {
            field: at,
            value: if at == at::API_KEY { REVOKED.into() } else { field.default.clone() },
        });
        self.change(client, changes.collect()).await
    }

    async fn change(&self, client: &Client, changes: Vec<Change>) -> Result<Arc<Client>> {
        self.change_when(client, changes, Vec::new()).await
    }

    async fn change_when(&self, client: &Client, changes: Vec<Change>, when: Vec<Condition>) -> Result<Arc<Client>> {
        let mut conditions = vec![guard(client)?];
        conditions.extend(when);
        let key = Key::Int(client.id);
        let update = Mutation::Update { collection: self.id, key, changes, when: conditions };
        match self.storage.apply(vec![update]).await {
            Ok(applied) => match applied.outcomes.first() {
                Some(Outcome::Updated(row)) => Ok(Arc::new(Client::from_row(&self.collection, row)?)),
                _ => Err(unexpected(&applied.outcomes)),
            },
            Err(error) if error.code() == Code::NotFound => Err(Error::Unknown { id: client.id }),
            Err(error) if error.code() == Code::Conflict => {
                self.stored(client).await?;
                Err(Error::Changed { id: client.id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The client as it is stored now, past any cache, if it still has its access key.
    async fn stored(&self, client: &Client) -> Result<Client> {
        let (id, collection) = (client.id, self.id);
        let row = self.storage.run_reads(move |backend, cx| backend.get(cx, collection, KeyRef::Int(id))).await?;
        let stored = row.map(|row| Client::from_row(&self.collection, &row)).transpose()?;
        still(client, stored)
    }

    /// Blacklists are lists inside a member, which no narrow change reaches: they are read and written in a transaction.
    async fn edit_list(&self, client: &Client, list: Blacklist, item: &str, add: bool) -> Result<bool> {
        guard(client)?;
        let (this, client, item) = (self.clone(), client.clone(), item.to_owned());
        let committed = self
            .storage
            .transaction(move |tx| {
                let row: Option<Row> = tx.get(this.id, KeyRef::Int(client.id))?;
                let stored = row.map(|row| Client::from_row(&this.collection, &row)).transpose()?;
                let stored = still(&client, stored)?;
                let Some(json) = edited(&stored, list, &item, add)? else { return Ok(false) };
                tx.update(this.id, KeyRef::Int(client.id), vec![set_member(list.member(), json)], Vec::new())?;
                Ok::<bool, Error>(true)
            })
            .await?;
        Ok(committed.value)
    }
}

/// The condition that the client is still the one that was read.
fn guard(client: &Client) -> Result<Condition> {
    if client.is_revoked() {
        return Err(Error::Revoked { id: client.id });
    }
    Ok(match client.api_key.as_str() {
        "" => Condition::is_null(at::API_KEY),
        key => Condition::new(at::API_KEY, Op::Eq, key),
    })
}

fn still(client: &Client, stored: Option<Client>) -> Result<Client> {
    match stored {
        None => Err(Error::Unknown { id: client.id }),
        Some(stored) if stored.is_revoked() => Err(Error::Revoked { id: client.id }),
        Some(stored) if stored.api_key != client.api_key => Err(Error::Changed { id: client.id }),
        Some(stored) => Ok(stored),
    }
}

fn set_member(name: &str, json: String) -> Change {
    Change::JsonSet { field: at::METADATA, name: name.to_owned(), json }
}

/// The list's new JSON text; `None` if it is as wanted already.
fn edited(client: &Client, list: Blacklist, item: &str, add: bool) -> Result<Option<String>> {
    let name = list.member();
    let source = match client.metadata.member(name) {
        None | Some("null") => "[]",
        Some(other) => other,
    };
    let Ok(Json::Array(mut items)) = json::parse(source) else {
        let what = format!("metadata.{name} of client {} is not a list; repair it with set-metadata first", client.id);
        return Err(Stored::corrupt(what).collection(NAME).key(Key::Int(client.id)).field("metadata").into());
    };
    let wanted = Value::Text(item.to_owned());
    let is_item = |json: &Json<'_>| matches!((json, wanted.as_ref()), (Json::String(text), ValueRef::Text(item)) if text.to_str().is_some_and(|t| t == *item));
    let quoted = json::quote(item);
    let before = items.len();
    if !add {
        items.retain(|json| !is_item(json));
    } else if !items.iter().any(is_item) {
        items.push(json::parse(&quoted).map_err(|e| Error::refused(e.to_string()))?);
    }
    Ok((items.len() != before).then(|| Json::Array(items).to_text()))
}
