//! Who is in a hub, what its record lets it do from one moment to the next, and what nobody can do to others.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hivemind_node::agent::echo::Echo;
use hivemind_node::close::Close;
use hivemind_node::event::{Event, Observer};
use hivemind_node::hub::{Arrival, Hub, Setup};
use hivemind_node::outbox::{Item, outbox};
use hivemind_node::policy::{Denial, Verdict, judge};
use hivemind_node::settings::Policy;
use hivemind_protocol::{BinaryFrame, Message, MessageType};
use hivemind_store::Client;
use serde_json::{Value, json};

mod common;

use common::{ADDRESS, Satellite, World};

const UTTERANCE: &str = "recognizer_loop:utterance";

/// Longer than anything takes that does not hang.
const HANGS: Duration = Duration::from_secs(120);

fn record(id: i64) -> Value {
    json!({"client_id": id, "api_key": format!("secret-key-{id}"), "name": "kitchen", "allowed_types": [UTTERANCE]})
}

fn arrival(client: &Arc<Client>) -> Arrival {
    let session_id = format!("greeted-{}", client.id);
    Arrival { client: Arc::clone(client), user_agent: "ua".to_owned(), address: ADDRESS, session_id }
}

fn hello(session_id: &str) -> Value {
    json!({"msg_type": "hello", "payload": {"session": {"session_id": session_id}, "site_id": "here"}})
}

fn bus(kind: &str) -> Value {
    json!({"msg_type": "bus", "payload": {"type": kind, "data": {}, "context": {}}})
}

fn code(message: &Value) -> &str {
    message["payload"]["data"]["code"].as_str().unwrap_or_default()
}

/// Keeps the words of events.
#[derive(Debug, Default)]
struct Events(Mutex<Vec<String>>);

impl Observer for Events {
    fn see(&self, event: &Event<'_>) {
        let word = match event {
            Event::Judged { envelope, message_type, denied, party, .. } => {
                format!("{envelope} {message_type} of {} {}", party.client.unwrap_or(0), denied.unwrap_or("passed"))
            }
            Event::TooSlow { party } => format!("too slow {}", party.client.unwrap_or(0)),
            Event::NotRelayed { party } => format!("not relayed {}", party.client.unwrap_or(0)),
            Event::Delivered { receivers } => format!("delivered {receivers}"),
            _ => return,
        };
        self.0.lock().expect("a lock").push(word);
    }
}

