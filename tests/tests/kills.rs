//! Processes killed at any moment: what was acknowledged is there, what was not is whole or absent, nothing else changed, and every
//! store opens. And the proof that this check can fail.
//!
//! `HIVEMIND_KILLS` is the number of cuts for each backend, 300 by default; `HIVEMIND_KILLS_SEED` repeats a run. Thousands are for
//! `cargo xtask kills`.

use std::path::Path;

use hivemind_model::{Context, Key, Mutation};
use hivemind_tests::faults::campaign::{OPENING, Options, campaign};
use hivemind_tests::faults::figures::Figures;
use hivemind_tests::faults::model::Records;
use hivemind_tests::faults::op::{SHARED, notes};
use hivemind_tests::faults::site::{Backend, Files, Site};
use hivemind_tests::faults::worker::Mutant;
use hivemind_tests::loader;
use hivemind_tests::redis::site::DurableServer;

fn worker() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fault-worker"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{name}={n}: {e}")))
}

fn options() -> Options {
    // Another seed in each run; a failure names it.
    let seed = number("HIVEMIND_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    Options::new(number("HIVEMIND_KILLS").unwrap_or(300), seed)
}

fn survives(backend: &dyn Backend) {
    let options = options();
    let figures = campaign(backend, worker(), &options).unwrap_or_else(|e| panic!("{e}"));
    println!("{}, seed {}\n{figures}", backend.name(), options.seed);
    check(&figures, &options);
}

/// A campaign that cut nothing, or only where nothing was under way, has shown nothing.
fn check(figures: &Figures, options: &Options) {
    let total = figures.total();
    assert_eq!(total.cuts, options.cuts, "{figures}");
    assert!(total.acknowledged > options.cuts / 2, "{figures}");
    assert!(total.whole + total.absent > options.cuts / 2, "{figures}");
    assert!(figures.phases.contains_key(OPENING), "{figures}");
}

#[test]
fn sqlite_survives_kills() {
    survives(&Files::Sqlite);
}

#[test]
fn json_survives_kills() {
    survives(&Files::Json);
}

/// Ours are killed, and every third time the server with them.
#[test]
fn redis_survives_kills() {
    survives(&DurableServer);
}

#[test]
fn encrypted_stores_survive_kills() {
    for backend in [Files::SqliteEncrypted, Files::JsonEncrypted] {
        let options = Options { cuts: 60, ..options() };
        let figures = campaign(&backend, worker(), &options).unwrap_or_else(|e| panic!("{e}"));
        println!("{}, seed {}\n{figures}", backend.name(), options.seed);
        check(&figures, &options);
    }
}

#[test]
fn the_vendors_example_survives_kills() {
    let options = Options { cuts: 45, jobs: 1, ..options() };
    let figures = campaign(&Files::Ledger, worker(), &options).unwrap_or_else(|e| panic!("{e}"));
    check(&figures, &options);
}

/// Enough cuts that a fault which shows in one of ten is found for certain.
fn found(backend: Files, mutate: impl FnOnce(&mut Options)) -> String {
    let mut options = Options { cuts: 400, jobs: 1, python: false, system_calls: false, ..options() };
    mutate(&mut options);
    let error = campaign(&backend, worker(), &options).expect_err("a fault that is not found");
    if let Some((_, kept)) = error.rsplit_once("the store is kept: ") {
        std::fs::remove_dir_all(kept).expect("the store goes");
    }
    error
}

#[test]
fn a_worker_that_acknowledges_before_it_writes_is_found() {
    for backend in Files::SHIPPED {
        let error = found(backend, |options| options.mutant = Some(Mutant::AcknowledgesTooEarly));
        assert!(error.contains("records differ"), "{error}");
    }
}

#[test]
fn a_batch_done_in_parts_is_found() {
    let error = found(Files::Sqlite, |options| options.mutant = Some(Mutant::SplitsBatches));
    assert!(error.contains("differ") || error.contains("although"), "{error}");
}

#[test]
fn a_plugin_that_writes_batches_in_parts_is_found() {
    let error = found(Files::Tearing, |_| {});
    assert!(error.contains("records differ"), "{error}");
}

/// Removes a note that was acknowledged, through the backend itself: nothing about the store is wrong afterwards but that.
fn lose_a_note(site: &dyn Site, records: &Records) {
    let lost = records.keys().find(|(collection, slug)| collection == "notes" && slug != SHARED);
    let Some((_, slug)) = lost else { return };
    let opening = site.opening();
    let folders: Vec<&Path> = opening.plugins.iter().map(AsRef::as_ref).collect();
    let opened = loader(&folders, &opening.data_dir).open(&opening.module, &opening.settings).unwrap_or_else(|e| panic!("{e}"));
    let cx = Context::unbounded();
    let id = opened.backend.prepare(&cx, &[notes()]).expect("prepared")[0];
    let delete = Mutation::Delete { collection: id, key: Key::from(slug.as_str()), when: Vec::new() };
    opened.backend.apply(&cx, &[delete]).expect("deleted");
    opened.backend.close(&cx).expect("closed");
}

#[test]
fn a_lost_record_is_found() {
    let error = found(Files::Sqlite, |options| options.tampering = Some(lose_a_note));
    assert!(error.contains("records differ") && error.contains("found nothing"), "{error}");
}
