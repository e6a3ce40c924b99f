//! `migrate-db`: all records of one backend into another.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{Context, show};
use crate::cli::Global;
use crate::config::database::REDIS;
use crate::config::redact;
use crate::config::secrets::FILE;
use crate::config::{Config, switch};
use crate::failure::{Exit, Failure};
use crate::moving::copy::Prefer;
use crate::moving::into::{self, Done, Outcome, Wishes};
use crate::moving::marker::{self, Mode};
use crate::moving::progress::Shown;
use crate::moving::store::Store;
use crate::open::Opened;

/// The arguments of `migrate-db`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The target is marked until all of it is copied and checked, and no command or node of this program uses it before. \
Cut at any moment, the same command goes on where it was. Stop the programs that use the target; those that use the source may go on, \
and what they change is copied again until it stands still."
)]
pub struct Args {
    /// Copy from this backend. Default: the configured one
    #[arg(long, value_name = "BACKEND")]
    pub from: Option<String>,
    /// Copy into this backend
    #[arg(long, value_name = "BACKEND", default_value = "hivemind-sqlite-db-plugin")]
    pub to: String,
    /// A setting of the source that goes before the one of server.json; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub from_setting: Vec<Setting>,
    /// A setting of the target that goes before the one of server.json; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub to_setting: Vec<Setting>,
    /// How to treat a target that holds something.
    #[command(flatten)]
    pub treatment: Treatment,
    /// Make the target the configured backend when all is done; the old server.json is kept beside the new one
    #[arg(long, conflicts_with = "dry_run")]
    pub switch: bool,
}

/// What commands that fill a store have in common.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Treatment {
    /// Only tell what would be done, what cannot be carried and what is in the way
    #[arg(long)]
    pub dry_run: bool,
    /// Add the records to those that the target holds
    #[arg(long, conflicts_with = "replace")]
    pub merge: bool,
    /// Put the records in the place of those that the target holds
    #[arg(long)]
    pub replace: bool,
    /// Whose record stays where both sides of a merge have one
    #[arg(long, value_enum, requires = "merge")]
    pub prefer: Option<Prefer>,
    /// Go without records that cannot be carried; their ids become revoked clients
    #[arg(long)]
    pub leave_behind: bool,
    /// How many rounds to follow a source that other programs change
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    pub rounds: u32,
    /// How many bytes of records to write in one commit. Default: 16 MiB, over a network 1 MiB
    #[arg(long, value_name = "BYTES")]
    pub batch: Option<usize>,
}

impl Treatment {
    pub(super) fn wishes(self) -> Wishes {
        let mode = match self {
            Self { merge: true, .. } => Some(Mode::Merge),
            Self { replace: true, .. } => Some(Mode::Replace),
            _ => None,
        };
        let Self { prefer, leave_behind, dry_run, rounds, batch, .. } = self;
        Wishes { mode, prefer, leave_behind, dry_run, rounds, batch }
    }
}

/// A setting as it was typed. Its value may be a secret that was typed by mistake.
#[derive(Clone)]
pub struct Setting(String);

impl FromStr for Setting {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.0.split('=').next().unwrap_or_default())
    }
}

impl Setting {
    fn parse(&self) -> Result<(String, Value), Failure> {
        let Some((name, value)) = self.0.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::usage("a setting: expected NAME=VALUE, found no = in it"));
        };
        // A text may look like anything; where it is to be a number and is none, the schema says so.
        let value = match serde_json::from_str(value) {
            Ok(Value::String(_)) | Err(_) => Value::from(value),
            Ok(other) => other,
        };
        if redact::is_secret(name) && !value.is_null() {
            return Err(Failure::usage(format!(
                "the value of {name} would be seen by every user of the machine in the process list"
            ))
            .help(format!("write it to a file and give {name}{FILE}=PATH")));
        }
        Ok((name.to_owned(), value))
    }
}

/// The options with which one side is opened.
fn side(cx: &Context<'_>, module: Option<&str>, settings: &[Setting]) -> Result<Global, Failure> {
    let mut global = cx.global.clone();
    if let Some(module) = module {
        global.db_backend = Some(module.to_owned());
    }
    global.settings = settings.iter().map(Setting::parse).collect::<Result<Map<_, _>, _>>()?;
    Ok(global)
}