impl Events {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("a lock"))
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !is_so() {
        assert!(Instant::now() < end, "not after {HANGS:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

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
async fn who_does_not_read_is_closed_and_holds_up_nobody() {
    let (world, events) = (World::new(), Arc::new(Events::default()));
    let hub = Hub::new(Setup { observer: Arc::clone(&events) as _, ..world.setup() });
    let (client, slow) = (world.insert(&record(1)).await, world.insert(&record(2)).await);
    let mut satellite = Satellite::join(&hub, arrival(&client));
    let (small, mut inbox) = outbox(4000);
    let _slow = hub.join(arrival(&slow), small);
    let long = "x".repeat(300);
    // Whatever another satellite sends, what the agent says has its place.
    for _ in 0..50 {
        satellite.send(&json!({"msg_type": "propagate", "payload": {"msg_type": "bus", "payload": {"type": long}}})).await;
    }
    let slow = "ua::2::kitchen::greeted-2";
    hub.deliver(&json!({"type": "speak", "context": {"destination": slow}}).to_string());
    let words = events.take();
    let relayed = 50 - words.iter().filter(|word| *word == "not relayed 2").count();
    assert!((1..50).contains(&relayed) && words.contains(&"delivered 1".to_owned()), "{words:?}");
    assert!(!words.iter().any(|word| word.starts_with("too slow")), "{words:?}");
    assert_eq!(std::iter::from_fn(|| inbox.try_next()).count(), relayed + 1);

    let both =
        json!({"type": "speak", "data": {"utterance": long}, "context": {"destination": [slow, "ua::1::kitchen::greeted-1"]}});
    for _ in 0..50 {
        hub.deliver(&both.to_string());
    }
    assert_eq!(satellite.heard().len(), 50);
    let words = events.take();
    assert_eq!(words.iter().filter(|word| *word == "too slow 2").count(), 1, "{words:?}");
    assert!(words.iter().filter(|word| *word == "delivered 1").count() > 30, "{words:?}");
    let mut last = None;
    while let Some(item) = inbox.try_next() {
        last = Some(item);
    }
    assert!(matches!(last, Some(Item::Close(close)) if close.code == Close::INTERNAL));
    satellite.send(&json!({"msg_type": "propagate", "payload": bus("x")})).await;
    assert!(inbox.try_next().is_none(), "nothing comes after the close");
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_and_what_is_too_much_does_not() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let client = world.insert(&record(1)).await;
    for bad in [
        "",
        "x",
        "[]",
        "{}",
        r#"{"msg_type":"nonsense","payload":{}}"#,
        r#"{"msg_type":"bus","payload":{},"more":1}"#,
        r#"{"msg_type":"bus","payload":"text"}"#,
        r#"{"msg_type":"bin","payload":{}}"#,
        r#"{"msg_type":"hello"}"#,
        r#"{"msg_type":"bus","msg_type":"bus","payload":{"type":"x"}}"#,
    ] {
        let mut satellite = Satellite::join(&hub, arrival(&client));
        satellite.say(bad).await;
        assert_eq!(satellite.closed, Some(Close::new(1008, "invalid message")), "{bad}");
    }

    let mut satellite = Satellite::join(&hub, arrival(&client));
    let mut nested = bus("x");
    for _ in 0..40 {
        nested = json!({"msg_type": "propagate", "payload": nested});
    }
    let too_much = [
        json!({"msg_type": "hello", "payload": {"session": {"session_id": "x".repeat(600)}}}),
        json!({"msg_type": "hello", "payload": {"session": {"x": "y".repeat(300 << 10)}}}),
        json!({"msg_type": "hello", "payload": {"session": {"x": "y".repeat(17 << 10)}}}),
        json!({"msg_type": "hello", "payload": {"site_id": "y".repeat(1000)}}),
        nested,
        json!({"msg_type": "query", "payload": bus("x"), "metadata": {"query_id": "q".repeat(300)}}),
        json!({"msg_type": "propagate", "payload": bus(&"x".repeat(1 << 20))}),
        json!({"msg_type": "propagate", "payload": bus("x"), "route": vec![0; 70_000]}),
    ];
    for message in &too_much {
        satellite.send(message).await;
        let heard = satellite.heard();
        assert_eq!((heard.len(), code(&heard[0])), (1, Denial::MALFORMED));
    }
    assert_eq!((satellite.seat.peer(), &satellite.closed), ("ua::1::kitchen::greeted-1", &None));
}

#[tokio::test]
async fn bytes_pass_the_same_gate() {
    let (world, events) = (World::new(), Arc::new(Events::default()));
    let hub = Hub::new(Setup { observer: Arc::clone(&events) as _, ..world.setup() });
    let mut nothing = record(2);
    nothing["allowed_types"] = json!([]);
    let (client, nobody) = (world.insert(&record(1)).await, world.insert(&nothing).await);
    let frame = |kind, payload: &[u8]| {
        let frame = BinaryFrame { kind, metadata: "{}".to_owned(), bin_type: 1, payload: payload.to_vec() };
        frame.to_bytes().expect("a frame")
    };
    let audio = frame(MessageType::Binary, &[1, 2, 3]);
    let (mut one, mut two) = (Satellite::join(&hub, arrival(&client)), Satellite::join(&hub, arrival(&nobody)));
    one.seat.receive(Message::Binary(&audio)).await.expect("taken");
    two.seat.receive(Message::Binary(&audio)).await.expect("taken");
    assert!(one.heard().is_empty());
    let heard = two.heard();
    assert_eq!(heard[0]["payload"]["data"]["denied_type"], "binary");
    assert_eq!(heard[0]["payload"]["data"]["bin_type"], "1");
    assert_eq!(code(&heard[0]), "acl_disallowed_type");
    assert!(events.take().contains(&"bin  of 2 acl_disallowed_type".to_owned()));

    // Any message may come in this form.
    let packed = frame(MessageType::Bus, format!(r#"{{"type":"{UTTERANCE}"}}"#).as_bytes());
    one.seat.receive(Message::Binary(&packed)).await.expect("taken");
    assert_eq!(world.agent.heard().pop().expect("heard")["type"], UTTERANCE);
    let close = one.seat.receive(Message::Binary(&[0xff])).await.expect_err("no frame");
    assert_eq!(close, Close::new(1008, "invalid message"));
}

#[tokio::test]
async fn a_question_gets_the_answers_of_the_agent_and_their_end() {
    let world = World::new();
    let hub = Hub::new(world.setup());
    let (client, other) = (world.insert(&record(1)).await, world.insert(&record(2)).await);
    let (mut satellite, mut other) = (Satellite::join(&hub, arrival(&client)), Satellite::join(&hub, arrival(&other)));
    satellite.send(&hello("s")).await;
    let asked = json!({"type": UTTERANCE, "data": {"utterances": ["how late is it"], "lang": "pt-pt"}, "context": {}});
    let query = |kind: &str| {
        let payload = json!({"msg_type": "bus", "payload": asked});
        json!({"msg_type": kind, "payload": payload, "metadata": {"query_id": format!("{kind}-1")}})
    };
    for kind in ["query", "cascade"] {
        satellite.send(&query(kind)).await;
        let asked = world.agent.heard().pop().expect("the agent is asked");
        let id = asked["context"]["query_id"].as_str().expect("an id").to_owned();
        assert_eq!(asked["data"], json!({"utterances": ["how late is it"], "lang": "pt-pt"}));
        assert_eq!(asked["context"]["session"], json!({"session_id": id}));
        let say = |kind: &str, id: &str, data: Value| {
            hub.deliver(
                &json!({"type": kind, "data": data, "context": {"query_id": id, "session": {"session_id": id}}}).to_string(),
            );
        };
        say("speak", "other", json!({"utterance": "not for it"}));
        say("speak", &id, json!({"utterance": "late"}));
        say("speak", &id, json!({"utterance": "very late"}));
        // What a satellite says is on the bus too, and answers nothing.
        let forged = json!({"query_id": id, "source": "ua::1::kitchen::s"});
        hub.deliver(&json!({"type": "speak", "data": {"utterance": "forged"}, "context": forged}).to_string());
        say("ovos.utterance.handled", &id, json!({}));
        say("speak", &id, json!({"utterance": "too late"}));
        let heard = satellite.heard();
        let said: Vec<&Value> = heard.iter().map(|message| &message["payload"]["payload"]["data"]["utterance"]).collect();
        assert_eq!(said, [&json!("late"), &json!("very late"), &Value::Null]);
        assert_eq!(heard[0]["payload"]["payload"]["data"]["lang"], "pt-pt");
        assert_eq!(heard[2]["payload"]["payload"]["type"], "hive.query.complete");
        for message in &heard {
            assert_eq!(message["msg_type"], kind);
            let metadata = json!({"query_id": format!("{kind}-1"), "originator_peer": "ua::1::kitchen::s",
                "responder_peer": common::NODE, "is_response": true});
            assert_eq!(message["metadata"], metadata);
        }
    }
    let heard = other.heard();
    assert_eq!((heard.len(), &heard[0]["msg_type"]), (1, &json!("cascade")), "a cascade asks everybody");

    satellite.send(&query("query")).await;
    let asked = world.agent.heard().pop().expect("the agent is asked");
    let done = json!({"type": "ovos.utterance.handled", "context": {"query_id": asked["context"]["query_id"]}});
    hub.deliver(&done.to_string());
    assert_eq!(satellite.heard()[0]["payload"]["payload"]["type"], "hive.query.timeout", "nobody answered");

    // One client leaves room for the questions of others, however many connections it has.
    let mut again = Satellite::join(&hub, arrival(&client));
    for _ in 0..10 {
        satellite.send(&query("query")).await;
        again.send(&query("query")).await;
    }
    let declined = [satellite.heard(), again.heard()].concat();
    assert_eq!(declined.len(), 4);
    assert!(declined.iter().all(|message| message["payload"]["payload"]["type"] == "hive.query.timeout"));
    other.send(&query("query")).await;
    assert!(other.heard().iter().all(|message| message["msg_type"] == "cascade"), "it is asked of the agent");
}

#[tokio::test]
async fn the_echo_speaks_what_it_hears_to_whoever_said_it() {
    let world = World::new();
    let hub = Hub::new(Setup { agent: Echo::new(), ..world.setup() });
    hub.start();
    let (client, other) = (world.insert(&record(1)).await, world.insert(&record(2)).await);
    let (mut satellite, mut other) = (Satellite::join(&hub, arrival(&client)), Satellite::join(&hub, arrival(&other)));
    satellite.send(&hello("s")).await;
    let context = json!({"session": {"session_id": "other"}});
    let said = json!({"type": UTTERANCE, "data": {"utterances": ["hello"]}, "context": context});
    satellite.send(&json!({"msg_type": "bus", "payload": said})).await;
    let heard = satellite.heard();
    assert_eq!((heard.len(), &heard[0]["payload"]["type"]), (2, &json!("speak")));
    assert_eq!(heard[0]["payload"]["data"]["utterance"], "hello");
    assert_eq!(heard[0]["payload"]["context"]["session"]["session_id"], "other", "as the satellite knows it");
    assert_eq!(heard[1]["payload"]["type"], "ovos.utterance.handled");
    satellite.send(&json!({"msg_type": "query", "payload": {"msg_type": "bus", "payload": said}})).await;
    let kinds: Vec<Value> = satellite.heard().into_iter().map(|message| message["payload"]["payload"]["type"].clone()).collect();
    assert_eq!(kinds, ["speak", "hive.query.complete"]);
    assert!(other.heard().is_empty());
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
