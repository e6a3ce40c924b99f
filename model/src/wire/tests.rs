use super::{Wire, Writer};
use crate::*;

fn round_trip<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(&value), "{value:?}");
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..cut]).is_err(), "{value:?} cut at {cut}");
    }
    let mut longer = bytes;
    longer.push(0xc0);
    assert!(T::from_bytes(&longer).is_err(), "{value:?} with a byte more");
}

#[test]
fn every_type_comes_back_as_it_was_and_no_cut_of_it_is_read() {
    let row = Row::from_bytes(vec![0x91, 0x01]);
    let id = CollectionId(3);
    let conditions: Vec<Condition> = Op::ALL.into_iter().map(|op| Condition::new(1, op, 2.5).on_member("m")).collect();
    let mut collection = Collection::new("things", 7, "id", Kind::Text)
        .field_with("a", Kind::Real, -1.0, Index::Plain)
        .field_with("b", Kind::Text, "x", Index::Unique { except: vec!["revoked".into()] })
        .field_with("c", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    collection.primary = true;
    collection.extras = Some(3);
    collection.legacy = vec![Legacy { name: "old".to_owned(), rule: LegacyRule::Drop }];
    collection.retired = vec![Retired { name: "gone".to_owned(), before: Some(2) }];
    round_trip(collection);
    let query = Query {
        collection: id,
        all: conditions.clone(),
        order: vec![Order { field: 0, descending: true }, Order { field: 2, descending: false }],
        limit: Some(0),
        offset: 9,
        after: Some(Continuation { values: vec![Value::Nil, Value::Blob(vec![1])], key: Key::Int(i64::MIN) }),
    };
    round_trip(query.clone());
    let field = 1;
    let item = Value::Real(f64::MIN_POSITIVE);
    let changes = vec![
        Change::set(1, Value::Nil),
        Change::Increment { field, by: Value::Int(i64::MAX) },
        Change::JsonSet { field, name: "n".to_owned(), json: "[]".to_owned() },
        Change::JsonUnset { field, name: String::new() },
        Change::ListAdd { field, item: item.clone() },
        Change::ListRemove { field, item },
    ];
    for mutation in [
        Mutation::Insert { collection: id, row: row.clone() },
        Mutation::InsertNext { collection: id, row: row.clone() },
        Mutation::Put { collection: id, row: row.clone() },
        Mutation::Update { collection: id, key: "k\0".into(), changes, when: conditions.clone() },
        Mutation::Delete { collection: id, key: 1.into(), when: conditions },
        Mutation::DeleteWhere { query },
        Mutation::Expect { collection: id, key: 1.into(), row: None },
        Mutation::Expect { collection: id, key: 1.into(), row: Some(row.clone()) },
    ] {
        round_trip(mutation);
    }
    for task in [Task::Verify, Task::Vacuum, Task::Checkpoint, Task::Backup { to: "x".to_owned() }] {
        round_trip(task);
    }
    for password in [None, Some(String::new()), Some("p".to_owned())] {
        round_trip(Task::Rekey { password });
    }
    for dry_run in [false, true] {
        round_trip(Task::Move { to: "x".to_owned(), dry_run });
    }
    for keep in [None, Some("y".to_owned())] {
        round_trip(Task::Restore { from: "x".to_owned(), keep });
    }
    let collections = vec![Collection::new("notes", 1, "id", Kind::Text)];
    round_trip(Task::VerifyBackup { from: "x".to_owned(), collections });
    round_trip(Task::Repair);
    let error = Error::corrupt("cannot be read").mutation(4).collection("c").key(2.into()).field("f").place("/x");
    round_trip(error.clone());
    round_trip::<Vec<Lookup>>(vec![Ok(None), Ok(Some(row.clone())), Err(error)]);
    round_trip(Page {
        rows: vec![row.clone()],
        next: Some(Continuation { values: Vec::new(), key: 5.into() }),
        unreadable: vec![Unreadable { key: 6.into(), message: "x".to_owned() }],
    });
    round_trip(Applied {
        outcomes: vec![
            Outcome::Inserted(1.into()),
            Outcome::Put { replaced: true },
            Outcome::Updated(row),
            Outcome::Deleted(3),
            Outcome::Expected,
        ],
        token: Token { epoch: u64::MAX, sequence: 1 },
    });
    for changes in [Changes::Nothing, Changes::Everything, Changes::Keys(vec![1.into()])] {
        round_trip(changes);
    }
    round_trip(Resource { kind: "file".to_owned(), id: "1:2".to_owned(), name: "/x".to_owned() });
    round_trip(Capabilities::of(&Capability::ALL).with_staleness(std::time::Duration::from_millis(3)));
    let problem = Problem { collection: "c".to_owned(), key: None, message: "m".to_owned() };
    round_trip(Report { problems: vec![problem], ..Report::new().with("n", 1).with("t", "x") });
}

#[test]
fn an_unknown_tag_is_unsupported_and_never_ignored() {
    let mut w = Writer::new();
    w.map(2);
    w.uint(0);
    w.uint(1);
    w.uint(60);
    w.bool(true);
    let error = Query::from_bytes(&w.into_bytes()).expect_err("tag 60");
    assert_eq!(error.code(), Code::Unsupported);
    let mut w = Writer::new();
    w.array(2);
    w.uint(99);
    w.map(0);
    assert_eq!(Mutation::from_bytes(&w.into_bytes()).expect_err("number 99").code(), Code::Unsupported);
}

/// Read as far as it went, the rest of such a report would be taken for its next part, and the second kind of such an outcome for the
/// only one.
#[test]
fn a_name_without_a_value_and_an_outcome_of_two_kinds_are_refused() {
    let mut w = Writer::new();
    w.map(1);
    w.uint(0);
    w.array(3);
    w.str("a");
    w.int(1);
    w.str("b");
    assert_eq!(Report::from_bytes(&w.into_bytes()).expect_err("no pairs").code(), Code::Invalid);
    let mut w = Writer::new();
    w.map(2);
    w.uint(0);
    w.int(7);
    w.uint(3);
    w.uint(2);
    assert_eq!(Outcome::from_bytes(&w.into_bytes()).expect_err("two kinds").code(), Code::Invalid);
}
