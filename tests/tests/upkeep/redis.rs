//! Backups of a Redis namespace, the way back, and what is left when either is cut.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hivemind_tests::python::Peer;
use hivemind_tests::redis::sync::{Writers, repairs};
use hivemind_tests::redis::{Deployment, Kind};
use serde_json::Map;

use super::*;

/// An operator whose configured backend is Redis with these settings.
pub(super) fn operator(settings: &Map<String, Value>) -> Operator {
    let operator = Operator::new();
    operator.configure(&json!({"database": {"module": REDIS, REDIS: settings}}));
    operator
}

fn single() -> (Deployment, Operator) {
    let deployment = Deployment::start(Kind::Single, &[]);
    let operator = operator(&deployment.settings("hub"));
    (deployment, operator)
}

/// Writes clients as the Python node has them, with all that is kept beside.
fn fill(deployment: &Deployment, operator: &Operator, clients: impl Iterator<Item = Value>) {
    let mut connection = deployment.masters()[0].connection();
    let clients: Vec<Value> = clients.collect();
    for portion in clients.chunks(500) {
        let mut pipeline = ::redis::pipe();
        for client in portion {
            pipeline.set(format!("hub:client:{}", client["client_id"]), client.to_string()).ignore();
        }
        pipeline.query::<()>(&mut connection).expect("written");
    }
    operator.run(&["db", "repair", "--no-backup"]).well();
}

fn client(id: usize, mark: &str, length: usize) -> Value {
    json!({"client_id": id, "api_key": format!("key-{id}"), "name": format!("{id}-{mark}"), "description": "x".repeat(length)})
}

/// Nothing is left that the Python node's `sync` would mend, nor anything of a restore.
fn assert_right(deployment: &Deployment, operator: &Operator) {
    let found = repairs(deployment, "hub", Writers::Ours, &mut Peer::start(operator.home()));
    assert!(found.is_empty(), "{found:#?}");
    let left = deployment.dump("hub:handles:restore");
    assert!(left.0.is_empty(), "{left:?}");
}

#[test]
fn a_backup_lies_among_the_data_comes_back_and_is_what_redis_takes() {
    for kind in [Kind::Single, Kind::ClusterTagged, Kind::TlsAcl] {
        let deployment = Deployment::start(kind, &[]);
        let operator = operator(&deployment.settings("hub"));
        ["a", "b", "c"].iter().for_each(|key| add(&operator, key));
        operator.run(&["delete-client", "c", "--yes"]).well();
        let before = deployment.dump("hub").without(&format!("{}:indexes:clients:writes", deployment.base("hub")));
        let said = operator.run(&["backup"]).well();
        let found = files(&operator.data().join("backups"));
        let [file] = &found[..] else { panic!("{found:?}") };
        assert!(said.contains(text(file)) && said.contains("bytes"), "{kind:?}: {said}");
        assert_eq!(mode(file), 0o600);
        assert!(operator.run(&["db", "verify", text(file)]).well().contains("Nothing is wrong"));
        add(&operator, "d");
        operator.run(&["rename-client", "a", "--name", "other"]).well();
        operator.run(&["restore", text(file)]).fails(2, &["nothing was changed", "--yes"]);
        let said = operator.run(&["restore", text(file), "--yes"]).well();
        assert!(said.contains("(3 records)"), "{said}");
        assert_eq!(keys(&operator), ["a", "b", "revoked"]);
        let after = deployment.dump("hub").without(&format!("{}:indexes:clients:writes", deployment.base("hub")));
        let handles = format!("{}:handles:", deployment.base("hub"));
        let differs = hivemind_tests::redis::difference(&before.without(&handles), &after.without(&handles));
        assert!(differs.is_empty(), "{kind:?}: {differs:#?}");
        // The next client's id is the one behind the last again.
        add(&operator, "e");
        assert_eq!(operator.client(4)["api_key"], "e");
        let kept: Vec<_> =
            files(&operator.data().join("backups")).into_iter().filter(|f| text(f).contains("before-restore")).collect();
        operator.run(&["restore", text(&kept[0]), "--yes", "--no-keep"]).well();
        assert_eq!(keys(&operator), ["a", "b", "revoked", "d"]);
        assert_eq!(operator.client(1)["name"], "other");
        assert!(operator.run(&["db", "verify"]).well().contains("Nothing is wrong with the store; 4 records"));
    }
}

/// A backup as a later version of this program would make it: the form is that of Redis's append-only file.
fn write_newer(path: &Path) {
    use sha2::Digest as _;
    let command = |words: &[&str]| {
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
        format!("*{}\r\n{words}", words.matches('$').count())
    };
    let body = command(&["ECHO", "hivemind-redis-backup 1 hub"]) + &command(&["SET", "hub:schema_version", "3"]);
    let hash: String = sha2::Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path, body + &command(&["ECHO", &format!("hivemind-redis-backup-end 1 {hash}")])).expect("written");
}

