//! Breaking a backend on purpose: processes killed at any moment, disks that fail, files that are torn.
//!
//! The decision behind it: **what counts is what another process saw.** A worker process loads the real plugin and writes down every
//! operation on a pipe before it begins and after it was acknowledged; the parent kills it, opens the store in a new process, and
//! compares every record with a model of its own. The model knows the operations of the worker, not the rules of the engine, so that
//! a mistake in those is a difference here.
//!
//! A backend is plugged in by [`site::Backend`] and [`site::Site`]: how a store is made, how a new process opens it, which files it
//! has, what must be started again after a cut.

pub mod campaign;
pub mod cut;
pub mod figures;
pub mod model;
pub mod op;
pub mod process;
pub mod site;
pub mod strace;
pub mod worker;
