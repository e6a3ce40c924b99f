//! The order of rows, limits, offsets and counts.

use hivemind_model::{Condition, Op, Order, Query, eval};

use super::specimens::{BLOB, COUNT, FLAG, INDEXED, INT, REAL, Specimens, TEXT};
use crate::case::{Case, Checked};
use crate::check::equal;
use crate::fixture::{Store, field, int_key};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("order::by_key", "Without an order rows come by key: ints as numbers, texts by bytes.", by_key),
    Case::new("order::ascending", "Ascending: nil first, then by value.", ascending),
    Case::new("order::descending", "Descending: by value from the greatest, nil last.", descending),
    Case::new("order::ties", "Ties are broken by the key, ascending, in both directions.", ties),
    Case::new("order::every_field", "Every field that has an order agrees with the evaluator in both directions.", every_field),
    Case::new("order::several_fields", "A later field orders what the earlier ones leave equal.", several_fields),
    Case::new("order::limit", "A limit gives the first rows, and none for zero.", limit),
    Case::new("order::offset", "An offset passes over the first matches, beyond the end too.", offset),
    Case::new("order::counts", "count counts limit and offset, and ignores order and continuation.", counts),
];

fn by_key(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([10, 9, -1, 100, 2])?;
    equal("int keys", &vec![-1, 2, 9, 10, 100], &store.every_id()?)?;
    let slugs = ["b", "\u{1f600}", "a", "\u{fffd}", "B", "ab", "a\0", ""];
    for slug in slugs {
        let row = store.note_row(slug, &[])?;
        store.one(hivemind_model::Mutation::Insert { collection: store.notes, row })?;
    }
    let rows = crate::fixture::all_pages(&*store.backend, &Query::all(store.notes), usize::MAX)?;
    let mut found = Vec::new();
    for row in &rows {
        found.push(row.view(&store.note)?.key().to_key());
    }
    let mut sorted = slugs;
    sorted.sort_unstable();
    equal("text keys", &sorted.map(hivemind_model::Key::from).to_vec(), &found)
}

fn ordered(specimens: &Specimens, order: &[(usize, bool)]) -> Checked<Vec<i64>> {
    let query = order.iter().fold(Query::all(specimens.id), |query, (at, descending)| query.order_by(*at, *descending));
    specimens.store.ids_of(&specimens.collection, &query)
}

/// On the field and on its indexed twin.
fn by_hand(specimens: &Specimens, field: usize, descending: bool, expected: &Vec<i64>) -> Checked {
    for field in [field, field + INDEXED] {
        let name = &specimens.collection.at(field)?.name;
        equal(&format!("by {name}, descending {descending}"), expected, &ordered(specimens, &[(field, descending)])?)?;
    }
    Ok(())
}

fn ascending(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    by_hand(&specimens, INT, false, &vec![1, 9, 10, 11, 12, 13, 14, 15, 16, 5, 3, 2, 4, 8, 7, 6])?;
    by_hand(&specimens, REAL, false, &vec![1, 13, 14, 15, 16, 11, 5, 2, 3, 7, 12, 10, 4, 8, 9, 6])?;
    by_hand(&specimens, TEXT, false, &vec![1, 2, 13, 9, 4, 3, 5, 6, 11, 10, 12, 16, 8, 7, 14, 15])?;
    by_hand(&specimens, BLOB, false, &vec![1, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 6, 4, 7, 5])
}

fn descending(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    by_hand(&specimens, INT, true, &vec![6, 7, 8, 4, 2, 3, 5, 1, 9, 10, 11, 12, 13, 14, 15, 16])?;
    by_hand(&specimens, REAL, true, &vec![6, 9, 8, 4, 10, 12, 7, 2, 3, 5, 11, 1, 13, 14, 15, 16])?;
    by_hand(&specimens, TEXT, true, &vec![15, 14, 7, 8, 16, 12, 10, 11, 6, 5, 3, 4, 9, 13, 2, 1])
}

fn ties(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let things: Result<Vec<_>, _> =
        [5, 3, 9, 1, 7, 2].into_iter().map(|id| store.insert(id, &[("n", (id % 2).into()), ("grp", "g".into())])).collect();
    store.all(things?)?;
    let by = |at: usize, descending: bool| store.ids(&Query::all(store.things).order_by(at, descending));
    equal("ascending", &vec![2, 1, 3, 5, 7, 9], &by(field::N, false)?)?;
    equal("descending", &vec![1, 3, 5, 7, 9, 2], &by(field::N, true)?)?;
    equal("all equal, descending", &vec![1, 2, 3, 5, 7, 9], &by(field::GRP, true)?)?;
    equal("all nil, descending", &vec![1, 2, 3, 5, 7, 9], &by(field::T, true)?)
}

