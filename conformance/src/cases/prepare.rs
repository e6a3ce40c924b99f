//! Creating and migrating collections.

use std::sync::Barrier;
use std::thread;

use hivemind_model::{
    Backend, Capability, Code, Collection, CollectionId, Index, Key, Kind, Legacy, LegacyRule, Mutation, Retired, Value,
};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, values};
use crate::fixture::{Store, cx, json, notes, row, things};
use crate::subject::{Instance, Plant, Subject};

const DURABLE: &[Capability] = &[Capability::Durable];

pub(super) const CASES: &[Case] = &[
    Case::new("prepare::twice", "Preparing equal descriptions again gives the same ids and keeps the records.", twice),
    Case::new("prepare::further", "Collections can be added to a handle later; the earlier ones keep their ids.", further),
    Case::new("prepare::in_the_order_asked", "Ids come in the order of the descriptions asked for.", in_the_order_asked),
    Case::new(
        "prepare::conflicting",
        "A description that differs from the prepared one of its name is invalid and changes nothing.",
        conflicting,
    ),
    Case::new("prepare::wrong_descriptions", "Descriptions that are wrong in themselves are invalid.", wrong_descriptions),
    Case::new("prepare::concurrently", "Threads that prepare the same collections at once get the same ids.", concurrently),
    Case::new("prepare::primary", "The primary collection, with retired columns and legacy names, works as any other.", primary)
        .requires(&[Capability::Unique]),
    Case::new(
        "prepare::one_primary",
        "A second primary collection is invalid, together with the first or after it.",
        one_primary,
    ),
    Case::new(
        "prepare::added_field",
        "A field added at the end of a newer description has its default in records stored before it.",
        added_field,
    )
    .requires(DURABLE),
    Case::new("prepare::migrate_twice", "Migrating again changes nothing more.", migrate_twice).requires(DURABLE),
    Case::new("prepare::too_new", "Stored data of a newer schema is refused with too new, and left as it is.", too_new)
        .requires(DURABLE),
];

fn twice(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=3)?;
    let ids = store.backend.prepare(&cx(), &[store.thing.clone(), store.note.clone()])?;
    equal("ids of a second prepare", &vec![store.things, store.notes], &ids)?;
    equal("records after a second prepare", &vec![1, 2, 3], &store.every_id()?)
}

fn pets() -> Collection {
    Collection::new("pets", 1, "id", Kind::Int).field("name", Kind::Text)
}

fn further(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    let ids = store.backend.prepare(&cx(), &[pets(), store.note.clone()])?;
    let [pets_id, notes_id] = ids[..] else { return Err(Failure::wrong(format!("expected 2 ids, found {ids:?}"))) };
    equal("the id of the collection that was there", &store.notes, &notes_id)?;
    ensure(pets_id != store.notes && pets_id != store.things, || format!("expected an id of its own, found {pets_id:?}"))?;
    let rex = row(&pets(), &[("id", 1.into()), ("name", "Rex".into())])?;
    store.one(Mutation::Insert { collection: pets_id, row: rex })?;
    equal("records of the earlier collection", &vec![1, 2], &store.every_id()?)?;
    let found = store.backend.get(&cx(), pets_id, Key::Int(1).as_ref())?;
    ensure(found.is_some(), || "expected the record of the further collection, found none".to_owned())
}

fn in_the_order_asked(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let ids = store.backend.prepare(&cx(), &[store.note.clone(), pets(), store.thing.clone()])?;
    equal("how many ids", &3, &ids.len())?;
    equal("the first and last id", &(Some(&store.notes), Some(&store.things)), &(ids.first(), ids.last()))
}

fn conflicting(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    let other = store.thing.clone().field("another", Kind::Int);
    refused("prepare with another description", Code::Invalid, store.backend.prepare(&cx(), &[pets(), other]))?;
    equal("records after the refusal", &vec![1, 2], &store.every_id()?)?;
    store.backend.prepare(&cx(), &[pets()])?;
    Ok(())
}

