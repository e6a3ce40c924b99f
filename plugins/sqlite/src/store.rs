//! What a handle has of its database once it is open.

use std::time::Duration;

use hivemind_abi::model::Context;

use crate::history::History;
use crate::opened::Opened;
use crate::pool::{Pool, Use, closed};

/// The connections, opened by the first `prepare`: before it the stored versions are not known to be ours.
///
/// The order is the one in which they are dropped: the writer after those that only read, because the last connection moves the
/// write-ahead log into the file and removes it, which a reading one cannot.
pub(crate) struct Store {
    /// `None` in memory, where the writer is the only connection.
    pub(crate) readers: Option<Pool>,
    pub(crate) history: History,
    pub(crate) writer: Pool,
    pub(crate) opened: Opened,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A log that stayed behind would be carried out in the file that is at the path now.
        if self.opened.is_moved()
            && let Ok(writer) = self.writer.take(&Context::unbounded(), Duration::ZERO, Use::Brief, || Err(closed()))
        {
            let _ = self.opened.check(&writer);
        }
    }
}
