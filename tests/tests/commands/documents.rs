//! Help, completions, manual pages and the documents say what the program does.

use std::io::Read as _;
use std::process::{Command, Stdio};

use hivemind_tests::program::Ended;
use hivemind_tests::{build, place, root};

use super::listen::Running;
use super::*;

const COMMANDS: [&str; 37] = [
    "listen",
    "add-client",
    "list-clients",
    "export-clients",
    "rename-client",
    "delete-client",
    "make-admin",
    "revoke-admin",
    "allow-msg",
    "blacklist-msg",
    "allow-broadcast",
    "blacklist-broadcast",
    "allow-escalate",
    "blacklist-escalate",
    "allow-propagate",
    "blacklist-propagate",
    "allow-skill",
    "blacklist-skill",
    "allow-intent",
    "blacklist-intent",
    "set-metadata",
    "reset-noise-pin",
    "print-config",
    "status",
    "derive-psk",
    "policy",
    "audit",
    "export",
    "import",
    "migrate-db",
    "backup",
    "restore",
    "db",
    "move-namespace",
    "plugins",
    "completions",
    "man",
];

#[test]
fn help_is_no_failure_and_no_command_is_one() {
    let operator = Operator::new();
    let all = operator.run(&["--help"]).well();
    let told_of =
        |name: &str| all.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(' ')).map(str::trim);
    let told: std::collections::BTreeSet<_> = COMMANDS.iter().filter_map(|name| told_of(name)).collect();
    assert_eq!(told.len(), COMMANDS.len(), "each command is told of in words of its own: {all}");
    for name in COMMANDS {
        for words in [&[name, "--help"][..], &["help", name]] {
            let help = operator.run(words).well();
            assert!(help.contains("Usage: hivemind-host"), "{help}");
        }
        let help = operator.run(&[name, "--help"]).well();
        for option in ["--config", "--db-backend", "--plugins-dir", "--redis-host", "--redis-port", "--redis-password"] {
            assert!(help.contains(option), "{name} {option}");
        }
    }
    assert!(operator.run(&["--version"]).well().starts_with("hivemind-host "));
    for words in
        [&[][..], &["plugins"], &["db"], &["audit"], &["policy"], &["no-such-command"], &["list-clients", "--no-such-option"]]
    {
        let ended = operator.run(words);
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{words:?}: {ended:?}");
        assert_eq!(ended.code, 2, "{words:?}");
    }
    assert!(!operator.home().join("config").exists(), "none of this touches a file");
}

