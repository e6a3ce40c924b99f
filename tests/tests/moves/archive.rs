//! `export` and `import`.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn sealed_with(operator: &Operator, seal: &[&str], open: &[&str]) {
    let file = operator.home().join("all.export");
    operator.run(&[&["export", text(&file)][..], seal].concat()).well();
    let content = std::fs::read(&file).expect("the export");
    assert_eq!(content.starts_with(b"age-encryption.org/v1\n"), !seal.is_empty());
    assert_eq!(std::fs::metadata(&file).expect("the export").permissions().mode() & 0o777, 0o600);
    let config = json!({"database": {"module": "sqlite", SQLITE: {"name": format!("import-{}", seal.len())}}});
    let config = operator.write("importing.json", config.to_string().as_bytes());
    let import = ["--config", text(&config), "import", text(&file)];
    if !seal.is_empty() {
        assert!(!content.windows(8).any(|w| w == b"key-0000"), "nothing is legible");
        operator.run(&import).fails(8, &["error[bad-export]", "encrypted"]);
    }
    let looked = operator.run(&[&import[..], open, &["--dry-run"]].concat()).well();
    assert!(looked.contains("It can be done"), "{looked}");
    let said = operator.run(&[&import[..], open].concat()).well();
    assert!(said.contains("Migrated 700 client(s)"), "{said}");
    assert_same(&store(operator, JSON), &operator.data().join(format!("import-{}.db", seal.len())), &[]);
    let said = operator.run(&[&import[..], open].concat()).well();
    assert!(said.contains("nothing was written"), "{said}");
    std::fs::remove_file(file).expect("removed");
}

#[test]
fn an_export_is_imported_as_it_was_open_or_sealed() {
    let operator = with_json(&many(700));
    sealed_with(&operator, &[], &[]);
    let (passphrase, key, public) =
        (operator.write("passphrase", b"correct horse\n"), operator.write("key", SECRET_KEY.as_bytes()), PUBLIC_KEY);
    sealed_with(&operator, &["--passphrase-file", text(&passphrase)], &["--passphrase-file", text(&passphrase)]);
    let list = operator.write("recipients", format!("# mine\n{public}\n").as_bytes());
    sealed_with(&operator, &["--recipients-file", text(&list), "--recipient", PUBLIC_KEY], &["--identity", text(&key)]);
    // Another key, and another passphrase.
    let file = operator.home().join("x");
    operator.run(&["export", text(&file), "--passphrase-file", text(&passphrase)]).well();
    let other = operator.write("other", b"wrong horse\n");
    for open in [&["--passphrase-file", text(&other)][..], &["--identity", text(&key)]] {
        operator.run(&[&["import", text(&file), "--db-backend", "sqlite"][..], open].concat()).fails(8, &["cannot be decrypted"]);
    }
    assert!(!store(&operator, SQLITE).exists());
}

/// The key of age's own test vectors.
const SECRET_KEY: &str = "# created: 2024-01-01\nAGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n";
const PUBLIC_KEY: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

