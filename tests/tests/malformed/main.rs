//! Files that are not what they should be, one table for each kind of file. Every case goes through the program as an operator runs it,
//! with a command that tells, one that lists and one that adds. Of each it is asked that it ends, that it does not panic, that it
//! answers with a documented exit code, names the file and the place, says what to do next and shows no secret, and that after a
//! failure every file and folder of the operator is what it was, byte for byte.

mod clients_db;
mod clients_json;
mod encrypted;
mod home;
mod lock;
mod odd;
mod schema_version;
mod server_json;

use std::path::Path;
use std::time::Duration;

use hivemind_tests::program::{Ended, Operator};

use home::Home;

const SQLITE: &str = "hivemind-sqlite-db-plugin";
const JSON: &str = "hivemind-json-db-plugin";

/// In every record that is planted; nothing that the program says may show it.
const SECRET: &str = "hunter2-hunter2";

/// What is tried in each case.
const COMMANDS: [&[&str]; 3] = [
    &["status"],
    &["list-clients"],
    &["add-client", "--access-key", "a-new-key", "--password", "correct horse battery staple 7"],
];

/// How long a command may take on the slowest machine before it counts as hanging.
const LONGEST: Duration = Duration::from_secs(60);

/// A malformed file, and what is said of it.
struct Case {
    name: String,
    plant: Box<dyn Fn(&Operator)>,
    code: i32,
    parts: Vec<String>,
    // The same for the one command that only reads, where it may do more than those that write.
    reads: Option<(i32, Vec<String>)>,
    unprivileged: bool,
}

impl Case {
    fn new(name: &str, plant: impl Fn(&Operator) + 'static) -> Self {
        Self { name: name.to_owned(), plant: Box::new(plant), code: 0, parts: Vec::new(), reads: None, unprivileged: false }
    }

    /// Every command ends with this code, and what it says has all these parts.
    fn fails(mut self, code: i32, parts: &[&str]) -> Self {
        (self.code, self.parts) = (code, parts.iter().map(|p| (*p).to_owned()).collect());
        self
    }

    /// The commands are run with no more rights on files than their owner has, also if root runs the test.
    fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Commands that only read succeed, and say this on either output.
    fn reads(mut self, parts: &[&str]) -> Self {
        self.reads = Some((0, parts.iter().map(|p| (*p).to_owned()).collect()));
        self
    }

    fn run(&self, operator: &Operator, words: &[&str]) -> Ended {
        home::run_within(operator, words, self.unprivileged, LONGEST)
    }

    /// Everything that is wrong with how the program takes it.
    fn problems(&self, operator: &Operator) -> String {
        (self.plant)(operator);
        std::fs::create_dir_all(operator.home().join("tmp")).expect("a folder");
        let before = Home::look(operator);
        let mut problems = String::new();
        for words in COMMANDS {
            let adds = words[0] == "add-client";
            let (code, parts) = self.reads.as_ref().filter(|_| !adds).cloned().unwrap_or((self.code, self.parts.clone()));
            let ended = self.run(operator, words);
            let said = format!("{}{}", ended.out, ended.err);
            let mut wrong = |what: &str| problems += &format!("\n  {}, {}: {what}", self.name, words[0]);
            if ended.code != code {
                wrong(&format!("expected exit code {code}, found {}", ended.code));
            }
            parts
                .iter()
                .filter(|part| !said.contains(part.as_str()))
                .for_each(|part| wrong(&format!("it does not say {part:?}")));
            if said.contains("panicked") || said.contains("stack backtrace") {
                wrong("it panicked");
            }
            if said.contains(SECRET) {
                wrong("it shows a secret");
            }
            if ended.err.len() > 2000 {
                wrong(&format!("it says {} bytes", ended.err.len()));
            }
            let advises = ended.err.contains("\nhelp: ") || ended.err.contains("\n  next: ");
            if code != 0 && !(ended.err.contains("error[") && advises) {
                wrong("it does not say what to do next");
            }
            if code != 0 && !ended.out.is_empty() {
                wrong("it prints something although it fails");
            }
            before.changes(&Home::look(operator)).iter().for_each(|change| wrong(change));
            if problems.contains(&format!("{}, {}", self.name, words[0])) {
                problems += &format!("\n    it said: {}", said.chars().take(1500).collect::<String>().replace('\n', "\n      "));
            }
        }
        problems
    }
}

/// Tries all cases, each in a home of its own with this module, and reports all that is wrong at once.
fn try_all(module: Option<&str>, cases: &[Case], at_least: usize) {
    let mut problems = String::new();
    for case in cases {
        let operator = module.map_or_else(Operator::new, Operator::with_module);
        problems += &case.problems(&operator);
        home::make_removable(operator.home());
    }
    assert!(problems.is_empty(), "of {} cases:{problems}", cases.len());
    assert!(cases.len() >= at_least, "only {} cases are left", cases.len());
}

/// Puts a file of the store where it belongs.
fn plant(operator: &Operator, name: &str, content: &[u8]) {
    operator.write(&format!("data/hivemind-core/{name}"), content);
}

/// A record with a secret, in JSON.
fn record(id: i64, key: &str) -> String {
    format!(r#"{{"client_id": {id}, "api_key": "{key}", "name": "{key}", "password": "{SECRET}", "allowed_types": ["speak"]}}"#)
}

/// A folder in the way of a file.
fn folder(path: &Path) {
    std::fs::create_dir_all(path).expect("a folder");
}
