//! The check of these tests itself can fail: each kind of loss is made on purpose, past the plugin.

use super::*;

#[test]
fn what_is_lost_done_twice_or_done_in_part_is_found() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let books = while_working(&*backend, &collections, "sound", || {});
    check(&deployment, &*backend, &collections, &books, true);
    let found = |kept| load::problems(&*backend, &collections, &books, kept).unwrap_or_else(|e| vec![e.to_string()]);
    let last = deployment.ask::<i64>(&["GET", &format!("{PREFIX}:count")]);
    let record = |id: i64| format!("{PREFIX}:client:{id}");
    let (first, stored) = (record(1), deployment.ask::<String>(&["GET", &record(1)]));
    let note = format!("{PREFIX}:collections:notes:record:left-0");
    let counted = deployment.ask::<String>(&["GET", &note]);

    deployment.ask::<()>(&["DEL", &first]);
    assert!(found(true).iter().any(|what| what.contains("was added as 1, found None")), "{:#?}", found(true));
    assert!(found(false).iter().any(|what| what.contains("the ids are not")), "{:#?}", found(false));
    deployment.ask::<()>(&["SET", &first, &stored]);

    deployment.ask::<()>(&[
        "SET",
        &record(last + 1),
        &stored.replace("\"client_id\": 1,", &format!("\"client_id\": {},", last + 1)),
    ]);
    assert!(found(true).iter().any(|what| what.contains("two clients have the access key")), "{:#?}", found(true));
    deployment.ask::<()>(&["DEL", &record(last + 1)]);

    deployment.ask::<()>(&["DEL", &note]);
    assert!(found(false).iter().any(|what| what.contains("counted")), "{:#?}", found(false));
    deployment.ask::<()>(&["SET", &note, &counted]);

    let unknown = Book { not_added: books[0].added.keys().take(1).cloned().collect(), ..Book::default() };
    let found = load::problems(&*backend, &collections, &[unknown], false).expect("read");
    assert!(found.iter().any(|what| what.contains("was not added, and is there")), "{found:#?}");
    assert!(found.iter().any(|what| what.contains("nobody was told of")), "{found:#?}");
    check(&deployment, &*backend, &collections, &books, true);
}
