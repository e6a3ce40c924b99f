//! What the program says and does with plugins that do wrong, and what no process survives.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use hivemind_tests::program::{Ended, Operator};
use hivemind_tests::specimen::library;

use super::*;

const ESCAPES: [char; 4] = ['\u{1b}', '\u{7}', '\u{202e}', '\r'];

/// An operator with the misbehaving plugin and a client in it, as far as it remembers.
fn operator(misdeed: &str) -> (Operator, Folder) {
    let folder = Folder::new().with("misbehaving", "x.so");
    let operator = Operator::new();
    let block = json!({"misdeed": misdeed, "secret": "hunter2-hunter2"});
    operator.configure(&json!({"database": {"module": "misbehaving", "misbehaving": block}, "plugins_dir": folder.path()}));
    (operator, folder)
}

fn calm(ended: &Ended) {
    let said = format!("{}{}", ended.out, ended.err);
    assert!(!said.contains(ESCAPES), "{said:?}");
    assert!(!said.contains("hunter2"), "{said:?}");
}

#[test]
fn what_a_plugin_says_cannot_drive_the_terminal_or_show_a_secret() {
    let (rude, _folder) = operator("rude-error");
    let ended = rude.run(&["rename-client", "1", "--name", "x"]);
    calm(&ended);
    ended.fails(5, &["error[io]", "\\u{1b}[2J", "\\u{a}error: forged, with ********"]);
    let (rude, _folder) = operator("rude-stats");
    let ended = rude.run(&["status"]);
    calm(&ended);
    assert!(ended.well().contains("\\u{1b}]0;hello"));
    let (telling, _folder) = operator("telling-stats");
    for words in [&["status"][..], &["status", "--json"]] {
        let ended = telling.run(words);
        calm(&ended);
        assert!(ended.err.contains("********: cannot repair with ********"), "{ended:?}");
        assert!(ended.well().contains("********"), "{words:?}");
    }
    let (telling, _folder) = operator("telling-pages");
    let ended = telling.run(&["list-clients"]);
    calm(&ended);
    assert!(ended.err.contains("no ******** opens it"), "{ended:?}");
    let (rude, _folder) = operator("rude-log");
    let ended = rude.run(&["list-clients"]);
    calm(&ended);
    assert!(ended.err.contains("hello\\u{a}ERROR forged"), "{ended:?}");
    ended.well();
}

#[test]
fn a_file_name_cannot_drive_the_terminal() {
    let folder = Folder::new();
    let path: PathBuf = folder.write("\u{1b}[2J\u{202e}x.so", b"hello\n");
    let operator = Operator::new();
    operator.configure(&json!({"database": {"module": "nothing"}, "plugins_dir": folder.path()}));
    for words in [&["plugins", "list"][..], &["plugins", "info", path.to_str().expect("UTF-8")], &["status"]] {
        let ended = operator.run(words);
        calm(&ended);
        assert!(format!("{}{}", ended.out, ended.err).contains("\\u{1b}[2J\\u{202e}x.so"), "{ended:?}");
    }
}

/// The program answers, exits with the code told in docs/errors.md, and the next command works.
#[test]
fn a_panic_is_told_with_its_exit_code() {
    for (misdeed, words, code, parts) in [
        ("panic-in-open", &["status"][..], 4, &["error[panicked]", "misbehaving-db-plugin did not open", "tell its vendor"][..]),
        ("panic-in-apply", &["add-client"], 9, &["error[outcome-unknown]", "panicked in apply", "list-clients"]),
        ("panic-in-find", &["list-clients"], 4, &["error[panicked]", "panicked in find", "tell its vendor"]),
    ] {
        let (operator, _folder) = operator(misdeed);
        operator.run(words).fails(code, parts);
        operator.run(&["list-clients", "--db-backend", "memory"]).well();
    }
    let (operator, _folder) = operator("panic-in-drop");
    operator.run(&["list-clients"]).well();
}

#[test]
fn a_close_that_never_ends_does_not_keep_the_program() {
    let (operator, _folder) = operator("block-in-close");
    operator.run(&["list-clients"]).well();
}

/// A plugin is part of the process. What ends the process ends the node; only a process of its own would contain that.
#[test]
fn what_ends_the_process_ends_the_program_and_nothing_else() {
    for (misdeed, code, signal) in [("exit", Some(7), None), ("abort", None, Some(6))] {
        let (operator, _folder) = operator(misdeed);
        let status = operator.command(&["rename-client", "1", "--name", "x"]).output().expect("it runs").status;
        assert_eq!((status.code(), status.signal()), (code, signal), "{misdeed}");
        operator.run(&["plugins", "info", "misbehaving"]).well();
        operator.run(&["list-clients", "--db-backend", "memory"]).well();
    }
}

/// Looking at a plugin runs nothing of it, so all of the commands that only look are safe on anything.
#[test]
fn commands_that_look_run_nothing() {
    let folder = Folder::new();
    folder.write("x.so", &library("constructor"));
    let trace = folder.path().join("trace");
    let operator = Operator::new();
    operator.configure(&json!({"database": {"module": "ledger"}, "plugins_dir": folder.path()}));
    let run = |words: &[&str]| {
        let output = operator.command(words).env("HIVEMIND_TEST_CONSTRUCTOR", &trace).output().expect("it runs");
        Ended::from(output).well()
    };
    for words in [&["plugins", "list"][..], &["plugins", "info", "ledger"], &["plugins", "pin", "ledger"], &["print-config"]] {
        run(words);
        assert!(!trace.exists(), "{words:?}");
    }
    run(&["list-clients"]);
    assert!(trace.exists(), "opening it does");
}
