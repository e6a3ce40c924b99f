//! The client of the OVOS messagebus against a bus as OVOS has one: a WebSocket on which everything is sent to everybody.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use hivemind_node::agent::Agent;
use hivemind_node::agent::ovos::Ovos;
use hivemind_node::hub::{Arrival, Hub, Setup};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

mod common;

use common::{ADDRESS, Satellite, World};

const HANGS: Duration = Duration::from_secs(120);
const UTTERANCE: &str = "recognizer_loop:utterance";

/// A messagebus.
struct Bus {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Value>>>,
    everybody: broadcast::Sender<String>,
    _task: JoinSet<()>,
}

impl Bus {
    /// A bus at this address, or at any for port 0. It is gone when this is dropped, with all its connections.
    async fn start(address: SocketAddr) -> Self {
        let end = Instant::now() + HANGS;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let (everybody, heard) = (broadcast::channel(1000).0, Arc::new(Mutex::new(Vec::new())));
        let bus = Self { address: listener.local_addr().expect("an address"), heard, everybody, _task: JoinSet::new() };
        let (everybody, heard) = (bus.everybody.clone(), Arc::clone(&bus.heard));
        let mut bus = bus;
        bus._task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(Self::serve(socket, everybody.clone(), Arc::clone(&heard)));
            }
        });
        bus
    }

    async fn serve(socket: TcpStream, everybody: broadcast::Sender<String>, heard: Arc<Mutex<Vec<Value>>>) {
        let mut from_others = everybody.subscribe();
        let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
        loop {
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        heard.lock().expect("a lock").push(serde_json::from_str(&text).expect("JSON"));
                        let _ = everybody.send(text.to_string());
                    }
                    Some(Ok(_)) => {}
                    _ => return,
                },
                Ok(text) = from_others.recv() => if socket.send(Message::text(text)).await.is_err() { return },
            }
        }
    }

    fn say(&self, message: &Value) {
        let _ = self.everybody.send(message.to_string());
    }

    fn heard(&self, kind: &str) -> Vec<Value> {
        self.heard.lock().expect("a lock").iter().filter(|message| message["type"] == kind).cloned().collect()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !is_so() {
        assert!(Instant::now() < end, "not after {HANGS:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn node(world: &World, address: SocketAddr) -> (Arc<Hub>, Arc<Ovos>, Satellite) {
    let agent = Ovos::new(format!("ws://{address}/core"));
    let hub = Hub::new(Setup { agent: Arc::clone(&agent) as _, ..world.setup() });
    hub.start();
    let record = json!({"client_id": 1, "api_key": "secret-key", "name": "kitchen", "allowed_types": [UTTERANCE]});
    let client = world.insert(&record).await;
    let arrival = Arrival { client, user_agent: "ua".to_owned(), address: ADDRESS, session_id: "s".to_owned() };
    let satellite = Satellite::join(&hub, arrival);
    (hub, agent, satellite)
}

fn utterance(at: usize) -> Value {
    json!({"msg_type": "bus", "payload": {"type": UTTERANCE, "data": {"n": at}, "context": {"session": {"session_id": "own"}}}})
}

fn any() -> SocketAddr {
    SocketAddr::new(ADDRESS, 0)
}

#[tokio::test]
async fn messages_go_in_their_order_and_answers_come_back() {
    let (world, bus) = (World::new(), Bus::start(any()).await);
    let (_hub, agent, mut satellite) = node(&world, bus.address).await;
    until("the bus is found", || agent.is_up()).await;
    for at in 0..200 {
        satellite.send(&utterance(at)).await;
    }
    until("the bus hears all", || bus.heard(UTTERANCE).len() == 200).await;
    let heard = bus.heard(UTTERANCE);
    assert!(heard.iter().enumerate().all(|(at, message)| message["data"]["n"] == json!(at)), "in their order");
    assert_eq!(bus.heard("hive.client.connect").len(), 1);
    assert!(!json!(*bus.heard.lock().expect("a lock")).to_string().contains("secret-key"));

    // The bus has echoed all of it to the node, which takes none of it for an answer.
    let question = &heard[0];
    let (source, session) = (&question["context"]["source"], &question["context"]["session"]);
    bus.say(&json!({"type": "speak", "data": {"utterance": "hi"}, "context": {"destination": source, "source": "skills", "session": session}}));
    let mut answers = Vec::new();
    until("the answer is there", || {
        answers.extend(satellite.heard());
        !answers.is_empty()
    })
    .await;
    assert_eq!((answers.len(), &answers[0]["payload"]["type"]), (1, &json!("speak")));
    assert_eq!(answers[0]["payload"]["context"]["session"]["session_id"], "own");
}

#[tokio::test]
async fn a_bus_that_goes_is_found_again_and_nothing_is_taken_for_it_in_between() {
    let (world, bus) = (World::new(), Bus::start(any()).await);
    let address = bus.address;
    let (_hub, agent, mut satellite) = node(&world, address).await;
    let mut bus = Some(bus);
    for round in 0..3 {
        let now = match bus.take() {
            Some(bus) => bus,
            None => Bus::start(address).await,
        };
        until("the bus is found", || agent.is_up()).await;
        satellite.send(&utterance(round)).await;
        until("the bus hears it", || now.heard(UTTERANCE).len() == 1).await;
        assert!(satellite.heard().is_empty());

        drop(now);
        until("the loss is noticed", || !agent.is_up()).await;
        satellite.send(&utterance(7)).await;
        let heard = satellite.heard();
        assert_eq!(heard[0]["payload"]["data"]["code"], "backend_unavailable");
        assert_eq!(heard[0]["payload"]["data"]["reason"], "OVOS messagebus is not connected");
    }
}

#[tokio::test]
async fn a_bus_that_does_not_read_holds_nobody_up() {
    let world = World::new();
    let listener = TcpListener::bind(any()).await.expect("a port");
    let (hub, agent, mut satellite) = node(&world, listener.local_addr().expect("an address")).await;
    let (socket, _) = listener.accept().await.expect("a connection");
    let _socket = tokio_tungstenite::accept_async(socket).await.expect("a WebSocket");
    until("the bus is found", || agent.is_up()).await;
    let message = format!("\"{}\"", "x".repeat(1 << 20));
    let mut sent = 0;
    let refused = loop {
        match agent.send(message.clone()) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent < 200, "what waits is bounded");
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.0, "OVOS messagebus does not keep up");
    // What nobody has sent for a client takes half of the room. A client alone takes half of what is left, with all its connections.
    let record = json!({"client_id": 2, "api_key": "other-key", "name": "attic", "allowed_types": [UTTERANCE]});
    let client = world.insert(&record).await;
    let arrival = |session: &str| Arrival {
        client: Arc::clone(&client),
        user_agent: "ua".to_owned(),
        address: ADDRESS,
        session_id: session.to_owned(),
    };
    let (mut greedy, mut again) = (Satellite::join(&hub, arrival("a")), Satellite::join(&hub, arrival("b")));
    let mut long = utterance(0);
    long["payload"]["data"] = json!({"x": "x".repeat(1 << 20)});
    let mut passed = 0;
    while greedy.heard().is_empty() {
        greedy.send(&long).await;
        passed += 1;
        assert!(passed < 30, "one client takes it all");
    }
    again.send(&long).await;
    assert_eq!(again.heard()[0]["payload"]["data"]["code"], "backend_unavailable");
    satellite.send(&long).await;
    satellite.send(&utterance(1)).await;
    assert!(satellite.heard().is_empty(), "another client finds room");
    assert_eq!(agent.send("x".repeat(11 << 20)).expect_err("too long").0, "the message is longer than an OVOS messagebus takes");
}
