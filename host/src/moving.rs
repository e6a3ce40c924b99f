//! Moving all records of one store, or of an export, into another store.
//!
//! The decision behind it: **copying is comparing.** Both sides are read in the order of their keys, side by side and page by page, and
//! what differs is written to the target; that is done again until a round finds nothing to write while nothing changed in the source.
//! So a first run, one that goes on after a kill and one that catches up with a source in use are the same code, the memory it takes
//! depends on no count, and the last round is the check: every record of both sides was read and hashed in it.
//!
//! While a move is under way the target carries a [`marker`], which every command and node of this program refuses.
//!
//! - [`store`]: one side, with calls that are repeated where that is safe. - [`rows`]: records in the order of their keys. -
//!   [`source`]: what is moved. - [`survey`]: what of it cannot be carried, found before anything is written. - [`copy`]: the rounds. -
//!   [`digest`]: the hash of many records in any order. - [`progress`]: what the operator sees meanwhile. - [`archive`]: exports. - [`sealed`]: exports that only some can read. - [`into`]: all of it in order.

pub mod archive;
pub mod conflicts;
pub mod copy;
pub mod digest;
pub mod into;
pub mod marker;
pub mod progress;
pub mod rows;

pub mod sealed;
pub mod source;
pub mod store;
pub mod survey;

use std::collections::BTreeSet;

use hivemind_model::{Collection, Key};

/// The collections that a store holds, in the order in which they are moved; the clients first.
#[must_use]
pub fn collections() -> Vec<Collection> {
    vec![hivemind_store::clients::collection()]
}

/// Records by the position of their collection and their key.
pub type Places = BTreeSet<(usize, Key)>;

#[cfg(test)]
mod tests;
