//! A handle in another process: loads a plugin with the host's loader and answers calls on its standard input and output.
//!
//! usage: backend-peer PLUGINS-FOLDER MODULE SETTINGS-JSON

use std::path::PathBuf;

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, module, settings] = &arguments[..] else { panic!("usage: backend-peer PLUGINS-FOLDER MODULE SETTINGS-JSON") };
    let loader = Loader::new(SearchPath::only(&[PathBuf::from(folder)]), Lock::default(), std::env::temp_dir());
    let settings = serde_json::from_str(settings).expect("a JSON object");
    let opened = loader.open(module, &settings).unwrap_or_else(|e| panic!("{e}"));
    hivemind_conformance::pipe::serve(opened.backend.as_ref(), std::io::stdin().lock(), std::io::stdout().lock())
        .expect("the pipe");
}
