//! The node as satellites, operators and strangers meet it: the real program, stock clients, the real messagebus.
//!
//! The decision behind it: **each scenario was first made to hold for the Python node**, and it is run against that node here too, so that
//! what ours is measured by is seen and not remembered. Where ours is to differ, because the Python node is wrong or weak there, the
//! scenario says so and expects the fault of the one and the remedy of the other.
//!
//! By hand, with more of everything: `HIVEMIND_RACES=100` for the races, `HIVEMIND_CONNECTIONS=10000` for the connections that never
//! finish, and `--ignored` for the Python node on its other storage. What came of it: `docs/reliability.md`, "The node".

mod admission;
mod audited;
mod chaos;
mod crowd;
mod database;
mod echo;
mod greedy;
mod guide;
mod hive;
mod hostile;
mod limits;
mod lost;
mod messages;
mod pairing;
mod passwords;
mod races;
mod secrets;
mod settings;
mod stopping;
mod strangers;
mod takeover;
mod tls;

use hivemind_tests::node::{Backend, Client, Make, Node, Outcome, Satellites, Site, Tap, UTTERANCE};
use serde_json::{Value, json};

/// One scenario for each node and what it stores on. The Python node runs on all it has with `--ignored`; for every day its own default
/// is enough.
macro_rules! on_each {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use super::super::{Backend::*, Make::*};

            #[test]
            fn sqlite() {
                super::$scenario(Ours, Sqlite);
            }

            #[test]
            fn json() {
                super::$scenario(Ours, Json);
            }

            #[test]
            fn redis() {
                super::$scenario(Ours, Redis);
            }

            #[test]
            fn memory() {
                super::$scenario(Ours, Memory);
            }

            #[test]
            fn python() {
                super::$scenario(Python, Sqlite);
            }

            #[test]
            #[ignore = "the same node on its other storage"]
            fn python_on_json() {
                super::$scenario(Python, Json);
            }

            #[test]
            #[ignore = "the same node on its other storage"]
            fn python_on_redis() {
                super::$scenario(Python, Redis);
            }
        }
    )+ };
}
pub(crate) use on_each;

/// One scenario for both nodes, where it does not matter what they store on.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use super::super::Make::*;

            #[test]
            fn ours() {
                super::$scenario(Ours);
            }

            #[test]
            fn python() {
                super::$scenario(Python);
            }
        }
    )+ };
}
pub(crate) use on_both;

/// A node that runs, somebody on its bus, and satellites.
struct Stage {
    // In this order they go.
    satellites: Satellites,
    tap: Tap,
    node: Node,
    site: Site,
}

impl Stage {
    fn new(make: Make, backend: Backend, clients: &[Client]) -> Self {
        Self::on(Site::new(backend, clients), make)
    }

    fn on(site: Site, make: Make) -> Self {
        let node = site.start(make);
        Self { satellites: Satellites::of(&site), tap: site.bus().tap(), node, site }
    }

    /// What satellites know the node by.
    fn node_id(&self) -> String {
        self.site.node_id()
    }
}

/// The peer that the node makes of a client: its device's name, its number, its name, its session.
fn peer(device: &str, id: usize, client: &Client, session: &str) -> String {
    format!("{device}::{id}::{}::{session}", client.key)
}

/// What stands in the audit log and fits, the oldest first.
fn audited(site: &Site, words: &[&str]) -> Vec<Value> {
    let all = site.run(&[&["audit", "grep", "--json"], words].concat()).well();
    all.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}
