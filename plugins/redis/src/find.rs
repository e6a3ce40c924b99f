//! Queries: which records come into question, and the reference evaluator on each of them.
//!
//! The decision behind it: **Redis finds, we decide.** A set of ids, or all keys of a collection, says which records to read; whether one
//! matches is never asked of Redis. Records are read by pages whose size follows theirs, and a query in another order than the keys'
//! keeps no more of them than its page takes.

mod best;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use hivemind_abi::model::engine::Pager;
use hivemind_abi::model::{Changes, Context, Key, Kind, Op, Page, Query, Result, Row, RowView, Token, Value, ValueRef, eval};

use crate::key_set::KeySet;
use crate::keys::parse_member;
use crate::link::Link;
use crate::read::{self, Members};
use crate::recent::Recent;
use crate::record::{Raw, Stored, corrupt};
use crate::space::{Space, Spaces};
use best::Best;

/// What a page of records may take while it is being read, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// Records in the first page: most of what is asked for is little.
const FIRST_PAGE: usize = 32;
/// Records in any page.
const LARGEST_PAGE: usize = 1000;
/// Longer lists of operands are compared here only.
const MOST_OPERANDS: usize = 64;
/// What a handle knows of a collection as a whole, as of a point in its history.
#[derive(Clone)]
pub(crate) struct Known {
    token: Token,
    /// The records that cannot be read.
    unreadable: Option<Arc<BTreeMap<Key, String>>>,
    /// All keys, in order.
    keys: Option<Arc<KeySet>>,
}

/// All a query needs to be answered.
pub(crate) struct Asking<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) link: &'a Link,
    pub(crate) spaces: &'a Spaces,
    pub(crate) space: &'a Space,
    pub(crate) recent: &'a Recent,
}

/// The keys of all records of a collection, those that cannot be read included, in order.
pub(crate) fn keys(cx: &Context<'_>, link: &Link, space: &Space) -> Result<Vec<Key>> {
    Ok(key_set(cx, link, space)?.iter().collect())
}

/// The same in little memory.
fn key_set(cx: &Context<'_>, link: &Link, space: &Space) -> Result<KeySet> {
    let mut found = KeySet::default();
    link.scan(cx, &space.keys.record_pattern(), |keys| {
        found.extend(keys.iter().filter_map(|key: &Vec<u8>| space.keys.parse_record(&space.collection, key)));
        Ok(())
    })?;
    Ok(found)
}

/// Reads records by pages and hands each with its key to `each`, in this order, until that says no.
pub(crate) fn walk(
    cx: &Context<'_>,
    link: &Link,
    space: &Space,
    keys: &[Key],
    each: impl FnMut(&Key, Raw) -> Result<bool>,
) -> Result<()> {
    walk_over(cx, link, space, keys.iter().cloned(), each)
}

/// The same over keys that come one by one.
fn walk_over(
    cx: &Context<'_>,
    link: &Link,
    space: &Space,
    mut keys: impl Iterator<Item = Key>,
    mut each: impl FnMut(&Key, Raw) -> Result<bool>,
) -> Result<()> {
    let mut size = FIRST_PAGE;
    loop {
        cx.check()?;
        let page: Vec<Key> = keys.by_ref().take(size).collect();
        if page.is_empty() {
            return Ok(());
        }
        let mut bytes = 0;
        for (key, raw) in page.iter().zip(read::records(cx, link, space, &page)?) {
            bytes += if let Raw::Text(text) = &raw { text.len() } else { 0 };
            if !each(key, raw)? {
                return Ok(());
            }
        }
        let average = (bytes / page.len()).max(1);
        size = (PAGE_BYTES / average).clamp(1, LARGEST_PAGE).min(size * 8);
    }
}

/// The keys that a condition on the key, or on a field with sets of ids, leaves; `None` if the query has none.
struct Narrowed {
    keys: KeySet,
    /// The field and values that the records must have for the sets to be right.
    by: Option<(usize, Vec<Value>)>,
}