/// The `--redis-…` options are for the side that is Redis.
fn share_out(sides: [&mut Global; 2], config: &Config) -> Result<(), Failure> {
    let mut is_redis = [false; 2];
    for (side, is_redis) in sides.iter().zip(&mut is_redis) {
        let module = config.database(&side.overrides())?.module;
        *is_redis = module == REDIS || module == "redis";
    }
    if is_redis.contains(&true) {
        for (side, _) in sides.into_iter().zip(is_redis).filter(|(_, is_redis)| !is_redis) {
            (side.redis_host, side.redis_port, side.redis_password) = (None, None, None);
        }
    }
    Ok(())
}

/// Moves all records.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let mut from = side(cx, args.from.as_deref(), &args.from_setting)?;
    let mut to = side(cx, Some(&args.to), &args.to_setting)?;
    share_out([&mut from, &mut to], &config)?;
    let source = cx.opener.open(&from, &config)?;
    into::durable(&source, "source")?;
    if into::is_missing(&source) {
        let message = format!("there is no store to move: {}", crate::moving::store::place(&source));
        return Err(Failure::new(Exit::Usage, "no-source", message).help("choose the backend that has the data with --from"));
    }
    let one_store = || {
        Failure::usage("the source and the target are the same store; nothing was done")
            .help("choose another backend with --to, or another place with --to-setting")
    };
    let target = cx.opener.open(&to, &config).map_err(|failure| match &*failure.code {
        "plugin-in-use" => one_store(),
        _ => failure,
    })?;
    if crate::moving::store::is_same(&source, &target) {
        return Err(one_store());
    }
    let (from_module, to_module) = (source.module.clone(), target.module.clone());
    let source = open_source(&source)?;
    let mut progress = Shown::new(cx.console);
    let outcome = into::run(&source, target, &args.treatment.wishes(), &mut progress)?;
    drop(progress);
    source.close()?;
    tell(&outcome, &from_module, &to_module, cx, out)?;
    if args.switch {
        let by_hand = || format!("all records are moved; set database.module to {to_module:?} there");
        let kept =
            switch::to_module(&config, &to, &to_module).and_then(|it| it.write()).map_err(|failure| failure.help(by_hand()))?;
        writeln!(out, "{} names {to_module} now; what it was is in {}.", config.path().display(), kept.display())?;
        cx.console.note("Restart the nodes that use it.");
    }
    Ok(())
}

/// The source's records, unless they are half of something themselves.
pub(super) fn open_source(opened: &Opened) -> Result<Store, Failure> {
    let store = Store::prepare(opened, crate::moving::collections()).map_err(|error| opened.while_opening(error.into()))?;
    match marker::find(&store)? {
        Some(marker) => Err(marker::refusal(&marker)),
        None => Ok(store),
    }
}

/// Tells what came of a move.
pub(super) fn tell(outcome: &Outcome, from: &str, to: &str, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let survey = &outcome.survey;
    match &outcome.done {
        Done::Looked(refusal) => {
            writeln!(out, "{} client(s) can be read in {from}; nothing was written to {to}.", survey.records)?;
            for problem in &survey.problems {
                writeln!(out, "cannot be carried: {}", show::text(problem))?;
            }
            if survey.gaps > 0 {
                writeln!(out, "{} id(s) without a client become revoked clients.", survey.gaps)?;
            }
            for conflict in &outcome.conflicts {
                writeln!(out, "conflict: {}", show::text(conflict))?;
            }
            match refusal {
                Some(refusal) => {
                    writeln!(out, "It would be refused: {}", show::text(refusal.message.split(':').next().unwrap_or_default()))?
                }
                None => writeln!(out, "It can be done.")?,
            }
        }
        Done::Nothing(digest) => {
            writeln!(out, "{to} holds the {} client(s) of {from} already; nothing was written.", digest.records)?;
        }
        Done::Moved(moved) => {
            // The sentence of the Python node, and in its number what it counts: every record.
            writeln!(out, "Migrated {} client(s) from {from} to {to}.", moved.digest.records)?;
            if survey.gaps > 0 {
                writeln!(out, "Of these {} are revoked ones in the place of ids without a client.", survey.gaps)?;
            }
            writeln!(out, "Checked: all of them are equal on both sides (hash {}).", moved.digest)?;
            for problem in &survey.problems {
                cx.console.note(&format!("warning: left behind: {}", show::text(problem)));
            }
        }
    }
    Ok(())
}
