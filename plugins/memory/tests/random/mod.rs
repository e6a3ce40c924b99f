//! Random operations for a backend and for the reference model, which must answer alike.

use hivemind_abi::model::reference::Reference;
use hivemind_abi::model::{
    Backend, Change, Collection, CollectionId, Condition, Context, Index, Key, Kind, Mutation, Op, Outcome, Query, Row, Value,
    eval,
};
use proptest::prelude::*;

/// A batch, as far as it can be described without ids.
pub(crate) type Batch = Vec<(usize, Step)>;

/// One mutation of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Insert(i64, Fields),
    InsertNext(Fields),
    Put(i64, Fields),
    Set(i64, Fields, bool),
    Json(i64, String, Option<String>),
    List(i64, String, bool),
    Delete(i64),
    DeleteWhere(Option<String>, u64),
    Expect(i64, bool),
}

/// The values of a record.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    text: Option<String>,
    unique: Option<String>,
    real: Option<f64>,
    flag: bool,
    blob: Option<Vec<u8>>,
}

/// Two collections, the first of them primary.
pub(crate) fn collections() -> Vec<Collection> {
    ["clients", "others"]
        .into_iter()
        .map(|name| {
            let mut c = Collection::new(name, 1, "id", Kind::Int)
                .field_with("text", Kind::Text, Value::Nil, Index::Plain)
                .field_with("unique", Kind::Text, Value::Nil, Index::Unique { except: vec!["gone".into()] })
                .field("real", Kind::Real)
                .field("flag", Kind::Bool)
                .field("blob", Kind::Blob)
                .field_with("object", Kind::Json, Value::Json("{}".to_owned()), Index::None)
                .field_with("list", Kind::Json, Value::Json("[]".to_owned()), Index::None);
            c.primary = name == "clients";
            c
        })
        .collect()
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab]{0,2}", 1 => Just("gone".to_owned()), 1 => any::<String>(), 1 => Just("a\u{2028}\u{85}\0\"".to_owned())]
}

fn fields() -> impl Strategy<Value = Fields> {
    let real = any::<f64>().prop_filter("finite", |v| v.is_finite());
    (
        prop::option::of(word()),
        prop::option::of(word()),
        prop::option::of(real),
        any::<bool>(),
        prop::option::of(any::<[u8; 3]>()),
    )
        .prop_map(|(text, unique, real, flag, blob)| Fields { text, unique, real, flag, blob: blob.map(Into::into) })
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..6_i64;
    prop_oneof![
        2 => (id.clone(), fields()).prop_map(|(id, f)| Step::Insert(id, f)),
        2 => fields().prop_map(Step::InsertNext),
        3 => (id.clone(), fields()).prop_map(|(id, f)| Step::Put(id, f)),
        3 => (id.clone(), fields(), any::<bool>()).prop_map(|(id, f, when)| Step::Set(id, f, when)),
        2 => (id.clone(), word(), prop::option::of(word())).prop_map(|(id, name, value)| Step::Json(id, name, value)),
        2 => (id.clone(), word(), any::<bool>()).prop_map(|(id, item, add)| Step::List(id, item, add)),
        1 => id.clone().prop_map(Step::Delete),
        1 => (prop::option::of(word()), 0..3_u64).prop_map(|(text, limit)| Step::DeleteWhere(text, limit)),
        1 => (id, any::<bool>()).prop_map(|(id, there)| Step::Expect(id, there)),
    ]
}

/// Batches to apply one after another.
pub(crate) fn batches() -> impl Strategy<Value = Vec<Batch>> {
    prop::collection::vec(prop::collection::vec((0..2_usize, step()), 1..4), 1..12)
}

fn row(collection: &Collection, id: i64, fields: &Fields) -> Row {
    let Fields { text, unique, real, flag, blob } = fields.clone();
    let row = Row::builder(collection).set("id", id).and_then(|b| b.set("text", text)).and_then(|b| b.set("unique", unique));
    let row = row.and_then(|b| b.set("real", real)).and_then(|b| b.set("flag", flag)).and_then(|b| b.set("blob", blob));
    row.expect("a row").build()
}

fn mutation(collection: &Collection, id: CollectionId, step: &Step, model: &Reference) -> Mutation {
    let at = |name| collection.position(name).expect("a field");
    let update = |key: i64, changes| Mutation::Update { collection: id, key: Key::Int(key), changes, when: Vec::new() };
    match step.clone() {
        Step::Insert(key, f) => Mutation::Insert { collection: id, row: row(collection, key, &f) },
        Step::InsertNext(f) => Mutation::InsertNext { collection: id, row: row(collection, 0, &f) },
        Step::Put(key, f) => Mutation::Put { collection: id, row: row(collection, key, &f) },
        Step::Set(key, f, when) => {
            let when = if when { vec![Condition::new(at("flag"), Op::Eq, true)] } else { Vec::new() };
            let changes =
                vec![Change::set(at("text"), f.text), Change::set(at("unique"), f.unique), Change::set(at("flag"), f.flag)];
            Mutation::Update { collection: id, key: Key::Int(key), changes, when }
        }
        Step::Json(key, name, Some(value)) => {
            let json = hivemind_abi::model::json::quote(&value);
            update(key, vec![Change::JsonSet { field: at("object"), name, json }])
        }
        Step::Json(key, name, None) => update(key, vec![Change::JsonUnset { field: at("object"), name }]),
        Step::List(key, item, true) => update(key, vec![Change::ListAdd { field: at("list"), item: item.into() }]),
        Step::List(key, item, false) => update(key, vec![Change::ListRemove { field: at("list"), item: item.into() }]),
        Step::Delete(key) => Mutation::Delete { collection: id, key: Key::Int(key), when: Vec::new() },
        Step::DeleteWhere(text, limit) => {
            let query = Query::all(id).limit(limit).order_by(at("real"), true);
            let condition = text.map_or(Condition::is_null(at("text")), |t| Condition::new(at("text"), Op::Eq, t));
            Mutation::DeleteWhere { query: query.filter(condition) }
        }
        Step::Expect(key, there) => {
            let found = model.get(&Context::unbounded(), id, Key::Int(key).as_ref()).expect("a look-up");
            Mutation::Expect { collection: id, key: Key::Int(key), row: if there { found } else { None } }
        }
    }
}

