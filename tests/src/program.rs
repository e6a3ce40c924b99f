//! Running the program as an operator does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{build, python};

/// An operator's home with a configuration, and the program to run there.
pub struct Operator {
    home: tempfile::TempDir,
    plugins: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said.
    pub err: String,
}

impl Ended {
    /// What it printed, if it ended well.
    ///
    /// # Panics
    /// If it did not.
    #[expect(clippy::must_use_candidate, reason = "most commands are run for what they do")]
    pub fn well(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Asserts how it failed.
    ///
    /// # Panics
    /// If the exit code is another, or a part is missing in what it said.
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "expected {part:?} in: {}", self.err);
        }
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

impl Operator {
    /// An empty home and the shipped plugins.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder"), plugins: build::shipped_plugins() }
    }

    /// The same with this module configured.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn with_module(module: &str) -> Self {
        let operator = Self::new();
        operator.configure(
            &serde_json::json!({"database": {"module": module, module: {"name": "clients", "subfolder": "hivemind-core"}}}),
        );
        operator
    }

    /// Writes server.json.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn configure(&self, config: &Value) {
        let path = self.config();
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, serde_json::to_string_pretty(config).expect("JSON")).expect("written");
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The path of server.json.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.home().join("config/hivemind-core/server.json")
    }

    /// The folder of the data files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home().join("data/hivemind-core")
    }

    /// Uses this plugins folder instead of the shipped one.
    #[must_use]
    pub fn plugins_from(mut self, folder: &Path) -> Self {
        self.plugins = folder.to_owned();
        self
    }

    /// A command of the program, ready to run, in this home and without a terminal.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(build::program());
        command.args(arguments).arg("--plugins-dir").arg(&self.plugins).stdin(Stdio::null());
        python::isolate(&mut command, self.home());
        command
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the program starts");
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All clients as our `list-clients` prints them.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn clients(&self) -> Vec<Value> {
        let text = self.run(&["list-clients", "--json", "--show-secrets", "--all"]).well();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}
