//! A plugin that answers with the bytes it is told, as one does that was written in another language and is wrong.
//!
//! It stands on the vtable itself. Each setting is named as a call, and is hexadecimal: the bytes of the answer, or behind a `!` those
//! of the error. A call that no setting names is answered as by an empty store.

// The layout macros of abi_stable 0.11.3 expand to impls and names that newer compilers lint.
#![allow(non_local_definitions, non_camel_case_types)]

use hivemind_abi::abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use hivemind_abi::abi_stable::prefix_type::PrefixTypeTrait;
use hivemind_abi::abi_stable::sabi_trait::TD_Opaque;
use hivemind_abi::abi_stable::std_types::{ROption, RResult, RSlice, RStr, RVec};
use hivemind_abi::manifest::{Parts, json, length};
use hivemind_abi::model::wire::Wire;
use hivemind_abi::model::{Capabilities, Capability, Collection, Error, Page, Report, json};
use hivemind_abi::vtable::*;

const PARTS: Parts = Parts {
    module: "scripted-db-plugin",
    aliases: &["scripted"],
    version: "0.1.0",
    vendor: "hivemind-host tests",
    licence: "MIT",
    panic: "unwind",
    capabilities: &[Capability::AtomicBatch, Capability::Unique],
    config_schema: r#"{ "type": "object", "additionalProperties": { "type": "string" } }"#,
};

/// As `export_backend!` writes it.
#[used]
#[unsafe(link_section = ".hivemind")]
static MANIFEST: [u8; length(&PARTS)] = json(&PARTS);

struct Scripted {
    answers: Vec<(String, String)>,
}

impl Scripted {
    fn answer(&self, call: &str, otherwise: impl FnOnce() -> Vec<u8>) -> Reply {
        let Some((_, script)) = self.answers.iter().find(|(name, _)| name == call) else {
            return RResult::ROk(otherwise().into());
        };
        match script.strip_prefix('!') {
            Some(error) => RResult::RErr(bytes(error)),
            None => RResult::ROk(bytes(script)),
        }
    }

    fn row(&self, call: &str) -> RowReply {
        match self.answer(call, Vec::new) {
            RResult::ROk(row) if row.is_empty() => RResult::ROk(ROption::RNone),
            RResult::ROk(row) => RResult::ROk(ROption::RSome(row)),
            RResult::RErr(error) => RResult::RErr(error),
        }
    }
}

fn bytes(hex: &str) -> RVec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(0xc1)).collect()
}

impl BackendObject for Scripted {
    fn capabilities(&self) -> Reply {
        self.answer("capabilities", || Capabilities::of(PARTS.capabilities).to_bytes())
    }

    fn prepare(&self, _cx: CallContext<'_>, collections: RSlice<'_, u8>) -> Reply {
        let count = Vec::<Collection>::from_bytes(collections.as_slice()).map_or(0, |all| all.len());
        self.answer("prepare", || (0..u32::try_from(count).unwrap_or(0)).collect::<Vec<u32>>().to_bytes())
    }

    fn get(&self, _cx: CallContext<'_>, _collection: u32, _key: AbiKey<'_>) -> RowReply {
        self.row("get")
    }

    fn get_by(&self, _cx: CallContext<'_>, _collection: u32, _field: u32, _value: RSlice<'_, u8>) -> RowReply {
        self.row("get_by")
    }

    fn get_many(&self, _cx: CallContext<'_>, _collection: u32, _keys: RSlice<'_, u8>) -> Reply {
        self.answer("get_many", || vec![0x90])
    }

    fn find(&self, _cx: CallContext<'_>, _query: RSlice<'_, u8>, _max_bytes: u64) -> Reply {
        self.answer("find", || Page::default().to_bytes())
    }

    fn count(&self, _cx: CallContext<'_>, _query: RSlice<'_, u8>) -> CountReply {
        match self.answer("count", Vec::new) {
            RResult::ROk(number) => RResult::ROk(number.len() as u64),
            RResult::RErr(error) => RResult::RErr(error),
        }
    }

    fn apply(&self, _cx: CallContext<'_>, _mutations: RSlice<'_, u8>) -> Reply {
        self.answer("apply", Vec::new)
    }

    fn changes_since(&self, _cx: CallContext<'_>, _collection: u32, token: AbiToken) -> ChangesReply {
        match self.answer("changes_since", Vec::new) {
            RResult::ROk(changes) => RResult::ROk(AbiChanges { token, changes }),
            RResult::RErr(error) => RResult::RErr(error),
        }
    }

    fn sync(&self, _cx: CallContext<'_>) -> Reply {
        self.answer("sync", || Report::new().to_bytes())
    }

    fn maintain(&self, _cx: CallContext<'_>, _task: RSlice<'_, u8>) -> Reply {
        self.answer("maintain", || Report::new().to_bytes())
    }

    fn resources(&self) -> Reply {
        self.answer("resources", || vec![0x90])
    }

    fn close(&self, _cx: CallContext<'_>) -> UnitReply {
        self.answer("close", Vec::new).map(drop)
    }

    fn stats(&self, _cx: CallContext<'_>) -> Reply {
        self.answer("stats", || Report::new().to_bytes())
    }
}

extern "C" fn manifest() -> RStr<'static> {
    RStr::from_str(std::str::from_utf8(&MANIFEST).unwrap_or_default())
}

extern "C" fn open(config: RStr<'_>, _host: HostBox) -> RResult<BackendBox, RVec<u8>> {
    let members = match json::parse(config.as_str()) {
        Ok(json::Json::Object(members)) => members,
        _ => return RResult::RErr(Error::invalid("no object").to_bytes().into()),
    };
    let mut answers = Vec::new();
    for member in members {
        if let json::Json::String(text) = &member.value {
            answers.push((member.name.decode().into_owned(), text.decode().into_owned()));
        }
    }
    if let Some((_, error)) = answers.iter().find(|(name, _)| name == "open") {
        return RResult::RErr(bytes(error.trim_start_matches('!')));
    }
    RResult::ROk(BackendObject_TO::from_value(Scripted { answers }, TD_Opaque))
}

extern "C" fn load() -> RootModuleResult {
    __call_root_module_loader(|| -> BackendModule_Ref { BackendModule { manifest, open }.leak_into_prefix() })
}

/// As `export_backend!` exports it.
// SAFETY: `load` gives a pointer to a `BackendModule` made by `leak_into_prefix`, as the constructor of this type must.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static HEADER: LibHeader = unsafe { LibHeader::from_constructor::<BackendModule_Ref>(load, CheckTypeLayout::Yes) };
