//! Libraries that pass every check of the file and show only when they are mapped what they are.

use std::path::PathBuf;

use hivemind_tests::specimen::{library, patched, replace};

use super::*;

/// What is said when the only file of a folder is loaded, after it was resolved without objection.
fn load(bytes: &[u8], code: &str, parts: &[&str]) {
    let folder = Folder::new();
    let path: PathBuf = folder.write("specimen.so", bytes);
    let loader = folder.loader();
    let checked = loader.resolve(path.to_str().expect("UTF-8")).expect("nothing is wrong with the file");
    let refusal = loader.load(checked).err().expect(code);
    told(&refusal, &path, code, parts);
    let good = place(&build::fixture("ledger"), folder.path(), "good.so");
    let good = loader
        .resolve(good.to_str().expect("UTF-8"))
        .and_then(|checked| loader.load(checked))
        .expect("the same loader loads a good one");
    assert_eq!(good.manifest.module, "ledger-db-plugin");
}

/// Its manifest was made to look right. What it was built against stands in the header too.
#[test]
fn a_header_that_states_another_major_than_the_manifest_is_believed() {
    let bytes = patched("abi-major", r#""abi":"2.0.0""#, r#""abi":"1.0.0""#);
    load(&bytes, "abi-major", &["expected ABI 1.x", "found 2.0.0", "update hivemind-host"]);
}

#[test]
fn a_header_of_another_abi_stable_is_refused() {
    let magic = b"abi stable library for Rust";
    let mut other = library("ledger");
    replace(&mut other, magic, b"abi stable library for Tsur");
    load(&other, "layout", &["abi_stable", "published hivemind-abi"]);
}

#[test]
fn types_of_another_layout_are_refused() {
    load(&library("layout"), "layout", &["open", "published hivemind-abi"]);
}

#[test]
fn a_manifest_that_differs_once_loaded_is_refused() {
    load(&library("manifest-differs"), "manifest-differs", &["another manifest than its section holds", "tell its vendor"]);
}

#[test]
fn a_missing_symbol_or_library_is_named() {
    let lacking = patched("ledger", "libgcc_s.so.1\0", "libgcc_x.so.1\0");
    load(&lacking, "load", &["libgcc_x.so.1", "install what it lacks"]);
}

/// glibc knows a library by its path, and `/proc/self/fd/N` is the same path for every file that has had the number N.
#[test]
fn two_libraries_under_one_descriptor_number_are_two() {
    let folder = Folder::new();
    // It closes the memory file that it was mapped from, so that its number is free for the next.
    let module = r#""module":"misbehaving-db-plugin","aliases":["misbehaving"]"#;
    let closer = patched("misbehaving", module, r#""module":"misbehaving-fd-plugin","aliases":["closer"]"#);
    let second = patched("misbehaving", module, r#""module":"misbehaving-fd-second","aliases":["second"]"#);
    folder.write("misbehaving-fd-plugin.so", &closer);
    folder.write("second.so", &second);
    let loader = folder.loader();
    let held = || {
        let all = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
        all.filter(|f| std::fs::read_link(f.path()).is_ok_and(|to| to.to_string_lossy().contains("memfd:misbehaving-fd-plugin")))
            .count()
    };
    let closer = loader.resolve("closer").and_then(|checked| loader.load(checked)).expect("loaded");
    assert_eq!(held(), 1, "what is mapped stays open");
    closer.open_bare(r#"{"misdeed":"close-descriptors"}"#, folder.path()).expect("open");
    assert_eq!(held(), 0, "and this one is closed now");
    let second = loader.resolve("second").and_then(|checked| loader.load(checked)).expect("the second");
    // Were it the first library, its manifest would be the first one's, and it would have been refused.
    assert_eq!(second.manifest.module, "misbehaving-fd-second");
    second.open_bare("{}", folder.path()).expect("open");
    alive();
}
