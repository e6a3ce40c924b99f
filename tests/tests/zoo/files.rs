//! Files that are no plugin, whatever they look like.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use hivemind_host::plugins::Candidate;
use hivemind_tests::specimen::{elf, library};
use hivemind_tests::{program::Operator, set_mode};

use super::*;

/// Makes a specimen in a folder; `None` where this system does not let us.
type Make = fn(&Folder) -> Option<PathBuf>;

/// What it is, how to make one, the refusal and what it says.
type Specimen = (&'static str, Make, &'static str, &'static [&'static str]);

const NOT_A_LIBRARY: &str = "expected a shared library";

const SPECIMENS: [Specimen; 24] = [
    ("an empty file", |f| bytes(f, b""), "not-a-library", &[NOT_A_LIBRARY, "found an empty file", "its vendor ships"]),
    ("a text", |f| bytes(f, b"hello\n"), "not-a-library", &[NOT_A_LIBRARY, "found a text file"]),
    ("a script", |f| bytes(f, b"#!/bin/sh\nrm -rf \x01\n"), "not-a-library", &[NOT_A_LIBRARY, "found a script"]),
    ("an archive", |f| bytes(f, b"!<arch>\n\x01"), "not-a-library", &[NOT_A_LIBRARY, "found an archive"]),
    ("a folder", |f| special(f, &["mkdir"]), "not-a-library", &[NOT_A_LIBRARY, "found a folder"]),
    ("a pipe", |f| special(f, &["mkfifo"]), "not-a-library", &[NOT_A_LIBRARY, "found a pipe"]),
    ("a device", device, "not-a-library", &[NOT_A_LIBRARY, "found a device"]),
    ("a socket", socket, "not-a-library", &[NOT_A_LIBRARY, "found a socket"]),
    ("2 GB of nothing", sparse, "too-large", &["at most 536870912 bytes", "found 2147483648", "get the right file"]),
    ("a core dump", |f| changed(f, |b| b[16] = 4), "not-a-library", &[NOT_A_LIBRARY, "found a core object"]),
    ("an object", |f| changed(f, |b| b[16] = 1), "not-a-library", &[NOT_A_LIBRARY, "found a relocatable object"]),
    ("a program", |f| changed(f, |b| b[16] = 2), "not-a-library", &[NOT_A_LIBRARY, "found a executable object"]),
    ("another processor", |f| changed(f, |b| b[18] = 183), "wrong-target", &["Elf X86_64", "Aarch64", "ask its vendor"]),
    ("a library for Mac", macho, "wrong-target", &["Elf X86_64", "MachO X86_64", "ask its vendor"]),
    ("a library for Windows", pe, "wrong-target", &["Elf X86_64", "Pe X86_64", "ask its vendor"]),
    ("32 bits", |f| changed(f, |b| b[4] = 1), "malformed", &["expected a whole library", "copy it again"]),
    ("the other byte order", |f| changed(f, |b| b[5] = 2), "malformed", &["expected a whole library", "copy it again"]),
    ("no class", |f| changed(f, |b| b[4] = 9), "malformed", &["expected a whole library"]),
    ("sections beyond its end", |f| changed(f, |b| b[46] = 1), "truncated", &["cut short", "copy it again"]),
    ("many sections", |f| changed(f, |b| b[60..62].fill(0xff)), "truncated", &["cut short"]),
    ("sections of another size", |f| changed(f, |b| b[58] = 63), "malformed", &["expected a whole library"]),
    ("no segments", |f| changed(f, |b| b[56..58].fill(0)), "malformed", &["no segment to map", "mended build"]),
    ("segments of another size", |f| changed(f, |b| b[54] = 55), "malformed", &["expected a whole library"]),
    ("segments over each other", overlapping, "malformed", &["lies over another", "copy it again"]),
];

fn bytes(folder: &Folder, bytes: &[u8]) -> Option<PathBuf> {
    Some(folder.write("specimen.so", bytes))
}

fn special(folder: &Folder, command: &[&str]) -> Option<PathBuf> {
    let path = folder.path().join("specimen.so");
    let done = Command::new(command[0]).arg(&path).args(&command[1..]).output().expect("it runs");
    done.status.success().then_some(path)
}

fn device(folder: &Folder) -> Option<PathBuf> {
    special(folder, &["mknod", "c", "1", "3"])
}

fn socket(folder: &Folder) -> Option<PathBuf> {
    let path = folder.path().join("specimen.so");
    drop(UnixListener::bind(&path).expect("a socket"));
    Some(path)
}

fn sparse(folder: &Folder) -> Option<PathBuf> {
    let path = folder.write("specimen.so", b"\x7fELF");
    File::options().write(true).open(&path).and_then(|file| file.set_len(2 << 30)).ok()?;
    Some(path)
}

/// The ledger with some of its header changed.
fn changed(folder: &Folder, change: fn(&mut [u8])) -> Option<PathBuf> {
    let mut bytes = library("ledger");
    change(&mut bytes);
    Some(folder.write("specimen.so", &bytes))
}

fn overlapping(folder: &Folder) -> Option<PathBuf> {
    let mut bytes = library("ledger");
    let loads = elf::segments(&bytes, 1);
    let (first, second) = (loads[0], loads[1]);
    let header = bytes[first..first + 56].to_vec();
    bytes[second..second + 56].copy_from_slice(&header);
    Some(folder.write("specimen.so", &bytes))
}

