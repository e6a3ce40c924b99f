//! Reading by pages: nothing is held between them, yet no row is seen twice or missed.

use std::collections::BTreeMap;

use hivemind_model::{Change, Collection, Condition, Continuation, Key, Op, Query, Row, Value};

use super::specimens::{FLAG, INT, REAL, Specimens, TEXT};
use crate::case::{Case, Checked};
use crate::check::{ensure, equal};
use crate::fixture::{Handle, Store, all_pages, check_page, field, int_key};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("paging::every_limit", "Pages of every limit give the rows of one big page, in every order.", every_limit),
    Case::new("paging::every_size", "So do pages of every size in bytes.", every_size),
    Case::new("paging::max_bytes", "The rows of a page are at most as large together as asked for, but one at least.", max_bytes),
    Case::new("paging::ends", "The last page has no continuation, even if it is exactly full; an earlier one has one.", ends),
    Case::new("paging::offset_once", "An offset counts on the first page only.", offset_once),
    Case::new("paging::with_conditions", "Conditions hold on every page.", with_conditions),
    Case::new("paging::deleted_place", "Paging goes on behind a row that was deleted meanwhile.", deleted_place),
    Case::new(
        "paging::rows_changed_between",
        "While rows come, go and change between pages, no row is seen twice and none missed that was there all the time.",
        rows_changed_between,
    ),
    Case::new("paging::from_anywhere", "A continuation needs no row at its place.", from_anywhere),
    Case::new("paging::text_keys", "Continuations work with text keys and NUL in them.", text_keys),
];

/// Orders with ties, nil, both directions, several fields.
const ORDERS: [&[(usize, bool)]; 8] = [
    &[],
    &[(INT, false)],
    &[(INT, true)],
    &[(REAL, true)],
    &[(TEXT, false)],
    &[(FLAG, true), (INT, false)],
    &[(FLAG, false), (REAL, true), (0, true)],
    &[(0, true)],
];

fn queries(specimens: &Specimens) -> impl Iterator<Item = Query> {
    let id = specimens.id;
    ORDERS.into_iter().map(move |order| order.iter().fold(Query::all(id), |q, (at, descending)| q.order_by(*at, *descending)))
}

fn ids(collection: &Collection, rows: &[Row]) -> Checked<Vec<i64>> {
    rows.iter().map(|row| int_key(collection, row)).collect()
}

fn every_limit(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for query in queries(&specimens) {
        let whole = ids(&specimens.collection, &specimens.store.find(&query, usize::MAX)?.rows)?;
        equal("how many rows one big page has", &specimens.rows.len(), &whole.len())?;
        for limit in 1..=whole.len() as u64 + 1 {
            let rows = all_pages(&*specimens.store.backend, &query.clone().limit(limit), usize::MAX)?;
            let what = format!("by {:?} in pages of {limit}", query.order);
            equal(&what, &whole, &ids(&specimens.collection, &rows)?)?;
        }
    }
    Ok(())
}

fn every_size(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    let largest = specimens.rows.iter().map(|row| row.as_bytes().len()).max().unwrap_or(0);
    for query in queries(&specimens) {
        let whole = ids(&specimens.collection, &specimens.store.find(&query, usize::MAX)?.rows)?;
        for bytes in [0, 1, largest - 1, largest, largest + 1, 2 * largest, 3 * largest + 7, 100 * largest] {
            let rows = all_pages(&*specimens.store.backend, &query, bytes)?;
            let what = format!("by {:?} in pages of {bytes} bytes", query.order);
            equal(&what, &whole, &ids(&specimens.collection, &rows)?)?;
        }
    }
    Ok(())
}

