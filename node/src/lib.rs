//! The HiveMind node: admits satellites and passes their messages to an agent.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod agent;
pub mod close;
pub mod directory;
pub mod event;
mod files;
pub mod health;
mod http;
pub mod hub;
mod identity;
mod limits;
pub mod metrics;
pub mod outbox;
pub mod policy;
pub mod server;
pub mod settings;
mod socket;
#[cfg(test)]
mod testing;
mod tls;

pub use server::{Health, Node, StartError};
pub use tls::fingerprint;
