//! Every kept input, on stable: named seeds, what fuzzers found worth keeping, and what once was wrong.

use std::path::{Path, PathBuf};

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz/").join(kind).join(target);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    files.sort();
    files
}

fn run(target: &str) {
    let (_, check) = hivemind_fuzz_properties::TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    assert!(!inputs("seeds", target).is_empty(), "fuzz/seeds/{target} is empty");
    for file in ["seeds", "corpus", "regressions"].iter().flat_map(|kind| inputs(kind, target)) {
        let data = std::fs::read(&file).expect("an input");
        // The name of the input that is wrong, in front of what is wrong with it.
        if let Err(panic) = std::panic::catch_unwind(|| check(&data)) {
            eprintln!("with {}", file.display());
            std::panic::resume_unwind(panic);
        }
    }
}

/// Without one that passes, a fuzzer would only ever see refusals.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_whole_libraries_among_the_seeds_pass() {
    use hivemind_host::plugins::object::{System, check_whole, check_whole_for, manifest_text, manifest_text_of_refused};
    let read = |name: &str| {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz/").join("seeds/object");
        std::fs::read(seeds.join(name)).expect(name)
    };
    for name in ["whole.so", "with-symbols.so", "with-imports.so", "gnu-hash.so", "sysv-hash.so", "run-path.so", "named.so"] {
        let library = read(name);
        assert_eq!(check_whole(&library), Ok(()), "{name}");
        assert!(manifest_text(library.as_slice()).is_ok_and(|text| text.contains("some-db-plugin")), "{name}");
    }
    for name in ["mach-o-arm64", "mach-o-x86-64", "portable-x86-64"] {
        let library = read(name);
        let system = System::of(library.as_slice()).expect(name);
        assert_eq!(check_whole_for(&library, system), Ok(()), "{name}");
        assert!(manifest_text_of_refused(library.as_slice()).is_some_and(|text| text.contains("some-db-plugin")), "{name}");
    }
    // The name of the library it needs: with a folder in it, and beyond the end of the file.
    let mut portable = read("portable-x86-64");
    let system = System::of(portable.as_slice()).expect("a library");
    let at = portable.windows(12).position(|part| part == b"KERNEL32.dll").expect("its name");
    portable[at..at + 12].copy_from_slice(b"..\\NEL32.dll");
    assert_eq!(check_whole_for(&portable, system).map_err(|r| r.code()), Err("run-path"));
    portable[at..].fill(b'x');
    assert_eq!(check_whole_for(&portable, system).map_err(|r| r.code()), Err("malformed"));
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run_and_has_its_driver() {
            let all: Vec<_> = hivemind_fuzz_properties::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz/");
            let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("its manifest");
            for name in all {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no [[bin]]");
                assert!(fuzz.join("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name} has no driver");
            }
        }
    };
}

targets!(row, record, wire, engine, server_json, manifest, object, clients_json, text, envelope, handshake, frame);
