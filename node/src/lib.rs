//! The HiveMind node: admits satellites and passes their messages to an agent.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod agent;
pub mod close;
pub mod directory;
pub mod event;
mod files;
pub mod hub;
pub mod outbox;
pub mod policy;
pub mod server;
pub mod settings;
#[cfg(test)]
mod testing;

pub use server::{Health, Node, StartError};
