//! The command line: every option declared once. Help, completions and man pages are made from these declarations.
//!
//! Names, arguments and flags are the Python node's, so that an operator's habits and scripts go on working.

mod console;
mod logging;

pub use console::{Console, Terminal};

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use serde_json::{Map, Value};

use crate::commands::{self, Context};
use crate::config::redact::MASK;
use crate::config::{Overrides, Places};
use crate::failure::{Exit, Failure};
use crate::open::FromPlugins;

/// A HiveMind node whose storage is a library you drop in.
#[derive(Debug, Parser)]
#[command(
    name = "hivemind-host",
    version,
    about,
    max_term_width = 110,
    subcommand_required = true,
    // Of an option given twice the last one holds, as in the Python node.
    args_override_self = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "An ID is a client's number or its access key; an access key is looked for first. Left out, it is chosen from a \
list on a terminal; the only client there is is taken, except by delete-client.\nExit codes: 0 done, 1 failed, 2 usage, 3 configuration, 4 plugin, 5 store unavailable, 6 no such \
client, 7 conflict, 8 damaged or newer data, 9 outcome unknown, 10 aborted."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The whole declaration. The options of every command are declared at every level instead of as clap's global ones: of a global
    /// option given on both sides of the command clap forgets the first side, and so a folder of plugins that an alias names.
    #[must_use]
    pub fn declaration() -> clap::Command {
        fn everywhere(command: clap::Command) -> clap::Command {
            command.mut_subcommands(|below| {
                // Augmenting sets both to what is said of the options.
                let about = Resettable::from(below.get_about().cloned());
                let long_about = Resettable::from(below.get_long_about().cloned());
                let with_options = Global::augment_args(below).next_help_heading(None::<&str>);
                everywhere(with_options.about(about).long_about(long_about))
            })
        }
        everywhere(Self::command())
    }

    /// Reads a command line, whose first word is the program.
    ///
    /// # Errors
    /// What clap has to say, which may be the help that was asked for.
    pub fn read<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let matches = Self::declaration().try_get_matches_from(words)?;
        Self::from_matches(&matches).map_err(|e| e.format(&mut Self::declaration()))
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let mut level = matches;
        while let Some((_, below)) = level.subcommand() {
            cli.global.and_then(Global::from_arg_matches(below)?);
            level = below;
        }
        Ok(cli)
    }
}

/// Options of every command.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Use this configuration instead of the standard server.json
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Use this backend instead of the configured one: sqlite, json, redis, memory, a module name or the absolute path of a plugin
    #[arg(long, value_name = "BACKEND")]
    pub db_backend: Option<String>,

    /// Look for plugins in this folder first; may be given several times
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub plugins_dir: Vec<PathBuf>,

    /// Override the host of the Redis settings
    #[arg(long, value_name = "HOST")]
    pub redis_host: Option<String>,

    /// Override the port of the Redis settings
    #[arg(long, value_name = "PORT")]
    pub redis_port: Option<u16>,

    /// Override the password of the Redis settings; better given in $HIVEMIND_REDIS_PASSWORD, where other users do not see it
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub redis_password: Option<String>,

    /// Fail instead of warning where other users of the machine can read or change files that hold secrets
    #[arg(long)]
    pub strict: bool,

    /// Log more to stderr; twice for even more. $RUST_LOG chooses precisely
    #[arg(long, short, action = ArgAction::Count)]
    pub verbose: u8,

    /// Settings of the backend that go before those of server.json; commands that open more than one store give each its own.
    #[arg(skip)]
    pub settings: Map<String, Value>,
}

impl fmt::Debug for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Global")
            .field("config", &self.config)
            .field("db_backend", &self.db_backend)
            .field("plugins_dir", &self.plugins_dir)
            .field("redis_host", &self.redis_host)
            .field("redis_port", &self.redis_port)
            .field("redis_password", &self.redis_password.as_ref().map(|_| MASK))
            .field("strict", &self.strict)
            .field("verbose", &self.verbose)
            .finish()
    }
}

impl Global {
    /// Adds what was given further to the right: lists grow, of single values the last one holds.
    fn and_then(&mut self, later: Self) {
        let Self { config, db_backend, plugins_dir, redis_host, redis_port, redis_password, strict, verbose, settings } = later;
        self.strict |= strict;
        self.settings.extend(settings);
        self.config = config.or_else(|| self.config.take());
        self.db_backend = db_backend.or_else(|| self.db_backend.take());
        self.plugins_dir.extend(plugins_dir);
        self.redis_host = redis_host.or_else(|| self.redis_host.take());
        self.redis_port = redis_port.or(self.redis_port);
        self.redis_password = redis_password.or_else(|| self.redis_password.take());
        self.verbose = self.verbose.saturating_add(verbose);
    }

