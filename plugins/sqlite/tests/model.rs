//! The store against the model's reference on random data: same answers to the same questions.

mod common;

use common::*;
use hivemind_abi::model::reference::Reference;
use hivemind_abi::model::{
    Backend, Change, Collection, Condition, Index, Key, Kind, Mutation, Op, Outcome, Page, Query, Row, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn things(key: Kind) -> Collection {
    Collection::new("things", 1, "id", key)
        .field("bool", Kind::Bool)
        .field_with("int", Kind::Int, Value::Nil, Index::Plain)
        .field_with("real", Kind::Real, Value::Nil, Index::Plain)
        .field("text", Kind::Text)
        .field("blob", Kind::Blob)
        .field("json", Kind::Json)
        .field_with("code", Kind::Text, Value::Nil, Index::Unique { except: vec!["free".into()] })
}

const KINDS: [Kind; 7] = [Kind::Bool, Kind::Int, Kind::Real, Kind::Text, Kind::Blob, Kind::Json, Kind::Text];

/// Few values, so that many are equal, and those that engines confuse.
fn some(kind: Kind) -> BoxedStrategy<Value> {
    const BIG: i64 = (1 << 53) + 1;
    let texts = ["", "a", "A", "b", "ab", "a\0", "a\0b", "5", "ä", "🐝", "free", "%", "_"];
    let jsons =
        ["null", "[]", "[1, 2]", "[1.0]", "[\"a\"]", "{}", r#"{"a": 1}"#, r#"{"a": "x", "b": null}"#, "\"a\"", "[true]", "1e400"];
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int => prop::sample::select(vec![0, 1, -1, 2, 5, BIG, BIG - 1, i64::MAX, i64::MIN]).prop_map(Value::Int).boxed(),
        Kind::Real => {
            let reals = vec![0.0, 1.0, -1.0, 1.5, 5.0, (BIG - 1) as f64, 9.223_372_036_854_776e18, 1e300, -1e300, 5e-324];
            prop::sample::select(reals).prop_map(Value::Real).boxed()
        }
        Kind::Blob => vec(prop::sample::select(vec![0_u8, 97, 255]), 0..3).prop_map(Value::Blob).boxed(),
        Kind::Json => prop::sample::select(jsons.to_vec()).prop_map(|t| Value::Json(t.to_owned())).boxed(),
        _ => prop::sample::select(texts.to_vec()).prop_map(Value::from).boxed(),
    }
}

fn key(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Int => prop_oneof![9 => 0..6_i64, 1 => Just(-3)].prop_map(Value::Int).boxed(),
        _ => some(Kind::Text),
    }
}

fn row(kind: Kind) -> BoxedStrategy<Row> {
    let values = KINDS.map(|k| prop_oneof![1 => Just(Value::Nil), 4 => some(k)]);
    (key(kind), values)
        .prop_map(move |(key, values)| {
            let things = things(kind);
            let mut builder = Row::builder(&things);
            for (at, value) in std::iter::once(key).chain(values).enumerate() {
                builder.put(at, value).expect("of its kind");
            }
            builder.build()
        })
        .boxed()
}

fn condition(key_kind: Kind) -> BoxedStrategy<Condition> {
    let field = prop_oneof![1 => Just(0_usize), 9 => 1..=KINDS.len()];
    (field, prop::sample::select(Op::ALL.to_vec()), any::<bool>())
        .prop_flat_map(move |(field, op, other_number)| {
            let kind = if field == 0 { key_kind } else { KINDS[field - 1] };
            let number = if kind == Kind::Int { Kind::Real } else { Kind::Int };
            let operand = match (op, kind) {
                (Op::Contains, _) => prop_oneof![Just(Value::Int(1)), Just(Value::from("a")), Just(Value::Bool(true))].boxed(),
                (_, Kind::Int | Kind::Real) if other_number => some(number),
                _ => some(kind),
            };
            let count = match op {
                Op::IsNull | Op::NotNull => 0..=0,
                Op::In => 0..=3,
                _ => 1..=1,
            };
            (Just((field, op)), vec(operand, count))
        })
        .prop_map(|((field, op), operands)| Condition::with_operands(field, op, operands))
        .boxed()
}

fn query(key_kind: Kind) -> BoxedStrategy<Query> {
    let order = vec((0..=KINDS.len(), any::<bool>()), 0..3);
    (vec(condition(key_kind), 0..3), order, prop::option::of(0..6_u64), 0..4_u64)
        .prop_map(|(all, order, limit, offset)| {
            let mut query = Query::all(hivemind_abi::model::CollectionId(0)).offset(offset);
            query.all = all;
            query.limit = limit;
            order.into_iter().fold(query, |query, (field, descending)| query.order_by(field, descending))
        })
        .boxed()
}

