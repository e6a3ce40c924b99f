//! What each command does. A command gets its arguments, a [`Context`] and somewhere to write; it knows nothing of plugins.
//!
//! Data goes to the output, remarks and questions to the [`Console`], failures to the caller. What the Python node prints when something
//! was done is printed here in the same words.

pub mod add;
pub mod admin;
pub mod archive;
pub mod audit;
mod audited;
pub mod backup;
pub mod blacklist;
mod certificate;
pub mod db;
pub mod delete;
pub mod derive_psk;
pub mod export;
pub mod generate;
pub mod list;
pub mod listen;
pub mod messages;
pub mod metadata;
pub mod migrate;
pub mod move_namespace;
pub mod permission;
mod pick;
pub mod pin;
pub mod plugins;
pub mod policy;
pub mod print_config;
pub mod rename;
pub mod restore;
mod show;
pub mod status;

use std::cell::RefCell;
use std::io::Write;

use hivemind_model::{Report, Task};
use hivemind_store::Clients;
use hivemind_store::clients::Permission;

use crate::cli::{Command, Console, Global};
use crate::config::{Config, Places};
use crate::failure::{Exit, Failure};
use crate::open::{Opened, Opener};

pub use audited::Subject;

/// What a command works with.
pub struct Context<'a> {
    /// The options of every command.
    pub global: &'a Global,
    /// The operator's folders.
    pub places: Places,
    /// What opens the storage.
    pub opener: &'a dyn Opener,
    /// The operator.
    pub console: &'a dyn Console,
    /// The client that the command turned out to be about, for the audit log.
    pub subject: RefCell<Option<Subject>>,
}

/// An open store of clients.
pub struct Session {
    /// The configuration it was opened by.
    pub config: Config,
    /// The storage.
    pub opened: Opened,
    /// Its clients.
    pub clients: Clients,
}

impl Context<'_> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn config(&self) -> Result<Config, Failure> {
        let config = Config::load(self.global.config.as_deref(), &self.places)?;
        if config.was_created() {
            self.console.note(&format!("Created {} with the standard settings.", config.path().display()));
        }
        Ok(config)
    }

    /// Opens the clients of a configured store.
    ///
    /// # Errors
    /// What the loader or the backend said.
    pub fn open(&self, config: Config) -> Result<Session, Failure> {
        let opened = self.opener.open(self.global, &config)?;
        let clients = opened.clients()?;
        Ok(Session { config, opened, clients })
    }

    /// Reads the configuration and opens the clients.
    ///
    /// # Errors
    /// See [`Context::config`] and [`Context::open`].
    pub fn session(&self) -> Result<Session, Failure> {
        self.open(self.config()?)
    }
}

impl Session {
    /// Does a piece of maintenance, which takes the time it needs.
    ///
    /// # Errors
    /// The backend's.
    pub fn maintain(&self, task: &Task) -> Result<Report, Failure> {
        maintain(&self.opened, task)
    }
}

/// Does a piece of maintenance in a store that may not be prepared.
pub(super) fn maintain(opened: &Opened, task: &Task) -> Result<Report, Failure> {
    opened.storage.backend().maintain(&hivemind_model::Context::unbounded(), task).map_err(|error| {
        let unsupported = error.code() == hivemind_model::Code::Unsupported;
        let failure = Failure::from(error);
        if unsupported {
            failure.help(format!("{} does not offer this; `status` shows what it promises", opened.module))
        } else {
            failure
        }
    })
}

/// Asks for a yes; `without` says how to do without.
pub(super) fn confirm(question: &str, without: &str, cx: &Context<'_>) -> Result<(), Failure> {
    loop {
        let Some(answer) = cx.console.ask(question)? else {
            return Err(Failure::usage("no answer came; nothing was changed").help(without));
        };
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(()),
            "" | "n" | "no" => return Err(Failure::new(Exit::Aborted, "aborted", "nothing was changed")),
            _ => cx.console.note("Please answer y or n."),
        }
    }
}

/// The client that a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// The client's number or access key; left out, it is chosen from a list
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

/// Runs a command, and writes down in the audit log that it was.
///
/// # Errors
/// Whatever kept it from being done.
pub fn run(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let result = carry_out(command, cx, out);
    audited::record(command, &result, cx);
    result
}

fn carry_out(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    use Permission::{Broadcast, Escalate, Propagate};
    match command {
        Command::Listen(args) => listen::run(args, cx, out),
        Command::AddClient(args) => add::run(args, cx, out),
        Command::ListClients(args) => list::run(args, cx, out),
        Command::ExportClients(args) => export::run(args, cx, out),
        Command::RenameClient(args) => rename::run(args, cx, out),
        Command::DeleteClient(args) => delete::run(args, cx, out),
        Command::MakeAdmin(target) => admin::run(target, true, cx, out),
        Command::RevokeAdmin(target) => admin::run(target, false, cx, out),
        Command::AllowMsg(args) => messages::allow(args, cx, out),
        Command::BlacklistMsg(args) => messages::deny(args, cx, out),
        Command::AllowBroadcast(target) => permission::run(target, Broadcast, true, cx, out),
        Command::BlacklistBroadcast(target) => permission::run(target, Broadcast, false, cx, out),
        Command::AllowEscalate(target) => permission::run(target, Escalate, true, cx, out),
        Command::BlacklistEscalate(target) => permission::run(target, Escalate, false, cx, out),
        Command::AllowPropagate(target) => permission::run(target, Propagate, true, cx, out),
        Command::BlacklistPropagate(target) => permission::run(target, Propagate, false, cx, out),
        Command::AllowSkill(args) => blacklist::skill(args, false, cx, out),
        Command::BlacklistSkill(args) => blacklist::skill(args, true, cx, out),
        Command::AllowIntent(args) => blacklist::intent(args, false, cx, out),
        Command::BlacklistIntent(args) => blacklist::intent(args, true, cx, out),
        Command::SetMetadata(args) => metadata::run(args, cx, out),
        Command::ResetNoisePin(target) => pin::run(target, cx, out),
        Command::PrintConfig(args) => print_config::run(args, cx, out),
        Command::Status(args) => status::run(args, cx, out),
        Command::DerivePsk(args) => derive_psk::run(args, cx, out),
        Command::Policy(command) => policy::run(command, cx, out),
        Command::Audit(command) => audit::run(command, cx, out),
        Command::Export(args) => archive::export(args, cx, out),
        Command::Import(args) => archive::import(args, cx, out),
        Command::MigrateDb(args) => migrate::run(args, cx, out),
        Command::Backup(args) => backup::run(args, cx, out),
        Command::Restore(args) => restore::run(args, cx, out),
        Command::Db(command) => db::run(command, cx, out),
        Command::MoveNamespace(args) => move_namespace::run(args, cx, out),
        Command::Plugins(command) => plugins::run(command, cx, out),
        Command::Completions(args) => generate::completions(args, out),
        Command::Man(args) => generate::man(args, out),
    }
}

#[cfg(test)]
mod tests;
