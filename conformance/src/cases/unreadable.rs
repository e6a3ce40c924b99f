//! Stored records that cannot be read, and stored names that the collection does not have.

use hivemind_model::json::parse;
use hivemind_model::{Capability, Change, Code, Condition, Key, Mutation, Op, Outcome, Query, Task, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, same_lookup};
use crate::fixture::{Handle, Store, cx, field, int_key, json};
use crate::subject::{Instance, Plant, Subject};

const DURABLE: &[Capability] = &[Capability::Durable];
const UNIQUE: &[Capability] = &[Capability::Durable, Capability::Unique];

pub(super) const CASES: &[Case] = &[
    Case::new("unreadable::get", "A record that cannot be read is corrupt, not absent; its neighbours are fine.", get)
        .requires(DURABLE),
    Case::new("unreadable::find", "It hides no other record from find, and the first page names it.", find).requires(DURABLE),
    Case::new("unreadable::not_overwritten", "No mutation overwrites or removes it.", not_overwritten).requires(DURABLE),
    Case::new("unreadable::conditions", "Conditions on its readable fields do not make it a match.", conditions)
        .requires(DURABLE),
    Case::new(
        "unreadable::get_by",
        "Its unique value is corrupt, not absent. Of a value that nobody has, an engine that cannot tell may say so too.",
        get_by,
    )
    .requires(UNIQUE),
    Case::new("unreadable::its_values_are_taken", "Its unique value is not given to another record.", its_values_are_taken)
        .requires(UNIQUE),
    Case::new("unreadable::counted", "count leaves it out.", counted).requires(DURABLE),
    Case::new("unreadable::its_key_is_taken", "Its key is not assigned again.", its_key_is_taken).requires(DURABLE),
    Case::new("unreadable::verified", "verify names it.", verified).requires(DURABLE),
    Case::new("unknown::folded", "An unknown stored name is folded into the extras field and survives writes.", folded)
        .requires(DURABLE),
    Case::new("unknown::does_not_overwrite", "What the extras field has already is not overwritten.", does_not_overwrite)
        .requires(DURABLE),
    Case::new("unknown::without_extras", "Without an extras field an unknown stored name does no harm.", without_extras)
        .requires(DURABLE),
];

fn plant(instance: &dyn Instance, collection: &hivemind_model::Collection, key: Key, name: &str, json: &str) -> Checked {
    let plant = Plant::Set { key, name: name.to_owned(), json: json.to_owned() };
    if instance.plant(collection, &plant)? {
        return Ok(());
    }
    Err(Failure::Skipped("the subject cannot plant stored values".to_owned()))
}

/// Sets a field of a stored thing behind the backend's back.
fn planted(store: Store, id: i64, name: &str, json: &str) -> Checked<Store> {
    let thing = store.thing.clone();
    let instance = store.shut()?;
    plant(&*instance, &thing, Key::Int(id), name, json)?;
    Store::open(instance)
}

/// Things 1 to 3, of which `broken` has a text where its int `n` should be.
fn with_broken(subject: &dyn Subject, broken: i64) -> Checked<Store> {
    let store = Store::fresh(subject)?;
    let things: Result<Vec<_>, _> = (1..=3)
        .map(|id| store.insert(id, &[("n", id.into()), ("t", "text".into()), ("code", format!("code {id}").into())]))
        .collect();
    store.all(things?)?;
    planted(store, broken, "n", "\"not a number\"")
}

fn readable(store: &Handle, id: i64) -> Checked {
    let expected = store.thing_row(id, &[("n", id.into()), ("t", "text".into()), ("code", format!("code {id}").into())])?;
    same_lookup(&format!("thing {id}"), &store.thing, Some(&expected), store.get(id)?.as_ref())
}

fn get(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    let error = refused("get of the unreadable record", Code::Corrupt, store.get(2))?;
    equal("the key that the error names", &Some(Key::Int(2)), &error.detail().key)?;
    readable(&store, 1)?;
    readable(&store, 3)?;
    let keys = [1, 2, 3, 4].map(Key::Int);
    let answers = store.backend.get_many(&cx(), store.things, &keys)?;
    let found: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Some(_)) => "a record".to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(e) => e.code().to_string(),
        })
        .collect();
    equal("get_many", &["a record", "corrupt", "a record", "nothing"].map(str::to_owned).to_vec(), &found)
}

