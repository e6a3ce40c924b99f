//! The zoo: a specimen of every plugin that could do harm, what is said about it, and that the host goes on serving.
//!
//! `tests/plugins/README.md` is the catalogue. What an operator can have in a folder is also tested in `loader`, what becomes of a
//! handle after a panic also in `supervision`.

mod answers;
mod blocked;
mod files;
mod liars;
mod links;
mod loading;
mod manifests;
mod owners;
mod panics;
mod program;
mod race;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Checked, Loader, OpenError, Opened, Refusal};
use hivemind_model::{Backend, CollectionId, Context, KeyRef, Mutation, Row};
use hivemind_tests::specimen::{Folder, assert_says, settings, things};
use hivemind_tests::{build, place};
use serde_json::{Value, json};

static CX: Context<'_> = Context::unbounded();

/// A good handle that was open before the first specimen came, and a good plugin in the specimen's own folder: both serve.
fn alive() {
    static GOOD: OnceLock<(Opened, CollectionId, Folder)> = OnceLock::new();
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let (good, id, _) = GOOD.get_or_init(|| {
        let folder = Folder::new().with("ledger", "good.so");
        let file = folder.path().join("good.ledger");
        let opened = folder.loader().open("ledger", &settings(&json!({"file": file}))).expect("a good plugin");
        let id = opened.backend.prepare(&CX, &[things()]).expect("prepared")[0];
        (opened, id, folder)
    });
    let key = NEXT.fetch_add(1, Ordering::SeqCst);
    store(good.backend.as_ref(), *id, key);
    assert!(good.backend.get(&CX, *id, KeyRef::Int(key)).expect("the host serves").is_some());
}

fn store(backend: &dyn Backend, id: CollectionId, key: i64) {
    let row = Row::builder(&things()).set("id", key).expect("an id").build();
    backend.apply(&CX, &[Mutation::Insert { collection: id, row }]).expect("applied");
}

/// Asserts why a file is refused before anything of it runs, and that the host lives.
fn refused(path: &Path, code: &str, parts: &[&str]) -> Refusal {
    let refusal = Checked::read(path, &Lock::default()).expect_err(code);
    told(&refusal, path, code, parts);
    refusal
}

fn told(refusal: &Refusal, path: &Path, code: &str, parts: &[&str]) {
    assert_eq!(refusal.reason.code(), code, "{refusal}");
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).expect("UTF-8");
    assert_says(refusal, &[&[name], parts].concat());
    let text = refusal.to_string();
    assert!(text.len() < 1_500 && !text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    alive();
}

/// A loader of the two plugins that do as their settings say, which maps each once.
fn wild() -> &'static Loader {
    static WILD: OnceLock<(Folder, Loader)> = OnceLock::new();
    let (_, loader) = WILD.get_or_init(|| {
        let folder = Folder::new().with("misbehaving", "misbehaving.so").with("scripted", "scripted.so");
        let loader = folder.loader();
        (folder, loader)
    });
    loader
}

/// Opens one of them.
fn open(module: &str, block: &Value) -> Result<Arc<dyn Backend>, OpenError> {
    Ok(wild().open(module, &settings(block))?.backend)
}

/// The misbehaving plugin with one collection prepared.
fn misbehaving(block: &Value) -> (Arc<dyn Backend>, CollectionId) {
    let backend = open("misbehaving", block).unwrap_or_else(|e| panic!("{e}"));
    let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
    (backend, id)
}