/// Without this program: with the tool of every Redis server.
#[test]
fn a_backup_is_taken_by_redis_cli() {
    let (deployment, operator) = single();
    ["a", "é"].iter().for_each(|key| add(&operator, key));
    let file = operator.home().join("x.backup");
    operator.run(&["backup", text(&file)]).well();
    let before = deployment.dump("hub:client:");
    deployment.clear("hub");
    let port = deployment.masters()[0].port().to_string();
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-p", &port, "--pipe"]).stdin(std::fs::File::open(&file).expect("it")).stdout(Stdio::null());
    assert!(command.status().expect("redis-cli").success());
    assert_eq!(deployment.dump("hub:client:"), before);
    operator.run(&["db", "repair", "--no-backup"]).well();
    assert_eq!(keys(&operator), ["a", "é"]);
    assert_right(&deployment, &operator);
}

#[test]
fn files_that_are_there_stay_and_what_cannot_be_had_is_said() {
    let (deployment, operator) = single();
    add(&operator, "a");
    let file = operator.home().join("x.backup");
    std::fs::write(&file, "mine").expect("written");
    operator.run(&["backup", text(&file)]).fails(7, &["error[exists]", "x.backup exists already", "--force"]);
    operator.run(&["backup", text(&file), "--force"]).well();
    operator.run(&["backup", "/no/such/folder/x"]).fails(5, &["/no/such/folder"]);
    // Of another backend, and of a later version.
    let json = PLAIN[1].operator();
    add(&json, "b");
    let other = json.home().join("json.backup");
    json.run(&["backup", text(&other)]).well();
    operator.run(&["restore", text(&other), "--yes"]).fails(8, &["json.backup", "no backup of a Redis store"]);
    let newer = operator.home().join("newer.backup");
    write_newer(&newer);
    operator.run(&["restore", text(&newer), "--yes"]).fails(8, &["error[too-new]", "newer.backup", "version 3"]);
    operator.run(&["db", "verify", text(&newer)]).fails(8, &["error[too-new]"]);
    assert_eq!(keys(&operator), ["a"]);
    // A record that is no string is said, and not in it.
    deployment.ask::<()>(&["RPUSH", "hub:client:2", "x"]);
    let second = operator.home().join("second.backup");
    operator.run(&["backup", text(&second)]).fails(8, &["hub:client:2 is no string", "made all the same"]);
    operator.run(&["restore", text(&second), "--yes", "--no-keep"]).well();
    assert_eq!(keys(&operator), ["a"]);
    assert!(deployment.dump("hub:client:").0.len() == 1, "what stood there is gone");
    // Single records have no moment in common.
    let cluster = Deployment::start(Kind::ClusterUntagged, &[]);
    let bare = super::redis::operator(&cluster.settings("hub"));
    add(&bare, "a");
    bare.run(&["backup"]).fails(1, &["error[unsupported]", "cluster_hash_tag"]);
    bare.run(&["restore", text(&file), "--yes"]).fails(1, &["error[unsupported]"]);
}

#[test]
fn a_server_that_does_not_tell_of_changes_has_no_backups_and_says_what_to_allow() {
    let deployment = Deployment::start(Kind::Single, &["user little on >pw ~* +@all -client|tracking"]);
    let mut settings = deployment.settings("hub");
    settings.extend([("username".to_owned(), json!("little")), ("password".to_owned(), json!("pw"))]);
    let operator = operator(&settings);
    add(&operator, "a");
    operator.run(&["backup"]).fails(1, &["error[unsupported]", "+client|tracking"]);
    // Without scripts it goes by transactions.
    let deployment = Deployment::start(Kind::Single, &["user little on >pw ~* +@all -@scripting"]);
    let mut settings = deployment.settings("hub");
    settings.extend([("username".to_owned(), json!("little")), ("password".to_owned(), json!("pw"))]);
    let operator = super::redis::operator(&settings);
    add(&operator, "a");
    let file = operator.home().join("x.backup");
    operator.run(&["backup", text(&file)]).well();
    add(&operator, "b");
    operator.run(&["restore", text(&file), "--yes"]).well();
    assert_eq!(keys(&operator), ["a"]);
    assert_right(&deployment, &operator);
}

/// The one mark that all records bear.
fn mark(operator: &Operator, count: usize) -> String {
    let clients = operator.clients();
    assert_eq!(clients.len(), count);
    let mut marks: Vec<&str> = clients.iter().filter_map(|c| c["name"].as_str()?.split('-').nth(1)).collect();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), 1, "some records are old and some new: {marks:?}");
    marks[0].to_owned()
}

