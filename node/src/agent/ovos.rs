//! A client of the OVOS messagebus.

use std::sync::{Arc, Weak};

use super::{Agent, Unavailable};
use crate::hub::Hub;

/// A connection to an OVOS messagebus that comes back by itself.
#[derive(Debug)]
pub struct Ovos;

impl Ovos {
    /// A client of the bus at `ws://HOST:PORT/core`. It connects once it is started.
    #[must_use]
    pub fn new(url: String) -> Arc<Self> {
        let _ = url;
        Arc::new(Self)
    }
}

impl Agent for Ovos {
    fn start(self: Arc<Self>, _hub: Weak<Hub>) {
        todo!()
    }

    fn send(&self, _message: String) -> Result<(), Unavailable> {
        todo!()
    }

    fn is_up(&self) -> bool {
        todo!()
    }
}