#[test]
fn an_export_goes_through_a_pipe() {
    let operator = with_json(&many(300));
    let ended = operator.run(&["export", "-"]);
    assert!(ended.err.contains("Exported 300 client(s)"), "{ended:?}");
    let lines = ended.well();
    assert_eq!(lines.lines().count(), 302);
    assert!(lines.lines().all(|line| hivemind_model::json::parse(line).is_ok()));
    let said = operator.run_with_input(&["import", "-", "--db-backend", "sqlite"], &lines).well();
    assert!(said.contains("Migrated 300 client(s) from the input"), "{said}");
    assert_same(&store(&operator, JSON), &store(&operator, SQLITE), &[]);
    let left: Vec<_> =
        std::fs::read_dir(operator.home().join("tmp")).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{left:?}");
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_it_is_said_and_never_by_half() {
    let operator = with_json(&few(&[(1, "a")]));
    let file = operator.write("mine", b"mine");
    hivemind_tests::set_mode(&file, 0o644);
    operator.run(&["export", text(&file)]).fails(7, &["error[exists]", "--force"]);
    assert_eq!(std::fs::read(&file).expect("it"), b"mine");
    operator.run(&["export", text(&file), "--force"]).well();
    assert!(std::fs::read(&file).expect("it").starts_with(b"{\"hivemind_export\": 1"));
    assert_eq!(std::fs::metadata(&file).expect("it").permissions().mode() & 0o777, 0o600);
    operator.run(&["export", text(operator.home()), "--force"]).fails(1, &["error[output]"]);
    operator.run(&["export", "/nowhere/x"]).fails(1, &["error[output]"]);

    let operator = with_json(&few(&[(1, "twice"), (2, "twice"), (4, "c")]));
    operator.run(&["export", text(&file), "--force"]).fails(8, &["error[not-carried]", "--leave-behind"]);
    assert!(std::fs::read_to_string(&file).expect("it").contains("\"a\""), "it is as it was");
    operator.run(&["export", text(&file), "--force", "--leave-behind"]).well();
    let left: Vec<_> = std::fs::read_dir(operator.home()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp_")), "{left:?}");
    operator.run(&["import", text(&file), "--db-backend", "sqlite"]).well();
    let expected = [(1, "twice"), (2, "revoked"), (3, "revoked"), (4, "c")].map(|(id, key)| (id, key.to_owned()));
    assert_eq!(listed(&operator, &["--db-backend", "sqlite"]), expected);
}

#[test]
fn an_export_that_was_cut_or_changed_is_refused_before_anything_is_written() {
    let operator = with_json(&many(20));
    let whole = operator.run(&["export", "-"]).well();
    let last = whole.lines().last().expect("a line").len() + 1;
    let lines: Vec<&str> = whole.lines().collect();
    let swapped = [&lines[..1], &[lines[2], lines[1]], &lines[3..]].concat().join("\n") + "\n";
    let without_one = [&lines[..5], &lines[6..]].concat().join("\n") + "\n";
    let cases = [
        ("", "line 1"),
        ("hello\n", "does not begin"),
        (&whole[..whole.len() - last], "was cut"),
        (&whole[..whole.len() - 5], "was cut"),
        (&whole[..whole.len() / 2], "was cut"),
        (&whole.replacen("\"key-00000003\"", "\"key-00000099\"", 1), "was changed"),
        (&without_one, "was changed"),
        (&swapped, "order"),
        (&format!("{whole}{{}}\n"), "follows"),
        (&whole.replacen("\"hivemind_export\": 1", "\"hivemind_export\": 2", 1), "form 2"),
        (&whole.replacen("\"version\": 2", "\"version\": 3", 1), "newer"),
        (&whole.replacen("{\"clients\"", "{\"agents\"", 1), "agents"),
        (&whole.replacen("\"is_admin\": false", "\"is_admin\": 5", 1), "is_admin"),
    ];
    for (content, said) in cases {
        let ended = operator.run_with_input(&["import", "-", "--db-backend", "sqlite"], content);
        ended.fails(8, &["error[bad-export]", said]);
        assert!(!store(&operator, SQLITE).exists(), "{said}");
    }
    operator.run(&["import", "/nowhere"]).fails(2, &["error[no-source]"]);
    operator.run(&["import", "/dev/zero"]).fails(2, &["error[no-source]"]);
}

#[test]
fn an_import_merges_and_replaces_as_a_move_does() {
    let operator = with_json(&few(&[(1, "a"), (4, "d")]));
    let file = operator.home().join("x");
    operator.run(&["export", text(&file)]).well();
    let other = with_json(&few(&[(1, "a"), (2, "b")]));
    other.run(&["import", text(&file)]).fails(7, &["error[target-not-empty]"]);
    other.run(&["import", text(&file), "--merge"]).well();
    assert_eq!(listed(&other, &[]).iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["a", "b", "revoked", "d"]);
    other.run(&["import", text(&file), "--replace"]).well();
    assert_eq!(listed(&other, &[]).iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["a", "revoked", "revoked", "d"]);
}

#[test]
fn a_passphrase_is_asked_for_twice_to_write_once_to_read_and_not_shown() {
    let operator = with_json(&few(&[(1, "a")]));
    let file = operator.home().join("x");
    operator
        .run(&["export", text(&file), "--passphrase"])
        .fails(2, &["no terminal", "--passphrase-file", "HIVEMIND_EXPORT_PASSPHRASE"]);
    let typed = |first: &str, second: &str| {
        let steps = [("Passphrase:", first), ("again:", second)];
        let ended = operator.run_on_terminal(&["export", text(&file), "--passphrase"], &steps);
        assert!(!ended.out.contains("MARK"), "{ended:?}");
        ended
    };
    let ended = typed("MARK horse\n", "MARK house\n");
    assert!(ended.code == 2 && ended.out.contains("differ") && !file.exists(), "{ended:?}");
    let ended = typed("MARK horse\n", "MARK horse\n");
    assert!(ended.code == 0 && ended.out.contains("encrypted"), "{ended:?}");
    let import = ["import", text(&file), "--db-backend", "sqlite"];
    operator.run(&import).fails(8, &["it is encrypted"]);
    let ended = operator.run_on_terminal(&import, &[("Passphrase:", "MARK house\n")]);
    assert!(ended.code == 8 && ended.out.contains("cannot be decrypted") && !ended.out.contains("MARK"), "{ended:?}");
    let ended = operator.run_on_terminal(&import, &[("Passphrase:", "MARK horse\n")]);
    assert!(ended.code == 0 && !ended.out.contains("MARK"), "{ended:?}");
    assert_same(&store(&operator, JSON), &store(&operator, SQLITE), &[]);
    // Where something else opens it nobody is asked.
    let passphrase = operator.write("passphrase", b"MARK horse\n");
    assert_eq!(operator.run_on_terminal(&[&import[..], &["--passphrase-file", text(&passphrase)]].concat(), &[]).code, 0);
}

/// Every record may be in it, in clear.
#[test]
fn what_a_killed_export_left_is_gone_with_the_next_one() {
    let operator = with_json(&many(4000));
    let folder = operator.home().join("exports");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("x");
    let left = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path());
        entries.filter(|path| text(path).contains(".tmp_")).collect()
    };
    let mut tries = 0;
    while left().is_empty() {
        tries += 1;
        assert!(tries < 200, "no kill left anything");
        let mut command = operator.command(&["export", text(&file), "--force"]);
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("it starts");
        hivemind_tests::waiting::wait_until("it writes", || {
            left().iter().any(|path| std::fs::metadata(path).is_ok_and(|m| m.len() > 0))
                || child.try_wait().expect("a child").is_some()
        });
        let _ = child.kill();
        child.wait().expect("ended");
    }
    assert_eq!(std::fs::metadata(&left()[0]).expect("it").permissions().mode() & 0o777, 0o600);
    // One that somebody is writing stays.
    let other = std::fs::File::create(folder.join(".tmp_export_other")).expect("a file");
    other.lock().expect("locked");
    operator.run(&["export", text(&file), "--force"]).well();
    assert_eq!(left(), [folder.join(".tmp_export_other")]);
    drop(other);
    operator.run(&["export", text(&file), "--force"]).well();
    assert!(left().is_empty());
}
