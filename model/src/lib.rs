//! What a hivemind-host storage engine is made of.
//!
//! The decision behind this crate: **a row is bytes, and a backend learns everything from the collection.** A record crosses
//! every boundary (library, process, language) as one MessagePack array in one buffer, and a backend is told the names, kinds,
//! indexes and legacy rules of each collection when it is prepared. So no backend knows what a HiveMind client is, and every
//! backend can store, search, migrate and conditionally change one.
//!
//! The pieces, in the order in which they build on each other:
//!
//! - [`value`], [`msgpack`], [`json`]: the values of a field and their two encodings.
//! - [`collection`], [`row`], [`record`]: how a record is described, stored and read from foreign JSON.
//! - [`query`], [`eval`]: what can be asked, and the **normative table of operators** with its reference evaluator.
//! - [`mutation`], [`change`]: what can be changed, and the pure function that applies a narrow change to a row.
//! - [`backend`], [`error`], [`context`], [`capability`], [`report`]: the trait an engine implements.
//! - [`engine`]: the rules of a batch and of a page, written once for every engine.
//! - [`table`], [`history`], [`mod@reference`], [`catalog`]: an indexed in-memory table to build engines on, the deliberately naive model that
//!   tests compare engines with, and the register of prepared collections.
//! - [`wire`]: requests and replies as MessagePack maps with integer tags, for any boundary.
//!
//! It depends on nothing but `std`: no threads, no files, no clock except where a deadline is given.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod backend;
pub mod base64;
pub mod capability;
pub mod catalog;
pub mod change;
pub mod collection;
pub mod context;
pub mod engine;
pub mod error;
pub mod eval;
pub mod history;
pub mod json;
pub mod msgpack;
pub mod mutation;
pub mod number;
pub mod query;
pub mod record;
pub mod reference;
pub mod report;
pub mod row;
pub mod table;
pub mod value;
pub mod wire;

pub use backend::{Applied, Backend, Changes, Lookup, Resource, Token};
pub use capability::{Capabilities, Capability};
pub use catalog::Catalog;
pub use collection::{Collection, CollectionId, Field, Index, Legacy, LegacyRule, Retired};
pub use context::Context;
pub use error::{Code, Detail, Error, Result};
pub use mutation::{Change, Mutation, Outcome};
pub use query::{Condition, Continuation, Op, Order, Page, Query, Unreadable};
pub use report::{Problem, Report, Task};
pub use row::{Row, RowBuilder, RowView};
pub use value::{Key, KeyRef, Kind, Value, ValueRef};
