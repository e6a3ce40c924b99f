//! Small libraries: built with `cc` where it is there, and damaged; and headers of other systems, written by hand.

use std::path::Path;
use std::process::Command;

use crate::Seeds;

const SOURCE: &str = r#"
__attribute__((section(".hivemind"), used)) static const char manifest[] =
    "{\"manifest\":1,\"module\":\"some-db-plugin\",\"version\":\"1.0.0\",\"abi\":\"1.0.0\",\"target\":\"x86_64-unknown-linux-gnu\",\"panic\":\"unwind\",\"config\":{}}";
#define ENTRY_NAME ENTRY
extern int from_elsewhere(int);
static int of_its_own;
int *pointer = &of_its_own;
char ENTRY_NAME[256] = "header";
int call(int x) { return WHAT; }
"#;

pub(crate) fn write() {
    let seeds = Seeds::of("object");
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("x.c");
    std::fs::write(&source, SOURCE).expect("a file");
    let entry = hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    let build = |name: &str, extra: &[&str]| -> Option<Vec<u8>> {
        let library = folder.path().join(name);
        let built = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-nostdlib",
                "-Os",
                "-Wl,-z,max-page-size=4096",
                "-Wl,-z,noseparate-code",
                "-Wl,--build-id=none",
            ])
            .arg(format!("-DENTRY={entry}"))
            .args(extra)
            .arg("-o")
            .args([&library, &source])
            .output();
        match built {
            Ok(output) if output.status.success() => std::fs::read(&library).ok(),
            other => {
                eprintln!("{name} was not built: {other:?}");
                None
            }
        }
    };
    let own = "-DWHAT=x + *pointer";
    let variants: [(&str, &[&str]); 9] = [
        ("whole.so", &[own, "-s"]),
        ("with-symbols.so", &[own]),
        ("with-imports.so", &["-DWHAT=from_elsewhere(x)", "-s"]),
        ("gnu-hash.so", &[own, "-s", "-Wl,--hash-style=gnu", "-Wl,-z,now"]),
        ("sysv-hash.so", &[own, "-s", "-Wl,--hash-style=sysv"]),
        ("named.so", &[own, "-s", "-Wl,-soname,libsome.so.1"]),
        ("run-path.so", &[own, "-s", "-Wl,-rpath,/usr/lib"]),
        ("origin.so", &[own, "-s", "-Wl,-rpath,$ORIGIN/lib"]),
        ("packed-relocations.so", &[own, "-s", "-Wl,-z,pack-relative-relocs"]),
    ];
    for (name, extra) in variants {
        if let Some(bytes) = build(name, extra) {
            seeds.put(name, &bytes);
            if name == "whole.so" {
                damaged(&seeds, &bytes);
            }
        }
    }
    if let Some(bytes) = build("32-bit.so", &[own, "-s", "-m32"]) {
        seeds.put("32-bit.so", &bytes);
    }
    let object = folder.path().join("x.o");
    let args = ["-c", "-fPIC", "-Os", own];
    if Command::new("cc")
        .args(args)
        .arg(format!("-DENTRY={entry}"))
        .arg("-o")
        .args([&object, &source])
        .status()
        .is_ok_and(|s| s.success())
    {
        seeds.put("object.o", read(&object));
    }
    seeds.put("empty", b"");
    seeds.put("script", "#!/bin/sh\n");
    seeds.put("text", "libsome.so\n");
    mach_o(&seeds);
    portable(&seeds);
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

/// Cut at several places, and with single fields of its headers changed.
fn damaged(seeds: &Seeds, whole: &[u8]) {
    for part in [8, 64, 400] {
        seeds.put(&format!("cut-at-{part}"), &whole[..part.min(whole.len())]);
    }
    seeds.put("cut-in-half", &whole[..whole.len() / 2]);
    seeds.put("cut-by-one", &whole[..whole.len() - 1]);
    let patches: [(&str, usize, &[u8]); 7] = [
        ("other-processor", 18, &[0xb7, 0]),
        ("big-endian", 5, &[2]),
        ("an-executable", 16, &[2, 0]),
        ("no-sections", 40, &[0; 8]),
        ("many-headers", 56, &[0xff, 0xff]),
        ("headers-at-the-end", 32, &[0xff; 8]),
        ("header-size", 54, &[1, 0]),
    ];
    for (name, at, bytes) in patches {
        let mut patched = whole.to_vec();
        patched[at..at + bytes.len()].copy_from_slice(bytes);
        seeds.put(name, patched);
    }
}

fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, 0);
    bytes
}

