//! Killed at any moment, a move goes on where it was, and nobody uses what is half there.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hivemind_tests::waiting::KillOnDrop;

use super::*;

const CLIENTS: u64 = 1500;
/// Commits of a whole run; more moments to be killed at.
const BATCH: &str = "16384";
/// Kills for each direction.
const KILLS: u32 = 30;

/// How a start of the program ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    Done,
}

/// Starts the program and kills it after this time, unless it has ended well before.
fn start(operator: &Operator, words: &[&str], after: Duration) -> End {
    let mut command = operator.command(words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = KillOnDrop(command.spawn().expect("the program starts"));
    let end = Instant::now() + after;
    loop {
        if let Some(status) = child.0.try_wait().expect("a child") {
            assert!(status.success(), "{words:?}: {status}");
            return End::Done;
        }
        if Instant::now() >= end {
            return End::Killed;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where clients are moved to or from, apart from the usual files.
enum Side<'s> {
    /// In a folder of its own, by module.
    Folder(&'s str),
    /// A namespace of its own.
    Redis(&'s Server),
}

const FOLDER: &str = "target";

impl Side<'_> {
    fn module(&self) -> &str {
        match self {
            Self::Folder(module) => module,
            Self::Redis(_) => REDIS,
        }
    }

    fn settings(&self) -> Value {
        match self {
            Self::Folder(_) => json!({"subfolder": FOLDER}),
            Self::Redis(server) => json!({"host": "127.0.0.1", "port": server.port(), "index_prefix": FOLDER}),
        }
    }

    /// The options that make it the target.
    fn options(&self) -> Vec<String> {
        let settings = self.settings();
        let all = settings.as_object().expect("an object").iter();
        let option = |name: &str, value: &Value| format!("{name}={}", value.to_string().trim_matches('"'));
        all.flat_map(|(name, value)| ["--to-setting".to_owned(), option(name, value)]).collect()
    }

    /// What [`assert_same`] reads.
    fn clients(&self, operator: &Operator) -> PathBuf {
        match self {
            Self::Folder(module) => {
                operator.home().join("data").join(FOLDER).join(store(operator, module).file_name().expect("a name"))
            }
            Self::Redis(server) => PathBuf::from(format!("redis://127.0.0.1:{}/{FOLDER}", server.port())),
        }
    }

    fn exists(&self, operator: &Operator) -> bool {
        match self {
            Self::Folder(_) => self.clients(operator).exists(),
            Self::Redis(_) => true,
        }
    }

    fn clear(&self, operator: &Operator) {
        match self {
            Self::Folder(_) => {
                std::fs::remove_dir_all(self.clients(operator).parent().expect("a folder")).expect("removed");
            }
            Self::Redis(server) => server.ask::<()>(&["FLUSHALL"]),
        }
    }
}

/// Moves in one direction, killed again and again.
fn killed_again_and_again(operator: &Operator, from: &str, source: &Path, to: &Side<'_>) {
    let seed = fastrand::u64(..);
    fastrand::seed(seed);
    let options = to.options();
    let mut words = vec!["migrate-db", "--from", from, "--to", to.module(), "--batch", BATCH];
    words.extend(options.iter().map(String::as_str));
    let target = to.clients(operator);
    let began = Instant::now();
    assert_eq!(start(operator, &words, Duration::from_secs(600)), End::Done);
    let whole = began.elapsed();
    let (mut kills, mut marked, mut finished) = (0, 0, 0);
    // Follows how fast the machine is just then: a kill before the mark comes later next time, one behind the end earlier.
    let mut until = whole / 3;
    while kills < KILLS {
        if finished > 0 || kills == 0 {
            to.clear(operator);
            finished = 0;
        }
        let after = until.mul_f64(0.1 + 1.1 * fastrand::f64());
        if start(operator, &words, after) == End::Done {
            assert_same(source, &target, &[]);
            finished += 1;
            until = until.mul_f64(0.8);
            continue;
        }
        kills += 1;
        if is_refused(operator, to) {
            marked += 1;
        } else {
            until = until.mul_f64(1.25);
        }
    }
    operator.run(&words).well();
    assert_same(source, &target, &[]);
    if matches!(to, Side::Redis(_)) {
        assert!(look(operator, to, &["db", "verify"]).well().contains("Nothing is wrong"));
    }
    // Otherwise nothing was tried.
    assert!(marked >= KILLS / 6, "of {KILLS} kills only {marked} left a marked target; seed {seed}");
}

/// Runs a command on the target.
fn look(operator: &Operator, to: &Side<'_>, words: &[&str]) -> Ended {
    let module = to.module();
    let settings = json!({"database": {"module": module, module: to.settings()}});
    let config = operator.write("looking.json", settings.to_string().as_bytes());
    operator.run(&[&["--config", config.to_str().expect("UTF-8")], words].concat())
}

/// Whether a target that was cut is refused. One that is not must be empty, or whole.
fn is_refused(operator: &Operator, to: &Side<'_>) -> bool {
    if !to.exists(operator) {
        return false;
    }
    let ended = look(operator, to, &["list-clients", "--json", "--all"]);
    if ended.code == 0 {
        let clients: Vec<Value> = serde_json::from_str(&ended.out).expect("JSON");
        assert!(clients.is_empty() || clients.len() as u64 == CLIENTS, "{} clients without a mark", clients.len());
        return false;
    }
    ended.fails(5, &["error[migrating]"]);
    true
}

/// From the usual file of a backend.
fn from_file(from: &str, to: &Side<'_>) {
    let operator = with_json(&many(CLIENTS));
    if from == SQLITE {
        operator.run(&["migrate-db"]).well();
    }
    killed_again_and_again(&operator, from, &store(&operator, from), to);
}

#[test]
fn into_sqlite() {
    from_file(JSON, &Side::Folder(SQLITE));
}

#[test]
fn into_json() {
    from_file(SQLITE, &Side::Folder(JSON));
}

#[test]
fn into_redis() {
    from_file(SQLITE, &Side::Redis(&Server::start(&[])));
}

#[test]
fn out_of_redis() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&many(CLIENTS), &server);
    operator.run(&["migrate-db", "--to", "redis"]).well();
    killed_again_and_again(&operator, REDIS, &in_redis(&server), &Side::Folder(SQLITE));
}
