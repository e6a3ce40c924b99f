//! A plugin that shows when it was run: mapping it is enough to write the file that `$HIVEMIND_TEST_CONSTRUCTOR` names.

#[path = "../../../../docs/ledger/src/lib.rs"]
mod ledger;

/// Run by the system's loader.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    if let Some(path) = std::env::var_os("HIVEMIND_TEST_CONSTRUCTOR") {
        let _ = std::fs::write(path, "it ran");
    }
}
