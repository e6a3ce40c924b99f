//! A handle in another process: loads a plugin with the host's loader and answers calls on its standard input and output.
//!
//! usage: backend-peer PLUGINS-FOLDER MODULE SETTINGS-JSON

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, module, settings] = &arguments[..] else { panic!("usage: backend-peer PLUGINS-FOLDER MODULE SETTINGS-JSON") };
    let loader = Loader::new(SearchPath::only(&[PathBuf::from(folder)]), Lock::default(), std::env::temp_dir());
    let settings = serde_json::from_str(settings).expect("a JSON object");
    let opened = loader.open(module, &settings).unwrap_or_else(|e| panic!("{e}"));
    let output = io::stdout().as_fd().try_clone_to_owned().expect("a descriptor");
    hivemind_conformance::pipe::serve(opened.backend.as_ref(), io::stdin().lock(), Answers(output.into())).expect("the pipe");
}

/// Standard output by `writev`, as no store is written: tests let the n-th `write` of this process fail and mean the store's. Behind
/// [`io::Stdout`] there would also be a `write` more for each answer that happens to hold a line feed.
struct Answers(File);

impl Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_vectored(&[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
