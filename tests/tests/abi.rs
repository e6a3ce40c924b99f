//! Libraries built against one function less and against one more, loaded by this host.

use hivemind_host::plugins::Opened;
use hivemind_model::{Backend, Collection, Context, Kind, Mutation, Query, Report, Row};
use hivemind_tests::{build, loader, place};
use serde_json::json;

fn things() -> Collection {
    Collection::new("things", 1, "id", Kind::Int).field("name", Kind::Text)
}

fn open(fixture: &str, home: &std::path::Path) -> Opened {
    let folder = home.join(fixture);
    std::fs::create_dir_all(&folder).expect("a folder");
    place(&build::fixture(fixture), &folder, "libledger.so");
    let loader = loader(&[&folder], home);
    let settings = json!({"file": home.join(format!("{fixture}.ledger"))});
    loader.open("ledger", settings.as_object().expect("an object")).unwrap_or_else(|e| panic!("{fixture}: {e}"))
}

fn use_it(opened: &Opened) {
    let cx = Context::unbounded();
    let backend: &dyn Backend = opened.backend.as_ref();
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    let row = Row::builder(&things()).set("name", "héllo").expect("a name").build();
    backend.apply(&cx, &[Mutation::InsertNext { collection: id, row }]).expect("applied");
    assert_eq!(backend.count(&cx, &Query::all(id)), Ok(1));
    assert_eq!(backend.stats(&cx), Ok(Report::new()), "the default of a function that an older plugin lacks");
}

/// Both orders in one process, because abi_stable remembers the layouts it has compared.
#[test]
fn older_and_newer_minors_load_in_every_order_and_missing_functions_have_their_defaults() {
    let home = tempfile::tempdir().expect("a folder");
    for fixture in ["abi-older", "ledger", "abi-newer", "abi-older"] {
        let home = home.path().join(format!("{fixture}-{}", std::fs::read_dir(home.path()).expect("a folder").count()));
        std::fs::create_dir(&home).expect("a folder");
        let opened = open(fixture, &home);
        let expected = if fixture == "abi-newer" { "1.1.0" } else { "1.0.0" };
        assert_eq!(opened.plugin.manifest.abi, expected);
        use_it(&opened);
    }
}
