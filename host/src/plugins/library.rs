//! Mapping a checked library and asking it for its functions.
//!
//! abi_stable's own `load_from_file` keeps one library per type, so a second plugin would get the first one's functions. The header
//! is therefore fetched here. Its layout check also refuses plugins of an *older* minor, because it wants at least the host's
//! fields; for those the comparison is turned round, which is sound because fields are only ever added at the end, behind
//! `last_prefix_field`, and a missing one is answered with its default.

use std::path::Path;

use hivemind_abi::abi_stable::StableAbi;
use hivemind_abi::abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use hivemind_abi::abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use hivemind_abi::vtable::BackendModule_Ref;

use super::refusal::Reason;

/// Maps the library at `path` for ever and gives its root module.
///
/// # Errors
/// `Load`, `NoEntry`, `AbiMajor`, `Layout`.
pub fn map(path: &Path) -> Result<BackendModule_Ref, Reason> {
    let library = open(path).map_err(|e| Reason::Load(e.to_string()))?;
    // Never unloaded: the layout checker keeps 'static references into the library.
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: abi_stable exports its header under this mangled name only; `upgrade` checks its magic bytes and version before
    // anything else of it is used.
    let header: AbiHeaderRef = unsafe {
        match library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) {
            Ok(symbol) => *symbol,
            Err(error) => return Err(Reason::NoEntry(error.to_string())),
        }
    };
    let header = header.upgrade().map_err(refused)?;
    match header.init_root_module::<BackendModule_Ref>() {
        Ok(module) => Ok(module),
        Err(error @ LibraryError::AbiInstability(_)) => {
            let Some(plugin) = header.layout() else { return Err(refused(error)) };
            if check_layout_compatibility(plugin, <BackendModule_Ref as StableAbi>::LAYOUT).is_err() {
                return Err(refused(error));
            }
            // SAFETY: the check just made says that every type of the plugin's is a prefix of this host's; see the module's doc.
            unsafe { header.init_root_module_with_unchecked_layout::<BackendModule_Ref>() }.map_err(refused)
        }
        Err(error) => Err(refused(error)),
    }
}

#[cfg(unix)]
fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // All symbols now, so that a missing one is an error here instead of the end of the process later; and for itself, so that two
    // plugins with an engine of their own do not get each other's.
    // SAFETY: initialisers of a library that passed every check may run; that is what loading a plugin means.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: initialisers of a library that passed every check may run; that is what loading a plugin means.
    unsafe { libloading::Library::new(path) }
}

fn refused(error: LibraryError) -> Reason {
    match error {
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            Reason::AbiMajor { expected: expected_version.to_string(), found: actual_version.to_string() }
        }
        // The checker's report can reach 60 kB and repeats itself; its first mismatch is what a vendor needs.
        LibraryError::AbiInstability(report) => Reason::Layout(first_mismatch(&report.to_string())),
        other => Reason::Load(other.to_string().trim().to_owned()),
    }
}

/// The first lines of the layout checker's report that say what differs where.
fn first_mismatch(report: &str) -> String {
    let lines = report.lines().map(str::trim).filter(|line| !line.is_empty() && line.chars().any(char::is_alphanumeric));
    let text = lines.take(6).collect::<Vec<_>>().join(", ");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
