//! What satellites say to each other through the node, and what only some may say.

use hivemind_tests::node::raw::{bus, envelope};

use super::*;

on_both!(envelopes_for_others, forbidden);

/// Everybody's names in one place: an administrator, two like any other, and one that may pass on nothing.
struct Hive {
    stage: Stage,
    clients: [Client; 4],
}

const NAMES: [&str; 4] = ["chief", "kitchen", "garden", "mute"];

impl Hive {
    fn new(make: Make) -> Self {
        let mut clients = NAMES.map(|name| Client::new(&format!("key-{name}")));
        clients[0].is_admin = true;
        let site = Site::new(Backend::Sqlite, &clients);
        for command in ["blacklist-broadcast", "blacklist-propagate", "blacklist-escalate"] {
            site.run(&[command, "key-mute"]).well();
        }
        site.write("config/hivemind/_identity.json", json!({"site_id": "house"}).to_string().as_bytes());
        let mut hive = Self { stage: Stage::on(site, make), clients };
        NAMES.iter().for_each(|name| hive.join(name));
        hive
    }

    /// Connects one, and waits until it is there.
    fn join(&mut self, name: &str) {
        let client = &self.clients[NAMES.iter().position(|n| *n == name).expect("one of them")];
        let session = json!({"session_id": format!("session-of-{name}"), "site_id": "room"});
        let outcome = self.stage.satellites.connect_with(name, client, &session);
        assert!(matches!(outcome, Outcome::Up(_)), "{name}: {outcome:?}");
        self.stage.satellites.send(name, UTTERANCE, &json!({"mark": name}));
        self.stage.tap.wait(name, |message| message["data"]["mark"] == name);
    }

    fn peer(&self, name: &str) -> String {
        let n = NAMES.iter().position(|n| *n == name).expect("one of them");
        peer(name, n + 1, &self.clients[n], &format!("session-of-{name}"))
    }

    /// Says an envelope around a bus message.
    fn says(&mut self, name: &str, kind: &str, bus: &Value, more: &Value) {
        let mut members = json!({"msg_type": kind, "payload": {"msg_type": "bus", "payload": bus}});
        for (name, value) in more.as_object().into_iter().flatten() {
            members[name] = value.clone();
        }
        self.stage.satellites.ask(name, "emit", &members);
    }

    /// The next envelope of a type that one hears.
    fn hears(&mut self, name: &str, kind: &str) -> Value {
        self.stage.satellites.ask(name, "envelope", &json!({"msg_type": kind}))
    }

    /// All of these hear this next, of its type.
    fn all_hear(&mut self, names: &[&str], expected: &Value) {
        for name in names {
            let heard = self.hears(name, expected["msg_type"].as_str().expect("a type"));
            assert_eq!(heard, *expected, "{name}");
        }
    }

    /// The route by these, and then by the node itself if it adds itself.
    fn route(&self, names: &[&str], and_node: bool) -> Value {
        let mut all: Vec<String> = names.iter().map(|name| self.peer(name)).collect();
        all.extend(and_node.then(|| self.stage.node_id()));
        all.iter().map(|peer| json!({"source": peer, "targets": [peer]})).collect()
    }

    /// An envelope as it goes on to others: what its sender wrote, the route on both, and the node as where the inner one comes from.
    fn relayed(&self, kind: &str, (inner, payload): (&str, &Value), route: &Value) -> Value {
        let mut within = envelope(inner, payload);
        (within["route"], within["source_peer"]) = (route.clone(), self.stage.node_id().into());
        let mut relayed = envelope(kind, &within);
        relayed["route"] = route.clone();
        relayed
    }

    /// The answer of the node to a question of one's own.
    fn response(&self, name: &str, query_id: &Value, bus: &Value) -> Value {
        let mut response = envelope("query", &envelope("bus", bus));
        response["route"] = self.route(&[name], false);
        response["metadata"] = json!({
            "query_id": query_id, "originator_peer": self.peer(name), "responder_peer": self.stage.node_id(), "is_response": true,
        });
        response
    }
}

