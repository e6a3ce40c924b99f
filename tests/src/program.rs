//! Running the program as an operator does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::{build, python, root};

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

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
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
        operator.configure(&json!({"database": {"module": module, module: {"name": "clients", "subfolder": "hivemind-core"}}}));
        operator
    }

    /// The memory backend with these records as its seed.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn with_seed(records: &Value) -> Self {
        let operator = Self::new();
        let seed = operator.write("seed.json", records.to_string().as_bytes());
        operator.configure(&json!({"database": {"module": "memory", "memory": {"seed": seed}}}));
        operator
    }

    /// Writes a file below the home folder.
    ///
    /// # Panics
    /// If the system does not let it.
    #[expect(clippy::must_use_candidate, reason = "most files are found by the program itself")]
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, content).expect("written");
        crate::set_mode(&path, 0o600);
        path
    }

    /// Writes server.json.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn configure(&self, config: &Value) {
        let path = self.config();
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, serde_json::to_string_pretty(config).expect("JSON")).expect("written");
        // As the program and the Python node make it, and as no warning is given about.
        crate::set_mode(&path, 0o600);
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

    /// Every file of the data folder with its bytes and when it was changed; but the audit log, which notes refused commands too.
    ///
    /// # Panics
    /// If one cannot be read.
    #[must_use]
    pub fn data_files(&self) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
        let entries = std::fs::read_dir(self.data()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut found: Vec<_> = entries
            .filter(|path| !path.ends_with("audit.jsonl"))
            .map(|path| {
                let changed = path.metadata().and_then(|meta| meta.modified()).expect("a time");
                let content = std::fs::read(&path).expect("readable");
                (path, content, changed)
            })
            .collect();
        found.sort();
        found
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
        self.through(&[], arguments)
    }

    /// The same started by another program, whose last arguments it becomes: a shell that sets limits, a terminal.
    fn through(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let program = build::program();
        let mut words: Vec<&std::ffi::OsStr> = starter.iter().map(std::ffi::OsStr::new).collect();
        words.extend([program.as_os_str(), "--plugins-dir".as_ref(), self.plugins.as_os_str()]);
        words.extend(arguments.iter().map(std::ffi::OsStr::new));
        let mut command = Command::new(words[0]);
        // A relative path leads nowhere else.
        command.args(&words[1..]).stdin(Stdio::null()).current_dir(self.home());
        python::isolate(&mut command, self.home());
        command
    }

    /// A command of the program that a shell starts after these commands of its own: `umask 000`.
    #[must_use]
    pub fn in_shell(&self, first: &str, arguments: &[&str]) -> Command {
        self.through(&["/bin/sh", "-c", &format!("{first}; exec \"$@\""), "sh"], arguments)
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// Runs a command with this on its standard input, which is no terminal.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // A program that fails before it reads closes the pipe.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("the program ends").into()
    }

    /// Runs a command on a terminal of its own: each step is what to wait for and what to type then. What it printed is the screen.
    ///
    /// # Panics
    /// If it does not start, or ends before all steps are done.
    #[must_use]
    pub fn run_on_terminal(&self, arguments: &[&str], steps: &[(&str, &str)]) -> Ended {
        let python = python::venv().join("bin/python");
        let script = root().join("tests/python/terminal.py");
        let steps = json!(steps).to_string();
        let starter = [python.to_str().expect("UTF-8"), script.to_str().expect("UTF-8"), &steps];
        let ended = Ended::from(self.through(&starter, arguments).output().expect("python starts"));
        assert_eq!(ended.code, 0, "{ended:?}");
        let answer: Value = serde_json::from_str(&ended.out).expect("JSON");
        assert_eq!(answer["left"], json!([]), "not everything was asked: {answer}");
        let code = answer["code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a code");
        Ended { code, out: answer["screen"].as_str().expect("text").to_owned(), err: String::new() }
    }

    /// One client as our `list-clients` prints it.
    ///
    /// # Panics
    /// If that fails, or there is none of this number.
    #[must_use]
    pub fn client(&self, id: i64) -> Value {
        let clients = self.clients();
        clients.iter().find(|c| c["client_id"] == id).cloned().unwrap_or_else(|| panic!("client {id} in {clients:?}"))
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
