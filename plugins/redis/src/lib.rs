//! Storage in Redis, under the keys of the Python node.
//!
//! `docs.md` has the design, the settings and what a write is worth after each kind of crash.

#![deny(missing_docs)]
#![deny(unsafe_code)]

mod apply;
pub mod backend;
mod backup;
mod commit;
pub mod config;
mod exec;
mod find;
mod gate;
mod index;
mod key_set;
mod keys;
#[allow(dead_code, unused_imports, reason = "the backend on top of it is being written")]
mod link;
mod lookup;
mod maintain;
mod plan;
mod prepare;
mod read;
mod receipt;
mod recent;
mod record;
mod relocate;
mod space;
mod sync;
mod transaction;

/// The name in `database.module`.
pub const MODULE: &str = "hivemind-redis-db-plugin";

#[allow(unsafe_code, reason = "the exported symbol and section")]
mod export {
    hivemind_abi::export_backend! {
        module: super::MODULE,
        aliases: ["redis"],
        vendor: "hivemind-host",
        licence: "MIT OR Apache-2.0",
        capabilities: [Durable, AtomicBatch, Unique, MultiProcess, OnlineBackup, ChangeTracking, Network],
        config_schema: include_str!("config.schema.json"),
        open: super::backend::open,
    }
}
