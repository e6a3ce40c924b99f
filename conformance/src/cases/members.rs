//! Conditions on one member of a JSON field's object.

use hivemind_model::{Condition, Op, Query, Value};

use super::operators::expected;
use super::specimens::{COUNT, JSON, Specimens};
use crate::case::{Case, Checked};
use crate::check::equal;
use crate::fixture::json;
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("members::by_hand", "A member is compared by its own kind; absent and null count as nil.", by_hand),
    Case::new("members::evaluated", "Every operator on members agrees with the evaluator.", evaluated),
    Case::new("members::odd_names", "A member's name is taken as it is: dots, quotes, spaces, the empty name.", odd_names),
];

fn found(specimens: &Specimens, condition: &Condition) -> Checked<Vec<i64>> {
    let query = Query::all(specimens.id).filter(condition.clone());
    specimens.store.ids_of(&specimens.collection, &query)
}

fn by_hand(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    let with_a = [4, 5, 13, 14, 15];
    let without_a: Vec<i64> = (1..=COUNT).filter(|id| !with_a.contains(id)).collect();
    let one = |member: &'static str, op: Op, operand: Value, ids: &[i64]| (member, op, vec![operand], ids.to_vec());
    for (member, op, operands, expected) in [
        one("a", Op::Eq, 1.into(), &[4, 5]),
        one("a", Op::Eq, "x".into(), &[13]),
        one("a", Op::Eq, true.into(), &[14]),
        one("a", Op::Eq, "1".into(), &[]),
        one("a", Op::Ne, 1.into(), &[]),
        one("a", Op::Ne, 2.into(), &[4, 5]),
        one("a", Op::Ne, "y".into(), &[13]),
        one("a", Op::Lt, 1.5.into(), &[4, 5]),
        one("a", Op::Like, "_".into(), &[13]),
        one("a", Op::Contains, "x".into(), &[15]),
        one("b", Op::Eq, json("[1, 2.0]"), &[4, 5]),
        one("b", Op::Contains, 2.into(), &[4, 5]),
        ("a", Op::In, vec![1.into(), "x".into(), true.into()], vec![4, 5, 13, 14]),
        ("a", Op::NotNull, vec![], with_a.to_vec()),
        ("a", Op::IsNull, vec![], without_a),
        ("n", Op::IsNull, vec![], (1..=COUNT).collect()),
        ("A", Op::NotNull, vec![], vec![]),
    ] {
        let condition = Condition::with_operands(JSON, op, operands).on_member(member);
        equal(&format!("{condition:?}"), &expected, &found(&specimens, &condition)?)?;
    }
    Ok(())
}

fn evaluated(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    let operands: [Value; 9] =
        [0.into(), 1.into(), 1.0.into(), 1.5.into(), "x".into(), "".into(), true.into(), json("[1,2]"), Value::Blob(vec![1])];
    for member in ["a", "b", "n", "absent"] {
        for op in Op::ALL {
            let conditions = match op {
                Op::IsNull | Op::NotNull => vec![Condition::with_operands(JSON, op, Vec::new())],
                _ => operands.iter().map(|v| Condition::new(JSON, op, v.clone())).collect(),
            };
            for condition in conditions {
                let condition = condition.on_member(member);
                let expected = expected(&specimens, std::slice::from_ref(&condition))?;
                equal(&format!("{condition:?}"), &expected, &found(&specimens, &condition)?)?;
            }
        }
    }
    Ok(())
}

fn odd_names(subject: &dyn Subject) -> Checked {
    const NAMES: [&str; 10] = ["", ".", "a.b", "$", "a[0]", "\"", "'", "\\", "\u{e9}", "\0"];
    let store = crate::fixture::Store::fresh(subject)?;
    for (id, name) in (1..).zip(NAMES) {
        let object = format!("{{{}: 1, \"other\": 2}}", hivemind_model::json::quote(name));
        store.one(store.insert(id, &[("j", json(&object))])?)?;
    }
    for (id, name) in (1..).zip(NAMES) {
        let condition = Condition::new(crate::fixture::field::J, Op::Eq, 1).on_member(name);
        equal(&format!("the member {name:?}"), &vec![id], &store.ids(&Query::all(store.things).filter(condition))?)?;
    }
    Ok(())
}
