//! A server whose ACL forbids something: what is possible without it is done without it, everything else is denied by name, nothing is
//! done in part, and a right that is given back is used at once.

use super::*;

/// Each is a command that a node may well be forbidden, and one that a store cannot do without.
const FORBIDDEN: [&str; 12] =
    ["eval", "evalsha", "sort_ro", "client|tracking", "multi", "script|load", "scan", "info", "watch", "get", "set", "mget"];

#[test]
fn a_forbidden_command_is_done_without_or_denied_by_name() {
    for command in FORBIDDEN {
        let deployment = single(&[&format!("user node on >hunter2 ~* &* +@all -{command}")]);
        forbidden(&deployment, command);
    }
}

/// Scripts, sorting and tracking are forbidden together on many hosted servers.
#[test]
fn a_server_without_scripts_sorting_and_tracking_is_still_a_store() {
    let deployment = single(&["user node on >hunter2 ~* &* +@all -@scripting -sort_ro -client|tracking"]);
    let (backend, collections) = begun(&but(deployment.settings(PREFIX), &json!({"username": "node", "password": "hunter2"})));
    // Threads that get in each other's way, too: nothing but a comparison before the write keeps them apart.
    let books = while_working(&*backend, &collections, "without scripts", || {});
    assert!(books.iter().all(|book| !book.added.is_empty()), "{}", summary(&books));
    check(&deployment, &*backend, &collections, &books, true);
}

/// Opens, works, and gives how many calls passed and how many were denied.
fn forbidden(deployment: &Deployment, command: &str) -> (u32, u32) {
    let settings = but(deployment.settings(PREFIX), &json!({"username": "node", "password": "hunter2"}));
    let name = command.split('|').next().expect("a word");
    let denied = |error: &Error| assert_helpful(error, &[Code::Denied, Code::Unsupported], &[name, "node", "ACL"]);
    let opened = in_time("opening", || open(&settings).and_then(|b| Collections::prepare(&*b).map(|c| (b, c))));
    let (backend, collections) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            denied(&error);
            deployment.masters()[0].ask::<()>(&["ACL", "SETUSER", "node", &format!("+{command}")]);
            let opened = open(&settings).unwrap_or_else(|e| panic!("{command} was given back: {e}"));
            Collections::prepare(&*opened).unwrap_or_else(|e| panic!("{command} was given back: {e}"));
            return (0, 1);
        }
    };
    let mut books = vec![Book::default()];
    let counts = round(&*backend, &collections, &mut books[0], "without", &denied);
    println!("without {command}: {} calls passed, {} were denied", counts.0, counts.1);
    deployment.masters()[0].ask::<()>(&["ACL", "SETUSER", "node", "+@all"]);
    let never = |error: &Error| panic!("{command} was given back: {error}");
    round(&*backend, &collections, &mut books[0], "with", &never);
    load::begin(&*backend, &collections, 1).unwrap_or_else(|e| panic!("{e}"));
    check(deployment, &*backend, &collections, &books, true);
    counts
}

/// Some of each kind of call.
fn round(backend: &dyn Backend, collections: &Collections, book: &mut Book, run: &str, denied: &dyn Fn(&Error)) -> (u32, u32) {
    let (mut done, mut refused) = (0, 0);
    let mut note = |passed: Result<()>| match passed {
        Ok(()) => done += 1,
        Err(error) => {
            denied(&error);
            refused += 1;
        }
    };
    for number in 0..4 {
        let key = format!("{run}-{number}");
        let added = in_time("adding", || backend.apply(&soon(), &[collections.new_client(&key)]));
        note(added.map(|applied| {
            if let [hivemind_model::Outcome::Inserted(hivemind_model::Key::Int(id))] = applied.outcomes[..] {
                book.added.insert(key.clone(), id);
                book.names.insert(key.clone(), vec![key.clone()]);
            }
        }));
        if !book.added.contains_key(&key) {
            book.not_added.insert(key.clone());
        }
        note(in_time("looking up", || collections.look_up(backend, &soon(), &key)).map(|found| {
            assert_eq!(found.map(|(id, _)| id), book.added.get(&key).copied(), "{key}");
        }));
        if let Some(id) = book.added.get(&key).copied() {
            note(in_time("renaming", || backend.apply(&soon(), &[collections.rename(id, "renamed")])).map(|_| {
                book.names.insert(key.clone(), vec!["renamed".to_owned()]);
            }));
        }
        // Two in one call, on two collections.
        let batch = [collections.note(&key), collections.count(&key)];
        note(in_time("a batch", || backend.apply(&soon(), &batch)).map(drop));
    }
    note(in_time("listing", || collections.clients(backend)).map(drop));
    note(in_time("stats", || backend.stats(&soon())).map(drop));
    note(in_time("sync", || backend.sync(&soon())).map(drop));
    (done, refused)
}

#[test]
fn keys_that_are_forbidden_are_named() {
    let deployment = single(&["user node on >hunter2 ~elsewhere:* &* +@all"]);
    let settings = but(deployment.settings(PREFIX), &json!({"username": "node", "password": "hunter2"}));
    let error = match open(&settings).and_then(|backend| Collections::prepare(&*backend)) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    };
    assert_helpful(&error, &[Code::Denied], &["key", "index_prefix", "node"]);
    assert!(deployment.dump("").0.is_empty());
}

#[test]
fn a_user_that_is_taken_away_is_denied_and_let_in_again() {
    let deployment = single(&["user node on >hunter2 ~* &* +@all"]);
    let settings = but(deployment.settings(PREFIX), &json!({"username": "node", "password": "hunter2"}));
    let (backend, collections) = begun(&settings);
    let server = deployment.masters()[0];
    // Its connections are closed with it.
    server.ask::<()>(&["ACL", "DELUSER", "node"]);
    let error = collections.look_up(&*backend, &soon(), "nobody").expect_err("it is gone");
    assert_helpful(&error, &[Code::Denied], &["node", "password"]);
    server.ask::<()>(&["ACL", "SETUSER", "node", "on", ">hunter2", "~*", "&*", "+@all"]);
    recovered(&*backend, &collections);
}
