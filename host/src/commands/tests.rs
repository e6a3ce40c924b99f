//! Every command on the reference store, as an operator types it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hivemind_model::reference::Reference;
use hivemind_model::{Backend, Capabilities, Mutation, Row, Value};
use hivemind_store::{Options, Storage};

use super::*;
use crate::cli::Cli;
use crate::failure::Exit;

struct Desk {
    folder: tempfile::TempDir,
    backend: Arc<Reference>,
    answers: RefCell<VecDeque<String>>,
    notes: RefCell<Vec<String>>,
    interactive: bool,
}

impl Console for Desk {
    fn is_interactive(&self) -> bool {
        self.interactive
    }

    fn shows_output(&self) -> bool {
        true
    }

    fn ask(&self, question: &str) -> io::Result<Option<String>> {
        self.note(question);
        Ok(self.answers.borrow_mut().pop_front())
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

impl Opener for Desk {
    fn open(&self, global: &Global, config: &Config) -> Result<Opened, Failure> {
        let module = config.database(&global.overrides())?.module;
        let storage = Storage::new(self.backend.clone(), Options::default());
        Ok(Opened { storage, module, plugin: None })
    }
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            backend: Arc::default(),
            answers: RefCell::default(),
            notes: RefCell::default(),
            interactive: false,
        }
    }

    /// A desk with two clients, `aaa` and `bbb`.
    fn with_two() -> Self {
        let desk = Self::new();
        for name in ["aaa", "bbb"] {
            desk.ok(&[
                "add-client",
                "--name",
                name,
                "--access-key",
                name,
                "--password",
                "pw",
                "--allow-weak-password",
                "--allow",
                "speak",
            ]);
        }
        desk
    }

