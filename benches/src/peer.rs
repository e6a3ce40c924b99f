//! The Python node's plugin, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::contest::Contestant;
use crate::{Failure, clients};

/// A running `peer.py`.
pub(crate) struct Python {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    /// How long it took to open the store.
    pub(crate) opened_in: Duration,
    /// Bytes of memory that opening the store took.
    pub(crate) resident: u64,
}

impl Python {
    /// Starts it on the store under `data` and gives up when the store is not open after `patience`.
    pub(crate) fn start(kind: &str, data: &Path, patience: Duration) -> Result<Self, Failure> {
        Self::start_with(kind, data, &Map::new(), patience)
    }

    /// The same with settings for the plugin.
    pub(crate) fn start_with(
        kind: &str,
        data: &Path,
        settings: &Map<String, Value>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no root")?;
        let venv = std::env::var_os("HIVEMIND_PYTHON_PEERS").map_or_else(|| root.join("target/python-peers"), PathBuf::from);
        let python = venv.join("bin/python");
        let scratch = data.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let mut child = Command::new(&python)
            .arg(root.join("benches/python/peer.py"))
            .arg(kind)
            .arg(Value::Object(settings.clone()).to_string())
            .env("XDG_DATA_HOME", data)
            .envs(["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"].map(|name| (name, &scratch)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}; `cargo xtask bench` sets it up", python.display()))?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let (sender, answers) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut peer = Self { child, input, answers, opened_in: Duration::ZERO, resident: 0 };
        let opening = Instant::now();
        let opened = peer.answer(patience)?;
        peer.opened_in = opening.elapsed();
        peer.resident = opened["resident"].as_u64().ok_or("no figure")?;
        Ok(peer)
    }

    fn answer(&self, patience: Duration) -> Result<Value, Failure> {
        let line = self.answers.recv_timeout(patience).map_err(|e| format!("the Python peer did not answer: {e}"))?;
        Ok(serde_json::from_str(&line).map_err(|_| format!("the Python peer said {line:?}"))?)
    }

    /// Lets it do something with each key, and gives the time it took.
    pub(crate) fn ask(&mut self, what: &str, keys: &[String]) -> Result<Duration, Failure> {
        writeln!(self.input, "{}", json!({"do": what, "keys": keys}))?;
        let answer = self.answer(Duration::from_secs(600))?;
        Ok(Duration::from_nanos(answer["ns"].as_u64().ok_or("no time")?))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks clients up by access key.
pub(crate) struct LookUp<'p> {
    pub(crate) name: String,
    pub(crate) python: &'p std::cell::RefCell<Python>,
    pub(crate) among: u64,
    pub(crate) batch: usize,
}

impl Contestant for LookUp<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure> {
        self.python.borrow_mut().ask("look_up", &clients::keys(picks, self.among))
    }
}
