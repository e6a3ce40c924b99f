//! `--merge`.

use super::*;

/// A JSON source, and an SQLite target with these clients.
fn both(source: &[(u64, &str)], target: &[(u64, &str)]) -> Operator {
    let operator = with_json(&few(target));
    operator.run(&["migrate-db", "--leave-behind"]).well();
    operator.write("data/hivemind-core/clients.json", few(source).as_bytes());
    operator
}

fn target(operator: &Operator) -> Vec<(u64, String)> {
    listed(operator, &["--db-backend", "sqlite"])
}

fn named(clients: &[(u64, &str)]) -> Vec<(u64, String)> {
    clients.iter().map(|(id, key)| (*id, (*key).to_owned())).collect()
}

#[test]
fn what_is_new_is_added_what_is_there_stays_and_gaps_are_filled() {
    let operator = both(&[(2, "b"), (6, "f")], &[(1, "a"), (2, "b"), (3, "c")]);
    let said = operator.run(&["migrate-db", "--merge"]).well();
    assert!(said.contains("Checked"), "{said}");
    assert_eq!(target(&operator), named(&[(1, "a"), (2, "b"), (3, "c"), (4, "revoked"), (5, "revoked"), (6, "f")]));
    operator.run(&["migrate-db", "--merge"]).well();
    assert_eq!(target(&operator).len(), 6);
}

#[test]
fn conflicts_are_listed_before_anything_is_written() {
    let (source, there) = ([(1, "x"), (2, "b"), (4, "c"), (5, "e")], [(1, "a"), (2, "b"), (3, "c")]);
    let operator = both(&source, &there);
    for words in [&["migrate-db", "--merge"][..], &["migrate-db", "--merge", "--dry-run"]] {
        let ended = operator.run(words);
        let said = format!("{}{}", ended.out, ended.err);
        for part in ["clients 1 is another one there", "clients 4 has the api_key of clients 3 there"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(!said.contains("clients 2") && !said.contains("clients 5"), "{said}");
        assert_eq!(ended.code, if words.len() == 2 { 7 } else { 0 });
        assert_eq!(target(&operator), named(&there));
    }
    operator.run(&["migrate-db", "--merge", "--prefer", "target"]).well();
    assert_eq!(target(&operator), named(&[(1, "a"), (2, "b"), (3, "c"), (4, "revoked"), (5, "e")]));
    let operator = both(&source, &there);
    operator.run(&["migrate-db", "--merge", "--prefer", "source"]).well();
    assert_eq!(target(&operator), named(&[(1, "x"), (2, "b"), (3, "revoked"), (4, "c"), (5, "e")]));
}

/// One whom the source has revoked is not let in again by a merge, nor is one revoked here without a word.
#[test]
fn a_revocation_on_one_side_is_a_conflict() {
    let operator = both(&[(1, "revoked"), (2, "b")], &[(1, "a"), (2, "revoked")]);
    let ended = operator.run(&["migrate-db", "--merge"]);
    ended.fails(7, &["clients 1 is another one", "clients 2 is another one"]);
    assert_eq!(target(&operator), named(&[(1, "a"), (2, "revoked")]));
}
