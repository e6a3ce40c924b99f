//! Records in the files: everything unknown and unreadable kept as it is, what is written read back, and searches that can be given up.

mod common;

use std::sync::atomic::Ordering;

use common::{Folder, client, count, cx, member, name, put, rename, shown, with};
use hivemind_abi::model::{Backend, Change, Code, Condition, Context, Key, Mutation, Op, Outcome, Query, Result, Task, Value};

#[test]
fn unreadable_records_survive_writes_byte_for_byte_and_hide_nothing() {
    let odd = [
        ("3", "{\"client_id\":3,  \"api_key\": 5}"),
        ("4", "null"),
        ("5", "{\"client_id\": 9, \"api_key\": \"moved\"}"),
        ("_note", "\"by hand\""),
        ("6", "[1,\n2]"),
    ];
    let folder = Folder::new();
    let records: Vec<_> = odd.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
    folder.write("clients.json", &format!("{{\"1\": {{\"client_id\": 1, \"api_key\": \"a\"}}, {}}}", records.join(" , ")));
    let (store, id) = folder.open();
    store.apply(&cx(), &[rename(id, 1, "new")]).expect("renamed");
    let text = folder.read("clients.json");
    for (name, raw) in odd {
        assert_eq!(member(&text, &[name]).as_deref(), Some(raw));
    }
    for key in [3, 4, 5, 6, 9] {
        let error = store.get(&cx(), id, Key::Int(key).as_ref()).expect_err("unreadable");
        assert_eq!((error.code(), error.detail().key.clone()), (Code::Corrupt, Some(Key::Int(key))));
        let put = Mutation::Put { collection: id, row: client(key, &format!("k{key}"), "") };
        assert_eq!(store.apply(&cx(), &[put]).expect_err("not replaced").code(), Code::Corrupt);
    }
    let page = store.find(&cx(), &Query::all(id), usize::MAX).expect("a page");
    assert_eq!((page.rows.len(), page.unreadable.len()), (1, 5));
    let next = Mutation::InsertNext { collection: id, row: client(0, "b", "") };
    let outcomes = store.apply(&cx(), &[next]).expect("added").outcomes;
    assert_eq!(outcomes, [Outcome::Inserted(Key::Int(10))], "the misplaced record's own id is not given away");
    let problems = store.maintain(&cx(), &Task::Verify).expect("a report").problems;
    assert!(problems.iter().any(|p| p.message.contains("_note")), "{problems:?}");
    assert!(problems.iter().any(|p| p.key == Some(Key::Int(5)) && p.message.contains("client_id is 9")), "{problems:?}");
}

