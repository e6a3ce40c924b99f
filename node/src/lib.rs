//! The HiveMind node: admits satellites and passes their messages to an agent.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod agent;
pub mod close;
mod connection;
pub mod directory;
pub mod event;
mod files;
mod http;
pub mod hub;
mod identity;
mod limits;
mod listener;
pub mod outbox;
pub mod policy;
mod psk;
pub mod server;
pub mod settings;
mod socket;
#[cfg(test)]
mod testing;
mod tls;

pub use server::{Health, Node, StartError};
pub use tls::fingerprint;
