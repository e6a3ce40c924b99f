//! What the kit's own tests run it on.

#![allow(dead_code, reason = "each test program uses another part")]

pub(crate) mod lesser;
pub(crate) mod mutant;
pub(crate) mod shelf;

use std::sync::Arc;

use hivemind_conformance::{Instance, Subject};
use hivemind_model::reference::Reference;
use hivemind_model::{Backend, Result};

/// The reference model: in memory, one handle, no hooks.
pub(crate) struct InMemory;

impl Subject for InMemory {
    fn name(&self) -> String {
        "the reference model".to_owned()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Self))
    }
}

impl Instance for InMemory {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Reference::new()))
    }
}
