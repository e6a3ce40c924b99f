//! Records that cannot be read keep what is theirs.

mod common;

use common::{Folder, client, cx, put};
use hivemind_abi::model::{Backend, Code, Mutation, ValueRef};

#[test]
fn the_access_key_of_a_record_that_cannot_be_read_is_not_given_away() {
    let folder = Folder::new();
    let never = r#"{"1": {"client_id": 1, "api_key": "one", "last_seen": "never"}, "_lost": {"api_key": "two", "name": 5},
        "03": {"client_id": 3, "api_key": "three"}, "3": {"client_id": 3, "api_key": "other"}, "4": {"client_id": 4, "api_key": 4},
        "5": {"client_id": 5, "api_key": "five", "name": "\ud800"}}"#;
    folder.write("clients.json", never);
    let (store, id) = folder.open();
    let by_key = |key: &str| store.get_by(&cx(), id, 1, ValueRef::Text(key)).map(|row| row.is_some()).map_err(|e| e.code());
    for key in ["one", "two", "three", "five"] {
        assert_eq!(by_key(key), Err(Code::Corrupt), "{key}");
        let row = client(9, key, "x");
        let error = store.apply(&cx(), &[Mutation::Insert { collection: id, row }]).expect_err("taken");
        assert!(matches!(error.code(), Code::Conflict | Code::Corrupt), "{key}: {error}");
    }
    assert_eq!((by_key("other"), by_key("none")), (Ok(true), Ok(false)));
    assert_eq!(folder.read("clients.json"), never);
    put(&store, id, client(9, "none", "x"));
    assert_eq!(by_key("one"), Err(Code::Corrupt), "after a write, too");
    folder.write("clients.json", "{}");
    assert_eq!((by_key("one"), by_key("two")), (Ok(false), Ok(false)), "once they are gone their keys are free");
}
