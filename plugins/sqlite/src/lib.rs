//! Storage in SQLite, in the file of the Python node: `clients.db`.
//!
//! The decision behind it: **the file belongs to both programs.** Its tables are the ones the Python node makes, every rule that a
//! foreign writer could break is enforced inside our own write transaction instead of in the schema, and nothing that is read once
//! is trusted to stay. So either program may be stopped, started or upgraded while the other works.
//!
//! `docs.md` has the design, the settings and what a write is worth after each kind of crash.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod backend;
mod backup;
pub mod config;
mod connection;
mod decode;
mod error;
mod file;
mod find;
mod group;
mod history;
mod key;
mod maintain;
mod migrate;
mod opened;
mod pool;
mod rekey;
mod restore;
mod schema;
mod seal;
mod statements;
mod store;
mod transaction;
mod wal_index;

/// The name in `database.module`.
pub const MODULE: &str = "hivemind-sqlite-db-plugin";

#[allow(unsafe_code, reason = "the exported symbol and section")]
mod export {
    hivemind_abi::export_backend! {
        module: super::MODULE,
        aliases: ["sqlite"],
        vendor: "hivemind-host",
        licence: "MIT OR Apache-2.0",
        capabilities: [Durable, AtomicBatch, Unique, MultiProcess, Encryption, OnlineBackup, ChangeTracking, InlineReads],
        config_schema: include_str!("config.schema.json"),
        open: super::backend::open,
    }
}