/// Applies the batches to both and compares every answer and, after each batch, everything stored. `reopen` may hand out another
/// handle on the same data.
pub(crate) fn compare<B: Backend>(mut backend: B, batches: &[Batch], mut reopen: impl FnMut(B) -> B) {
    let cx = Context::unbounded();
    let model = Reference::new();
    let all = collections();
    let ids = backend.prepare(&cx, &all).expect("prepared");
    assert_eq!(model.prepare(&cx, &all).expect("prepared"), ids);
    for batch in batches {
        let mutations: Vec<_> = batch.iter().map(|(c, step)| mutation(&all[*c], ids[*c], step, &model)).collect();
        let before = backend.changes_since(&cx, ids[0], Default::default()).expect("a token").0;
        let state = contents(&backend, &all, &ids);
        match (backend.apply(&cx, &mutations), model.apply(&cx, &mutations)) {
            (Ok(found), Ok(expected)) => {
                let pairs = found.outcomes.iter().zip(&expected.outcomes);
                assert_eq!(found.outcomes.len(), expected.outcomes.len());
                for ((found, expected), (c, _)) in pairs.zip(batch) {
                    same_outcome(&all[*c], found, expected);
                }
            }
            (Err(found), Err(expected)) => {
                assert_eq!(found.code(), expected.code(), "{found} / {expected}");
                assert_eq!(found.detail().mutation, expected.detail().mutation, "{found} / {expected}");
                assert_eq!(contents(&backend, &all, &ids), state, "a failed batch changed something");
            }
            (found, expected) => panic!("{mutations:?}\nfound {found:?}\nexpected {expected:?}"),
        }
        changes_are_complete(&backend, &all[0], ids[0], before, &state[0]);
        backend = reopen(backend);
        assert_eq!(backend.prepare(&cx, &all).expect("prepared"), ids);
        same_contents(&backend, &model, &all, &ids);
    }
}

fn contents(backend: &impl Backend, all: &[Collection], ids: &[CollectionId]) -> Vec<Vec<Row>> {
    let rows = |id: &CollectionId| backend.find(&Context::unbounded(), &Query::all(*id), usize::MAX).expect("a page").rows;
    all.iter().zip(ids).map(|(_, id)| rows(id)).collect()
}

fn changes_are_complete(
    backend: &impl Backend,
    collection: &Collection,
    id: CollectionId,
    token: hivemind_abi::model::Token,
    before: &[Row],
) {
    use hivemind_abi::model::Changes;
    let cx = Context::unbounded();
    let told = match backend.changes_since(&cx, id, token).expect("changes").1 {
        Changes::Nothing => Vec::new(),
        Changes::Keys(keys) => keys,
        other => panic!("{other:?} after one batch"),
    };
    let now = backend.find(&cx, &Query::all(id), usize::MAX).expect("a page").rows;
    let key = |row: &Row| row.view(collection).expect("a row").key().to_key();
    for row in before.iter().filter(|r| !now.contains(r)).chain(now.iter().filter(|r| !before.contains(r))) {
        assert!(told.contains(&key(row)), "a change of {} was not told", key(row));
    }
}

fn same_outcome(collection: &Collection, found: &Outcome, expected: &Outcome) {
    match (found, expected) {
        (Outcome::Updated(a), Outcome::Updated(b)) => same_row(collection, a, b),
        (found, expected) => assert_eq!(found, expected),
    }
}

fn same_row(collection: &Collection, a: &Row, b: &Row) {
    let (a, b) = (a.view(collection).expect("a row"), b.view(collection).expect("a row"));
    assert!(eval::same_rows(&a, &b), "{a:?}\n{b:?}");
}

fn same_contents(backend: &impl Backend, model: &Reference, all: &[Collection], ids: &[CollectionId]) {
    for (collection, id) in all.iter().zip(ids) {
        let query = Query::all(*id).order_by(3, true).order_by(1, false);
        let found = backend.find(&Context::unbounded(), &query, usize::MAX).expect("a page");
        let expected = model.find(&Context::unbounded(), &query, usize::MAX).expect("a page");
        assert_eq!(found.rows.len(), expected.rows.len());
        assert_eq!(found.unreadable, []);
        for (a, b) in found.rows.iter().zip(&expected.rows) {
            same_row(collection, a, b);
        }
        assert_eq!(backend.count(&Context::unbounded(), &Query::all(*id)).expect("a count"), expected.rows.len() as u64);
    }
}
