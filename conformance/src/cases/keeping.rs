//! Backups, the way back from them, another password, repair.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use hivemind_model::{Capability, Change, Code, Mutation, Query, Report, Task, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused};
use crate::fixture::{Handle, Store, cx, field, json};
use crate::subject::Subject;

const BACKUP: &[Capability] = &[Capability::OnlineBackup];

pub(super) const CASES: &[Case] = &[
    Case::new("declared::backup", "A backup makes the file, refuses one that exists, and disturbs nothing.", backup)
        .requires(BACKUP),
    Case::new("keeping::restore", "A restore brings every collection back, for every handle, and keeps what was there.", restore)
        .requires(BACKUP),
    Case::new("keeping::restore_damaged", "A damaged backup, and a file that is none, are refused and change nothing.", damaged)
        .requires(BACKUP),
    Case::new("keeping::verify_backup", "A sound backup is found sound, a cut one is not.", verify_backup).requires(BACKUP),
    Case::new("negative::no_backup", "Without online backup there is none, no file of one, and no restore.", no_backup)
        .forbids(BACKUP),
    Case::new("keeping::rekey", "After a rekey the old password opens nothing, and no answer shows the new one.", rekey)
        .requires(&[Capability::Encryption]),
    Case::new("negative::no_rekey", "Without encryption a password is unsupported, or really set; no answer shows it.", no_rekey)
        .forbids(&[Capability::Encryption]),
    Case::new("keeping::repair", "Repair keeps every record, or is unsupported.", repair),
];

/// A path where nothing is. Whatever comes to be there is removed with it.
struct Target(PathBuf);

impl Target {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("hivemind-conformance-{}-{number}.backup", std::process::id())))
    }

    fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    fn backup(&self) -> Task {
        Task::Backup { to: self.text() }
    }

    fn restore(&self, keep: Option<&Self>) -> Task {
        Task::Restore { from: self.text(), keep: keep.map(Self::text) }
    }

    fn bytes(&self) -> Checked<Vec<u8>> {
        std::fs::read(&self.0).map_err(|e| Failure::wrong(format!("the backup: expected a file: {e}")))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a task gave; a backend that is older than the task is let off.
fn offered(what: &str, answer: hivemind_model::Result<Report>) -> Checked<Report> {
    match answer {
        Err(error) if error.code() == Code::Unsupported => Err(Failure::Skipped(format!("the backend does not offer {what}"))),
        other => Ok(other?),
    }
}

fn backup(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=100)?;
    let target = Target::new();
    store.backend.maintain(&cx(), &target.backup())?;
    let before = target.bytes()?;
    ensure(!before.is_empty(), || "the backup: expected contents, found an empty file".to_owned())?;
    let again = store.backend.maintain(&cx(), &target.backup());
    ensure(again.is_err(), || "a backup onto a file that exists: expected a refusal, found success".to_owned())?;
    ensure(target.bytes()? == before, || "a refused backup: expected the file as it was, found another".to_owned())?;
    store.fill([101])?;
    equal("how many records", &101, &store.count(&Query::all(store.things))?)
}

fn restore(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("t", "before".into()), ("j", json(r#"{"a": [1.0]}"#))])?)?;
    store.fill(2..=20)?;
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row("n", &[("body", "before".into())])? })?;
    let (target, kept) = (Target::new(), Target::new());
    store.backend.maintain(&cx(), &target.backup())?;
    store.one(store.update(1, vec![Change::set(field::T, "after")], Vec::new()))?;
    store.one(store.delete(2))?;
    store.fill([21])?;
    store.one(Mutation::Put { collection: store.notes, row: store.note_row("n", &[("body", "after".into())])? })?;
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row("m", &[])? })?;
    let other = match store.instance.peer()? {
        Some(peer) => Some(Handle::over(peer)?),
        None => None,
    };
    if let Some(other) = &other {
        equal("the field there, before", &Value::from("after"), &other.value(1, field::T)?)?;
    }
    offered("a restore", store.backend.maintain(&cx(), &target.restore(Some(&kept))))?;
    for handle in [Some(&*store), other.as_ref()].into_iter().flatten() {
        equal("the keys", &(1..=20).collect::<Vec<_>>(), &handle.every_id()?)?;
        equal("the field", &Value::from("before"), &handle.value(1, field::T)?)?;
        equal("the note", &Value::from("before"), &handle.note_value("n", 1)?)?;
        equal("how many notes", &1, &handle.count(&Query::all(handle.notes))?)?;
    }
    store.one(store.insert_next(&[])?)?;
    equal("the keys after InsertNext", &(1..=21).collect::<Vec<_>>(), &store.every_id()?)?;
    // What was there before, from where it was kept.
    let again = store.backend.maintain(&cx(), &target.restore(Some(&kept)));
    ensure(again.is_err(), || "keeping in a file that exists: expected a refusal, found success".to_owned())?;
    store.backend.maintain(&cx(), &kept.restore(None))?;
    let later: Vec<i64> = (1..=21).filter(|id| *id != 2).collect();
    equal("the keys that were kept", &later, &store.every_id()?)?;
    equal("the note that was kept", &Value::from("after"), &store.note_value("n", 1)?)?;
    if let Some(other) = &other {
        equal("the keys there", &later, &other.every_id()?)?;
    }
    if !store.has(Capability::Durable) {
        return Ok(());
    }
    let store = store.reopen()?;
    equal("the keys after reopening", &later, &store.every_id()?)
}

