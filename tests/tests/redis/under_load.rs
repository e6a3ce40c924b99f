//! Threads write while the server dies, the line is cut, the master changes.

use hivemind_tests::redis::{Direction, Proxy, Sentinels, Server};

use super::*;

#[test]
fn a_durable_server_that_is_killed_again_and_again_loses_nothing_that_was_acknowledged() {
    let deployment = single(&DURABLE);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let books = while_working(&*backend, &collections, "killed", || {
        for _ in 0..8 {
            deployment.masters()[0].kill();
            std::thread::sleep(Duration::from_millis(100));
            deployment.masters()[0].restart();
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    assert!(books.iter().all(|book| !book.added.is_empty()), "{}", summary(&books));
    check(&deployment, &*backend, &collections, &books, true);
}

#[test]
fn a_line_that_is_cut_again_and_again_loses_nothing_and_does_nothing_twice() {
    let deployment = single(&[]);
    let proxy = Proxy::to(deployment.masters()[0].port());
    let (backend, collections) = begun(&but(deployment.settings(PREFIX), &json!({"port": proxy.port()})));
    let books = while_working(&*backend, &collections, "cut", || {
        for number in 0..150 {
            let direction = if number % 2 == 0 { Direction::ToServer } else { Direction::ToClient };
            proxy.cut_after(direction, fastrand::u64(0..5000));
            std::thread::sleep(Duration::from_millis(15));
            if number % 25 == 0 {
                proxy.drop_all();
            }
        }
        proxy.heal();
    });
    println!("{} cuts", proxy.cuts());
    assert!(proxy.cuts() > 20, "{} cuts", proxy.cuts());
    check(&deployment, &*backend, &collections, &books, true);
}

#[test]
fn a_master_of_a_cluster_that_dies_and_comes_back_loses_nothing_that_was_acknowledged() {
    let deployment = Deployment::start(Kind::ClusterTagged, &DURABLE);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    // The tag keeps everything in one slot.
    let master = deployment.masters().into_iter().find(|master| !master.dump(PREFIX).0.is_empty()).expect("one has the slot");
    let books = while_working(&*backend, &collections, "cluster", || {
        for _ in 0..3 {
            master.kill();
            std::thread::sleep(Duration::from_millis(200));
            master.restart();
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    check(&deployment, &*backend, &collections, &books, true);
}

/// Connections are closed by the server, all of them and at any moment, as an operator or a timeout does it.
#[test]
fn a_server_that_closes_connections_loses_nothing() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let books = while_working(&*backend, &collections, "closed", || {
        for _ in 0..40 {
            deployment.masters()[0].ask::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    check(&deployment, &*backend, &collections, &books, true);
}

/// Scripts that were loaded are gone after this, as after a restart or a failover.
#[test]
fn a_server_that_forgets_scripts_is_told_them_again() {
    let deployment = single(&[]);
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    let books = while_working(&*backend, &collections, "forgotten", || {
        for _ in 0..40 {
            deployment.masters()[0].ask::<()>(&["SCRIPT", "FLUSH"]);
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(books.iter().all(|book| book.errors.is_empty()), "{}", summary(&books));
    check(&deployment, &*backend, &collections, &books, true);
}

/// Replication is asynchronous: what the old master acknowledged last may be gone with it. All else must be there, and nothing in part.
#[test]
fn a_failover_keeps_what_was_replicated_and_leaves_nothing_in_part() {
    let sentinels = Sentinels::start(&[]);
    let nodes: Value = sentinels.ports().into_iter().map(|port| json!({"host": "127.0.0.1", "port": port})).collect();
    let settings = json!({"sentinels": nodes, "sentinel_master": sentinels.name, "index_prefix": PREFIX});
    let (backend, collections) = begun(settings.as_object().expect("an object"));
    let replicated = |server: &Server| server.ask::<u32>(&["WAIT", "1", "0"]);
    let before = while_working(&*backend, &collections, "before", || {});
    replicated(sentinels.master());
    let during = while_working(&*backend, &collections, "during", || sentinels.fail_over());
    assert!(during.iter().any(|book| !book.added.is_empty()), "{}", summary(&during));
    sentinels.wait();
    let killed = while_working(&*backend, &collections, "killed", || {
        let old = sentinels.master();
        let port = old.port();
        old.kill();
        sentinels.wait_for_another(port);
    });
    let after = while_working(&*backend, &collections, "after", || {});
    for (books, kept) in [(before, true), (during, false), (killed, false), (after, true)] {
        let clients = collections.clients(&*backend).unwrap_or_else(|e| panic!("{e}"));
        for book in &books {
            let added = book.added.iter().filter(|(key, id)| clients.get(*key).is_none_or(|(found, _)| found != *id));
            let lost: Vec<_> = added.collect();
            assert!(lost.iter().all(|(key, _)| !kept && !clients.contains_key(*key)), "{lost:?}");
            assert!(book.not_added.iter().all(|key| !clients.contains_key(key)), "{:?}", book.not_added);
        }
    }
    let problems = backend.maintain(&Context::within(FAR_TOO_LATE), &hivemind_model::Task::Verify).expect("verified").problems;
    assert!(problems.is_empty(), "{problems:?}");
}
