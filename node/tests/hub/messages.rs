//! What a satellite sends: nobody loses anything by it but itself.

use super::*;

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
