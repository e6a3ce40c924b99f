//! Flipped bits and cuts in data files and backups: what is wrong is named, or nothing is lost. No panic, no silent loss.
//!
//! A bit in a stored text of a plain store makes another text, which nothing can tell from one that was written so; then at most that
//! one record differs. A backup has a hash over everything, and an encrypted store a checksum for each page or file, so there every
//! flip is named.

use std::collections::BTreeMap;

use super::*;

const CLIENTS: usize = 40;

fn filled(store: Store) -> Operator {
    let operator = store.operator();
    let seed = PLAIN[1].operator();
    let record = |n: usize| {
        let words = format!("words about client {n} ").repeat(12);
        (
            n.to_string(),
            json!({"client_id": n, "api_key": format!("key-{n}"), "name": format!("client {n}"), "description": words}),
        )
    };
    let records: serde_json::Map<_, _> = (1..=CLIENTS).map(record).collect();
    match store {
        Store { module: JSON, .. } => {
            seed.write("data/hivemind-core/clients.json", Value::Object(records).to_string().as_bytes());
            seed.write("data/hivemind-core/clients.schema_version", b"2");
            seed.run(&["list-clients"]).well();
            std::fs::create_dir_all(operator.data()).expect("a folder");
            for file in files(&seed.data()) {
                std::fs::copy(&file, operator.data().join(file.file_name().expect("a name"))).expect("copied");
            }
        }
        _ => {
            Store { password: None, ..store }.configure(&operator);
            operator.run(&["list-clients"]).well();
            let connection = rusqlite::Connection::open(store.file(&operator)).expect("opens");
            for (id, record) in records {
                let sql = "INSERT INTO clients (client_id, api_key, name, description, allowed_types, metadata) VALUES (?1, ?2, ?3, ?4, '[]', '{}')";
                let text = |field: &str| record[field].as_str().map(str::to_owned);
                connection
                    .execute(sql, (id.parse::<i64>().expect("an id"), text("api_key"), text("name"), text("description")))
                    .expect("inserted");
            }
        }
    }
    if store.password.is_some() {
        Store { password: None, ..store }.configure(&operator);
        let secret = operator.write("secret", PASSWORD.as_bytes());
        operator.run(&["db", "rekey", "--switch", "--password-file", text(&secret)]).well();
        store.configure(&operator);
    }
    operator
}

type Records = BTreeMap<i64, Value>;

fn by_id(clients: &str) -> Records {
    let all: Vec<Value> = serde_json::from_str(clients).unwrap_or_else(|e| panic!("{e}: {clients}"));
    all.into_iter().map(|client| (client["client_id"].as_i64().unwrap_or_default(), client)).collect()
}

/// Flips a bit or cuts, in turns.
fn damage(whole: &[u8], round: usize, random: &mut fastrand::Rng) -> (Vec<u8>, String) {
    let mut bytes = whole.to_vec();
    let at = random.usize(..bytes.len());
    if round % 3 < 2 {
        let bit = random.u8(..8);
        bytes[at] ^= 1 << bit;
        (bytes, format!("bit {bit} of byte {at} flipped"))
    } else {
        bytes.truncate(at.max(1));
        (bytes, format!("cut at {at}"))
    }
}

/// A failure that an operator can do something with.
fn assert_said(ended: &hivemind_tests::program::Ended, what: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert!((1..=10).contains(&ended.code), "{what}: {ended:?}");
    assert!(!said.contains("panicked") && !said.contains("MARK"), "{what}: {said}");
    assert!(said.contains("clients") || said.contains("damaged.backup"), "{what}: neither file nor record is named: {said}");
}

