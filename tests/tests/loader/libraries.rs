//! Plugins with a manifest, whose manifest or library does not suit this host.

use super::*;

/// The code of what is said about the ledger with one text in place of another.
fn code(from: &str, to: &str) -> &'static str {
    let folder = Folder::new();
    folder.write("x.so", &patched("ledger", from, to));
    folder.verdict().code()
}

#[test]
fn a_manifest_that_does_not_suit_this_host_is_refused_by_what_is_wrong_with_it() {
    assert_eq!(code(r#""abi":"1."#, r#""abi":"2."#), "abi-major");
    assert_eq!(code(r#""panic":"unwind""#, r#""panic":"abort" "#), "panic-abort");
    assert_eq!(code(r#""target":"x86_64-"#, r#""target":"x86_65-"#), "wrong-target");
    for (from, to) in [
        (r#"{"manifest":1,"#, r#"{"manifest":2,"#),
        (r#"{"manifest":1,"#, r#"{"manifest";1,"#),
        (r#""module":"ledger-"#, r#""module":"LEDGER-"#),
        (r#""aliases":["ledger"]"#, r#""aliases":["led er"]"#),
        (r#""abi":"1."#, r#""abi":"x."#),
        (r#""config":{"#, r#""config":["#),
        (r#""vendor":""#, "\"vendor\":\u{1}"),
    ] {
        assert_eq!(code(from, to), "bad-manifest", "{to}");
    }
}

#[test]
fn an_abi_of_another_major_says_which_side_to_update() {
    let folder = Folder::new();
    folder.write("x.so", &patched("ledger", r#""abi":"1."#, r#""abi":"2."#));
    assert_says(&folder.verdict(), &["expected ABI 1.x", "found 2.", "update hivemind-host"]);
}

fn load(folder: &Folder, module: &str) -> Refusal {
    let loader = folder.loader();
    let checked = loader.resolve(module).expect("nothing is wrong with the file");
    loader.load(checked).err().expect("a refusal")
}

#[test]
fn a_library_that_lacks_another_one_is_refused_with_what_the_system_says() {
    let folder = Folder::new();
    folder.write("x.so", &patched("ledger", "libgcc_s.so.1\0", "libgcc_x.so.1\0"));
    let refusal = load(&folder, "ledger");
    assert_eq!(refusal.reason.code(), "load");
    assert_says(&refusal, &["x.so", "libgcc_x.so.1"]);
    assert!(!refusal.to_string().contains("/proc/"), "{refusal}");
}

#[test]
fn a_library_that_states_another_manifest_than_its_file_shows_is_refused() {
    let folder = Folder::new().with("manifest-differs", "x.so");
    assert_eq!(load(&folder, "two-faced-db-plugin").reason.code(), "manifest-differs");
}

#[test]
fn a_library_with_other_types_behind_its_entry_is_refused_before_any_is_used() {
    let folder = Folder::new().with("layout", "x.so");
    let refusal = load(&folder, "layout-db-plugin");
    assert_eq!(refusal.reason.code(), "layout");
    assert_says(&refusal, &["open", "published hivemind-abi"]);
}
