//! Secrets planted everywhere, and looked for in whatever can be seen from outside.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use hivemind_tests::set_mode;

use super::*;

const STORED: &str = "MARK-stored-password";
const PASSWORD: &str = "MARK-16-letters!";
const PASSPHRASE: &str = "MARK passphrase of an export";
const PSK: &str = "MARK-psk";

/// Of how many commands the process list was seen.
static SEEN: AtomicUsize = AtomicUsize::new(0);

fn planted() -> Operator {
    let operator = Operator::with_module(JSON);
    let client =
        json!({"1": {"client_id": 1, "api_key": "MARK-key", "name": "n", "password": STORED, "metadata": {"noise_psk": PSK}}});
    operator.write("data/hivemind-core/clients.json", client.to_string().as_bytes());
    for (name, content) in [("password", PASSWORD), ("passphrase", PASSPHRASE), ("wrong", "MARK-wrong-secret")] {
        let path = operator.write(name, format!("{content}\n").as_bytes());
        set_mode(&path, 0o600);
    }
    operator
}

/// Everything below a folder but the named files.
fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] })
        .collect()
}

/// Runs with everything logged, looks at the process meanwhile, and asserts that no secret is seen.
fn silently(operator: &Operator, words: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = operator.command(words);
    command.args(["-vv"]).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").envs(environment.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let id = child.id();
    // At once: on a busy machine it may have ended before the thread below gets to look.
    let mut seen = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let watching = std::thread::spawn(move || {
        // One that has ended has no command line, and one that has just begun none yet.
        while let (Ok(line), Ok(stat)) =
            (std::fs::read(format!("/proc/{id}/cmdline")), std::fs::read_to_string(format!("/proc/{id}/stat")))
        {
            if stat.contains(") Z ") {
                break;
            }
            if line.is_empty() {
                std::thread::yield_now();
                continue;
            }
            seen = line;
            for task in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).and_then(|p| p.parse::<u32>().ok());
                assert_ne!(parent, Some(id), "it starts no other program: {stat}");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let ended = Ended::from(child.wait_with_output().expect("the program ends"));
    let line = watching.join().expect("nothing was started");
    // Of a short command nothing may have been seen; of most there is something.
    SEEN.fetch_add(usize::from(!line.is_empty()), Ordering::Relaxed);
    assert!((line.is_empty() || line.contains(words[0])) && !line.contains("MARK"), "{line}");
    for said in [&ended.out, &ended.err] {
        assert!(!said.contains("MARK"), "{words:?}: {said}");
    }
    ended
}

#[test]
fn no_secret_is_seen_while_records_are_moved() {
    let operator = planted();
    let (password, passphrase, wrong) =
        ("password_file=../../password", operator.home().join("passphrase"), operator.home().join("wrong"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (passphrase, wrong, export) = (text(&passphrase), text(&wrong), text(&operator.home().join("out.age")));
    silently(&operator, &["migrate-db", "--dry-run"], &[]).well();
    silently(&operator, &["migrate-db", "--to-setting", password], &[]).well();
    let wrong_setting = format!("password_file={wrong}");
    silently(&operator, &["migrate-db", "--to-setting", &wrong_setting], &[]).fails(5, &["error[denied]", &wrong]);
    let environment = [("HIVEMIND_SQLITE_PASSWORD", PASSWORD)];
    silently(&operator, &["status", "--db-backend", "sqlite"], &environment).well();
    silently(&operator, &["status", "--db-backend", "sqlite"], &[("HIVEMIND_SQLITE_PASSWORD", "MARK-wrong-one")])
        .fails(5, &["error[denied]", "$HIVEMIND_SQLITE_PASSWORD"]);
    silently(&operator, &["export", &export, "--passphrase-file", &passphrase], &[]).well();
    silently(&operator, &["import", &export, "--passphrase-file", &passphrase, "--replace"], &[]).well();
    silently(&operator, &["import", &export, "--passphrase-file", &wrong], &[]).fails(8, &["error[bad-export]"]);
    silently(
        &operator,
        &["import", &export, "--db-backend", "sqlite", "--merge"],
        &[environment[0], ("HIVEMIND_EXPORT_PASSPHRASE", PASSPHRASE)],
    )
    .well();
    silently(&operator, &["import", &export, "--identity", &wrong], &[]).fails(2, &["AGE-SECRET-KEY-1"]);
    silently(&operator, &["migrate-db", "--to", "json", "--to-setting", "subfolder=second", "--switch"], &[]).well();
    operator.write("broken.json", format!("{{\"{STORED}\": \"{STORED}\"}}\n").as_bytes());
    silently(&operator, &["import", &text(&operator.home().join("broken.json"))], &[]).fails(8, &["error[bad-export]"]);

    assert!(SEEN.load(Ordering::Relaxed) > 4, "next to no process was seen");

    // Secrets are where they were put and in the stores, and nowhere else.
    let allowed = ["password", "passphrase", "wrong", "broken.json", "clients.json"];
    for path in files(operator.home()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let content = std::fs::read(&path).expect("read");
        let seen = content.windows(4).any(|w| w == b"MARK");
        assert!(!seen || allowed.contains(&&*name), "{} holds a secret", path.display());
        assert!(!name.starts_with(".tmp_"), "{} was left", path.display());
    }
}

#[test]
fn a_systemd_credential_is_a_password_and_a_loose_file_is_said_once_with_what_mends_it() {
    let operator = planted();
    let password = operator.home().join("password");
    operator.run(&["migrate-db", "--to-setting", &format!("password_file={}", password.display())]).well();
    let folder = operator.home().join("credentials");
    let credential = operator.write("credentials/hivemind-sqlite-password", PASSWORD.as_bytes());
    set_mode(&credential, 0o600);
    let run = |words: &[&str]| {
        let mut command = operator.command(words);
        command.args(["--db-backend", "sqlite"]).env("CREDENTIALS_DIRECTORY", &folder);
        Ended::from(command.output().expect("the program starts"))
    };
    set_mode(&store(&operator, SQLITE), 0o644);
    let ended = run(&["list-clients"]);
    assert_eq!(ended.err.matches("chmod").count(), 1, "{ended:?}");
    assert!(ended.err.contains("clients.db (mode 0644)"), "{ended:?}");
    ended.well();
    run(&["list-clients", "--strict"]).fails(3, &["error[loose-mode]", "clients.db", "chmod"]);
    let command = run(&["status", "--strict"]).err;
    let command = command.split("run: ").nth(1).expect("a command").trim();
    assert!(std::process::Command::new("/bin/sh").args(["-c", command]).status().expect("a shell").success());
    run(&["list-clients", "--strict"]).well();
    set_mode(&credential, 0o604);
    run(&["list-clients", "--strict"]).fails(3, &["error[loose-mode]", "hivemind-sqlite-password"]);

    // A configuration that holds no secret may be read by all.
    set_mode(&store(&operator, JSON), 0o600);
    set_mode(&operator.config(), 0o644);
    assert_eq!(operator.run(&["list-clients", "--strict"]).code, 0);
    operator.configure(&json!({"database": {"module": JSON}, "upstream": {"password": "MARK"}}));
    set_mode(&operator.config(), 0o644);
    operator.run(&["list-clients", "--strict"]).fails(3, &["error[loose-mode]", "server.json"]);
}
