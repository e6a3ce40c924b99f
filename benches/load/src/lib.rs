//! Satellites in numbers, for measuring a node of any make.
//!
//! The decision behind it: the load is this project's own, because the Python client costs more than the node it would measure, and it
//! speaks through `hivemind-protocol`, so that every make of node is asked the same. What is measured is the processor time of the
//! node's process and nothing else: how busy satellites and the messagebus are does not enter into it.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod bus;
pub mod process;
mod satellite;
mod swarm;

pub use bus::{Bus, MARK};
pub use satellite::{Identity, Listener, Satellite, Speaker};
pub use swarm::{Swarm, connect_and_leave, utterance};

/// Why a measurement could not be made.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