/// Cuts restores of these clients again and again; each leaves the old state or the new one to whoever comes next.
fn restores_are_cut(count: usize, length: usize) {
    const ROUNDS: u32 = 10;
    let (deployment, operator) = single();
    let all = |mark: &'static str| (1..=count).map(move |id| client(id, mark, length));
    let backups = ["a", "b"].map(|mark| {
        fill(&deployment, &operator, all(mark));
        // What the next one has not must go.
        let file = operator.home().join(format!("{mark}.backup"));
        operator.run(&["backup", text(&file)]).well();
        file
    });
    let began = Instant::now();
    operator.run(&["restore", text(&backups[0]), "--yes", "--no-keep"]).well();
    let takes = began.elapsed();
    let (mut cut, mut changed) = (0, 0);
    let mut present = "a".to_owned();
    for round in 0.. {
        let words = ["restore", text(&backups[usize::from(present == "a")]), "--yes", "--no-keep"];
        let mut command = operator.command(&words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let after = takes.mul_f64(0.2 + 0.9 * fastrand::f64());
        std::thread::sleep(after.max(Duration::from_millis(1)));
        cut += u32::from(child.try_wait().expect("a state").is_none());
        let _ = child.kill();
        child.wait().expect("ended");
        let now = mark(&operator, count);
        changed += u32::from(now != present);
        present = now;
        if cut >= ROUNDS || round > 5 * ROUNDS {
            break;
        }
    }
    eprintln!("{count} clients of {length} bytes: {cut} cuts, {changed} of the restores are there");
    assert!(cut >= ROUNDS / 2, "{cut}");
    operator.run(&["db", "repair", "--no-backup"]).well();
    assert_right(&deployment, &operator);
}

#[test]
fn a_restore_that_was_cut_is_there_or_not() {
    restores_are_cut(1500, 10);
}

/// More bytes than one script carries, so it is put down first.
#[test]
fn a_large_restore_that_was_cut_is_finished_by_whoever_comes_next() {
    restores_are_cut(800, 24_000);
}

#[test]
fn damaged_backups_are_named() {
    let (deployment, operator) = single();
    fill(&deployment, &operator, (1..=40).map(|id| client(id, "a", 200)));
    damage::backups_of("redis", &operator, 60);
}

#[test]
fn a_backup_that_was_cut_leaves_no_file() {
    let (deployment, operator) = single();
    fill(&deployment, &operator, (1..=3000).map(|id| client(id, "a", 200)));
    let folder = operator.home().join("backups");
    std::fs::create_dir(&folder).expect("a folder");
    let began = Instant::now();
    operator.run(&["backup", text(&operator.home().join("first.backup"))]).well();
    let takes = began.elapsed();
    for _ in 0..10 {
        let mut command = operator.command(&["backup", text(&folder)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(takes.mul_f64(fastrand::f64()));
        let _ = child.kill();
        child.wait().expect("ended");
        for file in files(&folder) {
            assert_eq!(mode(&file), 0o600);
            if !text(&file).ends_with(".tmp") {
                operator.run(&["db", "verify", text(&file)]).well();
            }
        }
    }
    assert_eq!(mark(&operator, 3000), "a");
}

/// Records of a collection that this program does not know come back too, and its sets are made by whoever knows it.
#[test]
fn what_cannot_be_read_and_what_is_not_known_comes_back_as_it_was() {
    let (deployment, operator) = single();
    add(&operator, "a");
    for (key, value) in [
        ("client:2", "{broken"),
        ("collections:notes:record:x:1", "{\"id\": \"x:1\"}"),
        ("collections:notes:version", "7"),
        ("indexes:notes:id_seq", "12"),
    ] {
        deployment.ask::<()>(&["SET", &format!("hub:{key}"), value]);
    }
    let seen = || {
        let dump = deployment.dump("hub:");
        dump.without("hub:handles").without("hub:indexes:clients:writes").without("hub:indexes:restored")
    };
    let before = seen();
    let file = operator.home().join("x.backup");
    operator.run(&["backup", text(&file)]).well();
    deployment.ask::<()>(&["SET", "hub:client:2", "{\"client_id\": 2, \"api_key\": \"b\"}"]);
    deployment.ask::<()>(&[
        "DEL",
        "hub:collections:notes:record:x:1",
        "hub:collections:notes:version",
        "hub:indexes:notes:id_seq",
    ]);
    deployment.ask::<()>(&["SET", "hub:collections:notes:record:y", "{}"]);
    operator.run(&["restore", text(&file), "--yes", "--no-keep"]).well();
    let differs = hivemind_tests::redis::difference(&before, &seen());
    // The counter of readable records.
    assert!(differs.iter().all(|line| line.starts_with("hub:count")), "{differs:#?}");
    assert_eq!(deployment.dump("hub:handles:restored").0.len(), 1, "whoever knows the notes makes their sets");
}