fn mutation(kind: Kind) -> BoxedStrategy<Mutation> {
    let collection = hivemind_abi::model::CollectionId(0);
    let key = || key(kind).prop_map(|v| v.as_ref().as_key().expect("a key").to_key());
    let when = || vec(condition(kind), 0..2);
    prop_oneof![
        4 => row(kind).prop_map(move |row| Mutation::Insert { collection, row }),
        1 => row(kind).prop_map(move |row| Mutation::InsertNext { collection, row }),
        3 => row(kind).prop_map(move |row| Mutation::Put { collection, row }),
        2 => (key(), some(Kind::Text), when()).prop_map(move |(key, value, when)| {
            Mutation::Update { collection, key, changes: vec![Change::Set { field: 7, value }], when }
        }),
        1 => (key(), when()).prop_map(move |(key, when)| Mutation::Delete { collection, key, when }),
        1 => query(kind).prop_map(|query| Mutation::DeleteWhere { query }),
        1 => (key(), prop::option::of(row(kind))).prop_map(move |(key, row)| Mutation::Expect { collection, key, row }),
    ]
    .boxed()
}

fn pages(store: &dyn Backend, query: &Query, max_bytes: usize) -> Result<Vec<Page>, hivemind_abi::model::Error> {
    let mut query = query.clone();
    let mut pages = Vec::new();
    loop {
        let page = store.find(&CX, &query, max_bytes)?;
        let next = page.next.clone();
        pages.push(page);
        match next {
            Some(next) if pages.len() < 40 => query = query.after(next),
            _ => return Ok(pages),
        }
    }
}

fn compare(kind: Kind, batches: &[Vec<Mutation>], queries: &[(Query, usize)]) {
    let folder = Folder::new();
    let store = folder.open_with(r#"{"synchronous": "normal"}"#);
    let reference = Reference::new();
    let things = things(kind);
    store.prepare(&CX, std::slice::from_ref(&things)).expect("prepares");
    reference.prepare(&CX, std::slice::from_ref(&things)).expect("prepares");
    for batch in batches {
        let (found, expected) = (store.apply(&CX, batch), reference.apply(&CX, batch));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.outcomes, expected.outcomes, "{batch:?}"),
            (Err(found), Err(expected)) => {
                assert_eq!((found.code(), found.detail().mutation), (expected.code(), expected.detail().mutation), "{found}");
            }
            (found, expected) => panic!("{batch:?}\nfound {found:?}\nexpected {expected:?}"),
        }
    }
    for (query, max_bytes) in queries {
        match (pages(&store, query, *max_bytes), pages(&reference, query, *max_bytes)) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{query:?}"),
            (Err(found), Err(expected)) => assert_eq!(found.code(), expected.code(), "{found}"),
            (found, expected) => panic!("{query:?}\nfound {found:?}\nexpected {expected:?}"),
        }
        let code = |r: Result<u64, hivemind_abi::model::Error>| r.map_err(|e| e.code());
        assert_eq!(code(store.count(&CX, query)), code(reference.count(&CX, query)), "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answers_are_those_of_the_reference(
        batches in vec(vec(mutation(Kind::Int), 1..4), 1..16),
        queries in vec((query(Kind::Int), prop_oneof![Just(1_usize), Just(200), Just(usize::MAX)]), 1..12),
    ) {
        compare(Kind::Int, &batches, &queries);
    }

    #[test]
    fn the_answers_are_those_of_the_reference_with_text_keys(
        batches in vec(vec(mutation(Kind::Text), 1..4), 1..16),
        queries in vec((query(Kind::Text), prop_oneof![Just(1_usize), Just(200), Just(usize::MAX)]), 1..12),
    ) {
        compare(Kind::Text, &batches, &queries);
    }
}

#[test]
fn a_hundred_thousand_rows_are_read_by_pages_of_bounded_size() {
    let folder = Folder::new();
    let store = folder.open_with("{}");
    let things = things(Kind::Int);
    let id = store.prepare(&CX, std::slice::from_ref(&things)).expect("prepares")[0];
    let row = |n: i64| Row::builder(&things).set("id", n).expect("id").set("int", n % 7).expect("int").build();
    let inserts: Vec<_> = (1..=100_000).map(|n| Mutation::Insert { collection: id, row: row(n) }).collect();
    let outcomes = store.apply(&CX, &inserts).expect("inserts").outcomes;
    assert_eq!(outcomes.last(), Some(&Outcome::Inserted(Key::Int(100_000))));
    let mut query = Query::all(id).filter(Condition::new(2, Op::Ge, 3)).order_by(2, true).limit(20_000);
    let mut found = 0;
    loop {
        let page = store.find(&CX, &query, 1 << 20).expect("a page");
        assert!(page.rows.iter().map(|r| r.as_bytes().len()).sum::<usize>() <= 1 << 20);
        found += page.rows.len();
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    assert_eq!(found as u64, store.count(&CX, &Query { limit: None, after: None, ..query }).expect("a count"));
}
