//! What becomes of a connection before its satellite has proved anything: the table of close codes and reasons.

mod common;

use common::{Fixture, PASSWORD, Satellite, Told, add, query};
use hivemind_node::event::Refusal;
use hivemind_store::clients::NewClient;

async fn answer(fixture: &Fixture, query: &str) -> Told {
    let mut satellite = Satellite::new(fixture.node.address(), "", "");
    satellite.open_with(query).await;
    satellite.hear().await
}

fn closed(code: u16, reason: &str) -> Told {
    Told::Closed(code, reason.to_owned())
}

#[tokio::test]
async fn who_names_no_client_is_told_so() {
    let fixture = Fixture::new().await;
    for bad in ["", "authorization=", "authorization=%%%", "authorization=YWI=", "authorization=Om5vbmFtZQ==", "other=1"] {
        assert_eq!(answer(&fixture, bad).await, closed(1008, "invalid authorization"), "{bad}");
    }
    assert_eq!(fixture.watch.refused(Refusal::NoAuthorization), 6);
    for unknown in ["nobody", "revoked"] {
        assert_eq!(answer(&fixture, &query(unknown)).await, closed(1008, "invalid api key"), "{unknown}");
    }
    let gone = add(&fixture.clients, "gone").await;
    fixture.clients.revoke(&gone).await.expect("revoked");
    assert_eq!(answer(&fixture, &query("gone")).await, closed(1008, "invalid api key"));
    assert_eq!(fixture.watch.refused(Refusal::UnknownKey), 3);
    assert!(fixture.watch.called("sync") >= 1 && fixture.watch.called("sync") <= 3, "{:?}", fixture.watch.all());
}

#[tokio::test]
async fn a_client_without_a_good_password_is_told_so() {
    let fixture = Fixture::new().await;
    for (key, password) in [("none", None), ("empty", Some("")), ("weak", Some("password1"))] {
        let new = NewClient { password: password.map(str::to_owned), ..NewClient::new(key) };
        fixture.clients.add(new).await.expect("added");
    }
    let none = closed(1008, "this node requires protocol v3 (the Noise handshake)");
    assert_eq!(answer(&fixture, &query("none")).await, none);
    assert_eq!(answer(&fixture, &query("empty")).await, none);
    assert_eq!(answer(&fixture, &query("weak")).await, closed(1008, "this node requires a stronger password"));
    assert_eq!(fixture.watch.refused(Refusal::Password), 3);
}

#[tokio::test]
async fn a_weak_password_is_enough_where_none_is_required() {
    let fixture = Fixture::with(|settings| settings.min_password_bits = None).await;
    let weak = NewClient { password: Some("password1".to_owned()), ..NewClient::new("weak") };
    fixture.clients.add(weak).await.expect("added");
    let mut satellite = Satellite::new(fixture.node.address(), "weak", "password1");
    satellite.connect().await.expect("a session");
}

#[tokio::test]
async fn a_known_client_is_greeted_with_the_nodes_id_and_what_it_offers() {
    let fixture = Fixture::new().await;
    let mut satellite = Satellite::new(fixture.node.address(), "kitchen", PASSWORD);
    satellite.open().await;
    let hello = satellite.payload(hivemind_protocol::MessageType::Hello).await.expect("HELLO");
    assert!(hello.contains(fixture.node.node_id()) && hello.contains("\"peer\":\"Test::1::kitchen::"), "{hello}");
    let offer = satellite.payload(hivemind_protocol::MessageType::Handshake).await.expect("an offer");
    assert!(offer.contains("XXpsk2") && !offer.contains("KKpsk0"), "nothing is pinned yet: {offer}");
}

/// A base64 with `+` in it, which the Python node refuses.
#[tokio::test]
async fn a_plus_in_the_authorization_is_read_as_one() {
    let fixture = Fixture::new().await;
    let plain = "authorization=YT4+Pj4+OmtpdGNoZW4=";
    assert!(matches!(answer(&fixture, plain).await, Told::Text(_)));
    assert!(matches!(answer(&fixture, &plain.replace('+', "%2B")).await, Told::Text(_)));
}