fn wrong_descriptions(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let int = |name: &str| Collection::new(name, 1, "id", Kind::Int);
    let mut no_key = int("w1");
    no_key.key = 5;
    let mut no_extras = int("w2").field("t", Kind::Text);
    no_extras.extras = Some(1);
    let indexed_json = int("w3").field_with("j", Kind::Json, Value::Nil, Index::Plain);
    let wrong_default = int("w4").field_with("n", Kind::Int, "text", Index::None);
    for wrong in [
        int("Upper"),
        int("with space"),
        int("quote\"; drop"),
        int(""),
        int("twice").field("a", Kind::Int).field("a", Kind::Int),
        Collection::new("w0", 1, "id", Kind::Json),
        no_key,
        no_extras,
        indexed_json,
        wrong_default,
    ] {
        let what = format!("prepare of the description named {:?}", wrong.name);
        refused(&what, Code::Invalid, store.backend.prepare(&cx(), &[wrong]))?;
    }
    Ok(())
}

fn concurrently(subject: &dyn Subject) -> Checked {
    const THREADS: usize = 4;
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let barrier = Barrier::new(THREADS);
    let collections = [things(backend.capabilities()), notes(), pets()];
    let prepare = || {
        barrier.wait();
        backend.prepare(&cx(), &collections)
    };
    let ids: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(prepare)).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(hivemind_model::Error::panicked("in prepare")))).collect()
    });
    let mut first: Option<Vec<CollectionId>> = None;
    for ids in ids {
        let ids = ids?;
        equal("ids that a thread got", first.get_or_insert_with(|| ids.clone()), &ids)?;
    }
    backend.close(&cx())?;
    Ok(())
}

fn clients() -> Collection {
    let unique = Index::Unique { except: vec!["revoked".into()] };
    let mut clients = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, unique)
        .field("name", Kind::Text)
        .field_with("is_admin", Kind::Bool, false, Index::None)
        .field_with("last_seen", Kind::Real, -1.0, Index::None)
        .field_with("allowed_types", Kind::Json, json("[]"), Index::None)
        .field_with("metadata", Kind::Json, json("{}"), Index::None);
    clients.primary = true;
    clients.extras = Some(6);
    clients.legacy = vec![Legacy { name: "message_blacklist".to_owned(), rule: LegacyRule::Drop }];
    clients.retired = vec![Retired { name: "message_blacklist".to_owned(), before: Some(5) }];
    clients
}

fn primary(subject: &dyn Subject) -> Checked {
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let collection = clients();
    let id = one_id(&*backend, &collection)?;
    let add = |key: &str| {
        let row = row(&collection, &[("api_key", key.into()), ("name", "Küche".into())])?;
        backend.apply(&cx(), &[Mutation::InsertNext { collection: id, row }])
    };
    add("first")?;
    add("revoked")?;
    add("revoked")?;
    refused("a second client with one key", Code::Conflict, add("first"))?;
    let found = backend.get_by(&cx(), id, 1, Value::from("first").as_ref())?;
    let found = found.ok_or_else(|| Failure::wrong("get_by: expected the client, found none"))?;
    let expected: Vec<Value> =
        vec![1.into(), "first".into(), "Küche".into(), false.into(), (-1.0).into(), json("[]"), json("{}")];
    equal("the client's values", &expected, &values(&collection, &found)?)?;
    backend.close(&cx())?;
    Ok(())
}

fn one_primary(subject: &dyn Subject) -> Checked {
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let [first, second] = ["first", "second"].map(|name| {
        let mut collection = Collection::new(name, 1, "id", Kind::Int);
        collection.primary = true;
        collection
    });
    refused("prepare of two at once", Code::Invalid, backend.prepare(&cx(), &[first.clone(), second.clone()]))?;
    one_id(&*backend, &first)?;
    refused("prepare of a second", Code::Invalid, backend.prepare(&cx(), &[second]))?;
    one_id(&*backend, &first)?;
    backend.close(&cx())?;
    Ok(())
}