fn damaged(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=50)?;
    let target = Target::new();
    store.backend.maintain(&cx(), &target.backup())?;
    let whole = target.bytes()?;
    store.fill([51])?;
    let half = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [("half of a backup", half), ("an empty file", Vec::new()), ("a text", b"no backup\n".to_vec())] {
        std::fs::write(&target.0, bytes).map_err(|e| Failure::wrong(format!("{}: {e}", target.0.display())))?;
        match store.backend.maintain(&cx(), &target.restore(None)) {
            Err(e) if e.code() == Code::Unsupported => offered("a restore", Err(e)).map(drop)?,
            Err(_) => {}
            Ok(_) => return Err(Failure::wrong(format!("restoring {what}: expected a refusal, found success"))),
        }
        equal("the keys after a refused restore", &(1..=51).collect::<Vec<_>>(), &store.every_id()?)?;
    }
    Ok(())
}

fn verify_backup(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=50)?;
    let target = Target::new();
    store.backend.maintain(&cx(), &target.backup())?;
    let collections = vec![store.thing.clone(), store.note.clone()];
    let task = Task::VerifyBackup { from: target.text(), collections };
    let report = offered("to verify a backup", store.backend.maintain(&cx(), &task))?;
    equal("problems of a sound backup", &Vec::new(), &report.problems)?;
    let whole = target.bytes()?;
    std::fs::write(&target.0, &whole[..whole.len() / 2]).map_err(|e| Failure::wrong(format!("{}: {e}", target.0.display())))?;
    match store.backend.maintain(&cx(), &task) {
        Ok(report) => ensure(!report.problems.is_empty(), || "half of a backup: expected a problem, found none".to_owned()),
        Err(_) => Ok(()),
    }
}

fn no_backup(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let target = Target::new();
    refused("a backup", Code::Unsupported, store.backend.maintain(&cx(), &target.backup()))?;
    ensure(!target.0.exists(), || "a refused backup: expected no file, found one".to_owned())?;
    refused("a restore", Code::Unsupported, store.backend.maintain(&cx(), &target.restore(None)))?;
    equal("the keys", &vec![1], &store.every_id()?)
}

/// Sixteen characters, which is what some engines take.
const PASSWORD: &str = "hunter2-hunter2-";

fn rekey(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=3)?;
    let answer = set_password(&store)?;
    offered("a rekey", answer)?;
    is_another_store(&store)
}

/// An engine that can encrypt may do so with a store that is not.
fn no_rekey(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    match set_password(&store)? {
        Err(error) if error.code() == Code::Unsupported => equal("the keys", &vec![1], &store.every_id()?),
        answer => {
            answer?;
            is_another_store(&store)
        }
    }
}

fn set_password(store: &Store) -> Checked<hivemind_model::Result<Report>> {
    let task = Task::Rekey { password: Some(PASSWORD.to_owned()) };
    let answer = store.backend.maintain(&cx(), &task);
    let shown = format!("{answer:?}");
    ensure(!shown.contains(PASSWORD), || "a rekey: found the new password in its answer".to_owned())?;
    Ok(answer)
}

/// Neither this handle nor the settings it was opened with reach what is stored.
fn is_another_store(store: &Store) -> Checked {
    refused("a call after a rekey", Code::Unavailable, store.get(1))?;
    let opened = store.instance.open().and_then(|backend| {
        let prepared = backend.prepare(&cx(), std::slice::from_ref(&store.thing));
        let _ = backend.close(&cx());
        prepared
    });
    ensure(opened.is_err(), || "opening with the old password: expected a refusal, found success".to_owned())
}

fn repair(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=20)?;
    store.one(store.delete(7))?;
    offered("a repair", store.backend.maintain(&cx(), &Task::Repair)).or_else(|failure| match failure {
        Failure::Skipped(_) => Ok(Report::new()),
        other => Err(other),
    })?;
    equal("how many records", &19, &store.count(&Query::all(store.things))?)?;
    store.one(store.insert_next(&[])?)?;
    equal("how many records after InsertNext", &20, &store.count(&Query::all(store.things))?)
}
