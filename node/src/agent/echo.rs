//! An agent that says what it hears.

use std::sync::{Arc, Weak};

use super::{Agent, Unavailable};
use crate::hub::Hub;

/// Answers every utterance by speaking it.
#[derive(Debug, Default)]
pub struct Echo;

impl Echo {
    /// An agent that says what it hears.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Agent for Echo {
    fn start(self: Arc<Self>, _hub: Weak<Hub>) {}

    fn send(&self, _message: String) -> Result<(), Unavailable> {
        todo!()
    }

    fn is_up(&self) -> bool {
        true
    }
}