#[test]
fn a_misplaced_record_becomes_readable_when_it_is_corrected() {
    let folder = Folder::new();
    folder.write("clients.json", r#"{"5": {"client_id": 9, "api_key": "a"}, "05": {"client_id": 5, "api_key": "b"}}"#);
    let (store, id) = folder.open();
    assert_eq!(store.get(&cx(), id, Key::Int(9).as_ref()).expect_err("misplaced").code(), Code::Corrupt);
    folder.write("clients.json", r#"{"9": {"client_id": 9, "api_key": "a"}, "5": {"client_id": 5, "api_key": "b"}}"#);
    assert_eq!((name(&store, id, 9), name(&store, id, 5)), (Some(String::new()), Some(String::new())));
    assert_eq!(store.maintain(&cx(), &Task::Verify).expect("a report").problems, []);
}

#[test]
fn comments_are_read_over_and_dropped_by_the_first_write() {
    let folder = Folder::new();
    folder.write(
        "clients.json",
        "// mine\n{\n    # the first\n    \"1\": {\"client_id\": 1, \"api_key\": \"a#//\"} // here too\n}\n",
    );
    let (store, id) = folder.open();
    assert_eq!(count(&store, id), 1);
    put(&store, id, client(2, "b", ""));
    let text = folder.read("clients.json");
    assert!(!text.contains("mine") && !text.contains("first") && !text.contains("here"), "{text}");
    assert_eq!(member(&text, &["1", "api_key"]).as_deref(), Some("\"a#//\""));
}

#[test]
fn separators_that_break_pythons_reader_are_escaped_everywhere() {
    let folder = Folder::new();
    let odd = "x\u{85}y\u{2028}z\u{2029}";
    folder.write(
        "clients.json",
        &format!("{{\"1\": {{\"client_id\": 1, \"api_key\": \"a\", \"name\": \"{odd}\"}}, \"{odd}\": 1}}"),
    );
    let (store, id) = folder.open();
    put(&store, id, client(2, "b", odd));
    let meta = Change::JsonSet { field: 11, name: odd.to_owned(), json: format!("\"{odd}\"") };
    store
        .apply(&cx(), &[Mutation::Update { collection: id, key: Key::Int(2), changes: vec![meta], when: vec![] }])
        .expect("stored");
    let text = folder.read("clients.json");
    assert!(!text.contains(['\u{85}', '\u{2028}', '\u{2029}']), "{text}");
    let (again, id) = folder.open();
    assert_eq!((name(&again, id, 1).as_deref(), name(&again, id, 2).as_deref()), (Some(odd), Some(odd)));
}

#[test]
fn a_narrow_change_keeps_the_spelling_of_the_rest() {
    let folder = Folder::new();
    folder.write(
        "clients.json",
        r#"{"1": {"client_id": 1, "api_key": "a", "name": "\u00e9", "last_seen": -1, "metadata": {"n": 1.10}}}"#,
    );
    let (store, id) = folder.open();
    store
        .apply(&cx(), &[Mutation::Update { collection: id, key: Key::Int(1), changes: vec![Change::set(4, true)], when: vec![] }])
        .expect("changed");
    let text = folder.read("clients.json");
    assert_eq!(member(&text, &["1", "name"]).as_deref(), Some(r#""\u00e9""#));
    assert_eq!(member(&text, &["1", "last_seen"]).as_deref(), Some("-1"));
    assert_eq!(member(&text, &["1", "metadata", "n"]).as_deref(), Some("1.10"));
    assert_eq!(member(&text, &["1", "is_admin"]).as_deref(), Some("true"));
}

#[test]
fn what_a_start_reads_is_what_memory_holds() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    let metadata = Value::Json(r#"{"b": [1.0, 123456789012345678901234567890], "a": "é\/"}"#.to_owned());
    put(&store, id, with(&client(1, "a", "x\0"), &[("metadata", metadata), ("last_seen", 1e300.into())]));
    let (again, id) = folder.open();
    let all =
        |store: &hivemind_json_plugin::backend::JsonStore| store.find(&cx(), &Query::all(id), usize::MAX).expect("a page").rows;
    assert_eq!(all(&store), all(&again));
    assert!(shown(&again, id, 1).expect("there").contains(r#"{"b": [1.0, 123456789012345678901234567890], "a": "é\/"}"#));
}

#[test]
fn a_value_nested_so_deep_that_the_file_would_be_lost_is_refused() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    let deep = format!("{}{}", "[".repeat(201), "]".repeat(201));
    let row = with(&client(1, "a", ""), &[("allowed_types", Value::Json(deep))]);
    let error = store.apply(&cx(), &[Mutation::Put { collection: id, row }]).expect_err("too deep");
    assert_eq!((error.code(), count(&store, id)), (Code::Invalid, 0));
}

#[test]
fn a_record_nested_too_deep_hides_no_other_and_goes_back_byte_for_byte() {
    let folder = Folder::new();
    let deep = |n: usize, inner: &str| format!("{{\"a]\\\"}}\": {}{inner}{}}}", "[ ".repeat(n), "] ".repeat(n));
    let text = format!(
        "{{\"1\": {{\"client_id\": 1, \"api_key\": \"a\"}}, \"2\": {} , \"3\": {}, \"x\":{}}}",
        deep(250, "1"),
        deep(100_000, "\"[{\""),
        deep(250, "")
    );
    for content in [text.clone(), format!("// mine\n{text}")] {
        folder.write("clients.json", &content);
        let (store, id) = folder.open();
        assert_eq!(name(&store, id, 1).as_deref(), Some(""));
        for key in [2, 3] {
            let error = store.get(&cx(), id, Key::Int(key).as_ref()).expect_err("too deep");
            assert!(error.code() == Code::Corrupt && error.message().contains("nested deeper than 200 levels"), "{error}");
        }
        assert_eq!(store.maintain(&cx(), &Task::Verify).expect("a report").problems.len(), 3);
        put(&store, id, client(9, "b", ""));
        let written = folder.read("clients.json");
        for record in [deep(250, "1"), deep(100_000, "\"[{\""), deep(250, "")] {
            assert!(written.contains(&record));
        }
        assert_eq!(count(&folder.open().0, id), 2);
    }
    let with_key = format!("{{\"2\": {{\"client_id\": 2, \"api_key\": \"mine\", \"metadata\": {}}}}}", deep(250, "1"));
    folder.write("clients.json", &with_key);
    let (store, id) = folder.open();
    let taken = store.apply(&cx(), &[Mutation::Put { collection: id, row: client(3, "mine", "") }]);
    assert_eq!(taken.expect_err("the unreadable record's").code(), Code::Conflict);
    // A bracket of the wrong sort is no record at all.
    let broken = text.replacen("] ] ] }", "] ] } }", 1);
    folder.write("clients.json", &broken);
    let error = folder.handle().prepare(&cx(), &[common::clients()]).expect_err("broken");
    assert_eq!((error.code(), folder.read("clients.json") == broken), (Code::Corrupt, true));
}

#[test]
fn a_long_search_ends_when_the_caller_gives_up() {
    let folder = Folder::new();
    let records: Vec<_> = (1..=2000).map(|n| format!("\"{n}\": {{\"client_id\": {n}, \"api_key\": \"k{n}\"}}")).collect();
    folder.write("clients.json", &format!("{{{}}}", records.join(",")));
    let (store, id) = folder.open();
    let cancelled = std::sync::atomic::AtomicBool::new(false);
    let cx = Context::unbounded().cancelled_by(&cancelled);
    let ordered = Query::all(id).order_by(2, true);
    assert_eq!(store.find(&cx, &ordered, usize::MAX).expect("all").rows.len(), 2000);
    let gives_up = |ask: &dyn Fn(&Context<'_>) -> Result<()>| {
        // Cancelled while it is at it: what is asked first is whether it may begin.
        std::thread::scope(|scope| {
            cancelled.store(false, Ordering::Relaxed);
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                cancelled.store(true, Ordering::Relaxed);
            });
            loop {
                if let Err(error) = ask(&cx) {
                    return error.code();
                }
            }
        })
    };
    let some = Query::all(id).filter(Condition::new(2, Op::Ne, "x"));
    assert_eq!(gives_up(&|cx| store.find(cx, &ordered, usize::MAX).map(drop)), Code::Deadline);
    assert_eq!(gives_up(&|cx| store.count(cx, &some).map(drop)), Code::Deadline);
}
