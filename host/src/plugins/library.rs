//! Mapping a checked library and asking it for its functions.
//!
//! abi_stable's own `load_from_file` keeps one library per type, so a second plugin would get the first one's functions. The header
//! is therefore fetched here. Its layout check also refuses plugins of an *older* minor, because it wants at least the host's
//! fields; for those the comparison is turned round, which is sound because fields are only ever added at the end, behind
//! `last_prefix_field`, and a missing one is answered with its default.

use std::path::Path;

use hivemind_abi::abi_stable::StableAbi;
use hivemind_abi::abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use hivemind_abi::abi_stable::library::{AbiHeader, AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use hivemind_abi::abi_stable::type_layout::TypeLayout;
use hivemind_abi::vtable::BackendModule_Ref;

use super::image::{self, Image};
use super::refusal::Reason;

/// Maps a library for ever and gives its root module.
///
/// # Errors
/// `Load`, `NoEntry`, `AbiMajor`, `Layout`.
pub fn map(image: &Image, module: &str) -> Result<BackendModule_Ref, Reason> {
    let library = image::load(image, module, |path| open(path).map_err(|e| in_full(&e))).map_err(Reason::Load)?;
    // Never unloaded: the layout checker keeps 'static references into the library.
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: abi_stable exports its header under this mangled name only; `upgrade` checks its magic bytes and version before
    // anything else of it is used.
    let header: AbiHeaderRef = unsafe {
        match library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) {
            Ok(symbol) => *symbol,
            Err(_) => return Err(Reason::NoEntry(ROOT_MODULE_LOADER_NAME_WITH_NUL.trim_end_matches('\0').to_owned())),
        }
    };
    let header = header.upgrade().map_err(refused)?;
    // Before the layout, which need not be comparable between majors.
    let found = header.version_strings();
    if major(found.version.as_str()) != major(hivemind_abi::ABI_VERSION) {
        let (expected, found) = (hivemind_abi::ABI_VERSION.to_owned(), found.version.as_str().to_owned());
        return Err(Reason::AbiMajor { expected, found });
    }
    let Some(plugin) = header.layout() else {
        return Err(Reason::Layout("it was built without layout information".to_owned()));
    };
    compare(<BackendModule_Ref as StableAbi>::LAYOUT, plugin).or_else(|why| {
        // Every type of an older minor's is a prefix of this host's.
        compare(plugin, <BackendModule_Ref as StableAbi>::LAYOUT).map_err(|_| Reason::Layout(why))
    })?;
    // SAFETY: one of the two comparisons just made holds, so each function either side calls is there with this signature or is
    // answered with its default. The major version is checked inside.
    unsafe { header.init_root_module_with_unchecked_layout::<BackendModule_Ref>() }.map_err(refused)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Whether `interface` is a prefix of `implementation`, or the first mismatch.
///
/// With globals of its own: the checker's shared ones remember every library compared before, and would refuse one minor of the ABI
/// after another, or two plugins of the same newer minor, depending on the order of loading. They guard objects that pass from one
/// plugin to another, which never happens here.
fn compare(interface: &'static TypeLayout, implementation: &'static TypeLayout) -> Result<(), String> {
    check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
        .map_err(|report| first_mismatch(&report.to_string()))
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

/// What the system said, which libloading tells only when asked for the cause.
fn in_full(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn refused(error: LibraryError) -> Reason {
    match error {
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            Reason::AbiMajor { expected: expected_version.to_string(), found: actual_version.to_string() }
        }
        LibraryError::InvalidAbiHeader(found) => {
            let (expected, found) = (AbiHeader::VALUE, (found.abi_major, found.abi_minor));
            let (major, minor) = (expected.abi_major, expected.abi_minor);
            Reason::Layout(format!("expected a header of abi_stable {major}.{minor}, found {}.{}", found.0, found.1))
        }
        other => Reason::Load(other.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// The first mismatch of the layout checker's report, which can reach 60 kB and repeats itself: the names of the fields on the way to
/// it, and what differs there.
fn first_mismatch(report: &str) -> String {
    let mut path = Vec::new();
    let mut lines = report.lines().map(str::trim).skip_while(|line| !line.contains("error(s)inside"));
    for line in lines.by_ref() {
        if let Some(name) = line.strip_prefix("field_name:").filter(|name| !name.starts_with("field_") && !name.starts_with("__"))
        {
            path.push(name);
        } else if let Some(what) = line.strip_prefix("Error:") {
            let words: Vec<_> = lines.take_while(|line| !line.is_empty()).take(4).collect();
            path.dedup();
            return format!("{what} at {} ({})", path.join("."), words.join(" "));
        } else if line.contains("error(s)inside") {
            path.clear();
        }
    }
    "the layout checker gave no reason".to_owned()
}