    /// What these options say about the database.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            module: self.db_backend.clone(),
            redis_host: self.redis_host.clone(),
            redis_port: self.redis_port,
            redis_password: self.redis_password.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node: admit satellites and pass their messages to an agent
    Listen(commands::listen::Args),
    /// Add credentials for a new client
    AddClient(commands::add::Args),
    /// List all clients
    ListClients(commands::list::Args),
    /// Export clients and their credentials as CSV
    ExportClients(commands::export::Args),
    /// Give a client another name
    RenameClient(commands::rename::Args),
    /// Revoke a client's credentials for good
    DeleteClient(commands::delete::Args),
    /// Give a client administrator powers
    MakeAdmin(commands::Target),
    /// Take administrator powers from a client
    RevokeAdmin(commands::Target),
    /// Allow a client to send message types
    #[command(override_usage = "hivemind-host allow-msg [OPTIONS] <TYPE>... [ID]")]
    AllowMsg(commands::messages::AllowArgs),
    /// Take message types out of a client's whitelist
    #[command(override_usage = "hivemind-host blacklist-msg [OPTIONS] <TYPE>... [ID]")]
    BlacklistMsg(commands::messages::Args),
    /// Allow a client to send BROADCAST messages
    AllowBroadcast(commands::Target),
    /// Forbid a client to send BROADCAST messages
    BlacklistBroadcast(commands::Target),
    /// Allow a client to send ESCALATE messages
    AllowEscalate(commands::Target),
    /// Forbid a client to send ESCALATE messages
    BlacklistEscalate(commands::Target),
    /// Allow a client to send PROPAGATE messages
    AllowPropagate(commands::Target),
    /// Forbid a client to send PROPAGATE messages
    BlacklistPropagate(commands::Target),
    /// Remove a skill from a client's blacklist
    AllowSkill(commands::blacklist::SkillArgs),
    /// Blacklist a skill for a client
    BlacklistSkill(commands::blacklist::SkillArgs),
    /// Remove an intent from a client's blacklist
    AllowIntent(commands::blacklist::IntentArgs),
    /// Blacklist an intent for a client
    BlacklistIntent(commands::blacklist::IntentArgs),
    /// Set or remove members of a client's metadata
    SetMetadata(commands::metadata::Args),
    /// Forget a client's pinned Noise key, so that it can pair again
    ResetNoisePin(commands::Target),
    /// Print the configuration that is in force, secrets masked
    PrintConfig(commands::print_config::Args),
    /// Tell which backend is in use, where its data is and what it promises
    Status(commands::status::Args),
    /// Derive the key that a small device, which cannot stretch the password itself, is given
    DerivePsk(commands::derive_psk::Args),
    /// Show the policies that messages pass, and try one
    #[command(subcommand)]
    Policy(commands::policy::Command),
    /// Read the audit log: who was admitted, refused and denied, and what operators changed
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Write all records with their secrets to a file that import reads
    Export(commands::archive::ExportArgs),
    /// Read all records of an export into the configured backend
    Import(commands::archive::ImportArgs),
    /// Copy all records from one backend to another; the source is left untouched
    MigrateDb(commands::migrate::Args),
    /// Back the store up while it is in use
    Backup(commands::backup::Args),
    /// Put a backup in the place of what is stored
    Restore(commands::restore::Args),
    /// Check, repair and tend the store
    #[command(subcommand)]
    Db(commands::db::Command),
    /// Copy all that is stored to another place of the same engine: a Redis namespace to a tag
    MoveNamespace(commands::move_namespace::Args),
    /// List, inspect and pin storage plugins
    #[command(subcommand)]
    Plugins(commands::plugins::Command),
    /// Print a completion script for a shell
    Completions(commands::generate::CompletionArgs),
    /// Print the manual page, or write one for each command into a folder
    Man(commands::generate::ManArgs),
}

/// Parses the process's arguments, runs the command and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help that was asked for is no mistake; help for want of a command is.
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    logging::start(cli.global.verbose, &cli.command);
    match run(&cli) {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(failure) if failure.is_closed_pipe() => ExitCode::from(Exit::Ok as u8),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = match &cli.command {
        // These two need neither a home directory nor a configuration.
        Command::Completions(args) => commands::generate::completions(args, &mut out),
        Command::Man(args) => commands::generate::man(args, &mut out),
        command => {
            let cx = Context {
                global: &cli.global,
                places: Places::from_env()?,
                opener: &FromPlugins,
                console: &Terminal,
                subject: RefCell::default(),
            };
            commands::run(command, &cx, &mut out)
        }
    };
    // What was printed before a failure belongs on the screen too.
    let flushed = out.flush().map_err(Failure::from);
    result.and(flushed)
}

#[cfg(test)]
mod tests;
