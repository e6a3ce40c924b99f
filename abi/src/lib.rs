//! The stable ABI between hivemind-host and storage plugins.
//!
//! The decision behind it: **functions are typed, data is bytes.** The vtable is a small list of functions that can only grow at its
//! end; queries, mutations, rows and errors cross it as MessagePack with integer tags ([`model::wire`]), so that a new operator or
//! mutation needs no new function. Rust types never cross: a plugin may be built by another compiler, years apart from the host.
//!
//! A plugin depends on this crate alone and uses three things: [`model`] with the [`Backend`] trait, [`Host`], and
//! [`export_backend!`]:
//!
//! ```ignore
//! hivemind_abi::export_backend! {
//!     module: "acme-ledger-db-plugin",
//!     aliases: ["ledger"],
//!     vendor: "Acme",
//!     licence: "proprietary",
//!     capabilities: [Durable, AtomicBatch, Unique],
//!     config_schema: include_str!("config.schema.json"),
//!     open: backend::open,
//! }
//! ```
//!
//! The host uses [`vtable`], [`proxy`] and [`host::Services`]. `docs/abi.md` has ownership, threading and errors of each call.

#![deny(missing_docs)]
// The layout macros of abi_stable 0.11.3 expand to impls and names that newer compilers lint.
#![allow(non_local_definitions, non_camel_case_types, unused_braces)]

pub mod host;
pub mod manifest;
pub mod plugin;
pub mod proxy;
pub mod vtable;

mod export;

#[doc(hidden)]
pub use abi_stable;
pub use hivemind_model as model;

pub use host::{Host, Level};
pub use model::backend::Backend;

/// The version of this ABI. The major changes never; a minor adds functions at the end. Plugins of an older and of a newer minor
/// both load.
pub const ABI_VERSION: &str = if cfg!(feature = "__test-abi-major") {
    "2.0.0"
} else if cfg!(feature = "__test-abi-newer") {
    "1.1.0"
} else {
    "1.0.0"
};