fn data_files(store: Store, rounds: usize) {
    let operator = filled(store);
    let list = ["list-clients", "--json", "--show-secrets", "--all"];
    let before = by_id(&operator.run(&list).well());
    assert_eq!(before.len(), CLIENTS);
    let pristine: Vec<_> = files(&operator.data()).into_iter().map(|f| (f.clone(), std::fs::read(&f).expect("read"))).collect();
    let file = store.file(&operator);
    let whole = std::fs::read(&file).expect("read");
    let mut random = fastrand::Rng::with_seed(11);
    let (mut named, mut unharmed, mut changed) = (0, 0, 0);
    for round in 0..rounds {
        let (bytes, what) = damage(&whole, round, &mut random);
        files(&operator.data()).iter().for_each(|f| std::fs::remove_file(f).expect("removed"));
        pristine.iter().for_each(|(f, bytes)| std::fs::write(f, bytes).expect("written"));
        std::fs::write(&file, &bytes).expect("written");
        let what = format!("{store:?}, {what}");
        let verified = operator.run(&["db", "verify"]);
        if verified.code != 0 {
            assert_said(&verified, &what);
            named += 1;
            continue;
        }
        let after = by_id(&operator.run(&list).well());
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>(),
            "{what}: a record is lost, and nothing is said"
        );
        let different = before.iter().filter(|(id, record)| after.get(id) != Some(record)).count();
        assert!(different <= usize::from(store.password.is_none()), "{what}: {different} records differ, and nothing is said");
        if different == 0 { unharmed += 1 } else { changed += 1 }
    }
    eprintln!(
        "{store:?}: {rounds} damages of the data file: {named} named, {unharmed} without effect, {changed} made another text"
    );
    assert!(named > rounds / 4, "{named} of {rounds}");
}

fn backups(store: Store, rounds: usize) {
    backups_of(&format!("{store:?}"), &filled(store), rounds);
}

pub(super) fn backups_of(store: &str, operator: &Operator, rounds: usize) {
    let list = ["list-clients", "--json", "--show-secrets", "--all"];
    let backup = operator.home().join("whole.backup");
    operator.run(&["backup", text(&backup)]).well();
    let kept = by_id(&operator.run(&list).well());
    add(operator, "later");
    let present = by_id(&operator.run(&list).well());
    let whole = std::fs::read(&backup).expect("read");
    let damaged = operator.home().join("damaged.backup");
    let mut random = fastrand::Rng::with_seed(12);
    let mut refused = 0;
    for round in 0..rounds {
        let (bytes, what) = damage(&whole, round, &mut random);
        std::fs::write(&damaged, &bytes).expect("written");
        let what = format!("{store}, {what}");
        let verified = operator.run(&["db", "verify", text(&damaged)]);
        let restored = operator.run(&["restore", text(&damaged), "--yes", "--no-keep"]);
        let after = by_id(&operator.run(&list).well());
        assert_eq!(verified.code == 0, restored.code == 0, "{what}: {verified:?} {restored:?}");
        if restored.code == 0 {
            // What fills an archive's files up to whole blocks is nobody's.
            assert!(after == kept, "{what}: it was taken, and is not what was backed up");
            operator.run(&["restore", text(&backup), "--yes", "--no-keep"]).well();
            add(operator, "later");
            continue;
        }
        assert_said(&verified, &what);
        assert_said(&restored, &what);
        refused += 1;
        assert_eq!(after.len(), present.len(), "{what}: it was refused, and something changed");
    }
    eprintln!("{store}: {rounds} damages of a backup: {refused} refused");
    assert!(refused > rounds / 2, "{refused} of {rounds}");
}

#[test]
fn sqlite_data() {
    data_files(PLAIN[0], 60);
}

#[test]
fn json_data() {
    data_files(PLAIN[1], 60);
}

#[test]
fn encrypted_sqlite_data() {
    data_files(ENCRYPTED[0], 24);
}

#[test]
fn encrypted_json_data() {
    data_files(ENCRYPTED[1], 30);
}

#[test]
fn sqlite_backups() {
    backups(PLAIN[0], 40);
}

#[test]
fn json_backups() {
    backups(PLAIN[1], 40);
}

#[test]
fn encrypted_sqlite_backups() {
    backups(ENCRYPTED[0], 16);
}

#[test]
fn encrypted_json_backups() {
    backups(ENCRYPTED[1], 30);
}
