//! Every command on the reference store, as an operator types it.

mod changes;
mod clients;
mod shown;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hivemind_model::reference::Reference;
use hivemind_model::{Backend, Capabilities, Mutation, Row, Value};
use hivemind_store::{Offload, Options, Storage};

use super::*;
use crate::cli::Cli;
use crate::failure::Exit;

struct Desk {
    folder: tempfile::TempDir,
    backend: Arc<Reference>,
    answers: RefCell<VecDeque<String>>,
    notes: RefCell<Vec<String>>,
    interactive: bool,
}

impl Console for Desk {
    fn is_interactive(&self) -> bool {
        self.interactive
    }

    fn shows_output(&self) -> bool {
        true
    }

    fn ask(&self, question: &str) -> io::Result<Option<String>> {
        self.note(question);
        Ok(self.answers.borrow_mut().pop_front())
    }

    fn ask_secret(&self, question: &str) -> io::Result<Option<String>> {
        self.ask(question)
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

impl Opener for Desk {
    fn open_on(&self, global: &Global, config: &Config, _: Arc<dyn Offload>) -> Result<Opened, Failure> {
        let module = config.database(&global.overrides())?.module;
        let storage = Storage::new(self.backend.clone(), Options::default());
        Ok(Opened { storage, module, plugin: None, secrets: Vec::new() })
    }
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            backend: Arc::default(),
            answers: RefCell::default(),
            notes: RefCell::default(),
            interactive: false,
        }
    }

    /// A desk with two clients, `aaa` and `bbb`.
    fn with_two() -> Self {
        let desk = Self::new();
        for name in ["aaa", "bbb"] {
            desk.ok(&[
                "add-client",
                "--name",
                name,
                "--access-key",
                name,
                "--password",
                "pw",
                "--allow-weak-password",
                "--allow",
                "speak",
            ]);
        }
        desk
    }

    fn answering(mut self, answers: &[&str]) -> Self {
        self.interactive = true;
        self.answers = RefCell::new(answers.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    fn run(&self, words: &[&str]) -> Result<String, Failure> {
        let cli = Cli::read(std::iter::once(&"hivemind-host").chain(words)).map_err(|e| Failure::usage(e.to_string()))?;
        let places = Places { config: self.folder.path().join("c"), data: self.folder.path().join("d") };
        let cx = Context { global: &cli.global, places, opener: self, console: self, subject: RefCell::default() };
        let mut out = Vec::new();
        run(&cli.command, &cx, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    fn ok(&self, words: &[&str]) -> String {
        self.run(words).unwrap_or_else(|failure| panic!("{words:?}: {failure}"))
    }

    fn fails(&self, words: &[&str]) -> (Exit, String) {
        match self.run(words) {
            Ok(out) => panic!("{words:?} succeeded: {out}"),
            Err(failure) => (failure.exit, failure.to_string()),
        }
    }

    /// Stores client 3 as no command would.
    fn put(&self, fields: &[(&str, Value)]) {
        let collection = hivemind_store::clients::collection();
        let mut row = Row::builder(&collection).set("client_id", 3).expect("an id");
        for (name, value) in fields {
            row = row.set(name, value.clone()).expect(name);
        }
        let row = row.build();
        let cx = hivemind_model::Context::unbounded();
        let ids = self.backend.prepare(&cx, &[collection]).expect("prepared");
        self.backend.apply(&cx, &[Mutation::Put { collection: ids[0], row }]).expect("stored");
    }

    fn list(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.ok(&["list-clients", "--json", "--all", "--show-secrets"])).expect("JSON")
    }

    fn client(&self, id: usize) -> serde_json::Value {
        self.list().into_iter().nth(id - 1).expect("a client")
    }

    fn noted(&self, words: &str) -> bool {
        self.notes.borrow().iter().any(|n| n.contains(words))
    }
}
