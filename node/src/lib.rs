//! The HiveMind node: admits satellites and passes their messages to an agent.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod account;
mod admission;
pub mod agent;
pub mod close;
mod connection;
pub mod directory;
pub mod event;
pub mod files;
mod frame;
pub mod health;
mod http;
pub mod hub;
mod identity;
mod limits;
mod listener;
pub mod metrics;
pub mod outbox;
mod peer;
pub mod policy;
mod psk;
mod rarely;
mod relay;
mod seat;
pub mod server;
pub mod settings;
mod socket;
mod standing;
#[cfg(test)]
mod testing;
mod text;
mod tls;

pub use identity::files as identity_files;
pub use psk::password_bits;
pub use server::{Health, Node, StartError};
pub use tls::fingerprint;
