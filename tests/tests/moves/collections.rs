//! Collections besides the clients: between the real backends, by the code that moves them.

use std::sync::Arc;

use hivemind_host::moving::Places;
use hivemind_host::moving::copy::Copy;
use hivemind_host::moving::marker::Mode;
use hivemind_host::moving::progress::Unseen;
use hivemind_host::moving::source::Source;
use hivemind_host::moving::store::Store;
use hivemind_host::moving::survey::Survey;
use hivemind_host::open::Opened;
use hivemind_host::plugins::Loader;
use hivemind_host::plugins::SearchPath;
use hivemind_host::plugins::lock::Lock;
use hivemind_model::{Collection, Index, Kind, Mutation, Row, Value as Stored};
use hivemind_store::{Options, Storage};
use hivemind_tests::build;

use super::*;

const NOTES: usize = 700;

/// Text keys, every kind of field, and values that only some may have.
fn notes() -> Collection {
    Collection::new("notes", 3, "id", Kind::Text)
        .field_with("slug", Kind::Text, Stored::Nil, Index::Unique { except: Vec::new() })
        .field_with("count", Kind::Int, 0, Index::Plain)
        .field("ratio", Kind::Real)
        .field("done", Kind::Bool)
        .field("bytes", Kind::Blob)
        .field("more", Kind::Json)
}

fn open(loader: &Loader, module: &str, settings: &Value) -> Store {
    let opened = loader.open(module, settings.as_object().expect("an object")).unwrap_or_else(|e| panic!("{module}: {e}"));
    let storage = Storage::new(Arc::clone(&opened.backend), Options::default());
    let opened = Opened { storage, module: module.to_owned(), plugin: Some(opened.plugin), secrets: Vec::new() };
    Store::prepare(&opened, vec![hivemind_store::clients::collection(), notes()]).unwrap_or_else(|e| panic!("{module}: {e}"))
}

fn fill(store: &Store) {
    let (collection, notes) = store.collection(1);
    let batch: Vec<Mutation> = (0..NOTES)
        .map(|n| {
            let row = Row::builder(notes)
                .set("id", format!("ключ:{n} *[{}]", "x".repeat(n % 40)))
                .and_then(|row| if n % 3 == 0 { Ok(row) } else { row.set("slug", format!("slug {n}")) })
                .and_then(|row| row.set("count", i64::MAX - n as i64))
                .and_then(|row| row.set("ratio", 1.0 / (1.0 + n as f64)))
                .and_then(|row| row.set("done", n % 2 == 0))
                .and_then(|row| row.set("bytes", vec![0, 255, (n % 256) as u8]))
                .and_then(|row| {
                    row.set("more", Stored::Json(format!(r#"{{"n": 1{n}12345678901234567890.50, "half": "\ud800"}}"#)))
                });
            Mutation::Put { collection, row: row.expect("a row").build() }
        })
        .collect();
    store.apply(&batch).expect("stored");
}

#[test]
fn every_kind_of_field_and_key_goes_through_redis_and_back() {
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("a folder");
    let loader = Loader::new(SearchPath::only(&[build::shipped_plugins()]), Lock::default(), home.path().to_owned());
    let redis = json!({"host": "127.0.0.1", "port": server.port(), "index_prefix": "other"});
    let stores = [(SQLITE, json!({"name": "from"})), (REDIS, redis), (JSON, json!({"name": "to"}))];
    let stores = stores.map(|(module, settings)| open(&loader, module, &settings));
    fill(&stores[0]);
    let mut sums = Vec::new();
    for pair in stores.windows(2) {
        let [source, target] = pair else { panic!("two") };
        let survey = Survey::take(source, 2, &mut Unseen).expect("readable");
        assert_eq!((survey.records, survey.problems.len()), (NOTES as u64, 0), "{:?}", survey.problems);
        let left = Places::new();
        let copy = Copy { source, target, mode: Mode::Copy, prefer: None, left: &left, rounds: 5, batch: 20_000 };
        let moved = copy.run(survey.records, &mut Unseen).unwrap_or_else(|e| panic!("{}: {e}", Source::place(target)));
        assert_eq!(moved.written, NOTES as u64);
        sums.push(moved.digest);
    }
    assert_eq!(sums[0], sums[1]);
    assert!(stores[1].verify().expect("looked at").problems.is_empty());
    let copy = Copy {
        source: &stores[2],
        target: &stores[0],
        mode: Mode::Copy,
        prefer: None,
        left: &Places::new(),
        rounds: 2,
        batch: 20_000,
    };
    assert_eq!(copy.is_done(&mut Unseen).expect("compared"), Some(sums[0]), "what came back is what went");
}
