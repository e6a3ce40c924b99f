//! HiveMind's records as Rust types, over any storage backend.
//!
//! The decision behind this crate: **a record is only ever changed narrowly and under a condition.** A [`Client`] is a snapshot;
//! what is written is one field or one member, and only if the client still holds the access key it was read with. So two programs
//! can change one client at the same time, and nothing brings a revoked client back.
//!
//! - [`Storage`] calls a backend: asynchronously at its surface, in place where the backend answers at once.
//! - [`Transaction`] reads, buffers changes and commits them with one conditional batch, on every backend alike.
//! - [`Clients`] holds the meaning of client records: adding, changing, revoking, and looking up through a cache of decoded
//!   records that is checked against the backend's history on every use.
//!
//! ```
//! use std::sync::Arc;
//! use hivemind_model::reference::Reference;
//! use hivemind_store::clients::NewClient;
//! use hivemind_store::{Clients, Options, Storage};
//!
//! # fn block_on<F: Future>(f: F) -> F::Output {
//! #     let mut f = std::pin::pin!(f);
//! #     match f.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
//! #         std::task::Poll::Ready(v) => v,
//! #         std::task::Poll::Pending => unreachable!("no pool, so it is ready at once"),
//! #     }
//! # }
//! # block_on(async {
//! let storage = Storage::new(Arc::new(Reference::new()), Options::default());
//! let clients = Clients::open(&storage).await?;
//! let kitchen = clients.add(NewClient { name: "kitchen".to_owned(), ..NewClient::new("its-access-key") }).await?;
//! clients.allow_types(&kitchen, &["recognizer_loop:utterance"]).await?;
//! let found = clients.by_access_key("its-access-key").await?.expect("just added");
//! assert!(found.allows("recognizer_loop:utterance") && !found.allows("speak"));
//! # Ok::<(), hivemind_store::Error>(())
//! # }).expect("no failure");
//! ```
//!
//! It starts no threads and opens no files, so it builds for a browser too.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod clients;
mod error;
mod oneshot;
mod resolve;
mod storage;
mod transaction;

pub use clients::{Client, Clients};
pub use error::{Error, Result};
pub use hivemind_model as model;
pub use storage::{Offload, Options, Prepared, Storage, Wake};
pub use transaction::Transaction;
