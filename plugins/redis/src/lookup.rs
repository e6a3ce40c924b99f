//! Lookups by value: a set of ids and the records that it names, in one trip where the server lets us.
//!
//! `SORT_RO … GET` is the cheapest way to have both, if it is there (Redis 7), allowed (it may read any key) and all keys are on one server; a script
//! is next, two trips are the last. What comes is compared with the records in any case.

use std::sync::LazyLock;

use hivemind_abi::model::{Code, Context, Key, Result, ValueRef};
use redis::{Value, cmd};

use crate::keys::parse_member;
use crate::link::{Link, Repeat, Script, Topology};
use crate::read::{Members, members, members_command, raw, records, trips, unexpected};
use crate::record::{Raw, Stored};
use crate::space::Space;

/// Ids that one lookup by value follows on the server. A set that has more is that of a value that many records may have.
const FOLLOWED: usize = 64;

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

/// What a set names, and what stands there. `None` for what is no id.
type Named = Vec<(Option<Key>, Raw)>;

/// How a way of following a set went.
enum Way {
    Followed(Named),
    /// There are too many ids.
    TooMany,
    /// It is no way here.
    Closed,
    /// The set is none.
    NoSet,
}

/// The record with this value in an indexed field, by the set of ids.
///
/// # Errors
/// The link's.
pub(crate) fn by_set(cx: &Context<'_>, link: &Link, space: &Space, field: usize, value: ValueRef<'_>) -> Result<Found> {
    let Some(set) = space.keys.set(field, value) else { return Ok(Found::None) };
    let mut way = by_sort(cx, link, space, &set)?;
    if matches!(way, Way::Closed) {
        way = by_script(cx, link, space, &set)?;
    }
    let named = match way {
        Way::Followed(named) => named,
        Way::NoSet => return Ok(Found::Unreliable),
        Way::TooMany | Way::Closed => match by_two_trips(cx, link, space, &set)? {
            Some(named) => named,
            None => return Ok(Found::Unreliable),
        },
    };
    let names_something = !named.is_empty();
    let mut lowest: Option<(Key, Stored)> = None;
    for (key, raw) in named {
        let Some(key) = key.filter(|key| lowest.as_ref().is_none_or(|(lowest, _)| key < lowest)) else { continue };
        let stored = raw.read(&space.collection, &key);
        if stored.has(&space.collection, field, value) {
            lowest = Some((key, stored));
        }
    }
    Ok(match lowest {
        Some((key, stored)) => Found::Record(key, stored),
        None if names_something => Found::Unreliable,
        None => Found::None,
    })
}

/// A record of another type looks absent here, so that nothing is found and all are looked at.
fn by_sort(cx: &Context<'_>, link: &Link, space: &Space, set: &[u8]) -> Result<Way> {
    if link.topology() != Topology::Single || !space.may_sort() {
        return Ok(Way::Closed);
    }
    let mut sort = cmd("SORT_RO");
    sort.arg(set).arg("BY").arg("nosort").arg("LIMIT").arg(0).arg(FOLLOWED + 1);
    sort.arg("GET").arg("#").arg("GET").arg([space.keys.record_prefix(), b"*"].concat());
    let items = match link.query(cx, &sort, Repeat::Safe) {
        Ok(Value::Array(items)) => items,
        Ok(other) => return Err(unexpected(link, "SORT_RO", &other)),
        Err(error) if error.code() == Code::Corrupt => return Ok(Way::NoSet),
        // Too old for it, or the ACL forbids it or to read every key.
        Err(error) if matches!(error.code(), Code::Unsupported | Code::Denied | Code::Io) => {
            space.never_sort();
            return Ok(Way::Closed);
        }
        Err(error) => return Err(error),
    };
    if items.len() > 2 * FOLLOWED {
        return Ok(Way::TooMany);
    }
    Ok(Way::Followed(pairs(link, space, items)?))
}

fn by_script(cx: &Context<'_>, link: &Link, space: &Space, set: &[u8]) -> Result<Way> {
    if !link.scripts_allowed() {
        return Ok(Way::Closed);
    }
    let args = [space.keys.record_prefix().to_vec(), FOLLOWED.to_string().into_bytes()];
    match link.script(cx, &LOOKUP, &[set.to_vec()], &args, Repeat::Safe) {
        Ok(Value::Array(items)) => pairs(link, space, items).map(Way::Followed),
        Ok(Value::Int(_)) => Ok(Way::TooMany),
        Ok(other) => Err(unexpected(link, "EVALSHA", &other)),
        Err(error) if error.code() == Code::Corrupt => Ok(Way::NoSet),
        Err(error) if error.code() == Code::Denied && !link.scripts_allowed() => Ok(Way::Closed),
        Err(error) => Err(error),
    }
}

/// `None` if the set is none.
fn by_two_trips(cx: &Context<'_>, link: &Link, space: &Space, set: &[u8]) -> Result<Option<Named>> {
    let answer = trips(cx, link, [members_command(set)])?.into_iter().next().unwrap_or(Value::Array(Vec::new()));
    let Members::Ids(ids) = members(link, answer)? else { return Ok(None) };
    let keys: Vec<Key> = ids.iter().filter_map(|id| parse_member(&space.collection, id)).collect();
    let mut named: Named = keys.iter().cloned().map(Some).zip(records(cx, link, space, &keys)?).collect();
    named.extend((keys.len()..ids.len()).map(|_| (None, Raw::Absent)));
    Ok(Some(named))
}

/// Ids and what stands under each, in turns.
fn pairs(link: &Link, space: &Space, items: Vec<Value>) -> Result<Named> {
    let mut named = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(Value::BulkString(id)), Some(record)) = (items.next(), items.next()) {
        let raw = if matches!(record, Value::Int(_)) { Raw::OtherType } else { raw(link, record)? };
        named.push((parse_member(&space.collection, &id), raw));
    }
    Ok(named)
}
