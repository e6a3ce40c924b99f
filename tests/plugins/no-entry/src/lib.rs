//! A manifest and nothing behind it.

use hivemind_abi::manifest::{Parts, json, length};

const PARTS: Parts = Parts {
    module: "no-entry-db-plugin",
    aliases: &[],
    version: "0.1.0",
    vendor: "hivemind-host tests",
    licence: "MIT",
    panic: "unwind",
    capabilities: &[],
    config_schema: "{}",
};

/// As `export_backend!` writes it.
#[used]
#[unsafe(link_section = ".hivemind")]
pub static MANIFEST: [u8; length(&PARTS)] = json(&PARTS);

/// Something to export.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> usize {
    MANIFEST.len()
}
