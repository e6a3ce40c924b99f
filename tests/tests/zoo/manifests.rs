//! Libraries whose manifest is wrong, and libraries that are another than their manifest says. Made from good ones by changing bytes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hivemind_tests::specimen::{elf, library, patched, with_manifest};

use super::*;

fn specimen(bytes: &[u8]) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.write("specimen.so", bytes);
    (folder, path)
}

/// The manifest of the misbehaving plugin with one text in place of another.
fn told_by_manifest(from: &str, to: &str, code: &str, parts: &[&str]) {
    let (_folder, path) = specimen(&patched("misbehaving", from, to));
    refused(&path, code, parts);
}

#[test]
fn what_a_manifest_states_is_checked_and_never_printed_raw() {
    let mended = "ask its vendor for a mended build";
    told_by_manifest(r#"{"manifest":1,"#, r#"{"manifest":9,"#, "bad-manifest", &["expected form 1, found 9", mended]);
    told_by_manifest(
        r#""abi":"1.0.0""#,
        r#""abi":"2.0.0""#,
        "abi-major",
        &["expected ABI 1.x", "found 2.0.0", "update hivemind-host"],
    );
    told_by_manifest(r#""abi":"1.0.0""#, r#""abi":"0.9.0""#, "abi-major", &["found 0.9.0", "ask its vendor for a newer build"]);
    told_by_manifest(r#""abi":"1.0.0""#, r#""abi":"""#, "bad-manifest", &["is no ABI version", mended]);
    told_by_manifest(
        r#""panic":"unwind""#,
        r#""panic":"abort""#,
        "panic-abort",
        &["\"unwind\"", "\"abort\"", "its vendor must build it"],
    );
    let target = "\"target\":\"x86_64-unknown-linux-gnu\"";
    told_by_manifest(target, "\"target\":\"\\u001b[2Jx86_64\"", "wrong-target", &["expected a library for x86_64", "\\u{1b}[2J"]);
    told_by_manifest(r#""abi":"1.0.0""#, r#""abi":"9\n""#, "bad-manifest", &["is no ABI version"]);
    // Names that are paths, words of the terminal, or nothing.
    for name in ["../misbehaving", "/tmp/x", "mis behaving", "MISBEHAVING", "\\u001b[2Jx", "x\\u0000", "\\u202ex", ""] {
        told_by_manifest(
            "\"module\":\"misbehaving-db-plugin\"",
            &format!("\"module\":\"{name}\""),
            "bad-manifest",
            &["is no module name"],
        );
    }
    told_by_manifest("\"aliases\":[\"misbehaving\"]", "\"aliases\":[\"\\u001b]0;\"]", "bad-manifest", &["is no module name"]);
}

#[test]
fn a_manifest_that_is_no_manifest_is_refused() {
    for (what, manifest) in [
        ("nothing", b"".to_vec()),
        ("zeros", vec![0; 300]),
        ("half", b"{\"manifest\":1,\"module\":\"x".to_vec()),
        ("a list", b"[]".to_vec()),
        ("twice the same name", b"{\"manifest\":1,\"module\":\"a\",\"module\":\"b\"}".to_vec()),
        ("nested without end", [b"{\"config\":".to_vec(), b"[".repeat(400)].concat()),
        ("a huge number", b"{\"manifest\":99999999999999999999}".to_vec()),
    ] {
        println!("{what}");
        let (_folder, path) = specimen(&with_manifest("misbehaving", &manifest));
        refused(&path, "bad-manifest", &["its manifest cannot be used", "ask its vendor for a mended build"]);
    }
    let (_folder, path) = specimen(&with_manifest("misbehaving", b"{\"manifest\":1,\"module\":\"\xff\xfe\"}"));
    refused(&path, "bad-manifest", &["it is not UTF-8"]);
}

#[test]
fn a_section_too_large_or_given_twice_is_refused() {
    let mut large = library("misbehaving");
    let section = elf::section(&large, ".hivemind");
    large[section + 32..section + 40].copy_from_slice(&(1_u64 << 21).to_le_bytes());
    let (_folder, path) = specimen(&large);
    refused(&path, "bad-manifest", &["expected at most 1048576 bytes, found 2097152"]);

    let mut twice = library("misbehaving");
    let (section, other) = (elf::section(&twice, ".hivemind"), elf::section(&twice, ".comment"));
    let name = twice[section..section + 4].to_vec();
    twice[other..other + 4].copy_from_slice(&name);
    let (_folder, path) = specimen(&twice);
    refused(&path, "bad-manifest", &["expected one section `.hivemind`, found several"]);
}

/// Whatever a manifest says, it is refused or read; nothing trips over it.
#[test]
fn a_manifest_cut_or_changed_at_any_place_is_read_or_refused() {
    let good = library("misbehaving");
    let section = elf::section(&good, ".hivemind");
    let (start, length) = (elf::number(&good, section + 24, 8), elf::number(&good, section + 32, 8));
    let folder = Folder::new();
    let mut codes = BTreeSet::new();
    for at in (0..length).step_by(length / 60) {
        for byte in [b'"', b'{', 0, 0xff] {
            let mut bytes = good.clone();
            bytes[start + at] = byte;
            let path = folder.write("specimen.so", &bytes);
            let checked = hivemind_host::plugins::Candidate::look_at(path);
            codes.insert(checked.manifest.map_or_else(|why| why.code(), |_| "fine"));
        }
    }
    assert!(codes.contains("bad-manifest"), "{codes:?}");
    alive();
}

/// A schema can ask for what never ends. Whoever opens the plugin gets an answer.
#[test]
fn a_schema_that_refers_to_itself_or_elsewhere_does_not_bring_the_host_down() {
    for schema in [
        r##"{"$ref":"#"}"##,
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
        r##"{"properties":{"misdeed":{"$ref":"https://localhost:1/x.json"}}}"##,
        r##"{"properties":{"misdeed":{"$ref":"file:///etc/passwd"}}}"##,
        r##"{"$schema":"https://localhost:1/meta.json"}"##,
        r##"{"properties":{"misdeed":{"pattern":"((((a+)+)+)+)+$"}}}"##,
        r##"{"properties":{"misdeed":{"pattern":"("}}}"##,
        r##"{"type":"nothing"}"##,
    ] {
        println!("{schema}");
        let mut bytes = library("misbehaving");
        let section = elf::section(&bytes, ".hivemind");
        let (start, length) = (elf::number(&bytes, section + 24, 8), elf::number(&bytes, section + 32, 8));
        let manifest = String::from_utf8(bytes[start..start + length].to_vec()).expect("UTF-8");
        let at = manifest.find("\"config\":").expect("a schema");
        let other = format!("{}\"config\":{schema}}}", &manifest[..at]);
        bytes = with_manifest("misbehaving", other.as_bytes());
        let (folder, path) = specimen(&bytes);
        let block = settings(&json!({"misdeed": "a".repeat(40) + "!"}));
        // Of some schemas the validator makes sense.
        if let Err(error) = folder.loader().open(path.to_str().expect("UTF-8"), &block) {
            assert_says(&error, &["specimen.so"]);
        }
        alive();
    }
}
