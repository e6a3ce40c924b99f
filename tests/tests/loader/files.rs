//! Files that are no library, no plugin, or open to others.

use hivemind_host::plugins::Checked;
use hivemind_host::plugins::lock::Lock;
use hivemind_model::{Context, KeyRef, Mutation, Row};
use serde_json::json;

use super::*;

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
    let before = opened.plugin.sha256.clone();
    drop(opened);

    place(&build::fixture("abi-newer"), folder.path(), "x.so");
    let again = loader.open("ledger", &block).expect("the new file");
    assert_eq!(again.plugin.manifest.abi, "1.1.0");
    assert_ne!(again.plugin.sha256, before);
    let id = again.backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert!(again.backend.get(&cx, id, KeyRef::Int(7)).expect("read").is_some(), "and it reads what the old one wrote");
}
