//! Every operator on every kind: against a table written by hand, and against the reference evaluator.

use hivemind_model::{Condition, Kind, Mutation, Op, Outcome, Query, Value, eval};

use super::specimens::{BLOB, COUNT, FLAG, INDEXED, INT, JSON, REAL, Specimens, TEXT};
use crate::case::{Case, Checked};
use crate::check::equal;
use crate::fixture::{int_key, json};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("operators::eq", "eq: the value equals the operand; never for nil.", |s| by_hand(s, Op::Eq)),
    Case::new("operators::ne", "ne: the value is not nil and does not equal the operand.", |s| by_hand(s, Op::Ne)),
    Case::new("operators::lt", "lt: the value is less; never for nil.", |s| by_hand(s, Op::Lt)),
    Case::new("operators::le", "le: the value is less or equal; never for nil.", |s| by_hand(s, Op::Le)),
    Case::new("operators::gt", "gt: the value is greater; never for nil.", |s| by_hand(s, Op::Gt)),
    Case::new("operators::ge", "ge: the value is greater or equal; never for nil.", |s| by_hand(s, Op::Ge)),
    Case::new("operators::in", "in: the value equals one of the operands; with none, never.", |s| by_hand(s, Op::In)),
    Case::new("operators::like", "like: case-sensitive, with %, _ and the escape \\.", |s| by_hand(s, Op::Like)),
    Case::new("operators::contains", "contains: a JSON list holds the scalar.", |s| by_hand(s, Op::Contains)),
    Case::new("operators::is_null", "is_null: nil and nothing else.", |s| by_hand(s, Op::IsNull)),
    Case::new("operators::not_null", "not_null: everything but nil.", |s| by_hand(s, Op::NotNull)),
    Case::new("operators::on_bool", "Every operator on bools agrees with the evaluator.", |s| evaluated(s, Kind::Bool)),
    Case::new("operators::on_int", "Every operator on ints agrees with the evaluator.", |s| evaluated(s, Kind::Int)),
    Case::new("operators::on_real", "Every operator on reals agrees with the evaluator.", |s| evaluated(s, Kind::Real)),
    Case::new("operators::on_text", "Every operator on texts agrees with the evaluator.", |s| evaluated(s, Kind::Text)),
    Case::new("operators::on_blob", "Every operator on blobs agrees with the evaluator.", |s| evaluated(s, Kind::Blob)),
    Case::new("operators::on_json", "Every operator on JSON agrees with the evaluator.", |s| evaluated(s, Kind::Json)),
    Case::new("operators::together", "Several conditions must all hold.", together),
    Case::new("operators::on_the_key", "The key is compared as any field.", on_the_key),
    Case::new("operators::in_mutations", "DeleteWhere and `when` understand conditions as find does.", in_mutations),
];

