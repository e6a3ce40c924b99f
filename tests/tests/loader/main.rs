//! What the loader says about every kind of file and folder an operator can have, and that it never runs what it refuses.

mod files;
mod finding;
mod handles;
mod libraries;
mod links;
mod pinning;

use std::fs;

use hivemind_host::plugins::{Loader, Reason, Refusal};
use hivemind_tests::specimen::{Folder, assert_says, elf, library, patched, settings, things};
use hivemind_tests::{build, loader, place, set_mode};
use serde_json::{Map, Value};
