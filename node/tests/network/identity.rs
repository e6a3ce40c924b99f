//! A node whose identity is not where it was: satellites would refuse another one for good.

use std::sync::Arc;

use hivemind_model::reference::Reference;
use hivemind_node::{Node, StartError};
use hivemind_protocol::Pattern;

use crate::common::{Fixture, clients, eventually, settings};

/// Started by another user, or with half of what was copied.
#[tokio::test]
async fn no_other_identity_is_made_beside_a_store_whose_clients_are_paired() {
    let backend = Arc::new(Reference::new());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    let mut satellite = fixture.satellite("kitchen");
    assert_eq!(satellite.connect().await, Ok(Pattern::XXpsk2));
    eventually("pinned", async || fixture.stored("kitchen").await.metadata.text("noise_pubkey").is_some()).await;
    let own = fixture.folder.path().join("identity");

    let start = async |identity: &std::path::Path, new_identity: bool| {
        let mut settings = settings(&fixture.folder);
        identity.clone_into(&mut settings.identity);
        settings.new_identity = new_identity;
        Node::start(settings, clients(Arc::clone(&backend) as _).await, Arc::new(())).await
    };
    let refused = |answer: Result<Node, StartError>| match answer {
        Err(StartError::Unpaired { missing }) => missing,
        other => panic!("{other:?}"),
    };
    let elsewhere = fixture.folder.path().join("elsewhere");
    let missing = refused(start(&elsewhere, false).await);
    assert!(missing.contains("_identity.json") && missing.contains("unnamed-node_noise.key"), "{missing}");
    assert!(!elsewhere.exists(), "nothing is left behind");

    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::copy(own.join("_identity.json"), elsewhere.join("_identity.json")).expect("copied");
    let missing = refused(start(&elsewhere, false).await);
    assert!(!missing.contains("_identity.json") && missing.contains("unnamed-node_noise.key"), "{missing}");
    assert_eq!(std::fs::read_dir(&elsewhere).expect("a folder").count(), 1, "nothing is left behind");

    std::fs::copy(own.join("unnamed-node_noise.key"), elsewhere.join("unnamed-node_noise.key")).expect("copied");
    let moved = start(&elsewhere, false).await.expect("all of it is there");
    satellite.node = moved.address();
    assert_eq!(satellite.connect().await, Ok(Pattern::KKpsk0));

    let wanted = start(&fixture.folder.path().join("new"), true).await.expect("as the operator says");
    assert_ne!(wanted.node_id(), moved.node_id());
}