const EXACT: i64 = 9_007_199_254_740_992;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// The records from `first` to the last.
fn from(first: i64) -> Vec<i64> {
    (first..=COUNT).collect()
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

/// What an operator with these operands finds among the specimens.
fn table(op: Op) -> Vec<(usize, Vec<Value>, Vec<i64>)> {
    let one = |field: usize, operand: Value, ids: &[i64]| (field, vec![operand], ids.to_vec());
    let without = |first: i64, except: &[i64]| -> Vec<i64> { (first..=COUNT).filter(|id| !except.contains(id)).collect() };
    match op {
        Op::Eq => vec![
            one(FLAG, true.into(), &[3]),
            one(FLAG, false.into(), &[2]),
            one(INT, 0.into(), &[2]),
            one(INT, (-0.0).into(), &[2]),
            one(INT, (EXACT + 1).into(), &[7]),
            one(INT, (EXACT as f64).into(), &[8]),
            one(INT, 0.5.into(), &[]),
            one(INT, TWO_63.into(), &[]),
            one(INT, (-TWO_63).into(), &[5]),
            one(REAL, 0.0.into(), &[2, 3]),
            one(REAL, (-0.0).into(), &[2, 3]),
            one(REAL, 0.into(), &[2, 3]),
            one(REAL, 1.into(), &[10]),
            one(REAL, EXACT.into(), &[8]),
            one(REAL, (EXACT + 1).into(), &[]),
            one(REAL, i64::MAX.into(), &[]),
            one(REAL, 5e-324.into(), &[7]),
            one(TEXT, "a".into(), &[3]),
            one(TEXT, "A".into(), &[4]),
            one(TEXT, "".into(), &[2]),
            one(TEXT, "a\0b".into(), &[5]),
            one(TEXT, "\u{e9}".into(), &[7]),
            one(TEXT, "e\u{301}".into(), &[8]),
            one(TEXT, "a ".into(), &[]),
            one(BLOB, blob(&[]), &[2]),
            one(BLOB, blob(&[0]), &[3]),
            one(BLOB, blob(b"a"), &[7]),
            one(JSON, json("1"), &[2, 3]),
            one(JSON, json(r#"{"a":1,"b":[1,2]}"#), &[4, 5]),
            one(JSON, json(r#"{"a":1,"b":[2,1]}"#), &[]),
            one(JSON, json("12345678901234567890"), &[10]),
            one(JSON, json("\"\\u0078\""), &[7]),
            one(JSON, json("[]"), &[8]),
        ],
        Op::Ne => vec![
            one(FLAG, true.into(), &[2]),
            one(INT, 0.into(), &[3, 4, 5, 6, 7, 8]),
            one(INT, 0.5.into(), &[2, 3, 4, 5, 6, 7, 8]),
            one(REAL, 0.0.into(), &[4, 5, 6, 7, 8, 9, 10, 11, 12]),
            (TEXT, vec!["a".into()], without(2, &[3])),
            one(BLOB, blob(&[]), &[3, 4, 5, 6, 7]),
            (JSON, vec![json("1")], from(4)),
        ],
        Op::Lt => vec![
            one(FLAG, true.into(), &[2]),
            one(INT, 0.into(), &[3, 5]),
            one(INT, (-TWO_63).into(), &[]),
            one(INT, TWO_63.into(), &[2, 3, 4, 5, 6, 7, 8]),
            one(REAL, 0.0.into(), &[5, 11]),
            one(REAL, i64::MIN.into(), &[11]),
            one(TEXT, "a".into(), &[2, 4, 9, 13]),
            one(TEXT, "a\0c".into(), &[2, 3, 4, 5, 9, 13]),
            one(BLOB, blob(&[0, 1]), &[2, 3, 6]),
        ],
        Op::Le => vec![
            one(FLAG, false.into(), &[2]),
            one(INT, (-TWO_63).into(), &[5]),
            one(INT, (EXACT as f64).into(), &[2, 3, 4, 5, 8]),
            one(REAL, (-1.5).into(), &[5, 11]),
            one(REAL, 0.into(), &[2, 3, 5, 11]),
            one(TEXT, "a".into(), &[2, 3, 4, 9, 13]),
            one(BLOB, blob(&[0, 1]), &[2, 3, 4, 6]),
        ],
        Op::Gt => vec![
            one(FLAG, false.into(), &[3]),
            one(INT, (EXACT as f64).into(), &[6, 7]),
            one(INT, 0.5.into(), &[4, 6, 7, 8]),
            one(REAL, 0.0.into(), &[4, 6, 7, 8, 9, 10, 12]),
            one(REAL, i64::MAX.into(), &[6, 9]),
            one(TEXT, "ab".into(), &[7, 8, 14, 15, 16]),
            one(TEXT, "\u{fffd}".into(), &[15]),
            one(BLOB, blob(&[0, 1]), &[5, 7]),
        ],
        Op::Ge => vec![
            one(FLAG, false.into(), &[2, 3]),
            one(INT, TWO_63.into(), &[]),
            one(INT, (EXACT + 1).into(), &[6, 7]),
            one(REAL, 0.into(), &[2, 3, 4, 6, 7, 8, 9, 10, 12]),
            one(TEXT, "ab".into(), &[7, 8, 12, 14, 15, 16]),
            (TEXT, vec!["".into()], from(2)),
            one(BLOB, blob(&[]), &[2, 3, 4, 5, 6, 7]),
        ],
        Op::In => vec![
            (FLAG, vec![true.into()], vec![3]),
            (INT, vec![], vec![]),
            (INT, vec![0.into(), 1.0.into(), 5.into()], vec![2, 4]),
            (REAL, vec![1.5.into(), 1.into()], vec![4, 10]),
            (TEXT, vec![], vec![]),
            (TEXT, vec!["a".into(), "A".into(), "a".into(), "zzz".into()], vec![3, 4]),
            (BLOB, vec![blob(&[0]), blob(&[255])], vec![3, 5]),
            (JSON, vec![json("{}"), json("\"x\"")], vec![7, 9]),
            (JSON, vec![], vec![]),
        ],
        Op::Like => vec![
            one(TEXT, "a%".into(), &[3, 5, 6, 10, 11, 12, 16]),
            one(TEXT, "A%".into(), &[4]),
            one(TEXT, "a_b".into(), &[5, 10, 11, 16]),
            one(TEXT, "a\\_b".into(), &[10]),
            one(TEXT, "%\\%".into(), &[9]),
            one(TEXT, "a\\\\b".into(), &[11]),
            one(TEXT, "a\\".into(), &[]),
            one(TEXT, "\\a".into(), &[3]),
            one(TEXT, "_".into(), &[3, 4, 7, 14, 15]),
            one(TEXT, "__".into(), &[8, 12, 13]),
            one(TEXT, "".into(), &[2]),
            (TEXT, vec!["%".into()], from(2)),
            one(TEXT, "%b".into(), &[5, 10, 11, 12, 16]),
            one(TEXT, "a\0%".into(), &[5, 6]),
            one(TEXT, "\u{c9}".into(), &[]),
            one(TEXT, "[a]".into(), &[]),
            one(TEXT, "*".into(), &[]),
        ],
        Op::Contains => vec![
            one(JSON, 1.into(), &[6]),
            one(JSON, 1.0.into(), &[6]),
            one(JSON, 2.5.into(), &[6]),
            one(JSON, 2.into(), &[]),
            one(JSON, "x".into(), &[6, 12]),
            one(JSON, "\u{e9}".into(), &[12]),
            one(JSON, "X".into(), &[]),
            one(JSON, "1".into(), &[]),
            one(JSON, true.into(), &[6]),
            one(JSON, false.into(), &[]),
        ],
        Op::IsNull => vec![
            (FLAG, vec![], without(1, &[2, 3])),
            (INT, vec![], without(1, &[2, 3, 4, 5, 6, 7, 8])),
            (REAL, vec![], vec![1, 13, 14, 15, 16]),
            (TEXT, vec![], vec![1]),
            (BLOB, vec![], without(1, &[2, 3, 4, 5, 6, 7])),
            (JSON, vec![], vec![1]),
        ],
        _ => vec![
            (FLAG, vec![], vec![2, 3]),
            (INT, vec![], vec![2, 3, 4, 5, 6, 7, 8]),
            (TEXT, vec![], from(2)),
            (BLOB, vec![], vec![2, 3, 4, 5, 6, 7]),
            (JSON, vec![], from(2)),
        ],
    }
}

/// The same condition on the field and, where there is one, on its indexed twin.
fn with_twin(condition: Condition) -> Vec<Condition> {
    let twin = Condition { field: condition.field + INDEXED, ..condition.clone() };
    if condition.field == JSON { vec![condition] } else { vec![condition, twin] }
}

fn check(specimens: &Specimens, condition: &Condition, expected: &Vec<i64>) -> Checked {
    let name = &specimens.collection.at(condition.field)?.name;
    let member = condition.member.as_ref().map(|m| format!(".{m}")).unwrap_or_default();
    let what = format!("{name}{member} {} {:?}", condition.op.name(), condition.operands);
    let query = Query::all(specimens.id).filter(condition.clone());
    let found = specimens.store.ids_of(&specimens.collection, &query)?;
    equal(&format!("records with {what}"), expected, &found)?;
    equal(&format!("count of {what}"), &(expected.len() as u64), &specimens.store.count(&query)?)
}

fn by_hand(subject: &dyn Subject, op: Op) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for (field, operands, expected) in table(op) {
        for condition in with_twin(Condition::with_operands(field, op, operands)) {
            check(&specimens, &condition, &expected)?;
        }
    }
    Ok(())
}

/// What the reference evaluator finds.
pub(super) fn expected(specimens: &Specimens, conditions: &[Condition]) -> Checked<Vec<i64>> {
    let mut ids = Vec::new();
    for row in &specimens.rows {
        if eval::matches(&row.view(&specimens.collection)?, conditions) {
            ids.push(int_key(&specimens.collection, row)?);
        }
    }
    Ok(ids)
}

/// Operands for a kind: every specimen's value, some in between, and numbers of the other kind.
fn operands(kind: Kind) -> Vec<Value> {
    let mut operands: Vec<Value> = super::specimens::values(kind).into_iter().filter(|v| *v != Value::Nil).collect();
    match kind {
        Kind::Int => operands.extend([0.5, -0.5, 1e300, -1e300, 5e-324, TWO_63, -TWO_63, EXACT as f64].map(Value::Real)),
        Kind::Real => operands.extend([0, 1, -2, EXACT + 1, i64::MAX, i64::MIN].map(Value::Int)),
        Kind::Text => {
            let patterns = ["%", "_", "a%b", "%\0%", "%%", "_%_", "\\%", "%\\\\%", "%a", "\u{e9}%", "b", "\u{10ffff}"];
            operands.extend(patterns.map(Value::from));
        }
        Kind::Blob => operands.extend([blob(&[1]), blob(&[0, 0, 0]), blob(&[255, 255])]),
        _ => {}
    }
    operands
}

fn evaluated(subject: &dyn Subject, kind: Kind) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    let fields = specimens.collection.fields.iter().enumerate().skip(1).filter(|(_, f)| f.kind == kind).map(|(at, _)| at);
    for field in fields.collect::<Vec<_>>() {
        for op in Op::ALL {
            let all = operands(kind);
            let conditions: Vec<Condition> = match op {
                Op::IsNull | Op::NotNull => vec![Condition::with_operands(field, op, Vec::new())],
                Op::In => all
                    .windows(3)
                    .map(|some| Condition::with_operands(field, op, some.to_vec()))
                    .chain([Condition::with_operands(field, op, all.clone())])
                    .collect(),
                Op::Contains => {
                    [1.into(), "x".into(), true.into(), 2.5.into()].map(|v: Value| Condition::new(field, op, v)).to_vec()
                }
                _ => all.into_iter().map(|v| Condition::new(field, op, v)).collect(),
            };
            for condition in conditions {
                let fits = eval::check_conditions(&specimens.collection, std::slice::from_ref(&condition)).is_ok();
                if fits {
                    check(&specimens, &condition, &expected(&specimens, std::slice::from_ref(&condition))?)?;
                }
            }
        }
    }
    Ok(())
}

fn together(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    for (conditions, expected) in [
        (vec![Condition::new(INT, Op::Gt, 0), Condition::new(INT, Op::Lt, 10)], vec![4]),
        (vec![Condition::new(INT + INDEXED, Op::Ge, 0), Condition::new(TEXT, Op::Like, "a%")], vec![6]),
        (vec![Condition::new(FLAG, Op::Eq, true), Condition::new(FLAG, Op::Eq, false)], vec![]),
        (vec![Condition::is_null(INT), Condition::is_null(REAL), Condition::new(JSON, Op::NotNull, 1)], vec![13, 14, 15, 16]),
    ] {
        let conditions = conditions.into_iter().map(|c| match c.op {
            Op::NotNull => Condition { operands: Vec::new(), ..c },
            _ => c,
        });
        let query = conditions.fold(Query::all(specimens.id), Query::filter);
        equal(&format!("{:?}", query.all), &expected, &specimens.store.ids_of(&specimens.collection, &query)?)?;
        equal(&format!("count of {:?}", query.all), &(expected.len() as u64), &specimens.store.count(&query)?)?;
    }
    Ok(())
}

fn on_the_key(subject: &dyn Subject) -> Checked {
    let specimens = Specimens::fresh(subject)?;
    let on = |op: Op, operands: Vec<Value>| Condition::with_operands(0, op, operands);
    for (condition, expected) in [
        (on(Op::Eq, vec![5.into()]), vec![5]),
        (on(Op::Ne, vec![5.into()]), (1..=COUNT).filter(|id| *id != 5).collect()),
        (on(Op::Lt, vec![2.5.into()]), vec![1, 2]),
        (on(Op::Ge, vec![15.into()]), vec![15, 16]),
        (on(Op::In, vec![3.into(), 99.into(), 1.into()]), vec![1, 3]),
        (on(Op::IsNull, vec![]), vec![]),
        (on(Op::NotNull, vec![]), from(1)),
    ] {
        check(&specimens, &condition, &expected)?;
    }
    Ok(())
}

fn in_mutations(subject: &dyn Subject) -> Checked {
    let traps = [
        Condition::new(TEXT, Op::Ne, "a"),
        Condition::new(TEXT, Op::Like, "a\\_b"),
        Condition::new(REAL, Op::Eq, 0),
        Condition::new(JSON, Op::Eq, json("1")),
        Condition::with_operands(INT, Op::In, Vec::new()),
    ];
    for condition in traps {
        let specimens = Specimens::fresh(subject)?;
        let (store, collection) = (&specimens.store, specimens.id);
        let expected = expected(&specimens, std::slice::from_ref(&condition))?;
        for id in 1..=COUNT {
            let when = vec![condition.clone()];
            let update = Mutation::Update { collection, key: id.into(), changes: Vec::new(), when };
            let held = store.apply(&[update]).is_ok();
            equal(&format!("whether an update of {id} when {condition:?} is done"), &expected.contains(&id), &held)?;
        }
        let query = Query::all(collection).filter(condition.clone());
        let outcome = store.one(Mutation::DeleteWhere { query })?;
        equal(&format!("DeleteWhere {condition:?}"), &Outcome::Deleted(expected.len() as u64), &outcome)?;
        let left: Vec<i64> = (1..=COUNT).filter(|id| !expected.contains(id)).collect();
        equal("what is left", &left, &store.ids_of(&specimens.collection, &Query::all(collection))?)?;
    }
    Ok(())
}
