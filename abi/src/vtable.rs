//! The functions on both sides of the boundary.
//!
//! Rules for whoever changes this file (`docs/abi.md` tells why): a function is added only at the end, below the last one, with a
//! default that an older plugin gets; `last_prefix_field` never moves; no signature ever changes; the stored layout in
//! `abi/tests/layout.snapshot` is changed in the same commit.
//!
//! Conventions. `Reply` is bytes of the type named in the function's doc, or an [`Error`](crate::model::Error) as bytes. What a
//! function takes is borrowed for the call; what it returns belongs to the caller, who frees it through the value's own vtable. Every
//! function may be called from many threads at once. No function unwinds: panics are turned into the error code `panicked`.

use std::sync::atomic::AtomicBool;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::{RRef, VersionStrings};
use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec};

use crate::ABI_VERSION;
use crate::model::Report;
use crate::model::wire::Wire;

/// Bytes of the answer, or of the error.
pub type Reply = RResult<RVec<u8>, RVec<u8>>;

/// Bytes of a row, nothing, or bytes of the error.
pub type RowReply = RResult<ROption<RVec<u8>>, RVec<u8>>;

/// A number, or bytes of the error.
pub type CountReply = RResult<u64, RVec<u8>>;

/// Nothing, or bytes of the error.
pub type UnitReply = RResult<(), RVec<u8>>;

/// An open backend, as the host holds it.
pub type BackendBox = BackendObject_TO<'static, RBox<()>>;

/// The host's services, as a plugin holds them.
pub type HostBox = HostObject_TO<'static, RBox<()>>;

/// What a call may cost: see [`crate::model::Context`].
#[repr(C)]
#[derive(StableAbi)]
pub struct CallContext<'a> {
    /// Microseconds left, counted from the call; `u64::MAX` for no deadline.
    pub deadline_us: u64,
    /// Becomes true when the caller gives up. Valid during the call only.
    pub cancel: ROption<RRef<'a, AtomicBool>>,
}

/// A key, typed because it is on the hottest path.
#[repr(u8)]
#[derive(StableAbi)]
pub enum AbiKey<'a> {
    /// See [`crate::model::Key::Int`].
    Int(i64),
    /// See [`crate::model::Key::Text`].
    Text(RStr<'a>),
}

/// See [`crate::model::Token`].
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiToken {
    /// Which handle gave it.
    pub epoch: u64,
    /// Where in its history.
    pub sequence: u64,
}

/// Where history stands and what changed. Typed, because a cache asks this before each use.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiChanges {
    /// Where history stands now.
    pub token: AbiToken,
    /// Empty if nothing changed, else bytes of [`crate::model::Changes`].
    pub changes: RVec<u8>,
}

/// See [`AbiChanges`].
pub type ChangesReply = RResult<AbiChanges, RVec<u8>>;