fn find(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    for query in [Query::all(store.things), Query::all(store.things).order_by(field::N, true)] {
        let mut query = query.limit(1);
        let (mut ids, mut pages) = (Vec::new(), 0);
        loop {
            let page = store.find(&query, usize::MAX)?;
            pages += 1;
            let reported: Vec<Key> = page.unreadable.iter().map(|u| u.key.clone()).collect();
            let expected = if pages == 1 { vec![Key::Int(2)] } else { Vec::new() };
            equal(&format!("unreadable records on page {pages}"), &expected, &reported)?;
            for row in &page.rows {
                ids.push(int_key(&store.thing, row)?);
            }
            match page.next {
                Some(next) => query = query.after(next),
                None => break,
            }
        }
        ids.sort_unstable();
        equal("the readable records", &vec![1, 3], &ids)?;
    }
    Ok(())
}

fn not_overwritten(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    for (what, mutation) in [
        ("put", store.put(2, &[])?),
        ("update", store.update(2, vec![Change::set(field::N, 5)], Vec::new())),
        ("delete", store.delete(2)),
        ("expect", store.expect(2, None)),
    ] {
        refused(what, Code::Corrupt, store.apply(&[mutation]))?;
    }
    match store.apply(&[store.insert(2, &[])?]) {
        Err(e) if matches!(e.code(), Code::Corrupt | Code::Conflict) => {}
        other => return Err(Failure::wrong(format!("insert: expected corrupt or conflict, found {other:?}"))),
    }
    let all = Mutation::DeleteWhere { query: Query::all(store.things) };
    equal("DeleteWhere of all", &Outcome::Deleted(2), &store.one(all)?)?;
    store.fill([9])?;
    // Once its one wrong value is right again, everything else of it is still there.
    let store = planted(store, 2, "n", "2")?;
    readable(&store, 2)?;
    equal("the keys", &vec![2, 9], &store.every_id()?)
}

fn conditions(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    for condition in [
        Condition::new(field::T, Op::Eq, "text"),
        Condition::new(field::CODE, Op::Like, "code%"),
        Condition::new(field::N, Op::Gt, 0),
        Condition::new(field::N, Op::Ne, 7),
        Condition::with_operands(field::N, Op::NotNull, Vec::new()),
        Condition::is_null(field::R),
    ] {
        let what = format!("{condition:?}");
        equal(&what, &vec![1, 3], &store.ids(&Query::all(store.things).filter(condition))?)?;
    }
    Ok(())
}

fn get_by(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    let by = |code: &str| store.backend.get_by(&cx(), store.things, field::CODE, Value::from(code).as_ref());
    refused("get_by of its value", Code::Corrupt, by("code 2"))?;
    for id in [1, 3] {
        let code = format!("code {id}");
        let expected = store.thing_row(id, &[("n", id.into()), ("t", "text".into()), ("code", code.as_str().into())])?;
        same_lookup(&format!("get_by of {code:?}"), &store.thing, Some(&expected), by(&code)?.as_ref())?;
    }
    match by("code 4") {
        Ok(None) => Ok(()),
        Err(e) if e.code() == Code::Corrupt => Ok(()),
        other => Err(Failure::wrong(format!("get_by of a value that nobody has: expected nothing or corrupt, found {other:?}"))),
    }
}

fn its_values_are_taken(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    let taken = [("code", Value::from("code 2"))];
    for (what, mutation) in [
        ("insert", store.insert(9, &taken)?),
        ("insert next", store.insert_next(&taken)?),
        ("put", store.put(9, &taken)?),
        ("put over a record", store.put(1, &taken)?),
        ("update", store.update(1, vec![Change::set(field::CODE, "code 2")], Vec::new())),
    ] {
        match store.apply(&[mutation]) {
            Err(e) if matches!(e.code(), Code::Conflict | Code::Corrupt) => {}
            other => return Err(Failure::wrong(format!("{what}: expected conflict or corrupt, found {other:?}"))),
        }
    }
    store.one(store.insert(9, &[("code", "code 9".into())])?)?;
    equal("the keys", &vec![1, 3, 9], &store.every_id()?)?;
    // Once it can be read again nobody else has its value.
    let store = planted(store, 2, "n", "2")?;
    readable(&store, 2)?;
    let found = store.backend.get_by(&cx(), store.things, field::CODE, Value::from("code 2").as_ref())?;
    same_lookup("get_by of its value", &store.thing, store.get(2)?.as_ref(), found.as_ref())
}