    fn answering(mut self, answers: &[&str]) -> Self {
        self.interactive = true;
        self.answers = RefCell::new(answers.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    fn run(&self, words: &[&str]) -> Result<String, Failure> {
        let cli = Cli::read(std::iter::once(&"hivemind-host").chain(words)).map_err(|e| Failure::usage(e.to_string()))?;
        let places = Places { config: self.folder.path().join("c"), data: self.folder.path().join("d") };
        let cx = Context { global: &cli.global, places, opener: self, console: self };
        let mut out = Vec::new();
        run(&cli.command, &cx, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    fn ok(&self, words: &[&str]) -> String {
        self.run(words).unwrap_or_else(|failure| panic!("{words:?}: {failure}"))
    }

    fn fails(&self, words: &[&str]) -> (Exit, String) {
        match self.run(words) {
            Ok(out) => panic!("{words:?} succeeded: {out}"),
            Err(failure) => (failure.exit, failure.to_string()),
        }
    }

    /// Stores client 3 as no command would.
    fn put(&self, fields: &[(&str, Value)]) {
        let collection = hivemind_store::clients::collection();
        let mut row = Row::builder(&collection).set("client_id", 3).expect("an id");
        for (name, value) in fields {
            row = row.set(name, value.clone()).expect(name);
        }
        let row = row.build();
        let cx = hivemind_model::Context::unbounded();
        let ids = self.backend.prepare(&cx, &[collection]).expect("prepared");
        self.backend.apply(&cx, &[Mutation::Put { collection: ids[0], row }]).expect("stored");
    }

    fn list(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.ok(&["list-clients", "--json", "--all", "--show-secrets"])).expect("JSON")
    }

    fn client(&self, id: usize) -> serde_json::Value {
        self.list().into_iter().nth(id - 1).expect("a client")
    }

    fn noted(&self, words: &str) -> bool {
        self.notes.borrow().iter().any(|n| n.contains(words))
    }
}

#[test]
fn add_client_prints_the_credentials_in_the_python_nodes_words() {
    let desk = Desk::new();
    let out = desk.ok(&[
        "add-client",
        "--name",
        "Küche",
        "--access-key",
        "k2",
        "--password",
        "correct horse battery staple zebra",
        "--admin",
        "true",
        "--metadata",
        r#"{"z": 1, "a": "ü", "n": 1.0}"#,
        "--allow",
        "speak",
        "--allow",
        "a.b",
        "--allow",
        "speak",
    ]);
    assert_eq!(
        out,
        "Database backend: hivemind-sqlite-db-plugin\nCredentials added to database!\n\nNode ID: 1\nAdmin Privileges: True\n\
         Friendly Name: Küche\nAccess Key: k2\nPassword: correct horse battery staple zebra\n\
         Metadata: {\"a\": \"ü\", \"n\": 1.0, \"z\": 1}\nAllowed Message Types: speak, a.b\n"
    );
    let bare = desk.ok(&["add-client"]);
    assert!(
        bare.contains("Friendly Name: HiveMind-Node-1\n")
            && bare.contains("allow-msg ovos.utterance.handle recognizer_loop:utterance 2")
    );
    let record = desk.client(2);
    for field in ["api_key", "password"] {
        let text = record[field].as_str().expect("text");
        assert!(text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{field}");
    }
    assert_eq!(
        (&record["is_admin"], &record["allowed_types"], &record["metadata"]),
        (&false.into(), &serde_json::json!([]), &serde_json::json!({}))
    );
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["add-client", "--json"])).expect("JSON");
    assert_eq!((&json["client_id"], json["password"].as_str().map(str::len)), (&3.into(), Some(32)));
}

#[test]
fn add_client_refuses_what_the_python_node_refuses_and_adds_nothing() {
    let desk = Desk::with_two();
    for (words, exit, part) in [
        (&["--password", "Password123!"][..], Exit::Usage, "too guessable"),
        (&["--access-key", "aaa"], Exit::Conflict, "(Node ID: 1, Friendly Name: aaa)"),
        (&["--access-key", "revoked"], Exit::Usage, "marks revoked clients"),
        (&["--allow", "a b"], Exit::Usage, "white space"),
        (&["--allow", ""], Exit::Usage, "empty"),
        (&["--metadata", "[]"], Exit::Usage, "must be a JSON object"),
        (&["--metadata", "{"], Exit::Usage, "must be valid JSON"),
        (&["--name", "a\u{2028}b"], Exit::Usage, "U+2028"),
        (&["--password-stdin"], Exit::Usage, "no password"),
    ] {
        let words: Vec<&str> = std::iter::once("add-client").chain(words.iter().copied()).collect();
        let (found, message) = desk.fails(&words);
        assert!(found == exit && message.contains(part), "{words:?}: {message}");
        assert!(!message.contains("Password123!"), "{message}");
    }
    assert_eq!(desk.list().len(), 2);
}

#[test]
fn a_password_can_come_from_the_standard_input() {
    let desk = Desk::new().answering(&["correct horse battery staple zebra"]);
    desk.ok(&["add-client", "--password-stdin"]);
    assert_eq!(desk.client(1)["password"], "correct horse battery staple zebra");
}

#[test]
fn lists_mask_secrets_and_leave_revoked_clients_out() {
    let desk = Desk::with_two();
    desk.ok(&["set-metadata", "1", "--metadata", r#"{"noise_psk": "topsecret", "site": "x", "nan": NaN}"#]);
    desk.ok(&["delete-client", "2", "--yes"]);
    for words in [&["list-clients"][..], &["list-clients", "--json"], &["list-clients", "--all"]] {
        let out = desk.ok(words);
        assert!(!out.contains("topsecret") && !out.contains("\"pw\"") && !out.contains(" pw "), "{out}");
        assert_eq!(out.contains("revoked"), words.contains(&"--all"), "{out}");
    }
    let shown = desk.ok(&["list-clients", "--show-secrets"]);
    assert!(shown.contains(" pw ") && shown.contains("speak"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["list-clients", "--json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(1));
    assert_eq!((&json[0]["password"], &json[0]["metadata"]["nan"]), (&"********".into(), &serde_json::Value::Null));
    assert_eq!(Desk::new().ok(&["list-clients", "--json"]), "[]\n");
}

#[test]
fn an_export_is_csv_that_reads_back_and_is_for_its_owner_alone() {
    let desk = Desk::with_two();
    let odd = "a,\"b\"\nc";
    desk.ok(&["rename-client", "1", "--name", odd]);
    let out = desk.ok(&["export-clients"]);
    assert!(out.starts_with("client_id,name,is_admin,access_key,password\n1,\"a,\"\"b\"\"\nc\",False,aaa,pw\n2,"), "{out}");
    assert!(desk.noted("in clear"));
    let path = desk.folder.path().join("out.csv");
    std::fs::write(&path, "old").expect("a file");
    assert_eq!(desk.ok(&["export-clients", "--path", path.to_str().expect("UTF-8")]), "");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), out);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions()) & 0o777, 0o600);
    desk.ok(&["export-clients", "--path", desk.folder.path().to_str().expect("UTF-8")]);
    assert!(desk.folder.path().join("hivemind_clients.csv").is_file());
    let (exit, message) = desk.fails(&["export-clients", "--path", "/nowhere/at/all.csv"]);
    assert!(exit == Exit::Failed && message.contains("/nowhere/at/all.csv"), "{message}");
}

#[test]
fn changes_say_what_they_did_and_that_nothing_was_left_to_do() {
    let desk = Desk::with_two();
    for (words, expected) in [
        (&["rename-client", "bbb", "--name", "two"][..], "Renamed 'bbb' to 'two'\n"),
        (&["make-admin", "2"], "Gave administrator powers to two\n"),
        (&["make-admin", "2"], "two is already an administrator!\n"),
        (&["revoke-admin", "2"], "Revoked administrator powers for two\n"),
        (&["revoke-admin", "2"], "two is not an administrator\n"),
        (&["blacklist-broadcast", "2"], "Blacklisted 'BROADCAST' messages for two\n"),
        (&["blacklist-broadcast", "2"], "Client 'two' 'BROADCAST' messages already blacklisted\n"),
        (
            &["allow-broadcast", "2"],
            "Allowed 'BROADCAST' messages for two\nNOTE: two is not an admin, so it still can not broadcast\n",
        ),
        (&["allow-escalate", "2"], "Client two already allowed to send 'ESCALATE' messages\n"),
        (&["blacklist-propagate", "2"], "Blacklisted 'PROPAGATE' messages for two\n"),
        (
            &["allow-msg", "c", "speak", "c", "d", "2"],
            "Allowed 'c' for two\nAllowed 'd' for two\nClient two already allowed 'speak'\n",
        ),
        (&["blacklist-msg", "c", "x", "2"], "Blacklisted 'c' for two\nClient 'two' message already blacklisted: 'x'\n"),
        (&["blacklist-skill", "s1", "2"], "Blacklisted 's1' for two\n"),
        (&["blacklist-skill", "s1", "2"], "Client two already has 's1' in skill_blacklist\n"),
        (&["allow-skill", "s1", "2"], "Unblacklisted 's1' for two\n"),
        (&["allow-skill", "s1", "2"], "'s1' is not in skill_blacklist for client two\n"),
        (&["blacklist-intent", "i", "2"], "Blacklisted 'i' for two\n"),
        (&["allow-intent", "i", "2"], "Unblacklisted 'i' for two\n"),
        (
            &[
                "set-metadata",
                "2",
                "--metadata",
                r#"{"noise_pubkey": "p", "noise_psk": "s", "a": {"b": 1}}"#,
                "--key",
                "a",
                "--value",
                "1.50",
                "--unset",
                "skill_blacklist",
            ],
            "Updated metadata for two: {\"a\": 1.50, \"intent_blacklist\": [], \"noise_psk\": \"********\", \"noise_pubkey\": \"p\"}\n",
        ),
        (&["reset-noise-pin", "2"], "Forgot the pinned Noise key for two. Its next connection will pin the key it presents.\n"),
        (&["reset-noise-pin", "2"], "two has no pinned Noise key — nothing to reset\n"),
        (&["delete-client", "2", "--yes"], "Revoked credentials!\n\nNode ID: 2\nFriendly Name: two\nAccess Key: bbb\n"),
    ] {
        assert_eq!(desk.ok(words), expected, "{words:?}");
    }
    let one = desk.client(1);
    assert_eq!((&one["name"], &one["allowed_types"]), (&"aaa".into(), &serde_json::json!(["speak"])), "the other is untouched");
}

#[test]
fn an_access_key_goes_before_a_number_and_a_revoked_client_is_nobodys_target() {
    let desk = Desk::with_two();
    desk.ok(&["add-client", "--access-key", "1", "--name", "three"]);
    assert!(desk.noted("looks like a client's number"));
    assert_eq!(desk.ok(&["make-admin", "1"]), "Gave administrator powers to three\n");
    assert!(desk.noted("name client 1 by its access key"));
    assert_eq!(desk.ok(&["make-admin", " +02"]), "Gave administrator powers to bbb\n");
    desk.ok(&["delete-client", "2", "--yes"]);
    for (id, part) in [
        ("2", "client 2 is revoked"),
        ("revoked", "neither an access key nor the number"),
        ("BBB", "neither"),
        ("", "neither"),
        ("9", "neither"),
    ] {
        let (exit, message) = desk.fails(&["make-admin", id]);
        assert!(exit == Exit::NoSuchClient && message.contains(part), "{id:?}: {message}");
    }
}

#[test]
fn the_last_word_names_the_client_and_nothing_is_guessed() {
    let desk = Desk::with_two();
    let (exit, message) = desk.fails(&["allow-msg", "a", "b"]);
    assert!(exit == Exit::NoSuchClient && message.contains("last word names the client"), "{message}");
    for word in ["1", "bbb"] {
        let (exit, message) = desk.fails(&["allow-msg", word]);
        assert!(exit == Exit::Usage && message.contains("no message type was given"), "{message}");
    }
    assert!(desk.fails(&["allow-msg", "a b", "1"]).1.contains("white space"));
    assert_eq!(desk.fails(&["allow-msg", "a"]).0, Exit::Usage, "no terminal to choose on");
    assert_eq!(desk.client(1)["allowed_types"], serde_json::json!(["speak"]));
    let desk = desk.answering(&["bbb"]);
    assert_eq!(desk.ok(&["allow-msg", "a"]), "Allowed 'a' for bbb\n");
}

#[test]
fn without_an_id_the_operator_chooses() {
    let empty = Desk::new();
    assert_eq!(empty.fails(&["make-admin"]).0, Exit::Usage, "no terminal");
    let empty = empty.answering(&[]);
    assert_eq!(empty.fails(&["make-admin"]).0, Exit::NoSuchClient);
    empty.ok(&["add-client", "--name", "only"]);
    assert_eq!(empty.ok(&["make-admin"]), "Gave administrator powers to only\n");
    assert!(empty.noted("Client 1 (only), the only one"));

    let desk = Desk::with_two();
    let (exit, message) = desk.fails(&["make-admin"]);
    assert!(exit == Exit::Usage && message.contains("no terminal"), "{message}");
    let desk = desk.answering(&["nope", "7", "2"]);
    assert_eq!(desk.ok(&["make-admin"]), "Gave administrator powers to bbb\n");
    assert!(desk.noted("Please choose one"));
    let desk = desk.answering(&[""]);
    assert_eq!(desk.fails(&["make-admin"]).0, Exit::Aborted);
    assert_eq!(desk.fails(&["make-admin"]).0, Exit::Failed, "the input ended");
    desk.ok(&["delete-client", "1", "--yes"]);
    assert_eq!(desk.ok(&["revoke-admin"]), "Revoked administrator powers for bbb\n", "a revoked one is no choice");
}

/// `delete-client --yes $ID` with an empty variable is what a script gets wrong.
#[test]
fn the_only_client_is_never_taken_to_be_revoked_and_never_without_a_terminal() {
    let desk = Desk::new();
    desk.ok(&["add-client", "--name", "only"]);
    for words in [&["delete-client", "--yes"][..], &["delete-client"], &["make-admin"], &["allow-msg", "a"], &["reset-noise-pin"]]
    {
        let (exit, message) = desk.fails(words);
        assert!(exit == Exit::Usage && message.contains("no terminal"), "{words:?}: {message}");
    }
    let desk = desk.answering(&[""]);
    assert_eq!(desk.fails(&["delete-client", "--yes"]).0, Exit::Aborted);
    assert!(desk.noted("Which client?"));
    let desk = desk.answering(&["1"]);
    assert!(desk.ok(&["delete-client", "--yes"]).starts_with("Revoked credentials!"));
}

#[test]
fn of_an_option_given_twice_the_last_one_holds() {
    let desk = Desk::with_two();
    desk.ok(&["rename-client", "1", "--name", "x", "--name", "y"]);
    assert_eq!(desk.client(1)["name"], "y");
    let add = ["add-client", "--admin", "true", "--admin", "no", "--allow", "a", "--allow", "b", "--json", "--json"];
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&add)).expect("JSON");
    assert_eq!((&json["is_admin"], &json["allowed_types"]), (&false.into(), &serde_json::json!(["a", "b"])), "lists grow");
    desk.ok(&["set-metadata", "1", "--key", "a", "--value", "1", "--key", "b", "--value", "2"]);
    assert_eq!(desk.client(1)["metadata"], serde_json::json!({"b": 2}));
}

#[test]
fn deleting_asks_first() {
    let desk = Desk::with_two().answering(&["what", "YES"]);
    assert!(desk.ok(&["delete-client", "1"]).starts_with("Revoked credentials!"));
    assert!(desk.noted("Delete client 'aaa' (id 1)? This permanently revokes its credentials. [y/N]: "));
    let desk = desk.answering(&["n"]);
    assert_eq!(desk.fails(&["delete-client", "2"]).0, Exit::Aborted);
    let (exit, message) = desk.fails(&["delete-client", "2"]);
    assert!(exit == Exit::Usage && message.contains("--yes"), "{message}");
    assert_eq!(desk.client(2)["api_key"], "bbb");
}

#[test]
fn set_metadata_refuses_incomplete_requests() {
    let desk = Desk::with_two();
    for (words, part) in [
        (&[][..], "pass --metadata"),
        (&["--metadata", "{}"], "pass --metadata"),
        (&["--key", "a"], "--key requires --value"),
        (&["--value", "1"], "--value requires --key"),
        (&["--metadata", "5"], "must be a JSON object"),
        (&["--metadata", "x"], "must be valid JSON"),
    ] {
        let words: Vec<&str> = ["set-metadata", "1"].into_iter().chain(words.iter().copied()).collect();
        let (exit, message) = desk.fails(&words);
        assert!(exit == Exit::Usage && message.contains(part), "{words:?}: {message}");
    }
}

#[test]
fn print_config_masks_secrets_and_shows_what_is_in_force() {
    let desk = Desk::new();
    let path = desk.folder.path().join("my.json");
    std::fs::write(
        &path,
        r#"{"upstream": {"key": "keysecret", "password": "passsecret"}, "url": "redis://u:urlsecret@h", "database": {"module": "json"}}"#,
    )
    .expect("a file");
    let path = path.to_str().expect("UTF-8");
    let out = desk.ok(&["print-config", "--config", path, "--db-backend", "memory"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&json["database"]["module"], &json["upstream"]["port"]), (&"memory".into(), &5678.into()));
    assert!(!out.contains("secret"), "{out}");
    assert!(desk.ok(&["print-config", "--config", path, "--show-secrets"]).contains("passsecret"));
    let (exit, message) = desk.fails(&["list-clients", "--config", "/nowhere.json"]);
    assert!(exit == Exit::Config && message.contains("/nowhere.json"), "{message}");
}

#[test]
fn stored_control_characters_do_not_reach_the_terminal() {
    let desk = Desk::with_two();
    desk.ok(&["rename-client", "1", "--name", "\u{1b}[2Jx"]);
    for words in [&["list-clients"][..], &["make-admin", "1"], &["delete-client", "1", "--yes"]] {
        assert!(!desk.ok(words).contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn a_damaged_whitelist_is_shown_and_denies() {
    let desk = Desk::with_two();
    desk.put(&[("api_key", "ccc".into()), ("allowed_types", Value::Json("5".to_owned()))]);
    assert!(desk.ok(&["list-clients"]).contains("(unreadable: denies everything)"));
    let (exit, message) = desk.fails(&["allow-msg", "a", "ccc"]);
    assert!(exit == Exit::Data && message.contains("allowed_types of client 3"), "{message}");
    assert!(message.contains("allow-msg --reset TYPE... 3"), "the way out: {message}");
    assert_eq!(desk.fails(&["blacklist-msg", "a", "3"]).0, Exit::Data);
    assert_eq!(desk.ok(&["allow-msg", "--reset", "a", "b", "a", "3"]), "Allowed only 'a', 'b' for \n");
    assert_eq!(desk.client(3)["allowed_types"], serde_json::json!(["a", "b"]));
    assert_eq!(desk.ok(&["allow-msg", "c", "3"]), "Allowed 'c' for \n");
}

#[test]
fn a_blacklist_that_is_no_list_is_damaged_data_and_no_mistyped_command() {
    let desk = Desk::with_two();
    desk.ok(&["set-metadata", "1", "--key", "skill_blacklist", "--value", "5"]);
    let (exit, message) = desk.fails(&["blacklist-skill", "s", "1"]);
    assert!(exit == Exit::Data && message.contains("set-metadata") && message.contains("client 1"), "{message}");
    assert_eq!(desk.client(1)["metadata"]["skill_blacklist"], 5);
}

#[test]
fn changes_and_new_clients_can_be_read_by_programs() {
    let desk = Desk::with_two();
    let json = |words: &[&str]| -> serde_json::Value { serde_json::from_str(&desk.ok(words)).expect("JSON") };
    let metadata = r#"{"noise_psk": "s", "site": "x"}"#;
    let masked = json(&["set-metadata", "1", "--metadata", metadata, "--json"]);
    assert_eq!((&masked["client_id"], &masked["metadata"]["site"]), (&1.into(), &"x".into()));
    assert_eq!((&masked["metadata"]["noise_psk"], &masked["password"]), (&"********".into(), &"********".into()));
    let shown = json(&["set-metadata", "1", "--unset", "site", "--json", "--show-secrets"]);
    assert_eq!((&shown["metadata"], &shown["password"]), (&serde_json::json!({"noise_psk": "s"}), &"pw".into()));
    let new = json(&["add-client", "--metadata", metadata, "--json"]);
    assert_eq!((&new["metadata"]["noise_psk"], new["password"].as_str().map(str::len)), (&"********".into(), Some(32)));
    assert_eq!(json(&["add-client", "--metadata", metadata, "--json", "--show-secrets"])["metadata"]["noise_psk"], "s");
    assert!(desk.ok(&["add-client", "--metadata", metadata, "--show-secrets"]).contains("\"noise_psk\": \"s\""));
}

#[test]
fn status_tells_how_many_there_are_and_what_to_do_next() {
    let desk = Desk::new();
    let out = desk.ok(&["status"]);
    assert!(out.contains("hivemind-sqlite-db-plugin") && out.contains("hivemind-host add-client"), "{out}");
    let desk = Desk::with_two();
    desk.ok(&["delete-client", "1", "--yes"]);
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["status", "--json"])).expect("JSON");
    assert_eq!((&json["clients"], &json["revoked_clients"]), (&1.into(), &1.into()));
    assert_ne!(desk.backend.capabilities(), Capabilities::default());
    desk.put(&[("api_key", Value::Nil), ("metadata", Value::Json("{}".to_owned()))]);
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["status", "--json"])).expect("JSON");
    let counts = ["clients", "revoked_clients", "unreadable_clients"].map(|name| json[name].clone());
    assert_eq!(counts, [2, 1, 0].map(serde_json::Value::from), "without an access key it is not revoked");
}

#[test]
fn completions_and_manual_pages_come_from_the_declarations() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(desk.ok(&["completions", shell]).contains("reset-noise-pin"), "{shell}");
    }
    assert!(desk.ok(&["man"]).contains("hivemind\\-host"));
    let dir = desk.folder.path().join("man");
    desk.ok(&["man", dir.to_str().expect("UTF-8")]);
    let page = std::fs::read_to_string(dir.join("hivemind-host-add-client.1")).expect("a page");
    assert!(page.contains("allow\\-weak\\-password"), "{page}");
}
