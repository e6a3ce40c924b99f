//! A HiveMind node whose storage is a library you drop in.

#![deny(missing_docs)]

pub mod files;
pub mod plugins;
