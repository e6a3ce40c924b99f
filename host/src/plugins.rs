//! Finding, checking and loading storage plugins.
//!
//! The decision that orders everything here: **nothing of a plugin runs before the host has decided to trust that very file.** A
//! candidate is first only bytes: its object format, its manifest (a section of JSON), its owner and mode and those of every folder
//! above, its run path, its hash against the pinned one. What is then mapped is a sealed copy of the bytes that were checked, so
//! that a file exchanged in between changes nothing. Libraries are never unloaded: the layout checker and thread-local destructors
//! keep pointers into them.
//!
//! - [`search`]: where plugins may lie. - [`candidate`]: what a file there is. - [`object`], [`trust`], [`manifest`]: the checks.
//! - [`lock`]: `plugins.lock.toml`. - [`image`], [`library`]: mapping and the root module. - [`settings`]: the settings block against
//!   the plugin's schema. - [`resources`]: one handle per resource. - [`supervised`]: what happens after a panic. - `secrets`: kept out of what a plugin says.
//! - [`Loader`]: all of it in order. - [`Refusal`]: every reason to say no.

pub mod candidate;
pub mod image;
pub mod library;
mod loader;
pub mod lock;
pub mod manifest;
pub mod object;
mod refusal;
pub mod resources;
pub mod search;
mod secrets;
pub mod settings;
pub mod supervised;
pub mod trust;

pub use candidate::{Candidate, Checked};
pub use loader::{Loader, OpenError, Opened, Plugin};
pub use manifest::Manifest;
pub use refusal::{Reason, Refusal};
pub use search::SearchPath;