#[test]
fn completions_are_scripts_that_their_shell_understands() {
    let operator = Operator::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = operator.run(&["completions", shell]).well();
        for name in COMMANDS {
            assert!(script.contains(name), "{shell} {name}");
        }
        let path = operator.write(&format!("completions.{shell}"), script.as_bytes());
        // Where the shell is not installed there is nobody to ask.
        if let Ok(output) = Command::new(shell).arg("-n").arg(&path).output() {
            let ended = Ended::from(output);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{shell}");
        }
    }
    operator.run(&["completions", "tcl"]).fails(2, &["tcl", "bash"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let operator = Operator::new();
    let folder = operator.home().join("man");
    operator.run(&["man", text(&folder)]).well();
    for name in COMMANDS {
        let page = std::fs::read_to_string(folder.join(format!("hivemind-host-{name}.1"))).expect(name);
        assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS"), "{page}");
    }
    for name in ["hivemind-host.1", "hivemind-host-plugins-pin.1", "hivemind-host-db-rekey.1"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    assert!(operator.run(&["man"]).well().contains(".TH"));
    operator.run(&["man", "/proc/man"]).fails(1, &["error[output]", "/proc/man"]);
}

#[test]
fn an_output_that_nobody_reads_any_more_is_no_failure_and_one_that_cannot_be_written_is() {
    let operator = Operator::with_module("json");
    let records = (1..3000).map(|id| (id.to_string(), serde_json::json!({"client_id": id, "api_key": format!("k{id}")})));
    let records: serde_json::Map<_, _> = records.collect();
    operator.write("data/hivemind-core/clients.json", serde_json::Value::Object(records).to_string().as_bytes());
    for words in [
        &["list-clients"][..],
        &["list-clients", "--json"],
        &["export-clients"],
        &["plugins", "info"],
        &["print-config"],
        &["status"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        for bytes in [0, 1] {
            let mut command = operator.command(words);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
            let mut pipe = child.stdout.take().expect("a pipe");
            pipe.read_exact(&mut vec![0; bytes]).expect("read");
            drop(pipe);
            let ended = Ended::from(child.wait_with_output().expect("the program ends"));
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{words:?} after {bytes}");
        }
        if words != ["--help"] {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
            let output = operator.command(words).stdout(full).output().expect("the program starts");
            Ended::from(output).fails(1, &["error[output]"]);
        }
    }
}

/// The lines of a document's blocks that call the program, without what a `#` explains.
fn lines(document: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join(document)).expect(document);
    let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with("hivemind-host "));
    lines.map(|line| line.split(" #").next().unwrap_or(line).split_whitespace().skip(1).map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_line_in_a_block_of_the_documents_works_as_it_stands() {
    let operator = Operator::new();
    // What the vendor's guide says to do before.
    let folder = operator.data().join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    place(&build::fixture("ledger"), &folder, "libledger_db_plugin.so");
    let mut run = 0;
    for document in ["README.md", "docs/operator.md", "docs/vendor.md", "docs/errors.md"] {
        for words in lines(document) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            run += 1;
            if words == ["listen"] {
                // It runs until it is stopped, and other tests may have the standard port.
                assert!(Running::start(&operator, &["--port", "0"]).stop().success(), "{document}");
                continue;
            }
            let ended = operator.run(&words);
            assert_eq!(ended.code, 0, "{document}: {words:?}: {ended:?}");
        }
    }
    assert!(run >= 20, "only {run} lines were found");
}

#[test]
fn every_command_line_in_the_text_of_the_documents_parses() {
    let operator = Operator::new();
    let mut checked = 0;
    for document in ["README.md", "docs/operator.md", "docs/node.md", "docs/vendor.md", "docs/errors.md", "docs/abi.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect(document);
        // Every second piece is between two backticks.
        for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("hivemind-host ")) {
            let words: Vec<&str> = code.split_whitespace().skip(1).filter(|word| !matches!(*word, "…" | "|")).collect();
            if words.contains(&"COMMAND") {
                continue;
            }
            let ended = operator.run(&[&words[..], &["--help"]].concat());
            assert_eq!(ended.code, 0, "{document}: {code}: {ended:?}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} were found");
}

#[test]
fn the_operator_guides_table_names_commands_and_options_that_exist() {
    let operator = Operator::new();
    let guide = std::fs::read_to_string(root().join("docs/operator.md")).expect("the guide");
    let (_, commands) = guide.split_once("## Commands").expect("a chapter");
    let (commands, _) = commands.split_once("\n## ").expect("the next one");
    let mut checked = 0;
    for row in commands.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.trim_matches('|').replace("\\|", "/");
        let cell = cell.split('|').next().unwrap_or_default();
        for code in cell.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = code.split_whitespace().map(|w| w.trim_matches(['[', ']'])).collect();
            // `allow-` and the like stand for several, which other rows and tests name.
            if words[0].ends_with('-') || words[0].starts_with('-') {
                continue;
            }
            let known: Vec<&str> = words
                .iter()
                .take(if matches!(words[0], "plugins" | "db" | "policy" | "audit") { 2 } else { 1 })
                .copied()
                .collect();
            let help = operator.run(&[&known[..], &["--help"]].concat()).well();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{known:?} {option}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 15, "only {checked} were found");
}

/// Every shipped backend has a block there, and each passes the schema in its plugin.
#[test]
fn the_example_configuration_shows_every_shipped_backend() {
    let text = std::fs::read_to_string(root().join("server.example.json")).expect("an example");
    let example: Value = serde_json::from_str(&text).expect("JSON");
    let data = tempfile::tempdir().expect("a folder");
    let shipped = hivemind_tests::loader(&[&build::shipped_plugins()], data.path());
    let blocks = example["database"].as_object().expect("an object");
    for module in ["sqlite", "json", "redis", "memory"] {
        let manifest = shipped.resolve(module).unwrap_or_else(|e| panic!("{e}")).manifest;
        let block = blocks.get(&manifest.module).and_then(Value::as_object).unwrap_or_else(|| panic!("no block for {module}"));
        hivemind_host::plugins::settings::check(&manifest, block).unwrap_or_else(|e| panic!("{module}: {e:?}"));
    }
    assert_eq!(blocks.len(), 5, "the module and a block for each, no more: {:?}", blocks.keys());
}
