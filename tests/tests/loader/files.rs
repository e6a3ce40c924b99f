//! Files that are no library, no plugin, or open to others.

use hivemind_model::{Context, KeyRef, Mutation, Row};
use serde_json::json;

use super::*;

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
fn a_new_library_dropped_into_the_folder_is_in_use_after_a_restart_and_an_exchanged_one_never_before() {
    let folder = Folder::new().with("ledger", "x.so");
    let block = settings(&json!({"file": folder.path().join("data.ledger")}));
    let loader = folder.loader();
    let opened = loader.open("ledger", &block).expect("open");
    let cx = Context::unbounded();
    let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];

    // Overwriting a mapped file in place kills a process; what is mapped here is a sealed copy.
    fs::write(folder.path().join("x.so"), vec![0; 100_000]).expect("overwritten");
    let row = Row::builder(&things()).set("id", 7).expect("an id").build();
    opened.backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("still works");
    assert!(loader.resolve("ledger").is_err(), "the file itself is broken now");
    let before = opened.plugin.sha256();
    drop(opened);

    place(&build::fixture("abi-newer"), folder.path(), "x.so");
    let again = loader.open("ledger", &block).expect("the new file");
    assert_eq!(again.plugin.manifest.abi, "1.1.0");
    assert_ne!(again.plugin.sha256(), before);
    let id = again.backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert!(again.backend.get(&cx, id, KeyRef::Int(7)).expect("read").is_some(), "and it reads what the old one wrote");
}