/// Each is passed on to whom it is for, on both nodes the same to the last member, and comes back to nobody who said it.
fn envelopes_for_others(make: Make) {
    let mut hive = Hive::new(make);
    let mut said = bus("test.propagated", &json!({"n": 1}));
    hive.says("kitchen", "propagate", &said, &json!({}));
    let by_kitchen = hive.route(&["kitchen"], true);
    let expected = hive.relayed("propagate", ("bus", &said), &by_kitchen);
    hive.all_hear(&["chief", "garden", "mute"], &expected);

    said = bus("test.broadcast", &json!({"n": 2}));
    hive.says("chief", "broadcast", &said, &json!({}));
    let expected = hive.relayed("broadcast", ("bus", &said), &hive.route(&["chief"], false));
    hive.all_hear(&["kitchen", "garden", "mute"], &expected);

    // One for nobody who could prove it, and one that only its receivers can read.
    let unsigned = json!({"msg_type": "propagate", "payload": {"msg_type": "intercom", "payload": {"said": "openly"}}});
    hive.stage.satellites.ask("kitchen", "emit", &unsigned);
    let key = hive.stage.satellites.ask("kitchen", "intercom", &json!({"type": "test.sealed", "data": {"n": 3}}));
    for name in ["chief", "garden", "mute"] {
        let heard = hive.hears(name, "propagate");
        let payload = &heard["payload"]["payload"];
        let mut expected = hive.relayed("propagate", ("intercom", payload), &by_kitchen);
        expected["payload"]["target_pubkey"] = key.clone();
        assert_eq!(heard, expected, "{name}");
        let opened = hive.stage.satellites.ask(name, "unseal", &json!({"payload": payload}));
        assert_eq!((&opened["payload"]["type"], &opened["payload"]["data"]), (&json!("test.sealed"), &json!({"n": 3})), "{name}");
    }
    questions(&mut hive, make);
    at_this_site(&mut hive, make);
    for name in NAMES {
        assert_eq!(hive.stage.satellites.heard(name), [] as [Value; 0], "{name}");
    }
    pings(&mut hive);
}

/// QUERY is answered by the assistant, or at once if it is nothing that assistants answer. CASCADE is for everybody to answer.
fn questions(hive: &mut Hive, make: Make) {
    hive.says("kitchen", "query", &bus("test.no.utterance", &json!({})), &json!({}));
    let heard = hive.hears("kitchen", "query");
    let id = &hive.stage.tap.wait_for("hive.query.received")["data"]["query_id"];
    let timeout = bus("hive.query.timeout", &json!({"query_id": id, "error": "no_answer"}));
    assert_eq!(heard, hive.response("kitchen", id, &timeout));

    hive.says("kitchen", "query", &bus(UTTERANCE, &json!({"utterances": ["what time is it?"]})), &json!({}));
    let id = hive.stage.tap.wait_for("hive.query.received")["data"]["query_id"].clone();
    let asked = hive.stage.tap.wait("the question", |message| message["data"]["utterances"][0] == "what time is it?");
    let context = json!({"query_id": asked["context"]["query_id"], "source": "skills"});
    hive.stage.tap.say(&json!({"type": "speak", "data": {"utterance": "ten"}, "context": context}));
    hive.stage.tap.say(&json!({"type": "ovos.utterance.handled", "data": {}, "context": context}));
    let spoken = json!({"type": "speak", "data": {"utterance": "ten", "lang": "en-US"}, "context": {"query_id": id}});
    for bus in [spoken, bus("hive.query.complete", &json!({}))] {
        let expected = hive.response("kitchen", &id, &bus);
        hive.all_hear(&["kitchen"], &expected);
    }

    let question = bus(UTTERANCE, &json!({"utterances": ["who is there?"]}));
    hive.says("kitchen", "cascade", &question, &json!({}));
    let id = hive.stage.tap.wait_for("hive.cascade.received")["data"]["query_id"].clone();
    let asked = hive.stage.tap.wait("the question", |message| message["data"]["utterances"][0] == "who is there?");
    let context = json!({"query_id": asked["context"]["query_id"], "source": "skills"});
    hive.stage.tap.say(&json!({"type": "ovos.utterance.handled", "data": {}, "context": context}));
    let mut expected = hive.relayed("cascade", ("bus", &question), &hive.route(&["kitchen"], true));
    expected["metadata"] = json!({"query_id": id, "originator_peer": hive.peer("kitchen")});
    for name in ["chief", "garden", "mute"] {
        let mut heard = hive.hears(name, "cascade");
        if make == Make::Python {
            // It passes on the session by which the assistant knows the asker, too.
            heard["payload"]["payload"]["context"] = json!({});
        }
        assert_eq!(heard, expected, "{name}");
    }
    let mut answer = expected["metadata"].clone();
    answer["is_response"] = json!(true);
    let here = bus("speak", &json!({"utterance": "I am"}));
    hive.says("garden", "cascade", &here, &json!({"metadata": answer}));
    let mut expected = envelope("cascade", &envelope("bus", &here));
    (expected["route"], expected["metadata"]) = (hive.route(&["garden"], false), answer);
    expected["source_peer"] = hive.peer("garden").into();
    hive.all_hear(&["kitchen"], &expected);
}

