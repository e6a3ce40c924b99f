//! Reading records and sets by their keys.
//!
//! Absence and another type are told apart everywhere, because the second is a record that nobody may overwrite. `MGET` cannot, so records
//! are asked for by a `GET` each, many of them in one trip.

use hivemind_abi::model::{Code, Context, Error, Key, Lookup, Result, Row};
use redis::{Cmd, Pipeline, Value};

use crate::keys::shown;
use crate::link::{Link, Repeat, Reply};
use crate::record::{Raw, RawRef, Stored, corrupt};
use crate::space::Space;

/// Commands in one round trip: enough to make the trip cheap, few enough that no answer gets large.
const TRIP: usize = 1000;

/// What a set of ids holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Members {
    /// These.
    Ids(Vec<Vec<u8>>),
    /// The key belongs to something else.
    OtherType,
}

pub(crate) fn get_command(key: &[u8]) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(key);
    command
}

pub(crate) fn members_command(key: &[u8]) -> Cmd {
    let mut command = redis::cmd("SMEMBERS");
    command.arg(key);
    command
}

/// Runs commands that only read, in as few trips as is right, and gives each one's answer. A key of another type is an answer; any other
/// refusal, of an ACL say, ends it.
pub(crate) fn trips(cx: &Context<'_>, link: &Link, commands: impl IntoIterator<Item = Cmd>) -> Result<Vec<Value>> {
    let mut answers = Vec::new();
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        cx.check()?;
        let mut pipeline = Pipeline::new();
        for command in commands.by_ref().take(TRIP) {
            pipeline.add_command(command);
        }
        let trip = link.pipeline(cx, &pipeline, Repeat::Safe)?;
        for (command, answer) in pipeline.cmd_iter().zip(&trip) {
            if let Value::ServerError(error) = answer
                && error.code() != "WRONGTYPE"
            {
                let name = command.args_iter().next().map(|name| match name {
                    redis::Arg::Simple(name) => String::from_utf8_lossy(name).into_owned(),
                    _ => String::new(),
                });
                return Err(link.refused(error, &name.unwrap_or_default()));
            }
        }
        answers.extend(trip);
    }
    Ok(answers)
}

/// What the answer of a `GET` says.
pub(crate) fn raw(link: &Link, answer: Value) -> Result<Raw> {
    match answer {
        Value::Nil => Ok(Raw::Absent),
        Value::BulkString(text) => Ok(Raw::Text(text)),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Raw::OtherType),
        other => Err(unexpected(link, "GET", &other)),
    }
}

/// What the answer of `SMEMBERS` says.
pub(crate) fn members(link: &Link, answer: Value) -> Result<Members> {
    match answer {
        Value::Array(items) | Value::Set(items) => items
            .into_iter()
            .map(|item| match item {
                Value::BulkString(id) => Ok(id),
                other => Err(unexpected(link, "SMEMBERS", &other)),
            })
            .collect::<Result<_>>()
            .map(Members::Ids),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Members::OtherType),
        other => Err(unexpected(link, "SMEMBERS", &other)),
    }
}

/// A refusal within a pipeline, or an answer that makes no sense.
pub(crate) fn unexpected(link: &Link, command: &str, answer: &Value) -> Error {
    match answer {
        Value::ServerError(error) => link.refused(error, command),
        _ => Error::io(format!("{command}: the server's answer is none of this command")),
    }
}

/// What stands under the keys of these records.
pub(crate) fn records(cx: &Context<'_>, link: &Link, space: &Space, keys: &[Key]) -> Result<Vec<Raw>> {
    let commands = keys.iter().map(|key| get_command(&space.keys.record(key)));
    trips(cx, link, commands)?.into_iter().map(|answer| raw(link, answer)).collect()
}

/// The record with this key.
pub(crate) fn get(cx: &Context<'_>, link: &Link, space: &Space, key: &Key) -> Result<Option<Row>> {
    let collection = &space.collection;
    let read = |reply: Reply<'_>| match reply {
        Reply::Nil => Some(Stored::Absent),
        Reply::Text(text) => Some(RawRef::Text(text).read(&space.form, key)),
        _ => None,
    };
    match link.look(cx, &[b"GET", &space.keys.record(key)], read) {
        // A value of another type is refused, and nothing else of this is damaged data.
        Err(error) if error.code() == Code::Corrupt => Err(corrupt(collection, key, "it is no string in Redis")),
        stored => stored?.into_row(collection, key),
    }
}

/// The records with these keys.
pub(crate) fn get_many(cx: &Context<'_>, link: &Link, space: &Space, keys: &[Key]) -> Result<Vec<Lookup>> {
    let found = records(cx, link, space, keys)?;
    let read = |(key, raw): (&Key, Raw)| raw.read(&space.form, key).into_row(&space.collection, key);
    Ok(keys.iter().zip(found).map(read).collect())
}

/// Asks for the members of sets and the values of strings, all in one go.
pub(crate) struct Asked {
    pub(crate) strings: Vec<Raw>,
    pub(crate) sets: Vec<Members>,
}

/// What stands under these keys.
pub(crate) fn ask(cx: &Context<'_>, link: &Link, strings: &[Vec<u8>], sets: &[Vec<u8>]) -> Result<Asked> {
    let commands = strings.iter().map(|key| get_command(key)).chain(sets.iter().map(|key| members_command(key)));
    let mut answers = trips(cx, link, commands)?.into_iter();
    let strings = answers.by_ref().take(strings.len()).map(|answer| raw(link, answer)).collect::<Result<_>>()?;
    let sets = answers.map(|answer| members(link, answer)).collect::<Result<_>>()?;
    Ok(Asked { strings, sets })
}

/// A counter's value; zero if there is none.
///
/// # Errors
/// `corrupt` if it is no number.
pub(crate) fn counter(key: &[u8], raw: &Raw) -> Result<i64> {
    let number = match raw {
        Raw::Absent => Some(0),
        Raw::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        Raw::OtherType => None,
    };
    number.ok_or_else(|| not_a_counter(key))
}

pub(crate) fn not_a_counter(key: &[u8]) -> Error {
    let key = shown(key);
    Error::corrupt(format!("{key} holds no number; sync rebuilds it")).place(key)
}
