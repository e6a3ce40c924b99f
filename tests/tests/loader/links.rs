//! Libraries that a plugin would pull in, and headers that the system's loader would trip over: refused before it sees them.

use hivemind_host::plugins::Checked;
use hivemind_host::plugins::lock::Lock;

use super::*;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NEEDED: u64 = 1;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Gives the last library that is needed another role.
fn with_role(mut bytes: Vec<u8>, role: u64) -> Vec<u8> {
    let dynamic = elf::number(&bytes, elf::segments(&bytes, PT_DYNAMIC)[0] + 8, 8);
    let entries = (0..).map(|n| dynamic + n * 16).take_while(|at| elf::number(&bytes, *at, 8) != 0);
    let needed = entries.filter(|at| elf::number(&bytes, *at, 8) as u64 == DT_NEEDED).last().expect("a library is needed");
    bytes[needed..needed + 8].copy_from_slice(&role.to_le_bytes());
    bytes
}

fn verdict(bytes: &[u8]) -> Reason {
    let folder = Folder::new();
    let path = folder.write("x.so", bytes);
    *Checked::read(&path, &Lock::default()).expect_err("a refusal").reason
}

#[test]
fn a_library_named_by_a_relative_path_is_refused() {
    for name in ["./bgcc_s.so.1", "x/bgcc_s.so.1", "../gcc_s.so.1", "$LIB/c_s.so.1", "/$ORIGIN/x.so"] {
        let reason = verdict(&patched("ledger", "libgcc_s.so.1\0", &format!("{name}\0")));
        assert_eq!(reason.code(), "run-path", "{name}");
        assert_says(&reason, &[name, "its vendor must link it without"]);
    }
}

#[test]
fn a_run_path_that_is_relative_is_refused() {
    let ledger = library("ledger");
    for role in [DT_RPATH, DT_RUNPATH] {
        assert_eq!(verdict(&with_role(ledger.clone(), role)).code(), "run-path");
    }
}

#[test]
fn headers_that_do_not_fit_together_are_refused() {
    let ledger = library("ledger");
    let with = |at: usize, value: u64| {
        let mut bytes = ledger.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        verdict(&bytes).code()
    };
    let (load, dynamic) = (elf::segments(&ledger, PT_LOAD)[0], elf::segments(&ledger, PT_DYNAMIC)[0]);
    assert_eq!(with(load + 40, 1), "malformed", "p_memsz");
    assert_eq!(with(load + 16, u64::MAX - 0xfff), "malformed", "p_vaddr");
    assert_eq!(with(load + 8, u64::MAX - 0xfff), "truncated", "p_offset");
    assert_eq!(with(dynamic + 16, 0x7000_0000), "malformed", "p_vaddr");
    assert_eq!(with(dynamic + 32, 16), "malformed", "p_filesz");
}

/// Of a table that is named twice, one place is wrong.
#[test]
fn a_dynamic_section_that_the_section_headers_contradict_is_refused() {
    let ledger = library("ledger");
    let dynamic = elf::number(&ledger, elf::segments(&ledger, PT_DYNAMIC)[0] + 8, 8);
    let entry = |tag: usize| (0..).map(|n| dynamic + n * 16).find(|at| elf::number(&ledger, *at, 8) == tag).expect("the tag");
    for (tag, name) in
        [(6, "symbols"), (5, "names"), (7, "relocations"), (8, "their size"), (25, "constructors"), (27, "their size")]
    {
        for at in [entry(tag), entry(tag) + 8] {
            let mut bytes = ledger.clone();
            bytes[at] ^= 0x40;
            assert_eq!(verdict(&bytes).code(), "malformed", "{name}");
        }
    }
}
