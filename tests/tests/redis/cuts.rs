//! The connection is cut behind each byte of a call, both ways: what was not acknowledged is there whole, once, or not at all.

use hivemind_tests::redis::{Direction, Proxy};

use super::*;

/// A call is some thousand bytes long both ways; every byte would take minutes and show nothing that every seventh does not.
const STEP: usize = 7;

#[test]
fn a_call_that_is_cut_at_any_byte_is_done_once_or_not_at_all() {
    let deployment = single(&[]);
    let proxy = Proxy::to(deployment.masters()[0].port());
    let settings = but(deployment.settings(PREFIX), &json!({"port": proxy.port(), "retry_delay": 0.001}));
    let (backend, collections) = begun(&settings);
    let mut books = vec![Book::default()];
    let batch = |key: &str| [collections.new_client(key), collections.count("left-0"), collections.count("right-0")];
    // So that scripts are loaded and connections open.
    for number in 0..3 {
        done(&mut books[0], &format!("before-{number}"), backend.apply(&soon(), &batch(&format!("before-{number}"))));
    }
    let (mut cuts, mut unknown) = (0, 0);
    for direction in [Direction::ToServer, Direction::ToClient] {
        let before = proxy.passed(direction);
        let key = format!("measured-{direction:?}");
        done(&mut books[0], &key, backend.apply(&soon(), &batch(&key)));
        let length = proxy.passed(direction) - before;
        assert!(length > 0, "nothing passed {direction:?}");
        for after in (0..length + 20).step_by(STEP) {
            let key = format!("cut-{direction:?}-{after}");
            proxy.cut_after(direction, after);
            let applied = in_time("a batch", || backend.apply(&soon(), &batch(&key)));
            cuts += u64::from(!proxy.is_armed());
            proxy.heal();
            unknown += u64::from(applied.as_ref().is_err_and(load::is_unknown));
            if let Err(error) = &applied {
                let codes = [Code::Unavailable, Code::OutcomeUnknown, Code::Deadline];
                assert_helpful(error, &codes, &[]);
            }
            done(&mut books[0], &key, applied);
        }
    }
    println!("{cuts} cuts; the outcome of {unknown} calls is unknown; {}", summary(&books));
    assert!(cuts > 20, "{cuts} cuts");
    check(&deployment, &*backend, &collections, &books, true);
}

/// Notes what came of a batch that adds a client and counts.
fn done(book: &mut Book, key: &str, applied: Result<hivemind_model::Applied>) {
    match applied {
        Ok(applied) => {
            if let [hivemind_model::Outcome::Inserted(hivemind_model::Key::Int(id)), ..] = applied.outcomes[..] {
                book.added.insert(key.to_owned(), id);
                book.names.insert(key.to_owned(), vec![key.to_owned()]);
                book.counted[0] += 1;
            }
        }
        Err(error) if load::is_unknown(&error) => {
            book.maybe_added.insert(key.to_owned());
            book.counted[1] += 1;
        }
        Err(_) => drop(book.not_added.insert(key.to_owned())),
    }
}

#[test]
fn reads_that_are_cut_are_repeated() {
    let deployment = single(&[]);
    let proxy = Proxy::to(deployment.masters()[0].port());
    let settings = but(deployment.settings(PREFIX), &json!({"port": proxy.port(), "retry_delay": 0.001}));
    let (backend, collections) = begun(&settings);
    backend.apply(&soon(), &[collections.new_client("read")]).expect("added");
    for direction in [Direction::ToServer, Direction::ToClient] {
        for after in (0..400).step_by(STEP) {
            proxy.cut_after(direction, after);
            let found = in_time("a read", || collections.look_up(&*backend, &soon(), "read"));
            let found = found.unwrap_or_else(|e| panic!("cut after {after} bytes {direction:?}: {e}"));
            assert_eq!(found.map(|(id, _)| id), Some(1), "cut after {after} bytes {direction:?}");
            proxy.heal();
        }
    }
}

#[test]
fn preparing_and_syncing_that_are_cut_are_done_again() {
    let deployment = single(&[]);
    let proxy = Proxy::to(deployment.masters()[0].port());
    let settings = but(deployment.settings(PREFIX), &json!({"port": proxy.port(), "retry_delay": 0.001}));
    let (backend, collections) = begun(&settings);
    let mut books = vec![Book::default()];
    for number in 0..20 {
        let key = format!("client-{number}");
        let batch = [collections.new_client(&key), collections.count("left-0"), collections.count("right-0")];
        done(&mut books[0], &key, backend.apply(&soon(), &batch));
    }
    for after in (0..6000).step_by(97) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.cut_after(direction, after);
            // Done or not: neither leaves anything that a lookup could not stand.
            let _ = in_time("sync", || backend.sync(&soon()));
            proxy.heal();
            recovered(&*backend, &collections);
            let found = collections.look_up(&*backend, &soon(), "client-7").unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(found.map(|(id, _)| id), Some(8), "a sync that was cut after {after} bytes {direction:?}");
            proxy.cut_after(direction, after);
            let _ = in_time("opening", || open(&settings).and_then(|b| Collections::prepare(&*b)));
            proxy.heal();
        }
    }
    backend.sync(&Context::within(FAR_TOO_LATE)).unwrap_or_else(|e| panic!("{e}"));
    check(&deployment, &*backend, &collections, &books, true);
}
