//! Real Redis servers for tests: one alone, a cluster, Sentinels, TLS, users with rights of their own, and a line to them that can be
//! cut.
//!
//! The decision behind it: **a server is told by its Unix socket, not by its port.** Each server has a folder of its own with a socket
//! in it; what answers there is this server and no other test's, so that "ready" means this one. Tests talk to servers by that
//! socket too, as a user of their own, whatever a test does to the port, to TLS or to the rights of the others.
//!
//! Servers end with their handle. If the test's process is killed the kernel ends them.

mod certificates;
mod cluster;
mod deployment;
mod dump;
mod impostor;
pub mod legacy;
pub mod load;
mod proxy;
mod sentinel;
mod server;
pub mod site;
pub mod subject;
pub mod sync;

pub use certificates::Certificates;
pub use cluster::Cluster;
pub use deployment::{Deployment, Kind};
pub use dump::{Dump, Stored, difference};
pub use impostor::{Impostor, Manner};
pub use proxy::{Direction, Proxy};
pub use sentinel::Sentinels;
pub use server::{CONTROL_USER, Server};