/// A library of Apple's: a segment with the manifest's section, a library it needs, a run path, its symbols.
fn mach_o(seeds: &Seeds) {
    let manifest = "{\"module\":\"some-db-plugin\"}";
    for (name, processor) in [("mach-o-arm64", 0x0100_000c), ("mach-o-x86-64", 0x0100_0007)] {
        let header = |commands: u32, size: u32| words(&[0xfeed_facf, processor, 0, 6, commands, size, 0, 0]);
        let entry = format!("_{}", hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME);
        let strings = padded(&format!("\0{entry}"), (entry.len() + 2).next_multiple_of(8));
        let (segment, dylib, rpath, symtab) = (72 + 80, 56, 32, 24);
        let size = segment + dylib + rpath + symtab;
        let data = 32 + size;
        let symbols = data + 64;
        let names = symbols + 16;
        let mut file = header(4, size);
        file.extend(words(&[0x19, segment]));
        file.extend(padded("__DATA", 16));
        for value in [0_u64, 0x1000, 0, u64::from(names) + strings.len() as u64] {
            file.extend(value.to_le_bytes());
        }
        file.extend(words(&[3, 3, 1, 0]));
        file.extend(padded("__hivemind", 16));
        file.extend(padded("__DATA", 16));
        file.extend(u64::from(data).to_le_bytes());
        file.extend((manifest.len() as u64).to_le_bytes());
        file.extend(words(&[data, 0, 0, 0, 0, 0, 0, 0]));
        file.extend(words(&[0xc, dylib, 24, 0, 0, 0]));
        file.extend(padded("/usr/lib/libSystem.B.dylib", 32));
        file.extend(words(&[0x8000_001c, rpath, 12]));
        file.extend(padded("/usr/lib", 20));
        file.extend(words(&[2, symtab, symbols, 1, names, u32::try_from(strings.len()).expect("small")]));
        file.extend(padded(manifest, 64));
        // A defined external symbol in the first section.
        file.extend(words(&[1]));
        file.extend([0x0f, 1, 0, 0]);
        file.extend(0_u64.to_le_bytes());
        file.extend(strings);
        seeds.put(name, file);
    }
}

/// A library of Windows: a section with the manifest, and one with the tables of exports and imports.
fn portable(seeds: &Seeds) {
    let entry = hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    let mut file = padded("MZ", 0x3c);
    file.extend(words(&[0x40]));
    file.extend(b"PE\0\0");
    let half = |all: &[u16]| all.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    file.extend(half(&[0x8664, 2]));
    file.extend(words(&[0, 0, 0]));
    file.extend(half(&[112 + 16 * 8, 0x2022]));
    file.extend(half(&[0x20b, 0]));
    file.extend(words(&[0, 0, 0, 0, 0x1000]));
    file.extend(0x1_8000_0000_u64.to_le_bytes());
    file.extend(words(&[0x1000, 0x200]));
    file.extend(half(&[6, 0, 0, 0, 6, 0]));
    file.extend(words(&[0, 0x3000, 0x400, 0]));
    file.extend(half(&[2, 0]));
    [0x10_0000_u64, 0x1000, 0x10_0000, 0x1000].iter().for_each(|v| file.extend(v.to_le_bytes()));
    file.extend(words(&[0, 16]));
    let mut directories = [0; 32];
    directories[..4].copy_from_slice(&[0x2000, 0x80, 0x2100, 40]);
    file.extend(words(&directories));
    let section =
        |name: &str, size, address, at| [padded(name, 8), words(&[size, address, 0x200, at, 0, 0, 0, 0x4000_0040])].concat();
    file.extend(section(".hvmind", 0x40, 0x1000, 0x400));
    file.extend(section(".rdata", 0x200, 0x2000, 0x600));
    file.resize(0x400, 0);
    file.extend(padded("{\"module\":\"some-db-plugin\"}", 0x200));
    // Exports: one address, one name, one ordinal.
    let mut tables = words(&[0, 0, 0, 0x2060, 1, 1, 1, 0x2028, 0x202c, 0x2030, 0x1000, 0x2034]);
    tables.resize(0x34, 0);
    tables.extend(padded(entry, 0x2c));
    tables.resize(0x60, 0);
    tables.extend(padded("some.dll", 0xa0));
    // Imports: one library, one name.
    tables.extend(words(&[0x2140, 0, 0, 0x2160, 0x2140, 0, 0, 0, 0, 0]));
    tables.resize(0x140, 0);
    tables.extend(0x2150_u64.to_le_bytes());
    tables.resize(0x150, 0);
    tables.extend(b"\0\0ExitProcess\0");
    tables.resize(0x160, 0);
    tables.extend(b"KERNEL32.dll\0");
    tables.resize(0x200, 0);
    file.extend(tables);
    seeds.put("portable-x86-64", file);
}
