//! What changed since a token, as caches use it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use hivemind_model::{Capability, Change, Changes, CollectionId, Context, Key, Mutation, Query, Token, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::ensure;
use crate::fixture::{Handle, Store, cx, field};
use crate::subject::Subject;
use crate::threads::{eventually, joined};

const TRACKED: &[Capability] = &[Capability::ChangeTracking];

pub(super) const CASES: &[Case] = &[
    Case::new("changes::own_writes", "Every sort of write of this handle is reported by its key.", own_writes).requires(TRACKED),
    Case::new("changes::quiet", "When nothing was written, nothing changed.", quiet).requires(TRACKED),
    Case::new("changes::per_collection", "Each collection's changes are its own, text keys included.", per_collection)
        .requires(TRACKED),
    Case::new("changes::unknown_token", "A token that this handle never gave means everything.", unknown_token),
    Case::new("changes::many", "Thousands of changes since a token are all reported, or everything is.", many).requires(TRACKED),
    Case::new("changes::applied_token", "The token of an apply misses no later write.", applied_token).requires(TRACKED),
    Case::new(
        "changes::a_cache_is_never_stale",
        "A cache that asks before each use never shows less than what was acknowledged before it asked.",
        a_cache_is_never_stale,
    )
    .requires(TRACKED),
    Case::new("changes::reopened", "A reopened handle does not know the tokens of its predecessor.", reopened)
        .requires(&[Capability::ChangeTracking, Capability::Durable]),
];

/// Whether a change of this key was reported.
pub(crate) fn reports(changes: &Changes, key: &Key) -> bool {
    match changes {
        Changes::Nothing => false,
        Changes::Keys(keys) => keys.contains(key),
        _ => true,
    }
}

fn since(store: &Handle, collection: CollectionId, token: Token) -> Checked<(Token, Changes)> {
    Ok(store.backend.changes_since(&cx(), collection, token)?)
}

/// Where history stands.
pub(crate) fn now(store: &Handle, collection: CollectionId) -> Checked<Token> {
    Ok(since(store, collection, Token::default())?.0)
}

/// How long the handle's own writes may take to show. Nothing, unless the backend declares that its news can be late.
pub(crate) fn patience(store: &Handle) -> Duration {
    match store.backend.capabilities().staleness() {
        Duration::ZERO => Duration::ZERO,
        bound => bound + Duration::from_millis(500),
    }
}

/// Fails unless the change of a key is reported since `token`, in time.
pub(super) fn must_report(store: &Handle, collection: CollectionId, token: Token, key: &Key, what: &str) -> Checked {
    let mut last = Changes::Nothing;
    let reported = eventually(patience(store), || {
        last = since(store, collection, token)?.1;
        Ok(reports(&last, key))
    })?;
    ensure(reported, || format!("{what}: expected a change of {key}, found {last:?}"))
}

fn own_writes(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let collection = store.things;
    let nine = Query::all(collection).filter(hivemind_model::Condition::new(field::N, hivemind_model::Op::Eq, 9));
    for (what, key, mutation) in [
        ("insert", 5, store.insert(5, &[])?),
        ("insert next", 6, store.insert_next(&[])?),
        ("put", 5, store.put(5, &[("t", "x".into())])?),
        ("update", 5, store.update(5, vec![Change::set(field::N, 9)], Vec::new())),
        ("delete where", 5, Mutation::DeleteWhere { query: nine }),
        ("delete", 6, store.delete(6)),
    ] {
        let token = now(&store, collection)?;
        store.one(mutation)?;
        must_report(&store, collection, token, &Key::Int(key), what)?;
    }
    Ok(())
}

fn quiet(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=3)?;
    let mut token = now(&store, store.things)?;
    let mut last = Changes::Everything;
    // News of the writes above may still be on their way, for as long as the backend declares.
    std::thread::sleep(store.backend.capabilities().staleness());
    let settled = eventually(patience(&store), || {
        let (next, changes) = since(&store, store.things, token)?;
        (token, last) = (next, changes);
        Ok(last == Changes::Nothing)
    })?;
    ensure(settled, || format!("with nothing written: expected Nothing, found {last:?}"))?;
    store.get(1)?;
    store.every_id()?;
    let (_, changes) = since(&store, store.things, token)?;
    ensure(changes == Changes::Nothing, || format!("after reads: expected Nothing, found {changes:?}"))
}

