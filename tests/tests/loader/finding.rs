//! Which file a name means.

use hivemind_host::plugins::SearchPath;
use hivemind_host::plugins::lock::Lock;
use hivemind_tests::program::Operator;

use super::*;

#[test]
fn a_module_is_found_by_name_by_alias_and_by_absolute_path_but_never_by_file_name_or_relative_path() {
    let folder = Folder::new().with("ledger", "whatever.so");
    let path = folder.path().join("whatever.so");
    for name in ["ledger-db-plugin", "ledger", path.to_str().expect("UTF-8")] {
        assert_eq!(folder.loader().resolve(name).expect(name).manifest.module, "ledger-db-plugin");
    }
    for name in ["whatever", "whatever.so", "./whatever.so", "../whatever.so", ""] {
        assert_eq!(folder.refusal(name).reason.code(), "not-found", "{name}");
    }
}

#[test]
fn a_wrong_name_says_what_was_searched_what_is_close_and_what_to_do() {
    let folder = Folder::new().with("ledger", "a.so");
    folder.write("b.so", b"hello");
    let missing = folder.path().join("not-there");
    let loader = Loader::new(SearchPath::only(&[missing, folder.path().to_owned()]), Lock::default(), folder.path().to_owned());
    let refusal = loader.resolve("ledgr-db-plugin").expect_err("a refusal");
    assert_says(
        &refusal,
        &[
            "\"ledgr-db-plugin\"",
            "did you mean \"ledger-db-plugin\"?",
            "not-there (not there)",
            "b.so",
            "a text file",
            "--plugins-dir",
            "plugins list",
        ],
    );
}

#[test]
fn two_files_of_one_folder_with_one_name_are_refused_and_both_named() {
    let folder = Folder::new().with("ledger", "a.so").with("ledger", "b.so");
    for name in ["ledger", "ledger-db-plugin"] {
        let refusal = folder.refusal(name);
        assert_eq!(refusal.reason.code(), "ambiguous");
        assert_says(&refusal, &["a.so", "b.so", "remove all but one"]);
    }
}

#[test]
fn an_earlier_folder_goes_before_a_later_one() {
    let (first, second) = (Folder::new().with("ledger", "a.so"), Folder::new().with("ledger", "b.so"));
    let loader = loader(&[first.path(), second.path()], first.path());
    assert!(loader.resolve("ledger").expect("found").path.ends_with("a.so"));
}

/// A ledger that calls itself otherwise, and answers to the name of another module.
fn impostor(folder: &Folder, name: &str) {
    let from = r#""module":"ledger-db-plugin","aliases":["ledger"]"#;
    folder.write(name, &patched("ledger", from, r#""module":"x","aliases":["ledger-db-plugin"]"#));
}

#[test]
fn a_module_name_goes_before_an_alias_in_whatever_folder() {
    let (first, second) = (Folder::new(), Folder::new().with("ledger", "b.so"));
    impostor(&first, "a.so");
    let both = loader(&[first.path(), second.path()], first.path());
    assert!(both.resolve("ledger-db-plugin").expect("found").path.ends_with("b.so"));
    assert!(first.loader().resolve("ledger-db-plugin").expect("an alias is good enough otherwise").path.ends_with("a.so"));
}

#[test]
fn a_refused_file_that_claims_the_name_is_not_passed_over_for_a_later_one() {
    let second = Folder::new().with("ledger", "b.so");
    let older = Folder::new();
    older.write("a.so", &patched("ledger", r#""abi":"1."#, r#""abi":"2."#));
    let writable = Folder::new().with("ledger", "a.so");
    set_mode(&writable.path().join("a.so"), 0o777);
    let mut bytes = library("ledger");
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: AArch64
    let foreign = Folder::new();
    foreign.write("a.so", &bytes);
    for (first, code) in [(older, "abi-major"), (writable, "untrusted"), (foreign, "wrong-target")] {
        let both = loader(&[first.path(), second.path()], first.path());
        for name in ["ledger", "ledger-db-plugin"] {
            let refusal = both.resolve(name).expect_err(code);
            assert_eq!((refusal.reason.code(), refusal.path), (code, Some(first.path().join("a.so"))));
        }
        // In one folder it stands beside a good one, as builds for two systems do.
        place(&build::fixture("ledger"), first.path(), "good.so");
        assert!(both.resolve("ledger").expect("found").path.ends_with("good.so"));
    }
}

#[test]
fn refused_files_passed_over_in_the_search_are_told_once() {
    let (first, last) = (Folder::new(), Folder::new().with("ledger", "c.so"));
    first.write("a.so", b"hello");
    let after = Folder::new();
    after.write("d.so", b"hello");
    let operator = Operator::new();
    let folders = [&first, &last, &after].map(|f| f.path().to_str().expect("UTF-8").to_owned());
    let words: Vec<_> = folders.iter().flat_map(|f| ["--plugins-dir", f.as_str()]).chain(["plugins", "info", "ledger"]).collect();
    let ended = operator.run(&words);
    assert_eq!((ended.code, ended.err.matches("a.so").count(), ended.err.matches("d.so").count()), (0, 1, 0), "{ended:?}");
    assert_says(&ended.err, &["passed over", "a text file"]);
}
