//! The Python node's plugin, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failure;
use crate::contest::Contestant;

/// A running `lookup.py`.
pub(crate) struct Python {
    kind: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts it on the store under `data`.
    pub(crate) fn start(kind: &'static str, data: &Path) -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no root")?;
        let python: PathBuf = root.join("target/python-peers/bin/python");
        let scratch = data.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let mut child = Command::new(&python)
            .arg(root.join("benches/python/lookup.py"))
            .arg(kind)
            .env("XDG_DATA_HOME", data)
            .envs(["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"].map(|name| (name, &scratch)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}; `cargo xtask bench` sets it up", python.display()))?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { kind, child, input, output })
    }
}

impl Contestant for Python {
    fn name(&self) -> String {
        format!("the Python plugin ({})", self.kind)
    }

    fn look_up(&mut self, keys: &[&str]) -> Result<Duration, Failure> {
        writeln!(self.input, "{}", serde_json::to_string(keys)?)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse().map_err(|e| format!("the Python peer said {line:?}: {e}"))?))
    }

    fn batch(&self) -> usize {
        if self.kind == "json" { 40 } else { 500 }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
