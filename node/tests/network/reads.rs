//! How often a record is read to let a satellite in: a node that read it for each of its questions would be what limits a storage.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Fixture, HANGS, Satellite, Watch, clients, eventually, settings};
use hivemind_node::Node;
use hivemind_node::settings::Settings;
use hivemind_protocol::Pattern;

#[path = "../../../store/tests/common/mod.rs"]
mod storage;

use storage::Tracked;

/// Connects, says HELLO and a message: how often the record was read for that, and how often the node asked for it.
async fn comes_in(fixture: &Fixture, backend: &Tracked, satellite: &mut Satellite, expected: Pattern) -> (usize, usize) {
    let lookups = || fixture.watch.called("by_access_key") + fixture.watch.called("by_id");
    let before = (backend.reads(), lookups());
    assert_eq!(satellite.connect().await, Ok(expected));
    satellite.hello("here").await;
    satellite.utter("hello").await;
    satellite.receive().await.expect("an answer");
    (backend.reads() - before.0, lookups() - before.1)
}

/// What is written for a connection is written once in this test.
fn seen_once(settings: &mut Settings) {
    settings.last_seen_interval = Duration::from_secs(3600);
}

/// A node begun anew over what another left.
async fn begun_anew(backend: &Arc<Tracked>, old: Fixture) -> Fixture {
    let Fixture { node, folder, .. } = old;
    node.stop(HANGS).await;
    let (clients, watch) = (clients(Arc::clone(backend) as _).await, Arc::new(Watch::default()));
    let mut settings = settings(&folder);
    seen_once(&mut settings);
    let node = Node::start(settings, clients.clone(), Arc::clone(&watch) as _).await.expect("a node");
    Fixture { node, clients, watch, folder }
}

#[tokio::test]
async fn a_record_is_read_once_and_again_only_for_what_was_written() {
    let backend = Arc::new(Tracked::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, seen_once).await;
    let written = async |fixture: &Fixture, calls: &[&str]| {
        eventually("all is written", async || calls.iter().all(|call| fixture.watch.called(call) == 1)).await;
    };
    let mut satellite = fixture.satellite("kitchen");
    // For the first time: the stretched password, the pinned key and when it was seen are written, and each may be read again.
    let (reads, lookups) = comes_in(&fixture, &backend, &mut satellite, Pattern::XXpsk2).await;
    assert!((1..=4).contains(&reads) && lookups >= 3, "{reads} reads for {lookups} look-ups");
    written(&fixture, &["set_metadata", "pin", "touch"]).await;
    let (reads, _) = comes_in(&fixture, &backend, &mut satellite, Pattern::KKpsk0).await;
    assert!(reads <= 1, "{reads} reads");
    // From then on there is nothing to read.
    for _ in 0..3 {
        let (reads, lookups) = comes_in(&fixture, &backend, &mut satellite, Pattern::KKpsk0).await;
        assert!(reads == 0 && lookups >= 3, "{reads} reads for {lookups} look-ups");
    }
    // A node that knows nothing reads it once, and once more what it has written: when the client was seen.
    let fixture = begun_anew(&backend, fixture).await;
    satellite.node = fixture.node.address();
    let (first, _) = comes_in(&fixture, &backend, &mut satellite, Pattern::KKpsk0).await;
    written(&fixture, &["touch"]).await;
    let (second, _) = comes_in(&fixture, &backend, &mut satellite, Pattern::KKpsk0).await;
    assert!(first >= 1 && first + second <= 2, "{first} reads and {second}");
    assert_eq!(comes_in(&fixture, &backend, &mut satellite, Pattern::KKpsk0).await.0, 0);
    assert_eq!((fixture.watch.called("pin"), fixture.watch.called("set_metadata")), (0, 0), "all is known");
}
