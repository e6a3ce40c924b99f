//! What an operator reads when server.json names a backend that cannot be had: what was expected, what was found, what to do.

use std::path::PathBuf;

use hivemind_tests::{build, place, set_mode};
use serde_json::json;

use super::*;

/// An operator whose server.json names this module, and a folder of plugins.
fn operator(module: &str) -> (Operator, PathBuf) {
    let operator = Operator::new();
    let folder = operator.home().join("vendor");
    std::fs::create_dir(&folder).expect("a folder");
    operator.configure(&json!({"database": {"module": module}, "plugins_dir": folder}));
    (operator, folder)
}

/// It fails the same way for a question and for a change, and creates nothing.
fn refused(operator: &Operator, code: &str, parts: &[&str]) {
    for words in [&["status"][..], &["add-client"], &["list-clients", "--json"]] {
        let ended = operator.run(words);
        assert_eq!(ended.out, "", "{words:?}");
        assert!(ended.err.contains(&format!("error[plugin-{code}]")), "{ended:?}");
        ended.fails(4, parts);
    }
    assert!(!operator.home().join("data").exists(), "nothing was created");
}

#[test]
fn a_wrong_name_gives_the_nearest_one_and_the_folders_searched() {
    for (name, nearest) in [
        ("ledger-db-plugn", "ledger-db-plugin"),
        ("hivemind-sqlit-db-plugin", "hivemind-sqlite-db-plugin"),
        ("jsn", "json"),
        ("Memory", "memory"),
    ] {
        let (operator, folder) = operator(name);
        place(&build::fixture("ledger"), &folder, "x.so");
        let meant = format!("did you mean {nearest:?}?");
        refused(
            &operator,
            "not-found",
            &[&format!("{name:?}"), &meant, "searched:", text(&folder), "(not there)", "--plugins-dir", "plugins list"],
        );
    }
    let (operator, folder) = operator("something-else-entirely");
    std::fs::write(folder.join("half.so"), "text").expect("written");
    set_mode(&folder.join("half.so"), 0o755);
    let ended = operator.run(&["status"]);
    assert!(!ended.err.contains("did you mean"), "{ended:?}");
    ended.fails(4, &["refused on the way:", "half.so: expected a shared library, found a text file"]);
}

#[test]
fn an_absolute_path_that_leads_to_no_plugin_says_why() {
    let (missing, _) = operator("/nowhere/x.so");
    refused(&missing, "unreadable", &["/nowhere/x.so", "No such file", "check its path"]);
    let operator = Operator::new();
    let file = operator.write("x.so", b"text");
    set_mode(&file, 0o755);
    operator.configure(&json!({"database": {"module": file}}));
    refused(&operator, "not-a-library", &[text(&file), "expected a shared library, found a text file"]);
    operator.configure(&json!({"database": {"module": operator.home()}}));
    refused(&operator, "not-a-library", &["found a folder"]);
    operator.configure(&json!({"database": {"module": "./x.so"}}));
    refused(&operator, "not-found", &["\"./x.so\""]);
}

#[test]
fn a_file_that_is_broken_foreign_or_no_plugin_is_told_apart() {
    let bytes = std::fs::read(build::fixture("ledger")).expect("the library");
    let mut foreign = bytes.clone();
    foreign[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: AArch64
    let other = std::fs::read(build::fixture("no-manifest")).expect("the library");
    let cases: [(&str, &[u8], &str, &[&str]); 6] = [
        ("truncated", &bytes[..bytes.len() - 1], "truncated", &["expected at least", "found", "copy it again"]),
        ("half", &bytes[..bytes.len() / 2], "truncated", &["cut short"]),
        ("cpu", &foreign, "wrong-target", &["X86_64", "Aarch64", "ask its vendor"]),
        ("text", b"hello\n", "not-a-library", &["a text file"]),
        ("empty", b"", "not-a-library", &["an empty file"]),
        ("other", &other, "no-manifest", &["no hivemind storage plugin"]),
    ];
    for (name, content, code, parts) in cases {
        let operator = Operator::new();
        let file = operator.write("x.so", content);
        set_mode(&file, 0o755);
        // By its path the operator is told what is wrong with it; by name that too, as nothing else answers to it.
        operator.configure(&json!({"database": {"module": file}}));
        refused(&operator, code, &[&[text(&file)], parts].concat());
        operator.configure(&json!({"database": {"module": "ledger"}, "plugins_dir": operator.home()}));
        let found = operator.run(&["status"]);
        assert_eq!(found.code, 4, "{name}: {found:?}");
        for part in parts {
            assert!(found.err.contains(part), "{name} by name: expected {part:?} in {}", found.err);
        }
    }
}

#[test]
fn two_files_with_one_name_are_both_named() {
    let (operator, folder) = operator("ledger");
    for name in ["a.so", "b.so"] {
        place(&build::fixture("ledger"), &folder, name);
    }
    let files = ["a.so", "b.so"].map(|name| text(&folder.join(name)).to_owned());
    refused(&operator, "ambiguous", &["expected one plugin named ledger, found 2", &files[0], &files[1], "remove all but one"]);
    operator.configure(&json!({"database": {"module": folder.join("b.so")}}));
    operator.run(&["status"]).well();
}

#[test]
fn a_file_or_folder_that_others_can_write_is_refused_with_the_command_that_mends_it() {
    for (of_folder, wrong) in [(false, 0o775), (false, 0o757), (true, 0o777)] {
        let (operator, folder) = operator("ledger");
        let file = place(&build::fixture("ledger"), &folder, "x.so");
        // The group of the user's own number is theirs alone and may write. Only root can give the file another one to try.
        if wrong == 0o775 && std::os::unix::fs::chown(&file, None, Some(1)).is_err() {
            continue;
        }
        let culprit = if of_folder { &folder } else { &file };
        set_mode(culprit, wrong);
        operator.configure(&json!({"database": {"module": file}}));
        let mend = format!("chmod go-w {}", culprit.display());
        refused(&operator, "untrusted", &[text(culprit), &format!("mode 0{wrong:o}"), &mend]);
        let words: Vec<&str> = mend.split(' ').collect();
        assert!(std::process::Command::new(words[0]).args(&words[1..]).status().expect("chmod").success());
        operator.run(&["status"]).well();
    }
}

#[test]
fn a_plugin_whose_entry_is_missing_or_that_panics_is_an_error_and_no_crash() {
    let (operator, folder) = operator("no-entry-db-plugin");
    place(&build::fixture("no-entry"), &folder, "x.so");
    refused(&operator, "no-entry", &["expected the entry symbol", "export_backend!"]);
    place(&build::fixture("misbehaving"), &folder, "x.so");
    let block = |misdeed: &str| json!({"database": {"module": "misbehaving", "misbehaving": {"misdeed": misdeed}}, "plugins_dir": folder});
    operator.configure(&block("panic-in-open"));
    operator.run(&["status"]).fails(4, &["error[panicked]", "misbehaving-db-plugin", "tell its vendor"]);
    operator.configure(&block("panic-in-apply"));
    // It may have stored the client before it panicked.
    operator.run(&["add-client"]).fails(9, &["error[outcome-unknown]", "panicked in apply", "list-clients"]);
    assert_eq!(operator.run(&["list-clients", "--json"]).well(), "[]\n");
}