// The trait is a macro's argument because `#[sabi_trait]` sees its methods before `#[cfg]` is applied to them, and the ABI tests
// need this trait with one function less and with one more.
macro_rules! backend_object {
    ($($later:tt)*) => {
        /// An open backend. Each function is the one of the same name in [`crate::Backend`], which has its meaning and errors.
        #[sabi_trait]
        pub trait BackendObject: Send + Sync {
            /// Bytes of `Capabilities`. Since ABI 1.0.
            fn capabilities(&self) -> Reply;

            /// Takes bytes of a list of `Collection`, gives bytes of a list of ids. Since ABI 1.0.
            fn prepare(&self, cx: CallContext<'_>, collections: RSlice<'_, u8>) -> Reply;

            /// Gives the row. Since ABI 1.0.
            fn get(&self, cx: CallContext<'_>, collection: u32, key: AbiKey<'_>) -> RowReply;

            /// Takes a field's position and bytes of a `Value`. Since ABI 1.0.
            fn get_by(&self, cx: CallContext<'_>, collection: u32, field: u32, value: RSlice<'_, u8>) -> RowReply;

            /// Takes bytes of a list of `Key`, gives bytes of a list of `Lookup`. Since ABI 1.0.
            fn get_many(&self, cx: CallContext<'_>, collection: u32, keys: RSlice<'_, u8>) -> Reply;

            /// Takes bytes of a `Query`, gives bytes of a `Page`. Since ABI 1.0.
            fn find(&self, cx: CallContext<'_>, query: RSlice<'_, u8>, max_bytes: u64) -> Reply;

            /// Takes bytes of a `Query`. Since ABI 1.0.
            fn count(&self, cx: CallContext<'_>, query: RSlice<'_, u8>) -> CountReply;

            /// Takes bytes of a list of `Mutation`, gives bytes of an `Applied`. Since ABI 1.0.
            fn apply(&self, cx: CallContext<'_>, mutations: RSlice<'_, u8>) -> Reply;

            /// Since ABI 1.0.
            fn changes_since(&self, cx: CallContext<'_>, collection: u32, token: AbiToken) -> ChangesReply;

            /// Gives bytes of a `Report`. Since ABI 1.0.
            fn sync(&self, cx: CallContext<'_>) -> Reply;

            /// Takes bytes of a `Task`, gives bytes of a `Report`. Since ABI 1.0.
            fn maintain(&self, cx: CallContext<'_>, task: RSlice<'_, u8>) -> Reply;

            /// Gives bytes of a list of `Resource`. Since ABI 1.0.
            fn resources(&self) -> Reply;

            /// Since ABI 1.0.
            #[sabi(last_prefix_field)]
            fn close(&self, cx: CallContext<'_>) -> UnitReply;

            $($later)*
        }
    };
}

#[cfg(feature = "__test-abi-older")]
backend_object! {}

#[cfg(not(any(feature = "__test-abi-older", feature = "__test-abi-newer")))]
backend_object! {
    /// Gives bytes of a `Report`. Since ABI 1.0; by default an empty one.
    fn stats(&self, cx: CallContext<'_>) -> Reply {
        let _ = cx;
        RResult::ROk(Report::new().to_bytes().into())
    }
}

#[cfg(all(feature = "__test-abi-newer", not(feature = "__test-abi-older")))]
backend_object! {
    /// As in 1.0.
    fn stats(&self, cx: CallContext<'_>) -> Reply {
        let _ = cx;
        RResult::ROk(Report::new().to_bytes().into())
    }

    /// A function that no host knows yet. In the ABI tests only.
    fn not_yet_known(&self, number: u64) -> u64 {
        number
    }
}

/// What the host offers a plugin. Grows as [`BackendObject`] does.
#[sabi_trait]
pub trait HostObject: Send + Sync {
    /// Writes a line to the host's log under the module's name. Levels: 1 error, 2 warn, 3 info, 4 debug, 5 trace. Since ABI 1.0.
    fn log(&self, level: u8, message: RStr<'_>);

    /// Whether lines of this level are kept, so that making them can be spared. Since ABI 1.0.
    fn log_enabled(&self, level: u8) -> bool;

    /// The operator's data directory. Since ABI 1.0.
    fn data_dir(&self) -> RString;

    /// Where the plugin's file lies; it is mapped from a copy. Since ABI 1.0.
    #[sabi(last_prefix_field)]
    fn plugin_path(&self) -> RString;
}

/// What a plugin library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = BackendModule_Ref)))]
#[sabi(missing_field(option))]
pub struct BackendModule {
    /// The manifest's JSON text, the same bytes as in the library's manifest section. Since ABI 1.0.
    pub manifest: extern "C" fn() -> RStr<'static>,
    /// Opens a backend. Takes the settings block as JSON text. Since ABI 1.0.
    #[sabi(last_prefix_field)]
    pub open: extern "C" fn(config: RStr<'_>, host: HostBox) -> RResult<BackendBox, RVec<u8>>,
}

impl RootModule for BackendModule_Ref {
    abi_stable::declare_root_module_statics! {BackendModule_Ref}

    const BASE_NAME: &'static str = "hivemind_backend";
    const NAME: &'static str = "hivemind_backend";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(ABI_VERSION);
}
