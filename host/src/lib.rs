//! A HiveMind node whose storage is a library you drop in.

#![deny(missing_docs)]

pub mod audit;
pub mod cli;
pub mod commands;
pub mod config;
pub mod failure;
pub mod files;
pub mod modes;
pub mod moving;
pub mod node;
pub mod offload;
pub mod open;
pub mod plain;
pub mod plugins;
