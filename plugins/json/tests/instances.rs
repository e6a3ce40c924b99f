//! A system whose inotify instances are used up: alone in its file, because it takes all of them for a moment.

mod common;

use common::{Folder, client, cx, name, put, warm};
use hivemind_abi::model::{Backend, Value};
use hivemind_json_plugin::backend::JsonStore;
use rustix::fs::inotify;

#[test]
fn with_no_instance_left_it_works_by_stat_and_later_with_one() {
    let folder = Folder::new();
    let mut taken = Vec::new();
    while let Ok(instance) = inotify::init(inotify::CreateFlags::CLOEXEC) {
        taken.push(instance);
        if taken.len() > 100_000 {
            break;
        }
    }
    if std::fs::File::open("/dev/null").is_err() {
        eprintln!("skipped: the limit of open files is lower than that of instances");
        return;
    }
    let (store, id) = folder.open();
    put(&store, id, client(1, "key", "x"));
    warm(&store, id);
    let means = |store: &JsonStore| match store.stats(&cx()).expect("facts").get("change_detection") {
        Some(Value::Text(means)) => means.clone(),
        other => panic!("{other:?}"),
    };
    let (other, _) = folder.open();
    drop(taken);
    assert_eq!(means(&store), "stat");
    for round in 0..20 {
        put(&other, id, client(1, "key", &round.to_string()));
        assert_eq!(name(&store, id, 1), Some(round.to_string()));
    }
    let (fresh, _) = folder.open();
    put(&fresh, id, client(1, "key", "fresh"));
    assert_eq!(name(&store, id, 1).as_deref(), Some("fresh"));
    warm(&store, id);
    warm(&fresh, id);
    assert_eq!(means(&store), means(&fresh), "it is tried again");
    // Only a temporary folder on a file system that cannot be watched has none.
    let local = rustix::fs::statfs(folder.path()).is_ok_and(|found| matches!(found.f_type as u64, 0xef53 | 0x0102_1994));
    assert!(!local || means(&store) == "inotify");
}
