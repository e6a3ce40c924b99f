//! A hundred thousand records.

use hivemind_model::{Capability, Collection, Condition, Index, Kind, Mutation, Op, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal};
use crate::fixture::{Store, check_page, cx, int_key, row};
use crate::subject::Subject;

/// How many records.
const ROWS: i64 = 100_000;
/// How many in one batch: few and large, because some engines write all they hold with each.
const BATCH: usize = 25_000;
/// How large a page may be: about a tenth of all rows.
const PAGE: usize = 256 << 10;

pub(super) const CASES: &[Case] = &[Case::new(
    "scale::a_hundred_thousand_by_pages",
    "100,000 records are read by pages, each no larger than asked for, and counted and found.",
    by_pages,
)
.requires(&[Capability::AtomicBatch])];

fn by_pages(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let collection =
        Collection::new("points", 1, "id", Kind::Int).field_with("n", Kind::Int, Value::Nil, Index::Plain).field("t", Kind::Text);
    let ids = store.backend.prepare(&cx(), std::slice::from_ref(&collection))?;
    let id = *ids.first().ok_or_else(|| Failure::wrong("prepare: expected an id, found none"))?;
    let mut batch = Vec::with_capacity(BATCH);
    for key in 1..=ROWS {
        let row = row(&collection, &[("id", key.into()), ("n", (key % 1_000).into()), ("t", format!("point {key}").into())])?;
        batch.push(Mutation::Insert { collection: id, row });
        if batch.len() == BATCH {
            store.apply(&batch)?;
            batch.clear();
        }
    }
    equal("how many records", &(ROWS as u64), &store.count(&Query::all(id))?)?;
    let mut query = Query::all(id);
    let (mut seen, mut pages) = (0_i64, 0);
    loop {
        let page = store.find(&query, PAGE)?;
        check_page(&query, &page, PAGE)?;
        pages += 1;
        for row in &page.rows {
            seen += 1;
            equal("the key of a row", &seen, &int_key(&collection, row)?)?;
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    equal("how many rows the pages had", &ROWS, &seen)?;
    ensure(pages > 5, || format!("how many pages there were: expected more than 5, found {pages}"))?;
    let some = Query::all(id).filter(Condition::new(1, Op::Eq, 7));
    equal("how many an index finds", &(ROWS as u64 / 1_000), &store.count(&some)?)?;
    let last = Query::all(id).order_by(1, true).limit(1);
    equal("the first by n, descending", &vec![999], &{
        let page = store.find(&last, PAGE)?;
        page.rows.iter().map(|row| int_key(&collection, row)).collect::<Checked<Vec<_>>>()?
    })
}
