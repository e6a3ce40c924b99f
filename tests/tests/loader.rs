//! What the loader says about every kind of file and folder an operator can have, and that it never runs what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Checked, Loader, OpenError, Reason, Refusal, SearchPath};
use hivemind_model::{Code, Collection, Context, KeyRef, Kind, Mutation, Query, Row};
use hivemind_tests::{build, loader, place, set_mode};
use serde_json::{Map, Value, json};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn with(self, fixture: &str, name: &str) -> Self {
        place(&build::fixture(fixture), self.path(), name);
        self
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("written");
        set_mode(&path, 0o755);
        path
    }

    fn loader(&self) -> Loader {
        loader(&[self.path()], self.path())
    }

    /// What `plugins list` would say about the only file.
    fn verdict(&self) -> Reason {
        let loader = self.loader();
        let candidates = loader.candidates().remove(0).1.expect("a folder");
        assert_eq!(candidates.len(), 1, "one file");
        candidates.into_iter().next().and_then(|c| c.manifest.err()).expect("a refusal")
    }

    fn refusal(&self, name: &str) -> Refusal {
        self.loader().resolve(name).expect_err("a refusal")
    }
}

fn assert_says(refusal: &impl std::fmt::Display, parts: &[&str]) {
    let text = refusal.to_string();
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

fn settings(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn things() -> Collection {
    Collection::new("things", 1, "id", Kind::Int).field("name", Kind::Text)
}

#[test]
fn a_module_is_found_by_name_by_alias_and_by_absolute_path_but_never_by_file_name_or_relative_path() {
    let folder = Folder::new().with("ledger", "whatever.so");
    let path = folder.path().join("whatever.so");
    for name in ["ledger-db-plugin", "ledger", path.to_str().expect("UTF-8")] {
        assert_eq!(folder.loader().resolve(name).expect(name).manifest.module, "ledger-db-plugin");
    }
    for name in ["whatever", "whatever.so", "./whatever.so", "../whatever.so", ""] {
        assert_eq!(folder.refusal(name).reason.code(), "not-found", "{name}");
    }
}

#[test]
fn a_wrong_name_says_what_was_searched_what_is_close_and_what_to_do() {
    let folder = Folder::new().with("ledger", "a.so");
    folder.write("b.so", b"hello");
    let missing = folder.path().join("not-there");
    let loader = Loader::new(SearchPath::only(&[missing, folder.path().to_owned()]), Lock::default(), folder.path().to_owned());
    let refusal = loader.resolve("ledgr-db-plugin").expect_err("a refusal");
    assert_says(
        &refusal,
        &[
            "\"ledgr-db-plugin\"",
            "did you mean \"ledger-db-plugin\"?",
            "not-there (not there)",
            "b.so",
            "a text file",
            "--plugins-dir",
            "plugins list",
        ],
    );
}

#[test]
fn two_files_of_one_folder_with_one_name_are_refused_and_both_named() {
    let folder = Folder::new().with("ledger", "a.so").with("ledger", "b.so");
    for name in ["ledger", "ledger-db-plugin"] {
        let refusal = folder.refusal(name);
        assert_eq!(refusal.reason.code(), "ambiguous");
        assert_says(&refusal, &["a.so", "b.so", "remove all but one"]);
    }
}

#[test]
fn an_earlier_folder_goes_before_a_later_one() {
    let (first, second) = (Folder::new().with("ledger", "a.so"), Folder::new().with("ledger", "b.so"));
    let loader = loader(&[first.path(), second.path()], first.path());
    assert!(loader.resolve("ledger").expect("found").path.ends_with("a.so"));
}

#[test]
fn files_that_are_no_plugin_for_this_system_are_told_apart_before_anything_runs() {
    let ledger = fs::read(build::fixture("ledger")).expect("the library");
    let mut other_cpu = ledger.clone();
    other_cpu[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: AArch64
    let mut windows = b"MZ".to_vec();
    windows.resize(4096, 0);
    let cases: [(&str, Vec<u8>, &str, &[&str]); 7] = [
        ("empty", Vec::new(), "not-a-library", &["an empty file"]),
        ("text", b"not a library\n".to_vec(), "not-a-library", &["a text file"]),
        ("script", b"#!/bin/sh\n\x01".to_vec(), "not-a-library", &["a script"]),
        ("cpu", other_cpu, "wrong-target", &["X86_64", "Aarch64", "ask its vendor"]),
        ("half", ledger[..ledger.len() / 2].to_vec(), "truncated", &["cut short", "copy it again"]),
        ("head", ledger[..100].to_vec(), "truncated", &["cut short"]),
        ("pe", windows, "truncated", &["cut short"]),
    ];
    for (name, bytes, code, parts) in cases {
        let folder = Folder::new();
        folder.write("x.so", &bytes);
        let reason = folder.verdict();
        assert_eq!(reason.code(), code, "{name}: {reason}");
        assert_says(&reason, parts);
    }
}

/// A cut anywhere must be refused: the system's loader would kill the process with SIGBUS.
#[test]
fn a_library_cut_at_any_place_is_refused() {
    let ledger = fs::read(build::fixture("ledger")).expect("the library");
    let folder = Folder::new();
    for part in 1..60 {
        let path = folder.write("x.so", &ledger[..ledger.len() * part / 60]);
        let refusal = Checked::read(&path, &Lock::default()).err();
        assert!(refusal.is_some(), "cut at {part}/60");
    }
}

#[test]
fn a_library_without_manifest_or_entry_symbol_is_refused_by_name() {
    let folder = Folder::new().with("no-manifest", "x.so");
    let reason = folder.verdict();
    assert_eq!(reason.code(), "no-manifest");
    assert_says(&reason, &[".hivemind", "no hivemind storage plugin"]);

    let folder = Folder::new().with("no-entry", "x.so");
    let refusal = folder.refusal("no-entry-db-plugin");
    assert_eq!(refusal.reason.code(), "no-entry");
    assert_says(&refusal, &["_1as_0lib_1header", "export_backend!"]);
}

#[test]
fn a_file_or_folder_that_others_can_write_is_refused_with_the_command_that_mends_it() {
    let folder = Folder::new().with("ledger", "x.so");
    set_mode(&folder.path().join("x.so"), 0o757);
    let reason = folder.verdict();
    assert_eq!(reason.code(), "untrusted");
    assert_says(&reason, &["x.so", "mode 0757", "chmod go-w"]);

    set_mode(&folder.path().join("x.so"), 0o755);
    set_mode(folder.path(), 0o777);
    let reason = folder.verdict();
    assert_says(&reason, &["mode 0777", folder.path().to_str().expect("UTF-8")]);
}

#[test]
fn a_pinned_module_loads_only_from_the_pinned_file() {
    let folder = Folder::new().with("ledger", "x.so");
    let file = folder.path().join("plugins.lock.toml");
    let mut lock = Lock::read(&file).expect("no lock file pins nothing");
    lock.pin(&folder.loader().resolve("ledger").expect("found"));
    lock.write().expect("written");

    let search = || SearchPath::only(&[folder.path().to_owned()]);
    let lock = Lock::read(&file).expect("read");
    assert_eq!(lock.pin_of("ledger-db-plugin").expect("pinned").version, "0.3.1");
    let pinned = Loader::new(search(), lock.clone(), folder.path().to_owned());
    pinned.resolve("ledger").expect("the pinned file");

    place(&build::fixture("abi-newer"), folder.path(), "x.so");
    let refusal = pinned.resolve("ledger").expect_err("a refusal");
    assert_eq!(refusal.reason.code(), "not-pinned");
    assert_says(&refusal, &["plugins.lock.toml", "SHA-256", "plugins pin"]);

    for text in ["version = 2", "versoin = 1", "[[plugin]]\nmodule = 1", "\u{0}"] {
        fs::write(&file, text).expect("written");
        assert_eq!(Lock::read(&file).expect_err(text).reason.code(), "bad-lock", "{text}");
    }
}

#[test]
fn a_new_library_dropped_into_the_folder_is_in_use_after_a_restart_and_an_exchanged_one_never_before() {
    let folder = Folder::new().with("ledger", "x.so");
    let block = settings(json!({"file": folder.path().join("data.ledger")}));
    let loader = folder.loader();
    let opened = loader.open("ledger", &block).expect("open");
    let cx = Context::unbounded();
    let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];

    // Overwriting a mapped file in place kills a process; what is mapped here is a sealed copy.
    fs::write(folder.path().join("x.so"), vec![0; 100_000]).expect("overwritten");
    let row = Row::builder(&things()).set("id", 7).expect("an id").build();
    opened.backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("still works");
    assert!(loader.resolve("ledger").is_err(), "the file itself is broken now");

    place(&build::fixture("abi-newer"), folder.path(), "x.so");
    let again = loader.open("ledger", &block).expect("the new file");
    assert_eq!(again.plugin.manifest.abi, "1.1.0");
    assert_ne!(again.plugin.sha256, opened.plugin.sha256);
    let id = again.backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert!(again.backend.get(&cx, id, KeyRef::Int(7)).expect("read").is_some(), "and it reads what the old one wrote");
}

fn misbehaving(block: Value) -> (Folder, Result<hivemind_host::plugins::Opened, OpenError>) {
    let folder = Folder::new().with("misbehaving", "x.so");
    let opened = folder.loader().open("misbehaving", &settings(block));
    (folder, opened)
}

#[test]
fn wrong_settings_name_the_nearest_key_and_never_the_value() {
    let (_folder, opened) = misbehaving(json!({"duarble": true, "secret": 12345, "limit": 0, "misdeed": "hunter2"}));
    let error = opened.err().expect("a refusal");
    assert_says(
        &error,
        &[
            "unknown key `duarble`; did you mean `durable`?",
            "`secret`: expected string, found number",
            "`limit`: expected at least 1",
            "`misdeed`: expected one of",
        ],
    );
    assert!(!error.to_string().contains("12345") && !error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_panic_while_opening_or_more_promises_than_declared_is_an_error_and_the_host_lives() {
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-open"}));
    assert_says(&opened.err().expect("an error"), &["panicked", "misbehaving as told in open"]);
    let (_folder, opened) = misbehaving(json!({"misdeed": "promise-more"}));
    assert_says(&opened.err().expect("an error"), &["promises more than its manifest declares"]);
}

#[test]
fn an_answer_without_message_or_with_a_malformed_row_is_an_error() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "silent-error"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert_says(&backend.get(&cx, id, KeyRef::Int(1)).expect_err("an error"), &["without a message"]);
    let (_folder, opened) = misbehaving(json!({"misdeed": "malformed-row"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    let row = backend.get(&cx, id, KeyRef::Int(1)).expect("bytes").expect("a row");
    assert_eq!(row.view(&things()).expect_err("malformed").code(), Code::Invalid);
}

#[test]
fn after_a_panic_a_durable_backend_is_opened_again_with_its_data() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-get", "durable": true}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    let row = Row::builder(&things()).set("id", 1).expect("an id").build();
    backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("applied");
    assert_eq!(backend.get(&cx, id, KeyRef::Int(666)).expect_err("a panic").code(), Code::Panicked);
    assert_eq!(backend.count(&cx, &Query::all(id)), Ok(1), "opened again, prepared again, same ids");
    // The second panic comes within the pause.
    assert_eq!(backend.get(&cx, id, KeyRef::Int(666)).expect_err("a panic").code(), Code::Panicked);
    let refused = backend.count(&cx, &Query::all(id)).expect_err("not yet");
    assert!(refused.code() == Code::Poisoned && refused.retryable(), "{refused}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(backend.count(&cx, &Query::all(id)), Ok(1));
}

#[test]
fn after_a_panic_a_backend_that_is_not_durable_fails_closed_for_ever() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-apply"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert_eq!(backend.apply(&cx, &[]).expect_err("a panic").code(), Code::OutcomeUnknown, "it may have committed");
    for _ in 0..2 {
        let error = backend.get(&cx, id, KeyRef::Int(1)).expect_err("closed");
        assert!(error.code() == Code::Poisoned && !error.retryable(), "{error}");
        assert_says(&error, &["not durable", "restart the node"]);
    }
}

#[test]
fn a_second_handle_on_one_resource_is_refused_until_the_first_is_dropped() {
    let (folder, first) = misbehaving(json!({"resource": "one"}));
    let first = first.expect("open");
    let block = settings(json!({"resource": "one"}));
    let error = folder.loader().open("misbehaving", &block).err().expect("a refusal");
    assert_says(&error, &["one is already open through misbehaving-db-plugin"]);
    drop(first);
    folder.loader().open("misbehaving", &block).expect("free again");
}

#[test]
fn several_backends_live_in_one_process() {
    let ledgers = Folder::new().with("ledger", "l.so").with("misbehaving", "m.so");
    let loader = ledgers.loader();
    let cx = Context::unbounded();
    let opened: Vec<_> = (0..3)
        .map(|n| loader.open("ledger", &settings(json!({"file": ledgers.path().join(format!("{n}.ledger"))}))).expect("open"))
        .chain([loader.open("misbehaving", &Map::new()).expect("open")])
        .collect();
    for (n, opened) in opened.iter().enumerate() {
        let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];
        let row = Row::builder(&things()).set("id", i64::try_from(n).expect("small")).expect("an id").build();
        opened.backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("applied");
    }
    for opened in &opened {
        let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];
        assert_eq!(opened.backend.count(&cx, &Query::all(id)), Ok(1), "each has its own");
    }
}
