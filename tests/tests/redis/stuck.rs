//! Servers that do not answer, or not what was asked for: paused, frozen, behind a wire that swallows, full, read-only, gone.

use hivemind_tests::redis::{Direction, Proxy, Server};

use super::*;

/// A short deadline, for servers that answer nothing before it.
const SHORT: Duration = Duration::from_millis(400);

fn proxied(deployment: &Deployment) -> (Proxy, Map<String, Value>) {
    let proxy = Proxy::to(deployment.masters()[0].port());
    let settings = but(deployment.settings(PREFIX), &json!({"port": proxy.port()}));
    (proxy, settings)
}

/// How long a server is paused: it hears nothing meanwhile, the end of a pause neither. Longer than [`nobody_answers`] takes.
const PAUSE: &str = "8000";

/// Reads and writes while nobody answers; gives what was written then, of which nobody may know.
fn nobody_answers(backend: &dyn Backend, collections: &Collections, what: &str) -> Book {
    let mut book = Book::default();
    for number in 0..3 {
        let cx = Context::within(SHORT);
        let error = in_time(what, || collections.look_up(backend, &cx, "nobody")).expect_err("nobody answers");
        assert_helpful(&error, &[Code::Deadline, Code::Unavailable], &[]);
        let key = format!("{what}-{number}");
        match in_time(what, || backend.apply(&Context::within(SHORT), &[collections.new_client(&key)])) {
            Ok(_) => panic!("{what}: nobody answers, and a write was acknowledged"),
            Err(error) => {
                assert_helpful(&error, &[Code::Deadline, Code::Unavailable, Code::OutcomeUnknown], &[]);
                let keys = if load::is_unknown(&error) { &mut book.maybe_added } else { &mut book.not_added };
                keys.insert(key);
            }
        }
        let flag = AtomicBool::new(false);
        let cx = Context::unbounded().cancelled_by(&flag);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(SHORT / 4);
                flag.store(true, Ordering::Relaxed);
            });
            let error = in_time(what, || collections.look_up(backend, &cx, "nobody")).expect_err("nobody answers");
            assert_helpful(&error, &[Code::Deadline, Code::Unavailable], &[]);
        });
    }
    book
}

fn works_again(deployment: &Deployment, backend: &dyn Backend, collections: &Collections, mut book: Book) {
    recovered(backend, collections);
    let applied = backend.apply(&Context::within(FAR_TOO_LATE), &[collections.new_client("afterwards")]).expect("it works again");
    if let [hivemind_model::Outcome::Inserted(hivemind_model::Key::Int(id))] = applied.outcomes[..] {
        book.added.insert("afterwards".to_owned(), id);
        book.names.insert("afterwards".to_owned(), vec!["afterwards".to_owned()]);
    }
    check(deployment, backend, collections, &[book], true);
}

#[test]
fn a_paused_server_costs_no_call_more_than_its_deadline() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    for mode in ["ALL", "WRITE"] {
        let server = deployment.masters()[0];
        server.ask::<()>(&["CLIENT", "PAUSE", PAUSE, mode]);
        if mode == "WRITE" {
            // A read goes on unless it is a script, which could write for all that the server knows.
            let read = in_time(mode, || collections.look_up(&*backend, &Context::within(SHORT), "nobody"));
            if let Err(error) = read {
                assert_helpful(&error, &[Code::Deadline], &[]);
            }
            let written = in_time(mode, || backend.apply(&Context::within(SHORT), &[collections.count("left-0")]));
            assert_helpful(&written.expect_err("paused"), &[Code::Deadline, Code::OutcomeUnknown], &[]);
        } else {
            nobody_answers(&*backend, &collections, "paused");
        }
        recovered(&*backend, &collections);
    }
}

#[test]
fn a_paused_server_that_goes_on_has_done_what_it_was_sent_once_or_not_at_all() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    deployment.masters()[0].ask::<()>(&["CLIENT", "PAUSE", PAUSE, "ALL"]);
    let book = nobody_answers(&*backend, &collections, "paused");
    works_again(&deployment, &*backend, &collections, book);
}

#[test]
fn a_frozen_server_costs_no_call_more_than_its_deadline() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    deployment.masters()[0].freeze();
    let book = nobody_answers(&*backend, &collections, "frozen");
    deployment.masters()[0].thaw();
    works_again(&deployment, &*backend, &collections, book);
}