fn max_bytes(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for id in 1..=12 {
        store.one(store.insert(id, &[("t", "x".repeat(1000).into())])?)?;
    }
    for (bytes, most) in [(0, 1), (500, 1), (2_500, 2), (5_500, 5), (100_000, 12)] {
        let query = Query::all(store.things);
        let page = store.find(&query, bytes)?;
        check_page(&query, &page, bytes)?;
        let found = page.rows.len();
        ensure((1..=most).contains(&found), || format!("a page of {bytes} bytes: expected 1 to {most} rows, found {found}"))?;
    }
    Ok(())
}

fn ends(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=6)?;
    let size: usize = store.find(&Query::all(store.things), usize::MAX)?.rows.iter().map(|r| r.as_bytes().len()).sum();
    for descending in [false, true] {
        let query = Query::all(store.things).order_by(field::N, descending);
        for (what, query, bytes, more) in [
            ("without limit", query.clone(), usize::MAX, false),
            ("with a limit of all", query.clone().limit(6), usize::MAX, false),
            ("with a limit of more", query.clone().limit(7), usize::MAX, false),
            ("of exactly all bytes", query.clone(), size, false),
            ("with a limit of all but one", query.clone().limit(5), usize::MAX, true),
            ("of one byte less than all", query.clone(), size - 1, true),
            ("with offset and a limit of the rest", query.clone().offset(2).limit(4), usize::MAX, false),
        ] {
            let page = store.find(&query, bytes)?;
            equal(&format!("whether the page {what} has a continuation"), &more, &page.next.is_some())?;
        }
    }
    Ok(())
}

fn offset_once(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=12)?;
    for limit in [1, 2, 5] {
        let query = Query::all(store.things).offset(3).limit(limit);
        let rows = all_pages(&*store.backend, &query, usize::MAX)?;
        let expected: Vec<i64> = (4..=12).collect();
        equal(&format!("offset 3 in pages of {limit}"), &expected, &ids(&store.thing, &rows)?)?;
    }
    Ok(())
}

fn with_conditions(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let things: Result<Vec<_>, _> = (1..=30)
        .map(|id| store.insert(id, &[("n", (id % 3).into()), ("grp", if id % 2 == 0 { "even" } else { "odd" }.into())]))
        .collect();
    store.all(things?)?;
    let query =
        Query::all(store.things).filter(Condition::new(field::GRP, Op::Eq, "even")).filter(Condition::new(field::N, Op::Ne, 0));
    let mut expected: Vec<i64> = (1..=30).filter(|id| id % 2 == 0 && id % 3 != 0).collect();
    let pages = |query: Query| all_pages(&*store.backend, &query.limit(3), usize::MAX);
    equal("by key", &expected, &ids(&store.thing, &pages(query.clone())?)?)?;
    expected.sort_by_key(|id| (std::cmp::Reverse(id % 3), *id));
    equal("by n, descending", &expected, &ids(&store.thing, &pages(query.order_by(field::N, true))?)?)
}

fn deleted_place(subject: &dyn Subject) -> Checked {
    for order in [None, Some(false), Some(true)] {
        let store = Store::fresh(subject)?;
        store.fill(1..=8)?;
        let query = Query::all(store.things).limit(3);
        let query = order.map_or(query.clone(), |descending| query.order_by(field::N, descending));
        let first = store.find(&query, usize::MAX)?;
        let seen = ids(&store.thing, &first.rows)?;
        for id in &seen {
            store.one(store.delete(*id))?;
        }
        let Some(next) = first.next else { return Err(crate::case::Failure::wrong("expected a continuation, found none")) };
        let rest = ids(&store.thing, &all_pages(&*store.backend, &query.after(next), usize::MAX)?)?;
        let mut expected: Vec<i64> = (1..=8).filter(|id| !seen.contains(id)).collect();
        if order == Some(true) {
            expected.reverse();
        }
        equal(&format!("the rest, descending {order:?}"), &expected, &rest)?;
    }
    Ok(())
}

