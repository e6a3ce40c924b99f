//! What the node is tested against is what the Python node does with the same messages, today as when it was kept.

use std::fs::File;
use std::process::Command;

use hivemind_tests::python::{isolate, venv};
use hivemind_tests::root;

#[test]
fn the_kept_vectors_are_those_of_the_python_node() {
    let home = tempfile::tempdir().expect("a temp folder");
    let kept = root().join("node/testdata/vectors.json");
    let mut command = Command::new(venv().join("bin/python"));
    command.arg(root().join("tests/python/node_vectors.py")).stdin(File::open(&kept).expect("vectors"));
    isolate(&mut command, home.path());
    let output = command.output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (made, kept) = (String::from_utf8(output.stdout).expect("UTF-8"), std::fs::read_to_string(&kept).expect("vectors"));
    let differs = made.lines().zip(kept.lines()).position(|(made, kept)| made != kept);
    assert!(made == kept, "they differ from line {differs:?} on: write the file anew with the script and see what has changed");
}