#[test]
fn a_wire_that_swallows_or_holds_back_costs_no_call_more_than_its_deadline() {
    let deployment = single(&[]);
    let (proxy, settings) = proxied(&deployment);
    let (backend, collections) = begun(&settings);
    let mut all = Book::default();
    for (what, begin) in [
        ("swallowed", &(|| proxy.swallow()) as &dyn Fn()),
        ("held back on the way there", &|| proxy.stall(Direction::ToServer)),
        ("held back on the way back", &|| proxy.stall(Direction::ToClient)),
    ] {
        begin();
        let book = nobody_answers(&*backend, &collections, what);
        all.maybe_added.extend(book.maybe_added);
        all.not_added.extend(book.not_added);
        proxy.heal();
        recovered(&*backend, &collections);
    }
    works_again(&deployment, &*backend, &collections, all);
}

#[test]
fn opening_a_store_whose_server_does_not_answer_ends() {
    let server = Server::start(&[]);
    server.freeze();
    let settings = but(Map::new(), &json!({"host": "127.0.0.1", "port": server.port(), "index_prefix": PREFIX}));
    let error = in_time("opening", || open(&but(settings.clone(), &impatient()))).err().expect("nobody answers");
    assert_helpful(&error, &[Code::Unavailable, Code::Deadline], &[&server.port().to_string()]);
    server.thaw();
    open(&settings).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_full_server_refuses_writes_by_name_goes_on_reading_and_recovers() {
    let deployment = single(&["maxmemory-policy noeviction"]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let server = deployment.masters()[0];
    let mut book = Book::default();
    let add = |key: &str, book: &mut Book| match backend.apply(&soon(), &[collections.new_client(key)]) {
        Ok(applied) => {
            if let [hivemind_model::Outcome::Inserted(hivemind_model::Key::Int(id))] = applied.outcomes[..] {
                book.added.insert(key.to_owned(), id);
                book.names.insert(key.to_owned(), vec![key.to_owned()]);
            }
            Ok(())
        }
        Err(error) => {
            book.not_added.insert(key.to_owned());
            Err(error)
        }
    };
    add("before", &mut book).expect("there is room");
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    for number in 0..5 {
        let error = add(&format!("full-{number}"), &mut book).expect_err("it is full");
        assert_helpful(&error, &[Code::Io], &["maxmemory"]);
        assert!(error.retryable(), "known not applied: {error}");
        let found = collections.look_up(&*backend, &soon(), "before").expect("reads go on");
        assert_eq!(found.map(|(id, _)| id), Some(1));
    }
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    add("after", &mut book).expect("there is room again");
    check(&deployment, &*backend, &collections, &[book], true);
}

#[test]
fn a_replica_refuses_writes_and_says_where_they_belong() {
    let master = Server::start(&[]);
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port())]);
    hivemind_tests::waiting::wait_until("the replica is connected", || replica.info("master_link_status") == "up");
    let settings = |port: u16| but(Map::new(), &json!({"host": "127.0.0.1", "port": port, "index_prefix": PREFIX}));
    let (_backend, _) = begun(&settings(master.port()));
    hivemind_tests::waiting::wait_until("the replica follows", || replica.dump("").0 == master.dump("").0);
    let wrote = open(&settings(replica.port())).and_then(|backend| {
        let collections = Collections::prepare(&*backend)?;
        backend.apply(&soon(), &[collections.new_client("replica")])
    });
    assert_helpful(&wrote.expect_err("it is a replica"), &[Code::Unavailable], &["replica", "master"]);
}

#[test]
fn a_server_that_goes_and_comes_back_is_used_again() {
    let deployment = single(&DURABLE);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let server = deployment.masters()[0];
    server.kill();
    for _ in 0..3 {
        let error = in_time("a read", || collections.look_up(&*backend, &soon(), "nobody")).expect_err("it is gone");
        assert_helpful(&error, &[Code::Unavailable, Code::Deadline], &[&server.port().to_string()]);
        let error = in_time("a write", || backend.apply(&soon(), &[collections.new_client("gone")])).expect_err("it is gone");
        assert_helpful(&error, &[Code::Unavailable, Code::Deadline], &[]);
    }
    server.restart();
    let book = Book { not_added: ["gone".to_owned()].into(), ..Book::default() };
    works_again(&deployment, &*backend, &collections, book);
}