fn per_collection(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let (things, notes) = (now(&store, store.things)?, now(&store, store.notes)?);
    let slug = "k\0é";
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row(slug, &[])? })?;
    must_report(&store, store.notes, notes, &Key::from(slug), "the note")?;
    store.fill([1])?;
    must_report(&store, store.things, things, &Key::Int(1), "the thing")?;
    let (_, changes) = since(&store, store.things, things)?;
    match changes {
        Changes::Keys(keys) if keys.iter().any(|k| matches!(k, Key::Text(_))) => {
            Err(Failure::wrong(format!("changes of things: expected int keys, found {keys:?}")))
        }
        _ => Ok(()),
    }
}

fn unknown_token(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let known = now(&store, store.things)?;
    for token in [
        Token::default(),
        Token { epoch: u64::MAX, sequence: u64::MAX },
        Token { epoch: known.epoch.wrapping_add(1), sequence: known.sequence },
    ] {
        let (_, changes) = since(&store, store.things, token)?;
        ensure(changes == Changes::Everything, || format!("since {token:?}: expected Everything, found {changes:?}"))?;
    }
    Ok(())
}

fn many(subject: &dyn Subject) -> Checked {
    const MANY: i64 = 3_000;
    let store = Store::fresh(subject)?;
    store.fill(1..=MANY)?;
    let token = now(&store, store.things)?;
    for part in 0..3_i64 {
        let ids = (1..=MANY).filter(|id| id % 3 == part);
        store.all(ids.map(|id| store.update(id, vec![Change::set(field::N, -id)], Vec::new())).collect())?;
    }
    let mut missing = Vec::new();
    eventually(patience(&store), || {
        let (_, changes) = since(&store, store.things, token)?;
        missing = match changes {
            Changes::Everything => Vec::new(),
            Changes::Keys(keys) => {
                let keys: std::collections::HashSet<Key> = keys.into_iter().collect();
                (1..=MANY).filter(|id| !keys.contains(&Key::Int(*id))).collect()
            }
            _ => (1..=MANY).collect(),
        };
        Ok(missing.is_empty())
    })?;
    let some: Vec<_> = missing.iter().take(5).collect();
    ensure(missing.is_empty(), || format!("{MANY} changed records: {} were not reported, such as {some:?}", missing.len()))
}

fn applied_token(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for id in 1..=10 {
        let token = store.apply(&[store.insert(id, &[])?])?.token;
        store.one(store.update(id, vec![Change::set(field::N, 1)], Vec::new()))?;
        must_report(&store, store.things, token, &Key::Int(id), "an update behind the token of the insert")?;
    }
    Ok(())
}

fn a_cache_is_never_stale(subject: &dyn Subject) -> Checked {
    const LAST: i64 = 150;
    let store = Store::fresh(subject)?;
    if store.backend.capabilities().staleness() != Duration::ZERO {
        return Err(Failure::Skipped("the backend declares that its news can be late".to_owned()));
    }
    store.one(store.insert(1, &[("n", 0.into())])?)?;
    // Taken before the first write, so that every write must be told of.
    let token = now(&store, store.things)?;
    let (acknowledged, done) = (AtomicI64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Checked {
            let written = (1..=LAST).try_for_each(|n| {
                store.one(store.update(1, vec![Change::set(field::N, n)], Vec::new()))?;
                acknowledged.store(n, Ordering::SeqCst);
                Ok(())
            });
            done.store(true, Ordering::SeqCst);
            written
        });
        let read = cache_until(&store, token, &acknowledged, &done);
        joined(writer).and(read)
    })
}

/// Keeps a cache of the first thing's `n` until the writer is done, and once more after that.
fn cache_until(store: &Handle, mut token: Token, acknowledged: &AtomicI64, done: &AtomicBool) -> Checked {
    let mut cached = 0;
    loop {
        let last_time = done.load(Ordering::SeqCst);
        let least = acknowledged.load(Ordering::SeqCst);
        // The order matters: the token first, then the record, so that a change in between is seen next time.
        let (next, changes) = store.backend.changes_since(&Context::unbounded(), store.things, token)?;
        if reports(&changes, &Key::Int(1)) {
            let Value::Int(n) = store.value(1, field::N)? else { return Err(Failure::wrong("n: expected an int")) };
            cached = n;
        }
        token = next;
        ensure(cached >= least, || format!("the cached n: expected {least} or more, found {cached}"))?;
        if last_time {
            return Ok(());
        }
    }
}

fn reopened(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let token = now(&store, store.things)?;
    let store = store.reopen()?;
    let (_, changes) = since(&store, store.things, token)?;
    ensure(changes == Changes::Everything, || format!("since a token of before: expected Everything, found {changes:?}"))
}
