//! What `hivemind-protocol` is tested against is what the Python packages say, today as when it was kept.

use std::process::Command;

use hivemind_tests::python::{isolate, venv};
use hivemind_tests::root;

#[test]
fn the_kept_vectors_are_those_of_the_python_packages() {
    let home = tempfile::tempdir().expect("a temp folder");
    let made = home.path().join("vectors.json");
    let mut command = Command::new(venv().join("bin/python"));
    command.arg(root().join("tests/python/protocol_vectors.py")).arg(&made);
    isolate(&mut command, home.path());
    let output = command.output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = root().join("protocol/testdata/vectors.json");
    let read = |path| std::fs::read_to_string(path).expect("vectors");
    assert!(read(&made) == read(&kept), "they differ: write the file anew with the script and see what has changed");
}