fn narrowed(cx: &Context<'_>, link: &Link, space: &Space, query: &Query) -> Result<Option<Narrowed>> {
    let collection = &space.collection;
    for condition in &query.all {
        let is_equality = condition.member.is_none() && matches!(condition.op, Op::Eq | Op::In);
        let Some(field) = collection.fields.get(condition.field) else { continue };
        if !is_equality || condition.operands.iter().any(|operand| operand.as_ref().kind() != Some(field.kind)) {
            continue;
        }
        if condition.field == collection.key {
            let keys =
                condition.operands.iter().filter_map(|operand| operand.as_ref().as_key().map(|key| key.to_key())).collect();
            return Ok(Some(Narrowed { keys, by: None }));
        }
        if condition.operands.len() > MOST_OPERANDS || !space.keys.is_complete(condition.field) {
            continue;
        }
        let sets: Vec<_> =
            condition.operands.iter().filter_map(|value| space.keys.set(condition.field, value.as_ref())).collect();
        let mut keys = KeySet::default();
        let found = read::ask(cx, link, &[], &sets)?.sets;
        let all_are_sets = found.into_iter().all(|members| match members {
            Members::Ids(ids) => {
                keys.extend(ids.iter().filter_map(|id| parse_member(collection, id)));
                true
            }
            Members::OtherType => false,
        });
        if all_are_sets {
            return Ok(Some(Narrowed { keys, by: Some((condition.field, condition.operands.clone())) }));
        }
    }
    Ok(None)
}