fn one_id(backend: &dyn Backend, collection: &Collection) -> Checked<CollectionId> {
    let ids = backend.prepare(&cx(), std::slice::from_ref(collection))?;
    ids.first().copied().ok_or_else(|| Failure::wrong("prepare: expected one id, found none"))
}

/// `pets` of the next version, with two fields more.
fn newer_pets() -> Collection {
    let mut newer = pets().field("owner", Kind::Text).field_with("legs", Kind::Int, 4, Index::Plain);
    newer.version = 2;
    newer
}

/// A store that holds one pet of the old version and no open handle.
fn old_pets(subject: &dyn Subject) -> Checked<Box<dyn Instance>> {
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let id = one_id(&*backend, &pets())?;
    let rex = row(&pets(), &[("id", 1.into()), ("name", "Rex".into())])?;
    backend.apply(&cx(), &[Mutation::Insert { collection: id, row: rex }])?;
    backend.close(&cx())?;
    Ok(instance)
}

fn pet(instance: &dyn Instance, collection: &Collection, key: i64) -> Checked<Vec<Value>> {
    let backend = instance.open()?;
    let id = one_id(&*backend, collection)?;
    let row = backend.get(&cx(), id, Key::Int(key).as_ref())?;
    backend.close(&cx())?;
    let row = row.ok_or_else(|| Failure::wrong(format!("pet {key}: expected a record, found none")))?;
    values(collection, &row)
}

fn added_field(subject: &dyn Subject) -> Checked {
    let instance = old_pets(subject)?;
    let expected: Vec<Value> = vec![1.into(), "Rex".into(), Value::Nil, 4.into()];
    equal("a record of the old version", &expected, &pet(&*instance, &newer_pets(), 1)?)?;
    // A condition sees the default too.
    let backend = instance.open()?;
    let id = one_id(&*backend, &newer_pets())?;
    let four = hivemind_model::Condition::new(3, hivemind_model::Op::Eq, 4);
    let count = backend.count(&cx(), &hivemind_model::Query::all(id).filter(four))?;
    backend.close(&cx())?;
    equal("records found by the default", &1, &count)
}

fn migrate_twice(subject: &dyn Subject) -> Checked {
    let instance = old_pets(subject)?;
    let backend = instance.open()?;
    let id = one_id(&*backend, &newer_pets())?;
    let felix = row(&newer_pets(), &[("id", 2.into()), ("name", "Felix".into()), ("legs", 3.into())])?;
    backend.apply(&cx(), &[Mutation::Insert { collection: id, row: felix }])?;
    backend.close(&cx())?;
    for _ in 0..2 {
        equal("the old record", &vec![1.into(), "Rex".into(), Value::Nil, 4.into()], &pet(&*instance, &newer_pets(), 1)?)?;
        equal("the new record", &vec![2.into(), "Felix".into(), Value::Nil, 3.into()], &pet(&*instance, &newer_pets(), 2)?)?;
    }
    Ok(())
}

fn too_new(subject: &dyn Subject) -> Checked {
    let instance = old_pets(subject)?;
    if !instance.plant(&pets(), &Plant::Version(2))? {
        return Err(Failure::Skipped("the subject cannot plant a schema version".to_owned()));
    }
    let backend = instance.open();
    if let Ok(backend) = backend {
        refused("prepare of an older version", Code::TooNew, backend.prepare(&cx(), &[pets()]))?;
        backend.close(&cx())?;
    } else {
        refused("opening with a newer schema stored", Code::TooNew, backend.map(|_| ()))?;
    }
    // The program that knows the newer version still finds everything.
    equal("the record", &vec![1.into(), "Rex".into(), Value::Nil, 4.into()], &pet(&*instance, &newer_pets(), 1)?)
}
