//! Who is there, and what its record lets it do from one moment to the next.

use super::*;

#[tokio::test]
async fn the_agent_is_told_who_is_there_under_its_last_name_and_without_its_key() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let mut satellite = Satellite::join(&hub, arrival(&world.insert(&record(1)).await));
    assert_eq!(satellite.seat.peer(), "ua::1::kitchen::greeted-1");
    assert!(world.agent.heard().is_empty(), "nothing before it says who it is");
    satellite.send(&hello("s")).await;
    satellite.send(&hello("t")).await;
    let peer = "ua::1::kitchen::s";
    let connect = json!({"type": "hive.client.connect", "data": {"peer": peer, "session_id": "s"}, "context": {"source": peer}});
    assert_eq!(world.agent.heard(), [connect]);
    drop(satellite);
    let gone = world.agent.heard();
    let peer = "ua::1::kitchen::t";
    assert_eq!((gone.len(), &gone[0]["type"], &gone[0]["data"]), (1, &json!("hive.client.disconnect"), &json!({"peer": peer})));
    let session = json!({"site_id": "here", "session_id": "b96740a3e0d95c96:t"});
    assert_eq!(gone[0]["context"], json!({"source": peer, "session": session}));
    assert!(hub.is_empty());
}

#[tokio::test]
async fn two_connections_of_one_session_have_two_names() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let client = world.insert(&record(1)).await;
    let (mut one, mut two) = (Satellite::join(&hub, arrival(&client)), Satellite::join(&hub, arrival(&client)));
    one.send(&hello("s")).await;
    two.send(&hello("s")).await;
    assert_eq!(one.seat.peer(), "ua::1::kitchen::s");
    let name = two.seat.peer().to_owned();
    assert!(name.starts_with("ua::1::kitchen::s::") && name.len() == "ua::1::kitchen::s::".len() + 8, "{name}");
    two.send(&hello("s")).await;
    assert_eq!(two.seat.peer(), name, "the same HELLO again changes nothing");
    hub.deliver(&json!({"type": "speak", "data": {}, "context": {"destination": name}}).to_string());
    assert_eq!((one.heard().len(), two.heard().len()), (0, 1));
    drop(one);
    assert_eq!(hub.len(), 1);
    hub.deliver(&json!({"type": "speak", "data": {}, "context": {"destination": [name, "ua::1::kitchen::s"]}}).to_string());
    assert_eq!(two.heard().len(), 1);
}

#[tokio::test]
async fn a_revoked_client_hears_no_and_then_loses_its_connection() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let mut satellite = Satellite::join(&hub, arrival(&world.insert(&record(1)).await));
    satellite.send(&bus(UTTERANCE)).await;
    world.revoke(1).await;
    satellite.send(&bus(UTTERANCE)).await;
    let heard = satellite.heard();
    assert_eq!(
        (heard.len(), code(&heard[0]), &heard[0]["payload"]["data"]["data"]["allowed"]),
        (1, "acl_disallowed_type", &json!([]))
    );
    assert_eq!(satellite.closed, Some(Close::new(1008, "this client was revoked")));
    satellite.send(&json!({"msg_type": "propagate", "payload": bus("x")})).await;
    assert_eq!(world.agent.heard().len(), 2, "its connect, and the message before");
}

#[tokio::test]
async fn a_revoked_client_that_says_nothing_loses_its_connection_too() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    hub.start();
    let (silent, other, late) = (world.insert(&record(1)).await, world.insert(&record(2)).await, world.insert(&record(3)).await);
    let (mut silent, mut other) = (Satellite::join(&hub, arrival(&silent)), Satellite::join(&hub, arrival(&other)));
    // While the storage is away nobody is taken for revoked.
    world.break_storage(true);
    let failed = || world.looks.failed.load(SeqCst);
    until("the storage is asked in vain", || failed() >= 2).await;
    assert!(silent.heard().is_empty() && silent.closed.is_none());
    world.break_storage(false);
    world.revoke(1).await;
    until("the silent one is closed", || silent.heard().is_empty() && silent.closed.is_some()).await;

    // Revoked between its admission and its joining, and seen by nobody in between.
    world.revoke(3).await;
    let looked = || world.looks.answered.load(SeqCst);
    let before = looked();
    until("the storage is asked what changed", || looked() >= before + 2).await;
    let mut late = Satellite::join(&hub, arrival(&late));
    until("the late one is closed", || late.heard().is_empty() && late.closed.is_some()).await;
    assert!(other.heard().is_empty() && other.closed.is_none());
}

