//! Whole nodes for tests, with all that surrounds one: the messagebus, the storage, satellites.
//!
//! The decision behind it: **the yardstick is the Python node.** A [`Site`] is what an operator has, and either node is started on it,
//! so that a test can ask both the same; where ours is to differ, the test says so. The messagebus is the real `ovos-messagebus`,
//! satellites are the stock client; what no stock client would do is done by hand, see [`raw`] and [`forger`].

pub mod bus;
pub mod forger;
pub mod handshake;
pub mod raw;
pub mod running;
pub mod satellite;
pub mod site;

pub use bus::{Bus, Tap};
pub use running::{Make, Node};
pub use satellite::{Outcome, Satellites};
pub use site::{Backend, Client, Site};

/// A password that every check of strength lets pass.
pub const PASSWORD: &str = "kettle-orbit-mango-29-lantern";
/// Another one.
pub const OTHER_PASSWORD: &str = "window-piano-42-harbour-quill";
/// What satellites send.
pub const UTTERANCE: &str = "recognizer_loop:utterance";
