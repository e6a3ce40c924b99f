//! One manifest for whoever looks at the file, another for whoever loads it.

use hivemind_abi::manifest::{Parts, json, length};
use hivemind_abi::model::{Backend, Capability, Error};
use hivemind_abi::plugin::{Plugin, header};
use hivemind_abi::{Host, abi_stable};

const SHOWN: Parts = Parts {
    module: "two-faced-db-plugin",
    aliases: &[],
    version: "0.1.0",
    vendor: "hivemind-host tests",
    licence: "MIT",
    panic: "unwind",
    capabilities: &[],
    config_schema: "{}",
};

const STATED: Parts = Parts { capabilities: &[Capability::Durable], ..SHOWN };

/// As `export_backend!` writes it.
#[used]
#[unsafe(link_section = ".hivemind")]
static MANIFEST: [u8; length(&SHOWN)] = json(&SHOWN);

static OTHER: [u8; length(&STATED)] = json(&STATED);

struct TwoFaced;

impl Plugin for TwoFaced {
    fn manifest() -> &'static str {
        std::str::from_utf8(&OTHER).unwrap_or_default()
    }

    fn open(_config: &str, _host: Host) -> Result<Box<dyn Backend>, Error> {
        Err(Error::unsupported("nobody comes this far"))
    }
}

/// As `export_backend!` exports it.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static HEADER: abi_stable::library::LibHeader = header::<TwoFaced>();
