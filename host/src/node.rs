//! The node as this program runs it: what `server.json` and the command line say about it, and the threads its storage is called on.

pub(crate) mod block;
mod listener;
mod not_offered;
pub mod settings;
