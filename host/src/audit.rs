//! The audit log: who was let in, who was not, what was denied, and what operators changed. One JSON object a line, for this user alone.
//!
//! Decisions. **Nothing of it is a secret:** an access key is told by the start of its hash, and a password by nothing. **It never
//! holds up the node:** lines are queued in bounded memory and written by a thread of their own; what does not fit, or cannot be
//! written, is counted, and the count is written when it can be. **It never fills the disk:** it is rotated by size, and of refusals
//! and denials beyond so many a minute only counts are kept, so that a flood does not wash away what was before it. The commands
//! of this program and a node append to one file at the same time, under its lock.

mod entry;
mod file;
mod gate;
pub mod moment;
mod reader;
mod recorder;
pub mod report;
mod settings;

pub(crate) use entry::short;
pub use entry::{Entry, fingerprint};
pub use file::Log;
pub use reader::{Follower, Reader};
pub use recorder::Recorder;
pub use settings::Settings;
