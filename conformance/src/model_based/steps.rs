//! What a random sequence is made of. Few keys and values, so that they meet; among them those on which engines differ.
//!
//! Everything is drawn as plain numbers and only then read as keys, values and conditions. What is drawn in dependence on something
//! drawn before shrinks badly, and slowly.

use hivemind_model::{Capabilities, Change, Collection, Condition, Key, Kind, Op, Value};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use crate::fixture::{field, json, notes, things};

/// Which collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Things,
    Notes,
}

/// What an expectation expects.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// The record as the reference has it now, present or absent.
    AsItIs,
    Absent,
    Values(Vec<Value>),
}

/// A query without its collection's id.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) which: Which,
    pub(super) all: Vec<Condition>,
    pub(super) order: Vec<(usize, bool)>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
}

/// A mutation without its collection's id, its rows as values.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Insert(Which, Vec<Value>),
    InsertNext(Vec<Value>),
    Put(Which, Vec<Value>),
    Update { which: Which, key: Key, changes: Vec<Change>, when: Vec<Condition> },
    Delete { which: Which, key: Key, when: Vec<Condition> },
    DeleteWhere(Ask),
    Expect { which: Which, key: Key, expected: Expected },
}

/// One step of a sequence.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Apply(Vec<Act>),
    Get(Which, Key),
    GetMany(Which, Vec<Key>),
    GetBy(Value),
    Find(Ask, usize),
    Count(Ask),
    Reopen,
}

/// Sequences of up to `most` steps.
pub(super) fn sequences(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => vec(act(), 1..5).prop_map(Step::Apply),
        1 => (which(), PICK).prop_map(|(which, key)| Step::Get(which, key_of(which, key))),
        1 => (which(), vec(PICK, 0..4))
            .prop_map(|(which, keys)| Step::GetMany(which, keys.into_iter().map(|key| key_of(which, key)).collect())),
        1 => PICK.prop_map(|pick| Step::GetBy(value(Which::Things, field::CODE, pick + 1))),
        4 => (ask(), select(&[0_usize, 40, 100, 400][..])).prop_map(|(ask, bytes)| Step::Find(ask, bytes)),
        1 => ask().prop_map(Step::Count),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..most)
}

/// A number that picks one of a list, wherever it is used. Zero, to which it shrinks, picks the first.
const PICK: std::ops::Range<usize> = 0..5_040;

fn picked<T: Clone>(list: &[T], pick: usize) -> Option<T> {
    pick.checked_rem(list.len()).and_then(|at| list.get(at)).cloned()
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![3 => Just(Which::Things), 2 => Just(Which::Notes)]
}

fn collection(which: Which) -> Collection {
    match which {
        Which::Things => things(Capabilities::default()),
        Which::Notes => notes(),
    }
}

fn key_of(which: Which, pick: usize) -> Key {
    match which {
        Which::Things => picked(&[1, 2, 3, 4, 5, 6, 7, 8, 0, -1], pick).unwrap_or_default().into(),
        Which::Notes => picked(&["a", "", "A", "a\0", "\u{e9}"], pick).unwrap_or_default().into(),
    }
}

