//! Python peers: the packages that a Python node runs, in a virtual environment under `target/`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::root;
use crate::waiting::HANGS;

/// The virtual environment that `cargo xtask test` sets up.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn venv() -> PathBuf {
    let venv = std::env::var_os("HIVEMIND_PYTHON_PEERS").map_or_else(|| root().join("target/python-peers"), PathBuf::from);
    assert!(venv.join("bin/python").exists(), "no Python peers in {}; `cargo xtask test` sets them up", venv.display());
    venv
}

/// A process that has a store open and answers line by line; see `tests/python/peer.py` for what the Python one can be asked.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// How long the last request may take.
    patience: Duration,
}

/// Settings of every process of a test: its own home, data, config and temp folders.
pub fn isolate(command: &mut Command, home: &Path) {
    let temp = home.join("tmp");
    std::fs::create_dir_all(&temp).expect("a temp folder");
    command
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("TMPDIR", temp)
        .env_remove("HIVEMIND_PLUGINS_DIR")
        .env_remove("HIVEMIND_PASSWORD")
        .env_remove("HIVEMIND_REDIS_PASSWORD")
        .env_remove("RUST_LOG");
}

impl Peer {
    /// Starts a peer on the stores under `home`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(home: &Path) -> Self {
        let mut command = Command::new(venv().join("bin/python"));
        command.arg(root().join("tests/python/peer.py")).stderr(Stdio::null());
        Self::of(command, home)
    }

    /// Starts any program that answers lines as the Python peer does.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn of(mut command: Command, home: &Path) -> Self {
        isolate(&mut command, home);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the peer starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        // It ends with the peer, or with the first line that nobody waits for any more.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, lines, patience: HANGS }
    }

    /// Asks and gives the answer, or the error's text.
    ///
    /// # Errors
    /// What Python said.
    ///
    /// # Panics
    /// If the peer died.
    pub fn try_ask(&mut self, request: &Value) -> Result<Value, String> {
        self.tell(request);
        self.answer()
    }

    /// Asks without waiting; [`Peer::answer`] is to be called before anything else is asked. A request that takes its time says how
    /// long in `ms`.
    ///
    /// # Panics
    /// If the peer died.
    pub fn tell(&mut self, request: &Value) {
        self.patience = HANGS + Duration::from_millis(request["ms"].as_u64().unwrap_or(0));
        writeln!(self.input, "{request}").expect("the peer lives");
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// What the peer said.
    ///
    /// # Panics
    /// If the peer died, or hangs.
    pub fn answer(&mut self) -> Result<Value, String> {
        let line = match self.lines.recv_timeout(self.patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the peer has not answered after {:?}", self.patience),
            Err(RecvTimeoutError::Disconnected) => panic!("the peer has ended: {:?}", self.child.wait()),
        };
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: the peer answered {line:?}"));
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Asks and gives the answer.
    ///
    /// # Panics
    /// If it is an error.
    pub fn ask(&mut self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|e| panic!("{request}: {e}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the Python node and gives its exit code and what it printed.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn hivemind_core(home: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(venv().join("bin/hivemind-core"));
    command.args(arguments).stdin(Stdio::null());
    isolate(&mut command, home);
    let output = command.output().expect("hivemind-core runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}
