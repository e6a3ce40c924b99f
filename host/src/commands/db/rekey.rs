//! `db rekey`: another password, a first one, or none.
//!
//! The new password never comes on the command line, which every user of the machine can read. The plugin makes a new file, opens it
//! with the new password, compares it, and only then puts it in the old one's place; `server.json` is changed only if that is asked
//! for, and says the old password until then.

use std::io::Write;
use std::path::PathBuf;

use hivemind_model::Task;

use crate::commands::{Context, maintain, show};
use crate::config::redact::MASK;
use crate::config::switch;
use crate::failure::Failure;
use crate::files;

/// Where the new password may stand.
const VARIABLE: &str = "HIVEMIND_NEW_PASSWORD";

/// The arguments of `db rekey`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Read the new password from the first line of this file; else it is taken from $HIVEMIND_NEW_PASSWORD, or asked for
    #[arg(long, value_name = "FILE", conflicts_with = "decrypt")]
    pub password_file: Option<PathBuf>,
    /// Store without encryption from now on
    #[arg(long)]
    pub decrypt: bool,
    /// Write the new password to server.json too, keeping the old file beside it
    #[arg(long)]
    pub switch: bool,
}

/// Gives the store another password.
///
/// # Errors
/// See [`crate::commands::run`].
pub(super) fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let password = if args.decrypt { None } else { Some(new_password(args, cx)?) };
    // Not prepared: nothing may have the store open, this program neither.
    let opened = cx.opener.open(cx.global, &config)?;
    let module = opened.module.clone();
    let elsewhere = opened.secrets.iter().find(|origin| origin.setting == "password").map(|origin| origin.place.clone());
    if let (true, Some(place)) = (args.switch, &elsewhere) {
        return Err(Failure::usage(format!(
            "--switch changes server.json, but the password comes from {place}; nothing was changed"
        ))
        .help("leave out --switch, and change it there afterwards"));
    }
    // What would be written is made first, so that a file that cannot be changed is found out before anything is.
    let switched = args.switch.then(|| switch::to_password(&config, &module, password.as_deref())).transpose()?;
    maintain(&opened, &Task::Rekey { password: password.clone() }).map_err(|failure| match &password {
        // A vendor's engine may repeat what it was given.
        Some(password) => Failure { message: failure.message.replace(password.as_str(), MASK), ..failure },
        None => failure,
    })?;
    drop(opened);
    let shown = show::text(&config.path().to_string_lossy()).into_owned();
    match switched {
        Some(switched) => {
            let copy = switched.write().map_err(|failure| {
                failure.help(format!("the store has its new password already: set `password` of {module} in {shown} by hand"))
            })?;
            writeln!(out, "The store is {}; {shown} says so too", state(&password))?;
            writeln!(out, "What it said before is in {}, with the old password", show::text(&copy.to_string_lossy()))?;
        }
        None => {
            writeln!(out, "The store is {}", state(&password))?;
            let what = if password.is_some() { "set `password` to the new one" } else { "remove `password`" };
            match elsewhere {
                Some(place) => {
                    writeln!(out, "Now do the same to the {place}, and wherever other programs that use the store have it from")?
                }
                None => {
                    writeln!(
                        out,
                        "Now {what} in the block {module} of {shown}, and in that of every other program that uses the store"
                    )?;
                }
            }
        }
    }
    Ok(())
}

const fn state(password: &Option<String>) -> &'static str {
    if password.is_some() { "encrypted with the new password" } else { "not encrypted any more" }
}

fn new_password(args: &Args, cx: &Context<'_>) -> Result<String, Failure> {
    let given = match (&args.password_file, std::env::var(VARIABLE)) {
        (Some(path), _) => {
            let text = files::read_text(path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        (None, Ok(password)) => password,
        (None, Err(_)) if cx.console.is_interactive() => {
            let no_answer = || Failure::usage("no password was given; nothing was changed");
            let first = cx.console.ask_secret("New password: ")?.ok_or_else(no_answer)?;
            let second = cx.console.ask_secret("The same again: ")?.ok_or_else(no_answer)?;
            if first != second {
                return Err(Failure::usage("the two passwords differ; nothing was changed"));
            }
            first
        }
        (None, Err(_)) => {
            return Err(Failure::usage("there is no new password and no terminal to ask for it")
                .help(format!("give it in --password-file or ${VARIABLE}, or --decrypt to have none")));
        }
    };
    if given.is_empty() {
        return Err(Failure::usage("the new password is empty; nothing was changed").help("--decrypt stores without encryption"));
    }
    Ok(given)
}