/// Every value that a field is given, nil first unless the field must not be nil.
fn values_of(which: Which, at: usize) -> Vec<Value> {
    let collection = collection(which);
    let mut values = vec![Value::Nil];
    if at == collection.key {
        return (0..10).map(|pick| key_of(which, pick).into()).collect();
    }
    if collection.extras == Some(at) {
        // A field for extras holds an object, always.
        return ["{}", r#"{"a": 1}"#, r#"{"a": "x", "b": [1]}"#].map(json).to_vec();
    }
    if which == Which::Things && at == field::CODE {
        values.extend(["k1", "none", "k2", "K1", ""].map(Value::from));
        return values;
    }
    match collection.fields.get(at).map_or(Kind::Int, |f| f.kind) {
        Kind::Bool => values.extend([false, true].map(Value::Bool)),
        Kind::Int => values.extend([0, 1, 2, -1, i64::MAX, 9_007_199_254_740_993, i64::MIN].map(Value::Int)),
        Kind::Real => values.extend([0.0, 1.0, 0.5, -0.0, -1.5, 2.0, 1e300, 9_007_199_254_740_992.0].map(Value::Real)),
        Kind::Text => {
            values.extend(["a", "", "A", "ab", "a\0", "\u{e9}", "e\u{301}", " ", "%", "_", "\\"].map(Value::from));
        }
        Kind::Blob => values.extend([&[][..], &[0], &[0, 1], &[255], &[0, 0]].map(|blob: &[u8]| Value::Blob(blob.to_vec()))),
        _ => {
            let simple = ["1", "1.0", "[]", "{}", r#""a""#, "12345678901234567890"].map(json);
            let nested = [r#"[1, "a"]"#, r#"{"a": 1}"#, r#"{"b": [1], "a": "x"}"#].map(json);
            values.extend(simple.into_iter().chain(nested));
        }
    }
    values
}

fn value(which: Which, at: usize, pick: usize) -> Value {
    picked(&values_of(which, at), pick).unwrap_or(Value::Nil)
}

/// A row's values, from a pick for each of them; the first is the key's.
fn row(which: Which, picks: &[usize]) -> Vec<Value> {
    let fields = 0..collection(which).fields.len();
    fields.map(|at| value(which, at, picks.get(at).copied().unwrap_or(0))).collect()
}

/// As many picks as the widest row has fields.
fn picks() -> impl Strategy<Value = Vec<usize>> {
    vec(PICK, 9)
}

/// A condition as it is drawn: field, operator, operands, member; whether it must fit its field.
type Drawn = (usize, Op, Vec<usize>, usize, bool);

fn drawn() -> impl Strategy<Value = Drawn> {
    // Now and then an operand is of another field's kind: all must refuse it.
    let fits = prop_oneof![12 => Just(true), 1 => Just(false)];
    (PICK, select(&Op::ALL[..]), vec(PICK, 3), 0..10_usize, fits)
}

fn condition(which: Which, (at, op, operands, member, fits): Drawn) -> Condition {
    let collection = collection(which);
    let at = at % collection.fields.len();
    let of = if fits { at } else { (at + 1) % collection.fields.len() };
    let count = match op {
        Op::IsNull | Op::NotNull => 0,
        Op::In => operands.first().map_or(0, |pick| pick % 4),
        _ => 1,
    };
    let present: Vec<Value> = values_of(which, of).into_iter().filter(|v| *v != Value::Nil).collect();
    let operands = operands.into_iter().take(count).filter_map(|pick| picked(&present, pick)).collect();
    let condition = Condition::with_operands(at, op, operands);
    match (collection.fields.get(at).map(|f| f.kind), member) {
        (Some(Kind::Json), 8) => condition.on_member("a"),
        (Some(Kind::Json), 9) => condition.on_member("b"),
        _ => condition,
    }
}

fn conditions(which: Which, drawn: Vec<Drawn>) -> Vec<Condition> {
    drawn.into_iter().map(|drawn| condition(which, drawn)).collect()
}

fn ask() -> impl Strategy<Value = Ask> {
    let order = vec((PICK, any::<bool>()), 0..3);
    let limit = prop_oneof![Just(None), (0..6_u64).prop_map(Some)];
    let offset = prop_oneof![3 => Just(0), 1 => 0..4_u64];
    (which(), vec(drawn(), 0..3), order, limit, offset).prop_map(|(which, all, order, limit, offset)| {
        let fields = collection(which).fields.len();
        let order = order.into_iter().map(|(at, descending)| (at % fields, descending)).collect();
        Ask { which, all: conditions(which, all), order, limit, offset }
    })
}

/// A change from four picks: its sort, its field, and two for its contents.
fn change(which: Which, (sort, at, one, two): (usize, usize, usize, usize)) -> Change {
    let fields = collection(which).fields.len();
    let any_field = 1 + at % (fields - 1);
    // Mostly the one that these changes are for.
    let document = match which {
        _ if at % 9 == 8 => any_field,
        Which::Things => field::J,
        Which::Notes => fields - 1,
    };
    let name = || picked(&["a", "b", "c"], one).unwrap_or_default().to_owned();
    let text = || picked(&["1", "null", "[true]", "\"x\""], two).unwrap_or_default().to_owned();
    let scalar = || picked(&[Value::Int(1), Value::Int(0), "a".into(), "x".into()], one).unwrap_or(Value::Nil);
    match sort % 12 {
        0..=5 => Change::Set { field: any_field, value: value(which, any_field, one) },
        6 | 7 => Change::Increment { field: any_field, by: picked(&[1_i64, 0, -1, 2], one).unwrap_or_default().into() },
        8 => Change::JsonSet { field: document, name: name(), json: text() },
        9 => Change::JsonUnset { field: document, name: name() },
        10 => Change::ListAdd { field: document, item: scalar() },
        _ => Change::ListRemove { field: document, item: scalar() },
    }
}

fn act() -> impl Strategy<Value = Act> {
    let when = || prop_oneof![3 => Just(Vec::new()), 1 => vec(drawn(), 1..3)];
    let changes = vec((PICK, PICK, PICK, PICK), 0..3);
    let update = (which(), PICK, changes, when()).prop_map(|(which, key, changes, when)| Act::Update {
        which,
        key: key_of(which, key),
        changes: changes.into_iter().map(|picks| change(which, picks)).collect(),
        when: conditions(which, when),
    });
    let delete = (which(), PICK, when()).prop_map(|(which, key, when)| Act::Delete {
        which,
        key: key_of(which, key),
        when: conditions(which, when),
    });
    let expect = (which(), picks(), 0..8_usize).prop_map(|(which, picks, sort)| Act::Expect {
        which,
        key: key_of(which, picks.first().copied().unwrap_or(0)),
        expected: match sort {
            6 => Expected::Absent,
            7 => Expected::Values(row(which, &picks)),
            _ => Expected::AsItIs,
        },
    });
    prop_oneof![
        4 => (which(), picks()).prop_map(|(which, picks)| Act::Insert(which, row(which, &picks))),
        3 => picks().prop_map(|picks| Act::InsertNext(row(Which::Things, &picks))),
        4 => (which(), picks()).prop_map(|(which, picks)| Act::Put(which, row(which, &picks))),
        5 => update,
        2 => delete,
        1 => ask().prop_map(Act::DeleteWhere),
        2 => expect,
    ]
}
