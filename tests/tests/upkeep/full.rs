//! A disk that becomes full in the middle of a backup, a restore, a rekey: an error that says so, nothing half, and everything as it was.

use hivemind_tests::mounts::{Mounted, fill, in_namespace, is_inside};

use super::*;

fn fills(store: Store) {
    let operator = store.operator();
    std::fs::create_dir_all(operator.data()).expect("a folder");
    let _mounted = Mounted::tmpfs("2m", &operator.data());
    for n in 0..30 {
        add(&operator, &format!("key-{n}"));
    }
    let before = keys(&operator);
    let elsewhere = operator.home().join("x.backup");
    operator.run(&["backup", text(&elsewhere)]).well();
    add(&operator, "later");
    let present = keys(&operator);
    let filler = operator.data().join("filler");
    let there = operator.data().join("there.backup");
    let secret = operator.write("secret", PASSWORD.as_bytes());
    let mut refused = 0;
    for spare in [0, 1, 3, 6, 12] {
        for words in [
            &["backup", text(&there)][..],
            &["restore", text(&elsewhere), "--yes", "--no-keep"],
            &["db", "rekey", "--password-file", text(&secret)],
        ] {
            fill(&filler, spare);
            let ended = operator.run(words);
            std::fs::remove_file(&filler).expect("freed");
            if ended.code != 0 {
                refused += 1;
                assert!(
                    ended.err.contains("free space") || ended.err.contains("disk full"),
                    "{spare} pages, {words:?}: {ended:?}"
                );
                assert!(!there.exists(), "{spare} pages: half of a backup");
                assert_eq!(keys(&operator), present, "{spare} pages, {words:?}");
            } else {
                match words[0] {
                    "backup" => std::fs::remove_file(&there).expect("a backup"),
                    "restore" => {
                        assert_eq!(keys(&operator), before);
                        add(&operator, "later");
                    }
                    _ => {
                        let changed = Store { password: Some(PASSWORD), ..store };
                        changed.configure(&operator);
                        assert_eq!(keys(&operator), present);
                        operator.run(&["db", "rekey", "--decrypt"]).well();
                        store.configure(&operator);
                    }
                }
            }
            let left: Vec<_> = files(&operator.data()).into_iter().filter(|f| text(f).ends_with(".tmp")).collect();
            assert!(left.is_empty(), "{spare} pages, {words:?}: {left:?}");
        }
    }
    assert!(refused >= 3, "the disk was full {refused} times only");
    assert!(operator.run(&["db", "verify"]).well().contains("Nothing is wrong"));
}

#[test]
fn sqlite_stands_a_full_disk() {
    in_namespace("full::inside_sqlite");
}

#[test]
fn json_stands_a_full_disk() {
    in_namespace("full::inside_json");
}

#[test]
#[ignore = "run by sqlite_stands_a_full_disk where it may mount"]
fn inside_sqlite() {
    if is_inside() {
        fills(PLAIN[0]);
    }
}

#[test]
#[ignore = "run by json_stands_a_full_disk where it may mount"]
fn inside_json() {
    if is_inside() {
        fills(PLAIN[1]);
    }
}
