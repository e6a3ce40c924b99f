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

/// Moves in one direction, killed again and again.
fn killed_again_and_again(from: &str, to: &str) {
    let seed = fastrand::u64(..);
    fastrand::seed(seed);
    let operator = with_json(&many(CLIENTS));
    if from == SQLITE {
        operator.run(&["migrate-db"]).well();
    }
    let (source, folder) = (store(&operator, from), "subfolder=target");
    let target = operator.home().join("data/target").join(store(&operator, to).file_name().expect("a name"));
    let words = ["migrate-db", "--from", from, "--to", to, "--to-setting", folder, "--batch", BATCH];
    let began = Instant::now();
    assert_eq!(start(&operator, &words, Duration::from_secs(600)), End::Done);
    let whole = began.elapsed();
    let (mut kills, mut marked, mut finished) = (0, 0, 0);
    let mut until = Duration::ZERO;
    while kills < KILLS {
        if finished > 0 || kills == 0 {
            std::fs::remove_dir_all(target.parent().expect("a folder")).expect("removed");
            finished = 0;
        }
        until = until.max(whole / 3);
        let after = until.mul_f64(0.1 + 1.1 * fastrand::f64());
        if start(&operator, &words, after) == End::Done {
            assert_same(&source, &target, &[]);
            finished += 1;
            continue;
        }
        kills += 1;
        marked += u32::from(is_refused(&operator, to, folder, &target));
    }
    operator.run(&words).well();
    assert_same(&source, &target, &[]);
    // Otherwise nothing was tried.
    assert!(marked >= KILLS / 6, "of {KILLS} kills only {marked} left a marked target; seed {seed}");
}

/// Whether a target that was cut is refused. One that is not must be empty, or whole.
fn is_refused(operator: &Operator, to: &str, folder: &str, target: &Path) -> bool {
    if !target.exists() {
        return false;
    }
    let settings = json!({"database": {"module": to, to: {"subfolder": folder.split_once('=').expect("a setting").1}}});
    let config = operator.write("looking.json", settings.to_string().as_bytes());
    let ended = operator.run(&["--config", config.to_str().expect("UTF-8"), "list-clients", "--json", "--all"]);
    if ended.code == 0 {
        let clients: Vec<Value> = serde_json::from_str(&ended.out).expect("JSON");
        assert!(clients.is_empty() || clients.len() as u64 == CLIENTS, "{} clients without a mark", clients.len());
        return false;
    }
    ended.fails(5, &["error[migrating]"]);
    true
}

#[test]
fn into_sqlite() {
    killed_again_and_again(JSON, SQLITE);
}

#[test]
fn into_json() {
    killed_again_and_again(SQLITE, JSON);
}