/// Between two pages: deletes, inserts before and behind, and changes of fields that the order does not use. Things below 100
/// with a `t` that starts with "stay" are let be.
fn disturb(store: &Handle, round: i64) -> Checked {
    let gone = 3 * round;
    if store.get(gone)?.is_some() {
        store.one(store.delete(gone))?;
    }
    store.one(store.insert(1_000 + round, &[("n", (round % 5).into()), ("t", "new".into())])?)?;
    store.one(store.insert(-1_000 - round, &[("n", (round % 5).into()), ("t", "new".into())])?)?;
    let touched = 3 * round + 1;
    if store.get(touched)?.is_some() {
        store.one(store.update(touched, vec![Change::set(field::R, 0.5), Change::set(field::T, "stay changed")], Vec::new()))?;
    }
    Ok(())
}

fn rows_changed_between(subject: &dyn Subject) -> Checked {
    for order in [vec![], vec![(field::N, false)], vec![(field::N, true)]] {
        let store = Store::fresh(subject)?;
        let things: Result<Vec<_>, _> =
            (1..=60).map(|id| store.insert(id, &[("n", (id % 5).into()), ("t", "stay".into())])).collect();
        store.all(things?)?;
        let mut query = order.iter().fold(Query::all(store.things), |q, (at, d)| q.order_by(*at, *d)).limit(7);
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        for round in 1.. {
            let page = store.find(&query, usize::MAX)?;
            check_page(&query, &page, usize::MAX)?;
            for id in ids(&store.thing, &page.rows)? {
                *seen.entry(id).or_default() += 1;
            }
            let Some(next) = page.next else { break };
            query = query.after(next);
            // After a while it must end, though rows keep coming behind.
            if round <= 15 {
                disturb(&store, round)?;
            }
        }
        let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id).collect();
        equal(&format!("rows seen twice, by {order:?}"), &Vec::new(), &twice)?;
        let stayed = (1..=60).filter(|id| id % 3 != 0 || *id > 45);
        let missed: Vec<i64> = stayed.filter(|id| !seen.contains_key(id)).collect();
        equal(&format!("rows missed, by {order:?}"), &Vec::new(), &missed)?;
    }
    Ok(())
}

fn from_anywhere(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=5)?;
    let after = |n: Value, key: i64, descending: bool| {
        let place = Continuation { values: vec![n], key: Key::Int(key) };
        store.ids(&Query::all(store.things).order_by(field::N, descending).after(place))
    };
    equal("before all", &vec![1, 2, 3, 4, 5], &after(Value::Nil, i64::MAX, false)?)?;
    equal("inside", &vec![4, 5], &after(3.into(), 3, false)?)?;
    equal("in front of an equal value", &vec![3, 4, 5], &after(3.into(), 2, false)?)?;
    equal("behind all", &Vec::<i64>::new(), &after(9.into(), 1, false)?)?;
    equal("descending", &vec![2, 1], &after(3.into(), 3, true)?)?;
    equal("descending, behind all", &Vec::<i64>::new(), &after(Value::Nil, 1, true)?)?;
    let by_key = Query::all(store.things).after(Continuation { values: Vec::new(), key: Key::Int(2) });
    equal("by key", &vec![3, 4, 5], &store.ids(&by_key)?)
}

fn text_keys(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let mut slugs = ["", "a", "a\0", "a\0b", "ab", "b", "\u{e9}", "\u{fffd}", "\u{1f600}"];
    for slug in slugs {
        let row = store.note_row(slug, &[("body", "same".into())])?;
        store.one(hivemind_model::Mutation::Insert { collection: store.notes, row })?;
    }
    slugs.sort_unstable();
    for order in [None, Some(true)] {
        let query = Query::all(store.notes).limit(2);
        let query = order.map_or(query.clone(), |descending| query.order_by(1, descending));
        let mut found = Vec::new();
        for row in all_pages(&*store.backend, &query, usize::MAX)? {
            found.push(row.view(&store.note)?.key().to_key());
        }
        equal("the keys", &slugs.map(Key::from).to_vec(), &found)?;
    }
    Ok(())
}
