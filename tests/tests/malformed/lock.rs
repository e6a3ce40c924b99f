//! The lock file in the temporary folder, where the writers of a JSON store meet. Reading takes none, unless a batch that was cut is to be
//! finished first, or the store is to be brought to its present form: a program that hangs while it holds the lock keeps nobody from
//! looking at what is stored.

use std::os::unix::fs::symlink;

use super::*;

const LOCK: &str = "tmp/clients.json.lock";

fn stored(name: &str, plant_it: impl Fn(&Operator) + 'static) -> Case {
    Case::new(name, move |operator| {
        operator.configure(&serde_json::json!({"database": {"module": JSON, JSON: {"lock_timeout_ms": 300}}}));
        plant(operator, "clients.json", format!("{{\"1\": {}}}", record(1, "aaa")).as_bytes());
        plant(operator, "clients.schema_version", b"2");
        folder(&operator.home().join("tmp"));
        plant_it(operator);
    })
}

#[test]
fn a_lock_that_cannot_be_taken_is_named() {
    let cases = [
        stored("a folder in its place", |o| folder(&o.home().join(LOCK))).fails(5, &[LOCK]).reads(&[]),
        stored("a link in its place", |o| symlink("elsewhere", o.home().join(LOCK)).expect("a link"))
            .fails(5, &["error[denied]", LOCK, "symbolic link"])
            .reads(&[]),
        stored("a pipe in its place", |o| home::pipe(&o.home().join(LOCK))).fails(5, &[LOCK, "regular file"]).reads(&[]),
        stored("a lock of another user that may not even be read", |o| {
            hivemind_tests::set_mode(&o.write(LOCK, b""), 0);
        })
        .unprivileged()
        .fails(5, &["error[denied]", LOCK])
        .reads(&[]),
    ];
    try_all(Some(JSON), &cases, 4);
}

/// Another program holds it and does not let go: reading goes on, and a writer's wait is bounded by the setting and says who is to blame.
#[test]
fn a_lock_that_another_program_holds_makes_writers_busy_in_bounded_time() {
    let case = stored("held", |_| {}).fails(5, &["error[busy]", LOCK, "300 ms"]).reads(&[]);
    let operator = Operator::with_module(JSON);
    let path = operator.write(LOCK, b"");
    hivemind_tests::set_mode(&path, 0o666);
    let file = std::fs::File::open(&path).expect("the lock");
    file.lock().expect("free");
    let problems = case.problems(&operator);
    assert!(problems.is_empty(), "{problems}");
    drop(file);
    home::run_within(&operator, COMMANDS[2], false, LONGEST).well();
}

/// A store that must be brought to its present form first is not: nothing is half done.
#[test]
fn a_migration_that_cannot_take_the_lock_leaves_the_old_store() {
    let case = stored("an old store", |o| {
        std::fs::remove_file(o.data().join("clients.schema_version")).expect("the version");
        folder(&o.home().join(LOCK));
    });
    let problems = case.fails(5, &[LOCK]).problems(&Operator::with_module(JSON));
    assert!(problems.is_empty(), "{problems}");
}

/// Neither a variable that leads nowhere nor a full temporary folder keeps the two programs from meeting: the next folder is taken, as
/// the Python node does.
#[test]
fn a_temporary_folder_that_cannot_be_written_is_passed_over() {
    let operator = Operator::with_module(JSON);
    let output =
        operator.command(COMMANDS[2]).env("TMPDIR", operator.home().join("nowhere")).output().expect("the program starts");
    Ended::from(output).well();
}

/// Whose it is makes no difference, as long as it may be read: a lock needs no right to write.
#[test]
fn a_lock_of_another_user_is_used_as_it_is() {
    let operator = Operator::with_module(JSON);
    let path = operator.write(LOCK, b"");
    hivemind_tests::set_mode(&path, 0o444);
    home::run_within(&operator, COMMANDS[2], true, LONGEST).well();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).expect("the lock"));
    assert_eq!(mode & 0o777, 0o444);
}