#[tokio::test]
async fn what_the_record_says_holds_for_the_next_message() {
    let world = World::new();
    let hub = Hub::new(Setup { policy: vec![Policy::Ovos], ..world.setup() });
    let client = world.insert(&record(1)).await;
    let mut satellite = Satellite::join(&hub, arrival(&client));
    satellite.send(&hello("s")).await;
    let _ = world.agent.heard();

    satellite.send(&bus("new.type")).await;
    assert_eq!(code(&satellite.heard()[0]), "acl_disallowed_type");
    world.clients.allow_types(&client, &["new.type"]).await.expect("allowed");
    satellite.send(&bus("new.type")).await;
    world.clients.blacklist(&client, hivemind_store::clients::Blacklist::Skill, "s.kill").await.expect("blacklisted");
    satellite.send(&bus("new.type")).await;
    world.clients.set_admin(&client, true).await.expect("made admin");
    satellite.send(&bus("new.type")).await;
    world.clients.deny_types(&client, &["new.type"]).await.expect("denied");
    satellite.send(&bus("new.type")).await;
    assert_eq!(code(&satellite.heard()[0]), "acl_disallowed_type");

    let heard = world.agent.heard();
    let sessions: Vec<&Value> = heard.iter().map(|message| &message["context"]["session"]).collect();
    let namespaced = "b96740a3e0d95c96:s";
    assert_eq!(sessions[0], &json!({"site_id": "here", "session_id": namespaced}));
    assert_eq!(sessions[1], &json!({"site_id": "here", "session_id": namespaced, "blacklisted_skills": ["s.kill"]}));
    assert_eq!(sessions[2], &json!({"site_id": "here", "session_id": "s", "blacklisted_skills": ["s.kill"]}));
    assert_eq!(sessions.len(), 3);

    world.clients.set_permission(&client, hivemind_store::clients::Permission::Propagate, false).await.expect("set");
    satellite.send(&json!({"msg_type": "propagate", "payload": bus("x")})).await;
    assert_eq!(satellite.closed, Some(Close::new(4003, "PROPAGATE is not allowed for this client")));
}

#[tokio::test]
async fn while_the_storage_is_away_all_is_denied_and_then_it_is_not() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let mut satellite = Satellite::join(&hub, arrival(&world.insert(&record(1)).await));
    let all = [
        bus(UTTERANCE),
        json!({"msg_type": "propagate", "payload": bus("x")}),
        json!({"msg_type": "query", "payload": bus("x"), "metadata": {"query_id": "q", "is_response": true}}),
    ];
    for _ in 0..2 {
        world.break_storage(true);
        for message in &all {
            satellite.send(message).await;
        }
        let heard = satellite.heard();
        assert_eq!(heard.iter().map(code).collect::<Vec<_>>(), ["policy_error"; 3]);
        assert!(!heard[0].to_string().contains("down for the test"), "what the storage says is not for satellites");
        world.break_storage(false);
        satellite.send(&bus(UTTERANCE)).await;
        assert!(satellite.heard().is_empty() && satellite.closed.is_none());
    }
    assert_eq!(world.agent.heard().len(), 3, "its connect and two utterances");
}

#[tokio::test]
async fn a_verdict_can_be_asked_for_without_a_connection() {
    let world = World::new();
    let mut with_lists = record(1);
    with_lists["metadata"] = json!({"skill_blacklist": ["a", "b"], "intent_blacklist": ["c"]});
    let client = world.insert(&with_lists).await;
    let allowed = |skills: &[&str], intents: &[&str]| Verdict::Allowed {
        blacklisted_skills: skills.iter().map(ToString::to_string).collect(),
        blacklisted_intents: intents.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(judge(&[Policy::Ovos], &client, UTTERANCE, "s"), allowed(&["a", "b"], &["c"]));
    assert_eq!(judge(&[], &client, UTTERANCE, "s"), allowed(&[], &[]));
    let Verdict::Denied(denial) = judge(&[], &client, "x", "s") else { panic!("not in its whitelist") };
    assert_eq!((denial.code, &*denial.reason), (Denial::DISALLOWED_TYPE, "x not in allowed_types"));
    assert_eq!(serde_json::from_str::<Value>(&denial.data).expect("JSON"), json!({"msg_type": "x", "allowed": [UTTERANCE]}));
    let Verdict::Denied(denial) = judge(&[], &client, UTTERANCE, "default") else { panic!("the device's session") };
    assert_eq!(denial.code, Denial::DEFAULT_SESSION);
}

#[tokio::test]
async fn the_first_key_that_a_client_shows_is_pinned() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let mut satellite = Satellite::join(&hub, arrival(&world.insert(&record(1)).await));
    for key in ["first key", "second key"] {
        satellite.send(&json!({"msg_type": "hello", "payload": {"pubkey": key, "session": {"session_id": "s"}}})).await;
    }
    let client = world.clients.by_id(1).await.expect("a store").expect("a client");
    assert_eq!(client.metadata.text("intercom_pubkey").as_deref(), Some("first key"));
    assert_eq!(world.looks.pins.load(SeqCst), 1, "HELLO costs a satellite nothing");
}

#[tokio::test]
async fn everybody_can_be_closed() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let client = world.insert(&record(1)).await;
    let mut all: Vec<Satellite> = (0..3).map(|_| Satellite::join(&hub, arrival(&client))).collect();
    hub.close_all(&Close::new(Close::GOING_AWAY, "the node stops"));
    for satellite in &mut all {
        assert!(satellite.heard().is_empty());
        assert_eq!(satellite.closed.as_ref().map(|close| close.code), Some(1001));
    }
}
