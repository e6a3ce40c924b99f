//! Lookups by value: a set of ids and the records that it names, in one trip where the server lets us.
//!
//! `SORT_RO … GET` is the cheapest way to have both, if it is there (Redis 7), allowed (it may read any key) and all keys are on one server; a script
//! is next, two trips are the last. What comes is compared with the records in any case.

use std::sync::LazyLock;

use hivemind_abi::model::{Code, Context, Key, Result, ValueRef};
use redis::Value;

use crate::keys::parse_member;
use crate::link::{Link, Replies, Reply, Script, Topology};
use crate::read::{Members, members, members_command, raw, records, trips, unexpected};
use crate::record::{Raw, RawRef, Stored};
use crate::space::Space;

/// Ids that one lookup by value follows on the server. A set that has more is that of a value that many records may have.
const FOLLOWED: usize = 64;
/// One more, to tell whether there are more, as a word of a command.
const MORE: &[u8] = b"65";

static LOOKUP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lookup.lua")));

/// What a lookup in a set of ids came to.
pub(crate) enum Found {
    /// The lowest record that has the value.
    Record(Key, Stored),
    /// No record has it.
    None,
    /// The set says something that the records do not: it cannot be relied on.
    Unreliable,
}

/// How a way of following a set went.
enum Way {
    Followed(Found),
    /// There are too many ids.
    TooMany,
    /// It is no way here.
    Closed,
    /// The set is none.
    NoSet,
}

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    space: &'a Space,
    field: usize,
    value: ValueRef<'a>,
}

impl Wanted<'_> {
    /// Chooses among the ids of a set, each with what stands there.
    fn choose<'r>(self, named: impl Iterator<Item = (&'r [u8], RawRef<'r>)>) -> Found {
        let collection = &self.space.collection;
        let mut names_something = false;
        let mut lowest: Option<(Key, Stored)> = None;
        for (id, raw) in named {
            names_something = true;
            let key = parse_member(collection, id);
            let Some(key) = key.filter(|key| lowest.as_ref().is_none_or(|(lowest, _)| key < lowest)) else { continue };
            let stored = raw.read(&self.space.form, &key);
            if stored.has(collection, self.field, self.value) {
                lowest = Some((key, stored));
            }
        }
        match lowest {
            Some((key, stored)) => Found::Record(key, stored),
            None if names_something => Found::Unreliable,
            None => Found::None,
        }
    }

    /// Chooses among ids and what stands under each, in turns; `None` if they are not that.
    fn choose_of_turns(self, mut turns: Replies<'_>) -> Option<Way> {
        if turns.len() > 2 * FOLLOWED {
            return Some(Way::TooMany);
        }
        let mut is_so = turns.len().is_multiple_of(2);
        let named = std::iter::from_fn(|| {
            let (id, record) = (turns.next()?, turns.next()?);
            match (id, record) {
                (Reply::Text(id), Reply::Nil) => Some((id, RawRef::Absent)),
                (Reply::Text(id), Reply::Text(text)) => Some((id, RawRef::Text(text))),
                // Our script's word for another type.
                (Reply::Text(id), Reply::Int(_)) => Some((id, RawRef::OtherType)),
                _ => {
                    is_so = false;
                    None
                }
            }
        });
        let found = self.choose(named);
        is_so.then_some(Way::Followed(found))
    }
}

/// The record with this value in an indexed field, by the set of ids.
///
/// # Errors
/// The link's.
pub(crate) fn by_set(cx: &Context<'_>, link: &Link, space: &Space, field: usize, value: ValueRef<'_>) -> Result<Found> {
    let Some(set) = space.keys.set(field, value) else { return Ok(Found::None) };
    let wanted = Wanted { space, field, value };
    let mut way = by_sort(cx, link, wanted, &set)?;
    if matches!(way, Way::Closed) {
        way = by_script(cx, link, wanted, &set)?;
    }
    match way {
        Way::Followed(found) => Ok(found),
        Way::NoSet => Ok(Found::Unreliable),
        Way::TooMany | Way::Closed => by_two_trips(cx, link, wanted, &set),
    }
}

/// A record of another type looks absent here, so that nothing is found and all are looked at.
fn by_sort(cx: &Context<'_>, link: &Link, wanted: Wanted<'_>, set: &[u8]) -> Result<Way> {
    let space = wanted.space;
    if link.topology() != Topology::Single || !space.may_sort() {
        return Ok(Way::Closed);
    }
    let words = [b"SORT_RO", set, b"BY", b"nosort", b"LIMIT", b"0", MORE, b"GET", b"#", b"GET", space.keys.record_glob()];
    let read = |reply: Reply<'_>| if let Reply::List(turns) = reply { wanted.choose_of_turns(turns) } else { None };
    match link.look(cx, &words, read) {
        Err(error) if error.code() == Code::Corrupt => Ok(Way::NoSet),
        // Too old for it, or the ACL forbids it or to read every key.
        Err(error) if matches!(error.code(), Code::Unsupported | Code::Denied | Code::Io) => {
            space.never_sort();
            Ok(Way::Closed)
        }
        way => way,
    }
}

fn by_script(cx: &Context<'_>, link: &Link, wanted: Wanted<'_>, set: &[u8]) -> Result<Way> {
    if !link.scripts_allowed() {
        return Ok(Way::Closed);
    }
    let args = [wanted.space.keys.record_prefix().to_vec(), FOLLOWED.to_string().into_bytes()];
    match link.reading_script(cx, &LOOKUP, &[set], &args) {
        Ok(Value::Array(items)) => pairs(link, items).map(|named| Way::Followed(wanted.choose(named.iter().map(borrowed)))),
        Ok(Value::Int(_)) => Ok(Way::TooMany),
        Ok(other) => Err(unexpected(link, "EVALSHA", &other)),
        Err(error) if error.code() == Code::Corrupt => Ok(Way::NoSet),
        Err(error) if error.code() == Code::Denied && !link.scripts_allowed() => Ok(Way::Closed),
        Err(error) => Err(error),
    }
}

fn by_two_trips(cx: &Context<'_>, link: &Link, wanted: Wanted<'_>, set: &[u8]) -> Result<Found> {
    let space = wanted.space;
    let answer = trips(cx, link, [members_command(set)])?.into_iter().next().unwrap_or(Value::Array(Vec::new()));
    let Members::Ids(ids) = members(link, answer)? else { return Ok(Found::Unreliable) };
    // What is no id names nothing that could be asked for.
    let keys = ids.iter().map(|id| parse_member(&space.collection, id)).collect::<Vec<_>>();
    let mut found = records(cx, link, space, &keys.iter().flatten().cloned().collect::<Vec<_>>())?.into_iter();
    let raws = keys.iter().map(|key| key.as_ref().and_then(|_| found.next()).unwrap_or(Raw::Absent));
    let named: Vec<(Vec<u8>, Raw)> = ids.iter().cloned().zip(raws).collect();
    Ok(wanted.choose(named.iter().map(borrowed)))
}

fn borrowed((id, raw): &(Vec<u8>, Raw)) -> (&[u8], RawRef<'_>) {
    (id, raw.as_ref())
}

/// Ids and what stands under each, in turns.
fn pairs(link: &Link, items: Vec<Value>) -> Result<Vec<(Vec<u8>, Raw)>> {
    let mut named = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(Value::BulkString(id)), Some(record)) = (items.next(), items.next()) {
        let raw = if matches!(record, Value::Int(_)) { Raw::OtherType } else { raw(link, record)? };
        named.push((id, raw));
    }
    Ok(named)
}
