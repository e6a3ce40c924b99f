//! A lie about each capability, and what finds it out: the conformance kit, run on the loaded library. An honest plugin of the same
//! make passes the same case, so that it is the lie that fails.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hivemind_conformance::pipe::Remote;
use hivemind_conformance::{Failure, Instance, Subject, cases};
use hivemind_model::{Error, Result};

use super::*;

/// A misbehaving plugin under test.
struct Liar(Value);

impl Subject for Liar {
    fn name(&self) -> String {
        self.0.to_string()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        static NUMBER: AtomicI64 = AtomicI64::new(0);
        let folder = Folder::new().with("misbehaving", "x.so");
        let mut block = self.0.clone();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        block["resource"] = json!(folder.path().join(format!("store-{number}")));
        Ok(Box::new(Store { folder, block }))
    }
}

struct Store {
    folder: Folder,
    block: Value,
}

impl Instance for Store {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        let opened = wild().open("misbehaving", &settings(&self.block)).map_err(|e| Error::io(e.to_string()))?;
        Ok(opened.backend)
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        let folder = self.folder.loader();
        let plugin =
            folder.resolve("misbehaving").and_then(|checked| folder.load(checked)).map_err(|e| Error::io(e.to_string()))?;
        Ok(Some(Arc::new(plugin.open_bare(&self.block.to_string(), self.folder.path())?)))
    }

    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_backend-peer"))
            .args([self.folder.path().as_os_str(), "misbehaving".as_ref(), self.block.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (from, to) = (child.stdout.take().expect("a pipe"), child.stdin.take().expect("a pipe"));
        Ok(Some(Arc::new(Remote::new(Owned { from, child }, to)?)))
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

/// A pipe that ends its process with it.
struct Owned {
    from: std::process::ChildStdout,
    child: Child,
}

impl std::io::Read for Owned {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.from.read(buffer)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(block: &Value, case: &str) -> std::result::Result<(), Failure> {
    let case = cases().into_iter().find(|c| c.name == case).unwrap_or_else(|| panic!("a case {case}"));
    case.run(&Liar(block.clone()))
}

/// The lie, the case that finds it, what that says, and an honest plugin which passes it, if this one can be honest there.
fn found_out(lie: &Value, case: &str, said: &str, honest: Option<&Value>) {
    match run(lie, case) {
        Err(Failure::Wrong(message)) => assert!(message.contains(said), "{case}: expected {said:?} in {message}"),
        other => panic!("{case} does not find {lie} out: {other:?}"),
    }
    if let Some(honest) = honest {
        run(honest, case).unwrap_or_else(|failure| panic!("{case} on {honest}: {failure}"));
    }
    alive();
}

#[test]
fn durable_without_keeping_anything() {
    found_out(&json!({"claims": ["durable"]}), "lifecycle::reopen", "expected", Some(&json!({"durable": true})));
}

#[test]
fn atomic_batches_that_are_applied_in_parts() {
    let lie = json!({"misdeed": "batches-in-parts"});
    found_out(&lie, "batch::malformed_at_each_position", "expected", Some(&json!({})));
}

#[test]
fn unique_without_looking() {
    found_out(&json!({"misdeed": "forget-unique"}), "unique::taken", "expected", Some(&json!({})));
}

#[test]
fn several_processes_each_with_a_store_of_its_own() {
    found_out(&json!({"claims": ["multi-process"]}), "declared::multi_process", "the keys there", None);
}

#[test]
fn encryption_that_writes_in_clear() {
    found_out(&json!({"misdeed": "write-in-clear", "claims": ["encryption"]}), "declared::encryption", "can be read in", None);
}

#[test]
fn encryption_that_names_no_file_or_writes_none() {
    found_out(&json!({"claims": ["encryption"]}), "declared::encryption", "expected a file", None);
}

#[test]
fn a_backup_that_makes_no_file() {
    found_out(
        &json!({"misdeed": "no-backup", "claims": ["online-backup"]}),
        "declared::backup",
        "the backup: expected a file",
        None,
    );
}

#[test]
fn change_tracking_that_sees_nothing() {
    let honest = json!({"claims": ["change-tracking"]});
    let lie = json!({"misdeed": "see-no-change", "claims": ["change-tracking"]});
    found_out(&lie, "changes::own_writes", "expected a change", Some(&honest));
    found_out(&lie, "changes::unknown_token", "expected Everything", Some(&honest));
}

#[test]
fn inline_reads_that_block() {
    let lie = json!({"misdeed": "slow-get", "claims": ["inline-reads"]});
    found_out(&lie, "declared::inline_reads", "expected lookups that do not block", Some(&json!({"claims": ["inline-reads"]})));
}

/// What is kept and was not declared is found out too: somebody relies on its being refused.
#[test]
fn more_than_is_declared() {
    found_out(&json!({"durable": true}), "negative::no_durability", "the keys", Some(&json!({})));
}

#[test]
fn pages_larger_than_asked_for() {
    found_out(&json!({"misdeed": "too-large-pages"}), "paging::max_bytes", "a page of at most", Some(&json!({})));
}

#[test]
fn pages_in_circles() {
    found_out(&json!({"misdeed": "pages-in-circles"}), "paging::ends", "expected", Some(&json!({})));
}

/// The host refuses at run time what the manifest does not declare, whatever the handle says.
#[test]
fn a_handle_that_promises_more_than_its_manifest_is_refused() {
    let folder = Folder::new();
    let bytes = hivemind_tests::specimen::patched("misbehaving", r#""network""#, r#""netw0rk""#);
    let path: PathBuf = folder.write("specimen.so", &bytes);
    let opened = folder.loader().open("misbehaving", &settings(&json!({"claims": ["network"]})));
    let Err(OpenError::Refused(refusal)) = opened else { panic!("a refusal") };
    told(&refusal, &path, "overpromises", &["promises more than its manifest declares: network", "tell its vendor"]);
}
