//! What the Python node does at the same moment: it reserves a record, remembers a client, looks clients up while ours repairs indexes.

use hivemind_model::{Key, Outcome};
use hivemind_tests::redis::sync;

use super::*;

/// What a record's key holds while the Python node is making the record.
const CREATING: &str = "__hivemind_creating__";

fn python(deployment: &Deployment, home: &tempfile::TempDir) -> Peer {
    let mut peer = Peer::start(home.path());
    sync::open(deployment, PREFIX, &mut peer);
    peer
}

fn added(applied: Result<hivemind_model::Applied>) -> i64 {
    match applied.map(|applied| applied.outcomes) {
        Ok(outcomes) => match outcomes[..] {
            [Outcome::Inserted(Key::Int(id))] => id,
            ref other => panic!("{other:?}"),
        },
        Err(error) => panic!("{error}"),
    }
}

/// It counts as absent, and what Python writes there a moment later is not lost.
#[test]
fn a_record_that_python_is_making_is_absent_and_never_overwritten() {
    for kind in [Kind::Single, Kind::ClusterTagged] {
        let deployment = Deployment::start(kind, &[]);
        let (backend, collections) = begun(&deployment.settings(PREFIX));
        assert_eq!(added(backend.apply(&soon(), &[collections.new_client("first")])), 1);
        let reserved = format!("{}:client:2", deployment.base(PREFIX));
        deployment.ask::<()>(&["SET", &reserved, CREATING, "NX", "PX", "1500"]);
        assert_eq!(collections.clients(&*backend).expect("listed").len(), 1, "{kind:?}");
        let error = backend.apply(&soon(), &[collections.rename(2, "taken over")]).expect_err("it is not there");
        assert!(matches!(error.code(), Code::NotFound | Code::Busy | Code::Deadline), "{kind:?}: {error}");
        // Either behind it, or there once the reservation is over: never in its place.
        let id = added(backend.apply(&Context::within(FAR_TOO_LATE), &[collections.new_client("second")]));
        let left: Option<String> = deployment.ask(&["GET", &reserved]);
        assert!(id == 3 && left.as_deref() == Some(CREATING) || id == 2, "{kind:?}: client {id} beside {left:?}");
        if id == 2 {
            assert!(left.is_some_and(|record| record.contains("second")), "{kind:?}");
        }
    }
}

/// A revocation is in force at Python's next look, whatever it remembers of the client.
#[test]
fn what_python_remembers_of_a_client_goes_with_every_write_of_ours() {
    for kind in [Kind::Single, Kind::ClusterTagged] {
        let (deployment, home) = (Deployment::start(kind, &[]), tempfile::tempdir().expect("a folder"));
        let (backend, collections) = begun(&deployment.settings(PREFIX));
        let mut peer = python(&deployment, &home);
        for number in 1..=20 {
            let key = format!("key-{number}");
            assert_eq!(added(backend.apply(&soon(), &[collections.new_client(&key)])), number);
            let remembered = format!("{}:api_key_record:{key}", deployment.base(PREFIX));
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": key}))["name"], key.as_str());
            assert!(deployment.ask::<bool>(&["EXISTS", &remembered]), "{kind:?}: Python remembers it");
            backend.apply(&soon(), &[collections.rename(number, "renamed")]).unwrap_or_else(|e| panic!("{e}"));
            assert!(!deployment.ask::<bool>(&["EXISTS", &remembered]), "{kind:?}");
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": key}))["name"], "renamed", "{kind:?}");
            let rekey = collections.set(number, "api_key", &format!("new-{number}"));
            backend.apply(&soon(), &[rekey]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": key})), Value::Null, "{kind:?}");
        }
    }
}

/// Lookups of both programs go on while indexes that are damaged are made good again, over and over.
#[test]
fn sync_repairs_without_a_moment_in_which_a_lookup_fails() {
    const CLIENTS: i64 = 300;
    let (deployment, home) = (single(&[]), tempfile::tempdir().expect("a folder"));
    let (backend, collections) = begun(&deployment.settings(PREFIX));
    for number in 1..=CLIENTS {
        assert_eq!(added(backend.apply(&soon(), &[collections.new_client(&format!("key-{number}"))])), number);
    }
    let (peer, stop) = (&mut python(&deployment, &home), AtomicBool::new(false));
    let looks = std::thread::scope(|scope| {
        let stops = hivemind_tests::waiting::StopOnDrop(&stop);
        let ours = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = i64::from(fastrand::u16(101..=300));
                let found = collections.look_up(&*backend, &soon(), &format!("key-{id}")).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(found.map(|(id, _)| id), Some(id));
                looks += 1;
            }
            looks
        });
        let theirs = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = fastrand::u16(101..=300);
                // Not by what it remembers: by the index.
                let found = peer.ask(&json!({"op": "search", "field": "api_key", "value": format!("key-{id}")}));
                assert_eq!(found[0]["client_id"], id, "{found}");
                looks += 1;
            }
            looks
        });
        for round in 0..30_i64 {
            let id = round + 1;
            let broken = [
                vec!["DEL".to_owned(), format!("{PREFIX}:api_key:key-{id}")],
                vec!["SADD".to_owned(), format!("{PREFIX}:name:ghost-{round}"), id.to_string()],
                vec!["SADD".to_owned(), format!("{PREFIX}:api_key:key-{}", id + 30), "999".to_owned()],
                vec!["SET".to_owned(), format!("{PREFIX}:count"), "7".to_owned()],
                vec!["DEL".to_owned(), format!("{PREFIX}:id_seq")],
                vec!["DEL".to_owned(), format!("{PREFIX}:idx:{id}")],
            ];
            for words in &broken {
                deployment.ask::<()>(&words.iter().map(String::as_str).collect::<Vec<_>>());
            }
            backend.sync(&Context::within(FAR_TOO_LATE)).unwrap_or_else(|e| panic!("{e}"));
            let found = collections.look_up(&*backend, &soon(), &format!("key-{id}")).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(found.map(|(id, _)| id), Some(id), "repaired");
        }
        drop(stops);
        (ours.join().expect("no lookup failed"), theirs.join().expect("no lookup failed"))
    });
    println!("30 repairs beside {looks:?} lookups");
    assert!(looks.0 > 0 && looks.1 > 0, "{looks:?}");
    let home = tempfile::tempdir().expect("a folder");
    assert_eq!(sync::repairs(&deployment, PREFIX, Writers::Ours, &mut Peer::start(home.path())), Vec::<String>::new());
}