fn agree(specimens: &Specimens, order: &[(usize, bool)]) -> Checked {
    let by: Vec<Order> = order.iter().map(|(field, descending)| Order { field: *field, descending: *descending }).collect();
    let mut views = Vec::new();
    for row in &specimens.rows {
        views.push((row.view(&specimens.collection)?, int_key(&specimens.collection, row)?));
    }
    views.sort_by(|(a, _), (b, _)| eval::compare_rows(&by, a, b));
    let expected: Vec<i64> = views.iter().map(|(_, id)| *id).collect();
    equal(&format!("by (field, descending) {order:?}"), &expected, &ordered(specimens, order)?)
}

fn every_field(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for (at, described) in specimens.collection.fields.iter().enumerate() {
        if described.kind != hivemind_model::Kind::Json {
            agree(&specimens, &[(at, false)])?;
            agree(&specimens, &[(at, true)])?;
        }
    }
    Ok(())
}

fn several_fields(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for order in [
        [(FLAG, false), (TEXT, true)],
        [(FLAG, true), (INT, false)],
        [(BLOB, true), (REAL, true)],
        [(REAL, false), (0, true)],
        [(FLAG + INDEXED, true), (INT + INDEXED, true)],
        [(0, true), (TEXT, false)],
    ] {
        agree(&specimens, &order)?;
    }
    Ok(())
}

fn limit(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for limit in [0, 1, 5, 16, 17, u64::MAX] {
        let query = Query::all(specimens.id).order_by(TEXT, true).limit(limit);
        let page = specimens.store.find(&query, usize::MAX)?;
        let expected = limit.min(COUNT as u64) as usize;
        equal(&format!("how many rows with the limit {limit}"), &expected, &page.rows.len())?;
        let all = [15, 14, 7, 8, 16, 12, 10, 11, 6, 5, 3, 4, 9, 13, 2, 1];
        let ids: Checked<Vec<i64>> = page.rows.iter().map(|row| int_key(&specimens.collection, row)).collect();
        equal(&format!("the rows with the limit {limit}"), &all[..expected].to_vec(), &ids?)?;
    }
    Ok(())
}

fn offset(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=5)?;
    let find = |offset: u64, limit: Option<u64>, descending: bool| -> Checked<Vec<i64>> {
        let mut query = Query::all(store.things).order_by(field::N, descending).offset(offset);
        query.limit = limit;
        let page = store.find(&query, usize::MAX)?;
        page.rows.iter().map(|row| int_key(&store.thing, row)).collect()
    };
    equal("offset 0", &vec![1, 2, 3, 4, 5], &find(0, None, false)?)?;
    equal("offset 2", &vec![3, 4, 5], &find(2, None, false)?)?;
    equal("offset 2, limit 2, descending", &vec![3, 2], &find(2, Some(2), true)?)?;
    equal("offset 4", &vec![5], &find(4, None, false)?)?;
    equal("offset 5", &Vec::<i64>::new(), &find(5, None, false)?)?;
    equal("the greatest offset", &Vec::<i64>::new(), &find(u64::MAX, Some(u64::MAX), false)?)?;
    let filtered = Query::all(store.things).filter(Condition::new(field::N, Op::Ge, 3)).offset(1);
    equal("offset among matches", &vec![4, 5], &store.ids(&filtered)?)
}

fn counts(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=10)?;
    let all = Query::all(store.things);
    let some = || all.clone().filter(Condition::new(field::N, Op::Gt, 4));
    let place = store.find(&all.clone().limit(3), usize::MAX)?.next;
    for (what, query, expected) in [
        ("all", all.clone(), 10),
        ("a condition", some(), 6),
        ("limit", all.clone().limit(4), 4),
        ("limit 0", all.clone().limit(0), 0),
        ("a limit beyond", some().limit(100), 6),
        ("offset", all.clone().offset(3), 7),
        ("offset beyond", some().offset(100), 0),
        ("the greatest offset", some().offset(u64::MAX), 0),
        ("offset and limit", some().offset(4).limit(5), 2),
        ("order", some().order_by(field::T, true), 6),
        ("a continuation", Query { after: place, ..all.clone() }, 10),
    ] {
        equal(&format!("count with {what}"), &expected, &store.count(&query)?)?;
    }
    Ok(())
}
