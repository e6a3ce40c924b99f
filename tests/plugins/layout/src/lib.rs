//! What a vendor gets who changes the ABI's types: the right symbol, the right version, and another signature behind it.

// The layout macros of abi_stable 0.11.3 expand to impls and names that newer compilers lint.
#![allow(non_local_definitions, non_camel_case_types)]

use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RStr;
use hivemind_abi::manifest::{Parts, json, length};

const PARTS: Parts = Parts {
    module: "layout-db-plugin",
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
static MANIFEST: [u8; length(&PARTS)] = json(&PARTS);

/// As `hivemind_abi::vtable::BackendModule`, but for what `open` takes and gives.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = BackendModule_Ref)))]
#[sabi(missing_field(option))]
pub struct BackendModule {
    /// The manifest.
    pub manifest: extern "C" fn() -> RStr<'static>,
    /// Something else than a backend.
    #[sabi(last_prefix_field)]
    pub open: extern "C" fn(config: u64) -> u64,
}

impl RootModule for BackendModule_Ref {
    abi_stable::declare_root_module_statics! {BackendModule_Ref}

    const BASE_NAME: &'static str = "hivemind_backend";
    const NAME: &'static str = "hivemind_backend";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(hivemind_abi::ABI_VERSION);
}

extern "C" fn manifest() -> RStr<'static> {
    RStr::from_str(std::str::from_utf8(&MANIFEST).unwrap_or_default())
}

extern "C" fn open(config: u64) -> u64 {
    config
}

extern "C" fn load() -> RootModuleResult {
    __call_root_module_loader(|| -> BackendModule_Ref { BackendModule { manifest, open }.leak_into_prefix() })
}

/// As `export_backend!` exports it.
// SAFETY: `load` gives a pointer to a `BackendModule` made by `leak_into_prefix`, as the constructor of this type must.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static HEADER: LibHeader = unsafe { LibHeader::from_constructor::<BackendModule_Ref>(load, CheckTypeLayout::Yes) };
