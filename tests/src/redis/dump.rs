//! All that a server holds, to be compared: what Python's `sync()` must not find wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use redis::{Cmd, Connection, RedisResult};

use super::server::command;

/// What one key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A string.
    Text(String),
    /// A set.
    Set(BTreeSet<String>),
    /// A hash.
    Hash(BTreeMap<String, String>),
    /// Anything else, by its type.
    Other(String),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text}"),
            Self::Set(items) => write!(f, "{items:?}"),
            Self::Hash(fields) => write!(f, "{fields:?}"),
            Self::Other(kind) => write!(f, "a {kind}"),
        }
    }
}

/// Keys and what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump(pub BTreeMap<String, Stored>);

impl Dump {
    /// What a server holds under a prefix.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn of(connection: &mut Connection, prefix: &str) -> Self {
        let keys = keys(connection, prefix);
        // A key may expire between two questions.
        let stored = keys.into_iter().filter_map(|key| Some((shown(&key), stored(connection, &key).expect("an answer")?)));
        Self(stored.collect())
    }

    /// The keys of both, of two servers of a cluster.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The same without keys that begin so.
    #[must_use]
    pub fn without(mut self, prefix: &str) -> Self {
        self.0.retain(|key, _| !key.starts_with(prefix));
        self
    }

    /// A string's value.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Stored::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// A key as text; values of other collections that are no text stand in the keys of their sets.
fn shown(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).unwrap_or_else(|_| key.escape_ascii().to_string())
}

/// The keys under a prefix, whatever characters it has.
pub(super) fn keys(connection: &mut Connection, prefix: &str) -> BTreeSet<Vec<u8>> {
    let mut pattern = String::new();
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    let (mut found, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let page: (String, Vec<Vec<u8>>) =
            command(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", "1000"]).query(connection).expect("a page of keys");
        found.extend(page.1);
        cursor = page.0;
        if cursor == "0" {
            return found;
        }
    }
}

fn stored(connection: &mut Connection, key: &[u8]) -> RedisResult<Option<Stored>> {
    let kind: String = Cmd::new().arg("TYPE").arg(key).query(connection)?;
    Ok(match kind.as_str() {
        "none" => None,
        "string" => {
            Cmd::get(key).query::<Option<Vec<u8>>>(connection)?.map(|v| Stored::Text(String::from_utf8_lossy(&v).into_owned()))
        }
        "set" => Some(Stored::Set(Cmd::smembers(key).query(connection)?)),
        "hash" => Some(Stored::Hash(Cmd::hgetall(key).query(connection)?)),
        other => Some(Stored::Other(other.to_owned())),
    })
}

/// Every key that two dumps hold differently, one line each.
#[must_use]
pub fn difference(before: &Dump, after: &Dump) -> Vec<String> {
    let keys: BTreeSet<&String> = before.0.keys().chain(after.0.keys()).collect();
    let differ = keys.into_iter().filter(|key| before.0.get(*key) != after.0.get(*key));
    let show = |of: &Dump, key: &str| of.0.get(key).map_or("nothing".to_owned(), Stored::to_string);
    differ.map(|key| format!("{key}: before {}, after {}", show(before, key), show(after, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::*;

    #[test]
    fn a_dump_tells_what_differs_and_keeps_to_its_prefix() {
        let server = Server::start(&[]);
        for words in [
            &["SET", "a[1]:x", "1"][..],
            &["SADD", "a[1]:s", "b", "a"],
            &["HSET", "a[1]:h", "f", "v"],
            &["RPUSH", "a[1]:l", "v"],
            &["SET", "a1:x", "another prefix"],
        ] {
            server.ask::<()>(words);
        }
        let before = server.dump("a[1]:");
        assert_eq!(before.0.len(), 4, "{before:?}");
        assert_eq!((before.text("a[1]:x"), before.text("a[1]:s")), (Some("1"), None));
        server.ask::<()>(&["SREM", "a[1]:s", "b"]);
        server.ask::<()>(&["DEL", "a[1]:x"]);
        let found = difference(&before, &server.dump("a[1]:"));
        assert_eq!(found, ["a[1]:s: before {\"a\", \"b\"}, after {\"a\"}", "a[1]:x: before 1, after nothing"]);
        assert!(difference(&before.clone().without("a[1]:"), &Dump::default()).is_empty());
    }
}