/// What is for the node's own site goes to its bus; an ESCALATE has nobody above to go to, and goes to nobody else.
fn at_this_site(hive: &mut Hive, make: Make) {
    let house = json!({"target_site_id": "house"});
    for kind in ["escalate", "propagate"] {
        let said = bus(UTTERANCE, &json!({"mark": kind}));
        hive.says("kitchen", kind, &said, &house);
        let context = hive.stage.tap.wait(kind, |message| message["data"]["mark"] == kind)["context"].clone();
        let kitchen = json!(hive.peer("kitchen"));
        assert_eq!((&context["peer"], &context["source"], &context["destination"]), (&kitchen, &kitchen, &json!("hivemind")));
        if kind == "escalate" {
            continue;
        }
        let mut expected = hive.relayed(kind, ("bus", &said), &hive.route(&["kitchen"], true));
        expected["target_site_id"] = json!("house");
        for name in ["chief", "garden", "mute"] {
            let mut heard = hive.hears(name, kind);
            if make == Make::Python {
                heard["payload"]["payload"]["context"] = json!({});
            }
            assert_eq!(heard, expected, "{name}");
        }
    }
    // What is for another site is not.
    hive.says("kitchen", "escalate", &bus(UTTERANCE, &json!({"mark": "elsewhere"})), &json!({"target_site_id": "barn"}));
    hive.stage.satellites.send("kitchen", UTTERANCE, &json!({"mark": "after that"}));
    hive.stage.tap.wait("after that", |message| message["data"]["mark"] == "after that");
    assert!(hive.stage.tap.heard().iter().all(|message| message["data"]["mark"] != "elsewhere"));
}

/// A PING of one is heard by the others, and everybody, the assistant too, learns of the node by its answer. Stock satellites answer it as
/// well; one that may not is put out for it.
fn pings(hive: &mut Hive) {
    let ping = json!({"flood_id": "flood-1", "peer": "the kitchen", "site_id": "room", "timestamp": 1.5});
    let flood = json!({"msg_type": "propagate", "payload": {"msg_type": "ping", "payload": ping}});
    hive.stage.satellites.ask("kitchen", "emit", &flood);
    let told = hive.stage.tap.wait("the ping", |m| m["type"] == "hive.ping.received" && m["data"]["peer"] == "the kitchen");
    assert_eq!(told["data"], ping);
    let hears = |hive: &mut Hive, name: &str, peer: &str| loop {
        let heard = hive.hears(name, "propagate");
        if heard["payload"]["payload"]["peer"] == peer {
            return heard;
        }
    };
    let node = hive.stage.node_id();
    for name in ["kitchen", "garden"] {
        let heard = hears(hive, name, &node);
        let time = &heard["payload"]["payload"]["timestamp"];
        assert!(time.as_f64().is_some_and(|time| time > 1.0e9), "{heard}");
        let own = json!({"flood_id": "flood-1", "peer": node, "site_id": "house", "timestamp": time, "public_key": node});
        assert_eq!(heard, envelope("propagate", &envelope("ping", &own)), "{name}");
    }
    let expected = hive.relayed("propagate", ("ping", &ping), &hive.route(&["kitchen"], true));
    assert_eq!(hears(hive, "chief", "the kitchen"), expected);
    assert_eq!(hive.stage.satellites.end("mute"), (Some(4003), "PROPAGATE is not allowed for this client".to_owned()));
}

/// Who may not say something is put out, with the word for it, and nobody has heard it.
fn forbidden(make: Make) {
    let mut hive = Hive::new(make);
    // Who is no administrator may not broadcast, whatever else its record says.
    let deeds = [
        ("mute", "propagate"),
        ("mute", "escalate"),
        ("mute", "query"),
        ("mute", "cascade"),
        ("mute", "broadcast"),
        ("garden", "broadcast"),
    ];
    let said = bus(UTTERANCE, &json!({"mark": "forbidden", "utterances": ["forbidden"]}));
    for (n, (name, kind)) in deeds.into_iter().enumerate() {
        hive.says(name, kind, &said, &json!({"target_site_id": "house"}));
        let reason = format!("{} is not allowed for this client", kind.to_uppercase());
        assert_eq!(hive.stage.satellites.end(name), (Some(4003), reason), "deed {n}");
        hive.join(name);
    }
    // What is said now comes after all that.
    hive.says("kitchen", "propagate", &bus("last", &json!({})), &json!({}));
    let first = hive.hears("chief", "propagate");
    assert_eq!(first["payload"]["payload"]["type"], "last");
    assert_eq!(hive.stage.satellites.heard("chief"), [] as [Value; 0]);
    assert!(hive.stage.tap.heard().iter().all(|message| message["data"]["mark"] != "forbidden"));
}