fn counted(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    let all = || Query::all(store.things);
    for (what, query, expected) in [
        ("all", all(), 2),
        ("all behind an offset", all().offset(1), 1),
        ("a condition", all().filter(Condition::new(field::T, Op::Eq, "text")), 2),
    ] {
        equal(&format!("count of {what}"), &expected, &store.count(&query)?)?;
    }
    Ok(())
}

fn its_key_is_taken(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 3)?;
    equal("the assigned key", &Outcome::Inserted(Key::Int(4)), &store.one(store.insert_next(&[])?)?)
}

fn verified(subject: &dyn Subject) -> Checked {
    let store = with_broken(subject, 2)?;
    match store.backend.maintain(&cx(), &Task::Verify) {
        Err(e) if e.code() == Code::Unsupported => Err(Failure::Skipped("the backend does not offer verify".to_owned())),
        Err(e) => Err(e.into()),
        Ok(report) => {
            let named: Vec<_> = report.problems.iter().filter(|p| p.collection == "things").map(|p| p.key.clone()).collect();
            equal("the records that verify names", &vec![Some(Key::Int(2))], &named)
        }
    }
}

/// A note with an unknown stored name beside its fields.
fn note_with(subject: &dyn Subject, meta: &str, name: &str, value: &str) -> Checked<Store> {
    let store = Store::fresh(subject)?;
    let row = store.note_row("a", &[("body", "text".into()), ("meta", json(meta))])?;
    store.one(Mutation::Insert { collection: store.notes, row })?;
    let note = store.note.clone();
    let instance = store.shut()?;
    plant(&*instance, &note, Key::from("a"), name, value)?;
    Store::open(instance)
}

fn meta_is(store: &Handle, expected: &str) -> Checked {
    let Value::Json(found) = store.note_value("a", 3)? else {
        return Err(Failure::wrong("meta: expected JSON, found another kind"));
    };
    let document = |text| parse(text).map_err(|e| Failure::wrong(format!("meta: expected JSON: {e}")));
    let same = document(expected)?.same(&document(&found)?);
    ensure(same, || format!("meta: expected {expected}, found {found}"))
}

fn folded(subject: &dyn Subject) -> Checked {
    let store = note_with(subject, r#"{"own": 1}"#, "shoe_size", "42")?;
    meta_is(&store, r#"{"own": 1, "shoe_size": 42}"#)?;
    let size = Condition::new(3, Op::Eq, 42).on_member("shoe_size");
    equal("count by the folded member", &1, &store.count(&Query::all(store.notes).filter(size))?)?;
    let (collection, key) = (store.notes, Key::from("a"));
    let changes = vec![Change::set(1, "changed"), Change::JsonSet { field: 3, name: "own".to_owned(), json: "2".to_owned() }];
    store.one(Mutation::Update { collection, key: key.clone(), changes, when: Vec::new() })?;
    let store = store.reopen()?;
    meta_is(&store, r#"{"own": 2, "shoe_size": 42}"#)?;
    let changes = vec![Change::JsonUnset { field: 3, name: "shoe_size".to_owned() }];
    store.one(Mutation::Update { collection, key, changes, when: Vec::new() })?;
    let store = store.reopen()?;
    meta_is(&store, r#"{"own": 2}"#)
}

fn does_not_overwrite(subject: &dyn Subject) -> Checked {
    let store = note_with(subject, r#"{"shoe_size": 43}"#, "shoe_size", "42")?;
    meta_is(&store, r#"{"shoe_size": 43}"#)
}

fn without_extras(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    let store = planted(store, 1, "shoe_size", "42")?;
    equal("the keys", &vec![1, 2], &store.every_id()?)?;
    store.one(store.update(1, vec![Change::set(field::N, 5)], Vec::new()))?;
    equal("n", &Value::Int(5), &store.value(1, field::N)?)
}
