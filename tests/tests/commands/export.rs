//! `export-clients`: CSV that any reader understands, in a file that is whole or not there.

use std::process::Command;

use hivemind_tests::program::Ended;
use hivemind_tests::{build, python};
use serde_json::{Value, json};

use super::*;

/// What Python's csv module reads in a file.
fn rows(csv: &Path) -> Value {
    let script = "import csv, json, sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8')))))";
    let output = Command::new(python::venv().join("bin/python")).args(["-c", script, text(csv)]).output().expect("python starts");
    parsed(&Ended::from(output).well())
}

#[test]
fn names_with_quotes_commas_newlines_and_formulas_come_back_as_they_were() {
    let names =
        ["a,b", "say \"hi\"", "two\nlines", "cr\r\nlf", "Küche 🌻", "=1+1", "@SUM(A1)", "-5", "+x", " spaces ", "'", ";\t"];
    for module in DURABLE {
        let operator = Operator::with_module(module);
        for name in names {
            operator.run(&["add-client", "--name", name, "--access-key", &format!("k{name}"), "--password", STRONG]).well();
        }
        operator.run(&["add-client"]).well();
        operator.run(&["delete-client", "13", "--yes"]).well();
        let file = operator.home().join("out.csv");
        assert_eq!(operator.run(&["export-clients", "--path", text(&file)]).well(), "");
        let mut expected = vec![json!(["client_id", "name", "is_admin", "access_key", "password"])];
        expected.extend(
            names.iter().enumerate().map(|(i, name)| json!([(i + 1).to_string(), name, "False", format!("k{name}"), STRONG])),
        );
        assert_eq!(rows(&file), json!(expected), "{module}");
        assert_eq!(operator.run(&["export-clients"]).well(), std::fs::read_to_string(&file).expect("the file"));
        operator.run(&["export-clients", "--all", "--path", text(&file)]).well();
        assert_eq!(rows(&file)[13], json!(["13", "", "False", "revoked", ""]), "revoked ones only when asked for");
    }
}

#[test]
fn a_folder_gets_a_file_of_the_standard_name_and_a_link_keeps_leading_to_its_file() {
    let operator = with_two("json");
    operator.run(&["export-clients", "--path", text(operator.home())]).well();
    let file = operator.home().join("hivemind_clients.csv");
    assert_eq!(mode(&file), 0o600);
    let link = operator.home().join("link.csv");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    operator.run(&["rename-client", "1", "--name", "new"]).well();
    operator.run(&["export-clients", "--path", text(&link)]).well();
    assert!(link.is_symlink() && std::fs::read_to_string(&file).expect("the file").contains("1,new,"));
}

#[test]
fn a_file_that_was_open_to_others_is_closed_before_it_holds_passwords() {
    let operator = with_two("sqlite");
    let file = operator.write("old.csv", b"old");
    hivemind_tests::set_mode(&file, 0o666);
    operator.run(&["export-clients", "--path", text(&file)]).well();
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn where_nothing_can_be_written_the_message_names_the_path_and_nothing_is_left_behind() {
    let operator = with_two("json");
    let file = operator.write("file", b"old");
    let listed = || std::fs::read_dir(operator.home()).expect("a folder").count();
    let before = listed();
    for path in ["/proc/clients.csv", "/nowhere/at/all.csv", text(&file.join("below")), "/dev/full"] {
        let ended = operator.run(&["export-clients", "--path", path]);
        assert_eq!(ended.out, "");
        ended.fails(1, &["error[output]", path, "what was there before is still there"]);
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let ended = operator.command(&["export-clients"]).stdout(full).output().expect("the program starts");
    Ended::from(ended).fails(1, &["error[output]", "cannot write the output"]);
    assert_eq!((listed(), std::fs::read(&file).expect("the file")), (before, b"old".to_vec()));
}

/// The limit on a file's size stands for a disk that is full. It applies to the copy of the plugin too, so it is a little above.
#[test]
fn when_the_disk_is_full_half_way_the_old_file_is_still_whole() {
    const MEBIBYTE: u64 = 1 << 20;
    let plugins = build::shipped_plugins();
    let sizes = std::fs::read_dir(&plugins).expect("a folder").map(|e| e.expect("a file").metadata().expect("its size").len());
    let limit = sizes.max().expect("a plugin") / MEBIBYTE + 1;
    let name = "x".repeat(usize::try_from(MEBIBYTE).expect("small"));
    let record = |id: u64| (id.to_string(), json!({"client_id": id, "api_key": format!("k{id}"), "name": name}));
    let records: serde_json::Map<String, Value> = (1..=limit + 2).map(record).collect();
    let operator = Operator::with_seed(&records.into());
    let file = operator.write("out/clients.csv", b"old");
    // 512-byte blocks, as POSIX says; and an error instead of the signal.
    let shell = format!("trap '' XFSZ; ulimit -f {}", limit * 2048);
    let output = operator.in_shell(&shell, &["export-clients", "--path", text(&file)]).output().expect("a shell");
    Ended::from(output).fails(1, &["error[output]", "clients.csv", "still there"]);
    assert_eq!(std::fs::read(&file).expect("the file"), b"old");
    assert_eq!(std::fs::read_dir(operator.home().join("out")).expect("a folder").count(), 1, "nothing half-written is left");
    operator.run(&["export-clients", "--path", text(&file)]).well();
    assert!(std::fs::metadata(&file).expect("the file").len() > limit * MEBIBYTE);
}
