//! A process that has a store open through the loaded library and the typed store, and does what it is told.
//!
//! usage: store-worker PLUGINS-FOLDER MODULE DATA-FOLDER SETTINGS-JSON
//!
//! See `hivemind_tests::together::worker` for what it can be told.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plugins, module, data, settings] = &arguments[..] else {
        panic!("usage: store-worker PLUGINS-FOLDER MODULE DATA-FOLDER SETTINGS-JSON")
    };
    hivemind_tests::together::worker::serve(plugins.as_ref(), module, data.as_ref(), settings);
}
