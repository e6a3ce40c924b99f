//! Many new clients in one call: all of them or none, however the server lets their records be written.

use super::*;

/// What a server may forbid: records are then written in another way.
const RIGHTS: [&[&str]; 3] = [&["+@all"], &["-msetnx"], &["-msetnx", "-mset"]];

impl Store {
    /// So many new clients in one call; their ids.
    fn add_many(&self, name: &str, count: usize) -> Result<Vec<i64>, Error> {
        let new = |n: usize| {
            let row = self.row(&[("api_key", &format!("{name}-{n}")), ("name", name)]);
            Mutation::InsertNext { collection: self.id, row }
        };
        let applied = self.backend.apply(&cx(), &(0..count).map(new).collect::<Vec<_>>())?;
        let id = |outcome: &Outcome| match outcome {
            Outcome::Inserted(Key::Int(id)) => *id,
            other => panic!("{other:?}"),
        };
        Ok(applied.outcomes.iter().map(id).collect())
    }
}

#[test]
fn a_record_in_the_way_is_found_before_anything_is_written() {
    for rights in RIGHTS {
        let store = Store::with_rights(rights);
        assert_eq!(store.add_many("first", 20), Ok((1..=20).collect()), "{rights:?}");
        // No counter knows of it, and the batch takes its id for free.
        store.ask::<()>(&["SET", "client:client:35", r#"{"client_id": 35, "api_key": "other"}"#]);
        store.ask::<i64>(&["SADD", "client:api_key:other", "35"]);
        assert_eq!(store.add_many("second", 20), Ok((36..=55).collect()), "{rights:?}");
        assert_eq!(store.by_key("other"), Ok(Some(35)));
        assert_eq!(store.by_key("second-19"), Ok(Some(55)));
        store.sync();
        assert_eq!(store.problems(), Vec::<String>::new(), "{rights:?}");
        assert_eq!(store.backend.count(&cx(), &Query::all(store.id)), Ok(41), "{rights:?}");
    }
}

#[test]
fn what_fails_for_one_of_many_is_done_for_none() {
    for rights in RIGHTS {
        let store = Store::with_rights(rights);
        assert_eq!(store.add("taken-7", ""), Ok(1));
        let before = store.dump();
        assert_eq!(store.add_many("taken", 20).expect_err("one key is taken").code(), Code::Conflict);
        assert_eq!(store.dump(), before, "{rights:?}");
        store.ask::<()>(&["SET", "client:idx:13", "something else"]);
        let before = store.dump();
        let error = store.add_many("new", 20).expect_err("something else is there");
        assert_eq!(error.code(), Code::Corrupt, "{error}");
        assert_eq!(store.dump(), before, "{rights:?}");
        store.ask::<i64>(&["DEL", "client:idx:13"]);
        store.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        let before = store.dump();
        let error = store.add_many("new", 20).expect_err("no memory");
        assert!(error.code() == Code::Io && error.message().contains("maxmemory"), "{error}");
        assert_eq!(store.dump(), before, "{rights:?}");
        store.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(store.add_many("new", 20), Ok((2..=21).collect()), "{rights:?}");
    }
}

#[test]
fn more_than_one_command_can_take_are_written_all_the_same() {
    let store = Store::begin(&[]);
    // About where one command ends, and where another begins.
    let mut next = 1;
    for count in [2999, 3000, 3001, 6100] {
        let last = next + i64::try_from(count).expect("a count");
        assert_eq!(store.add_many(&format!("of {count}"), count), Ok((next..last).collect()));
        next = last;
    }
    assert_eq!(store.problems(), Vec::<String>::new());
    assert_eq!(store.by_key("of 3001-3000"), Ok(Some(9000)));
}