impl Asking<'_> {
    /// A page of a checked query's answer.
    pub(crate) fn page(&self, query: &Query, max_bytes: usize) -> Result<Page> {
        let unreadable = if query.after.is_none() { self.unreadable()? } else { Arc::default() };
        for by_sets in [true, false] {
            let mut pager = Pager::new(query, max_bytes);
            for (key, why) in unreadable.iter() {
                pager.unreadable(key.clone(), why.clone());
            }
            let is_right = if query.limit == Some(0) {
                true
            } else if query.order.is_empty() {
                // What is behind the page is told apart only by being offered.
                self.matches(query, by_sets, |view, row| Ok(pager.offer(view, || row)))?
            } else {
                let mut best = Best::new(query, max_bytes);
                let is_right = self.matches(query, by_sets, |_, row| best.offer(&self.space.collection, row).map(|()| true))?;
                for row in best.into_sorted(&self.space.collection)? {
                    let view = row.view(&self.space.collection)?;
                    if !pager.offer(&view, || row.clone()) {
                        break;
                    }
                }
                is_right
            };
            if is_right {
                return Ok(pager.finish());
            }
        }
        Ok(Page::default())
    }

    /// The record with the lowest key that has this value in a field, by looking at all. One that cannot be read otherwise is `corrupt`.
    ///
    /// # Errors
    /// `corrupt` too if there is none, but one of which nobody can tell.
    pub(crate) fn first(&self, field: usize, value: ValueRef<'_>, query: &Query) -> Result<Option<Row>> {
        let collection = &self.space.collection;
        let (mut found, mut unclear) = (None, None);
        walk_over(self.cx, self.link, self.space, self.keys(query)?.iter(), |key, raw| {
            match raw.read(&self.space.form, key) {
                Stored::Unreadable { why, values: None } => drop(unclear.get_or_insert_with(|| corrupt(collection, key, &why))),
                stored if stored.has(collection, field, value) => {
                    found = Some(stored.into_row(collection, key));
                    return Ok(false);
                }
                _ => {}
            }
            Ok(true)
        })?;
        match (found, unclear) {
            (Some(found), _) => found,
            (None, Some(unclear)) => Err(unclear),
            (None, None) => Ok(None),
        }
    }

    /// How many records a checked query without order and place finds.
    pub(crate) fn count(&self, query: &Query) -> Result<u64> {
        let mut found: u64 = 0;
        for by_sets in [true, false] {
            found = 0;
            let count = |_: &RowView<'_>, _| {
                found += 1;
                Ok(true)
            };
            if self.matches(query, by_sets, count)? {
                break;
            }
        }
        let found = found.saturating_sub(query.offset);
        Ok(query.limit.map_or(found, |limit| found.min(limit)))
    }

    /// Hands the matches behind the query's place to `each` in the order of their keys, until that says no. `false` if a set of ids that was
    /// relied on turned out wrong: what was handed over is void, and all records must be looked at.
    fn matches(&self, query: &Query, by_sets: bool, mut each: impl FnMut(&RowView<'_>, Row) -> Result<bool>) -> Result<bool> {
        let narrowed = if by_sets { narrowed(self.cx, self.link, self.space, query)? } else { None };
        let (keys, by) = match narrowed {
            Some(Narrowed { keys, by }) => (Arc::new(keys), by),
            None => (self.keys(query)?, None),
        };
        let after = query.after.as_ref().filter(|_| query.order.is_empty()).map(|after| &after.key);
        let mut is_right = true;
        walk_over(self.cx, self.link, self.space, keys.iter_after(after), |key, raw| {
            let stored = raw.read(&self.space.form, key);
            if let Some((field, values)) = &by {
                // A set that names a record without the value may as well lack one that has it.
                is_right = values.iter().any(|value| stored.has(&self.space.collection, *field, value.as_ref()));
            }
            match stored {
                Stored::Row(row) if is_right => self.offer(query, row, &mut each),
                _ => Ok(is_right),
            }
        })?;
        Ok(is_right)
    }

    fn offer(&self, query: &Query, row: Row, each: &mut impl FnMut(&RowView<'_>, Row) -> Result<bool>) -> Result<bool> {
        let kept = row.clone();
        let view = row.view(&self.space.collection)?;
        let is_match = eval::matches(&view, &query.all)
            && query.after.as_ref().is_none_or(|after| eval::is_after(&query.order, &view, after));
        if is_match { each(&view, kept) } else { Ok(true) }
    }

    /// All keys. The first page of a query asks the server; a later one takes what is remembered, as long as it is known what changed
    /// since.
    fn keys(&self, query: &Query) -> Result<Arc<KeySet>> {
        if query.after.is_some()
            && query.order.is_empty()
            && let Some(known) = self.known()
            && let Some(keys) = &known.keys
        {
            match self.since(known.token).1 {
                Changes::Nothing => return Ok(Arc::clone(keys)),
                Changes::Keys(changed) => {
                    // One that is gone is found missing when it is read.
                    let mut merged = keys.as_ref().clone();
                    merged.extend(changed);
                    return Ok(Arc::new(merged));
                }
                _ => {}
            }
        }
        let token = self.recent.now();
        let keys = Arc::new(key_set(self.cx, self.link, self.space)?);
        let mut known = self.space.known.lock().unwrap_or_else(PoisonError::into_inner);
        let unreadable = known.as_ref().filter(|known| known.token == token).and_then(|known| known.unreadable.clone());
        if unreadable.is_some() || known.as_ref().is_none_or(|known| known.unreadable.is_none()) {
            *known = Some(Known { token, unreadable, keys: Some(Arc::clone(&keys)) });
        }
        Ok(keys)
    }

    fn since(&self, token: Token) -> (Token, Changes) {
        self.recent.since(self.link, self.spaces, self.space.id, token)
    }

    fn known(&self) -> Option<Known> {
        self.space.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records that cannot be read. All are read once; after that only those that changed.
    fn unreadable(&self) -> Result<Arc<BTreeMap<Key, String>>> {
        let known = self.known().and_then(|known| Some((known.token, known.unreadable?)));
        if let Some((token, unreadable)) = known {
            let (now, changes) = self.since(token);
            match changes {
                Changes::Nothing => return Ok(unreadable),
                Changes::Keys(mut changed) => {
                    changed.sort_unstable();
                    changed.dedup();
                    let mut updated = unreadable.as_ref().clone();
                    changed.iter().for_each(|key| drop(updated.remove(key)));
                    self.collect_unreadable(changed.into_iter(), &mut updated)?;
                    return Ok(self.remember(now, updated, None));
                }
                _ => {}
            }
        }
        let now = self.recent.now();
        let keys = key_set(self.cx, self.link, self.space)?;
        let mut found = BTreeMap::new();
        self.collect_unreadable(keys.iter(), &mut found)?;
        Ok(self.remember(now, found, Some(Arc::new(keys))))
    }

    fn collect_unreadable(&self, keys: impl Iterator<Item = Key>, into: &mut BTreeMap<Key, String>) -> Result<()> {
        walk_over(self.cx, self.link, self.space, keys, |key, raw| {
            if let Stored::Unreadable { why, .. } = raw.read(&self.space.form, key) {
                into.insert(key.clone(), why);
            }
            Ok(true)
        })
    }

    fn remember(&self, token: Token, unreadable: BTreeMap<Key, String>, keys: Option<Arc<KeySet>>) -> Arc<BTreeMap<Key, String>> {
        let unreadable = Arc::new(unreadable);
        let known = Known { token, unreadable: Some(Arc::clone(&unreadable)), keys };
        *self.space.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        unreadable
    }
}

/// The keys that a query finds and what was read of each, for a batch that has written the records `of_batch` before: `made` says what.
pub(crate) fn matching<'m>(
    cx: &Context<'_>,
    link: &Link,
    space: &Space,
    query: &Query,
    of_batch: impl Iterator<Item = Key>,
    made: impl Fn(&Key) -> Option<&'m Option<Row>>,
) -> Result<Vec<(Key, Option<Raw>)>> {
    let collection = &space.collection;
    let mut candidates = keys(cx, link, space)?;
    candidates.extend(of_batch);
    candidates.sort_unstable();
    candidates.dedup();
    let mut found: Vec<(Row, Option<Raw>)> = Vec::new();
    walk(cx, link, space, &candidates, |key, raw| {
        let (row, raw) = match made(key) {
            Some(made) => (made.clone(), None),
            None => match raw.read(&space.form, key) {
                Stored::Row(row) => (Some(row), Some(raw)),
                _ => (None, None),
            },
        };
        if let Some(row) = row
            && eval::matches(&row.view(collection)?, &query.all)
        {
            found.push((row, raw));
        }
        Ok(true)
    })?;
    let mut found: Vec<(RowView<'_>, Option<Raw>)> =
        found.iter().map(|(row, raw)| Ok((row.view(collection)?, raw.clone()))).collect::<Result<_>>()?;
    found.sort_by(|(a, _), (b, _)| eval::compare_rows(&query.order, a, b));
    let skipped = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found.into_iter().skip(skipped).take(limit).map(|(view, raw)| (view.key().to_key(), raw)).collect())
}

/// A record other than `except` that has this value in a field, by looking at all.
pub(crate) fn holder(
    cx: &Context<'_>,
    link: &Link,
    space: &Space,
    field: usize,
    value: ValueRef<'_>,
    except: &Key,
) -> Result<Option<Key>> {
    let mut found = None;
    walk(cx, link, space, &keys(cx, link, space)?, |key, raw| {
        let stored = raw.read(&space.form, key);
        let is_clear = !matches!(stored, Stored::Unreadable { values: None, .. });
        if key != except && is_clear && stored.has(&space.collection, field, value) {
            found = Some(key.clone());
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Whether a lookup by this field and value may use the sets of ids.
pub(crate) fn is_exact(space: &Space, field: usize, value: ValueRef<'_>) -> bool {
    let kind = space.collection.fields.get(field).map(|field| field.kind);
    space.keys.is_complete(field) && kind.is_some_and(|kind| kind != Kind::Json && value.kind() == Some(kind))
}
