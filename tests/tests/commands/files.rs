//! The modes of what the program creates, and that it leaves those of others alone.

use hivemind_tests::program::Ended;
use hivemind_tests::set_mode;

use super::*;

/// Everything below a folder.
fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn new_files_are_for_their_owner_alone_whatever_the_umask_is() {
    for umask in ["umask 022", "umask 000"] {
        for module in ["sqlite", "json"] {
            let operator = Operator::new();
            let run = |words: &[&str]| Ended::from(operator.in_shell(umask, words).output().expect("a shell")).well();
            let csv = operator.home().join("config/clients.csv");
            run(&["status", "--db-backend", module]);
            run(&["add-client", "--db-backend", module]);
            run(&["add-client", "--db-backend", module]);
            run(&["make-admin", "1", "--db-backend", module]);
            run(&["plugins", "pin", module]);
            run(&["export-clients", "--db-backend", module, "--path", text(&csv)]);
            let (config, data) = (operator.home().join("config"), operator.home().join("data"));
            let mut files = 0;
            for path in [&config, &data].into_iter().flat_map(|f| below(f).into_iter().chain([f.clone()])) {
                let expected = match path.extension().and_then(|e| e.to_str()) {
                    _ if path.is_dir() => 0o700,
                    // No secret, and to be read by a node that is not the one who pinned.
                    Some("toml") => 0o644,
                    _ => 0o600,
                };
                assert_eq!(mode(&path), expected, "{umask} {module}: {}", path.display());
                files += usize::from(path.is_file());
            }
            // server.json, plugins.lock.toml, clients.csv, and the store.
            assert!(files >= 4, "{files}");
            assert!(
                csv.is_file() && operator.data().join(if module == "json" { "clients.json" } else { "clients.db" }).is_file()
            );
            if module == "json" {
                let lock = operator.home().join("tmp/clients.json.lock");
                assert_eq!(mode(&lock), 0o666, "every user's programs meet at the lock, as the Python node's do");
                assert_eq!(std::fs::metadata(lock).expect("the lock").len(), 0);
            }
        }
    }
}

#[test]
fn modes_that_the_operator_set_are_kept() {
    for (module, name) in [("sqlite", "clients.db"), ("json", "clients.json")] {
        let operator = with_two(module);
        let file = operator.data().join(name);
        set_mode(&file, 0o640);
        set_mode(&operator.data(), 0o750);
        set_mode(&operator.config(), 0o644);
        operator.run(&["make-admin", "1"]).well();
        operator.run(&["add-client"]).well();
        operator.run(&["delete-client", "2", "--yes"]).well();
        assert_eq!([&file, &operator.data(), &operator.config()].map(|p| mode(p)), [0o640, 0o750, 0o644], "{module}");
    }
}

#[test]
fn nothing_is_written_outside_of_the_operators_folders_and_nothing_temporary_stays() {
    for module in ["sqlite", "json"] {
        let operator = with_two(module);
        operator.run(&["plugins", "pin"]).well();
        operator.run(&["allow-msg", "x", "1"]).well();
        let mut names: Vec<_> = below(operator.home())
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| text(path.strip_prefix(operator.home()).expect("below")).to_owned())
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        names.sort();
        let mut expected =
            vec!["config/hivemind-core/plugins.lock.toml", "config/hivemind-core/server.json", "data/hivemind-core/audit.jsonl"];
        match module {
            "sqlite" => expected.push("data/hivemind-core/clients.db"),
            _ => expected.extend([
                "data/hivemind-core/clients.json",
                "data/hivemind-core/clients.schema_version",
                "tmp/clients.json.lock",
            ]),
        }
        assert_eq!(names, expected);
    }
}
