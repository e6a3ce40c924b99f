//! The behaviour every hivemind-host storage backend must show, as a kit of tests.
//!
//! The decision behind it: **a backend is what it does, not what it says.** Each case tests one behaviour, which its sentence states,
//! on an empty store of its own; cases are chosen by the capabilities that a backend declares, and what it does not declare is
//! tested too: it must be refused. The meaning of a query is compared with a table written by hand and with the reference evaluator,
//! and [`model_test`] compares random sequences of operations with the reference model.
//!
//! # Running it on a backend
//!
//! Say how to get an empty store ([`Subject`]) and how to open it ([`Instance`]), then ask for the [`Summary`]:
//!
//! ```
//! use std::sync::Arc;
//! use hivemind_conformance::{Instance, Subject, check, model_test};
//! use hivemind_model::{Backend, Result, reference::Reference};
//!
//! struct InMemory;
//!
//! impl Subject for InMemory {
//!     fn name(&self) -> String {
//!         "in memory".to_owned()
//!     }
//!
//!     fn fresh(&self) -> Result<Box<dyn Instance>> {
//!         Ok(Box::new(InMemory)) // a durable one would make a folder here
//!     }
//! }
//!
//! impl Instance for InMemory {
//!     fn open(&self) -> Result<Arc<dyn Backend>> {
//!         Ok(Arc::new(Reference::new()))
//!     }
//! }
//!
//! let summary = check(&InMemory, "paging::").expect("the store opens");
//! println!("{summary}");
//! assert!(summary.passed());
//! model_test(&InMemory, 20, 1).expect("as the reference model does");
//! ```
//!
//! An empty filter runs every case. A backend whose store outlives its handles should also implement the three optional hooks of
//! [`Instance`]: a second handle in this process, one in another process (see [`pipe`]), and [`Plant`], which spoils stored data as
//! foreign programs do. A case that lacks its hook is listed as skipped with the reason, never counted as passed.
//!
//! Whoever runs cases one by one, as a test harness does, takes [`cases`] or [`applicable`] and calls [`Case::run`].
//!
//! # What the kit leaves open
//!
//! A request that is wrong in two ways may be refused for either. A page may hold fewer rows than would fit. A key that was freed at
//! the end of a collection may be assigned again or not. JSON comes back with the same meaning and the same spelling of its numbers;
//! its white space and the order of its members are the engine's. The sign of a real zero is not tested: some stores cannot tell it from
//! the other one.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod case;
mod cases;
mod check;
mod fixture;
mod model_based;
pub mod pipe;
mod subject;
mod summary;
mod threads;

use hivemind_model::Capabilities;

pub use case::{Case, Checked, Failure};
pub use model_based::model_test;
pub use subject::{Instance, Plant, Subject};
pub use summary::{Summary, check};

/// Every case, theme by theme.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::all().copied().collect()
}

/// The cases for a backend that declares these capabilities: what it promises, and what must be refused because it does not.
#[must_use]
pub fn applicable(capabilities: Capabilities) -> Vec<Case> {
    cases::all().filter(|case| case.applies_to(capabilities)).copied().collect()
}