fn macho(folder: &Folder) -> Option<PathBuf> {
    let words: [u32; 8] = [0xfeed_facf, 0x0100_0007, 3, 6, 0, 0, 0, 0];
    bytes(folder, &words.map(u32::to_le_bytes).concat())
}

fn pe(folder: &Folder) -> Option<PathBuf> {
    let mut image = vec![0; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x80;
    image[0x80..0x84].copy_from_slice(b"PE\0\0");
    image[0x84..0x86].copy_from_slice(&0x8664_u16.to_le_bytes());
    image[0x94..0x96].copy_from_slice(&240_u16.to_le_bytes()); // the optional header's size
    image[0x96..0x98].copy_from_slice(&0x2022_u16.to_le_bytes()); // a library
    image[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    image[0x104..0x108].copy_from_slice(&16_u32.to_le_bytes()); // data directories
    bytes(folder, &image)
}

#[test]
fn what_is_no_library_is_refused_by_what_it_is_and_a_good_one_beside_it_is_found() {
    for (what, make, code, parts) in SPECIMENS {
        let folder = Folder::new().with("ledger", "good.so");
        let Some(path) = make(&folder) else { continue };
        println!("{what}");
        refused(&path, code, parts);
        // One that still shows a manifest claims the name as well, and then somebody has to say which is meant.
        match folder.loader().resolve("ledger") {
            Ok(found) => assert!(found.path.ends_with("good.so"), "{what}"),
            Err(refusal) => assert_says(&refusal, &["good.so and ", "specimen.so", "remove all but one"]),
        }
        Checked::read(&folder.path().join("good.so"), &Lock::default()).expect(what);
    }
}

#[test]
fn the_program_answers_4_and_runs_nothing() {
    let operator = Operator::new();
    for (what, make, code, parts) in SPECIMENS {
        let folder = Folder::new();
        let Some(path) = make(&folder) else { continue };
        let name = path.to_str().expect("UTF-8");
        let ended = operator.run(&["plugins", "info", name]);
        assert_eq!(ended.out, "", "{what}");
        ended.fails(4, &[&[name, &format!("error[plugin-{code}]")], parts].concat());
    }
    operator.run(&["status", "--db-backend", "memory"]).well();
}

/// A cut anywhere must be refused: the system's loader would kill the process with SIGBUS.
#[test]
fn a_library_cut_at_any_place_is_refused() {
    let ledger = library("ledger");
    let sections = elf::number(&ledger, 40, 8);
    let loads = elf::segments(&ledger, 1);
    let ends = loads.iter().map(|at| elf::number(&ledger, at + 8, 8) + elf::number(&ledger, at + 32, 8));
    let manifest = elf::number(&ledger, elf::section(&ledger, ".hivemind") + 24, 8);
    let mut cuts =
        vec![1, 3, 4, 5, 16, 63, 64, 65, 119, 120, 200, manifest, manifest + 9, sections, sections + 1, ledger.len() - 1];
    cuts.extend(ends.flat_map(|end| [end - 1, end]));
    let folder = Folder::new();
    for cut in cuts.into_iter().filter(|cut| *cut < ledger.len()) {
        let path = folder.write("specimen.so", &ledger[..cut]);
        let refusal = Checked::read(&path, &Lock::default()).expect_err("a refusal");
        let expected: &[&str] = if cut < 4 { &["not-a-library"] } else { &["truncated"] };
        assert!(expected.contains(&refusal.reason.code()), "cut at {cut}: {refusal}");
        assert_says(&refusal, &["specimen.so", if cut < 4 { NOT_A_LIBRARY } else { "copy it again" }]);
    }
    alive();
}

/// Zeros in place of each page, as a file has that was not written to the end before the power went.
#[test]
fn a_library_with_a_hole_is_refused_or_sound() {
    let ledger = library("ledger");
    let folder = Folder::new();
    for at in (0..ledger.len()).step_by(ledger.len() / 40) {
        let mut torn = ledger.clone();
        let end = (at + 4096).min(torn.len());
        torn[at..end].fill(0);
        let path = folder.write("specimen.so", &torn);
        // Not loaded: of code nobody can tell. But nothing may trip over it.
        let _ = Checked::read(&path, &Lock::default());
    }
    alive();
}

#[test]
fn a_file_that_may_not_be_read_or_is_gone_says_so() {
    let folder = Folder::new().with("ledger", "good.so");
    refused(&folder.path().join("gone.so"), "unreadable", &["No such file", "check its path and mode"]);
    let path = folder.write("specimen.so", &library("ledger"));
    set_mode(&path, 0o000);
    // Root may read it all the same.
    if File::open(&path).is_err() {
        refused(&path, "unreadable", &["Permission denied", "check its path and mode"]);
    }
}

#[test]
fn looking_at_a_folder_never_waits_and_names_every_file() {
    let folder = Folder::new().with("ledger", "good.so");
    let kinds: [(&str, Make); 3] = [("a.so", |f| special(f, &["mkfifo"])), ("b.so", sparse), ("c.so", socket)];
    for (name, make) in kinds {
        let path = make(&folder).expect("made");
        std::fs::rename(path, folder.path().join(name)).expect("renamed");
    }
    let found = Candidate::all_in(folder.path()).expect("listed");
    let codes: Vec<_> = found.iter().map(|c| c.manifest.as_ref().map_or_else(|why| why.code(), |_| "fine")).collect();
    assert_eq!(codes, ["not-a-library", "too-large", "not-a-library", "fine"]);
    alive();
}
