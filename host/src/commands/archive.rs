//! `export` and `import`: all records as a file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use age::secrecy::SecretString;

use super::Context;
use super::migrate::{Treatment, open_source, tell};
use crate::config::secrets;
use crate::failure::{Exit, Failure};
use crate::modes;
use crate::moving::archive::{self, Archive};
use crate::moving::into;
use crate::moving::progress::{Progress as _, Shown};
use crate::moving::sealed::{self, Keys, Seal};
use crate::moving::survey::Survey;
use crate::{files, moving};

/// The variable that holds the passphrase of an export.
const PASSPHRASE: &str = "HIVEMIND_EXPORT_PASSPHRASE";
/// Between two tries of a store that changes.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file has every record with all of its secrets, one JSON object a line, and belongs to its owner alone. \
With a passphrase (--passphrase-file or $HIVEMIND_EXPORT_PASSPHRASE, or --passphrase to type it) or recipients it is encrypted in the \
age format."
)]
pub struct ExportArgs {
    /// Write to this file; - writes to the output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Encrypt for whoever knows a passphrase, which is asked for on the terminal
    #[arg(long, conflicts_with_all = ["passphrase_file", "recipient", "recipients_file"])]
    pub passphrase: bool,
    /// Encrypt for whoever knows the passphrase in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipient", "recipients_file"])]
    pub passphrase_file: Option<PathBuf>,
    /// Encrypt for the owner of this key, age1…; may be given several times
    #[arg(long, value_name = "KEY")]
    pub recipient: Vec<String>,
    /// Encrypt for the owners of the keys in this file, one a line; may be given several times
    #[arg(long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Go without records that cannot be carried
    #[arg(long)]
    pub leave_behind: bool,
    /// How often to try while other programs change the store
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
}

/// The arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The whole file is checked before anything is written. As with migrate-db the target is marked until all of it \
is there, and the same command goes on where one was cut."
)]
pub struct ImportArgs {
    /// Read this file; - reads the input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Decrypt with the passphrase in this file; else $HIVEMIND_EXPORT_PASSPHRASE is tried, or it is asked for on a terminal
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Decrypt with the secret keys in this file, as age-keygen writes it; may be given several times
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// How to treat a target that holds something.
    #[command(flatten)]
    pub treatment: Treatment,
}

/// Writes an export.
///
/// # Errors
/// See [`super::run`].
pub fn export(args: &ExportArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let seal = seal(args, cx)?;
    let opened = cx.opener.open(cx.global, &cx.config()?)?;
    let source = open_source(&opened)?;
    let mut progress = Shown::new(cx.console);
    let to_output = args.file.as_os_str() == "-";
    let mut survey = Survey::default();
    let mut written = |out: &mut dyn Write| {
        progress.begin("reading", None);
        survey = Survey::take(&source, source.len(), &mut progress)?;
        if !survey.problems.is_empty() && !args.leave_behind {
            return Err(survey.failure());
        }
        progress.begin("writing", Some(survey.records));
        let sum = archive::write(&source, &survey, &seal, out, &mut progress);
        progress.end();
        sum
    };
    let sum = if to_output {
        if cx.console.shows_output() && matches!(seal, Seal::Open) {
            cx.console.note("warning: the passwords below are in clear; name a file to write them to");
        }
        written(out)?
    } else {
        archive::create(&args.file, args.force, |file| {
            for _ in 1..args.rounds {
                match written(file) {
                    Err(failure) if failure.code == "source-changing" => {
                        sleep(PAUSE);
                        file.rewind()?;
                        file.set_len(0)?;
                    }
                    other => return other,
                }
            }
            written(file)
        })?
    };
    for problem in &survey.problems {
        cx.console.note(&format!("warning: left out: {}", super::show::text(problem)));
    }
    let how = if matches!(seal, Seal::Open) { "in clear" } else { "encrypted" };
    let said = format!("Exported {} client(s) {how}, hash {sum}.", sum.records);
    if to_output {
        cx.console.note(&said);
        return Ok(());
    }
    Ok(writeln!(out, "{said}")?)
}

/// Reads an export into the configured store.
///
/// # Errors
/// See [`super::run`].
pub fn import(args: &ImportArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut keys = keys(args, cx.global.strict)?;
    let (file, name) = input(&args.file)?;
    ask_for(&mut keys, &file, cx)?;
    let mut progress = Shown::new(cx.console);
    progress.begin("checking the file", None);
    let archive = Archive::check(file, &name, keys, moving::collections(), &mut progress)?;
    progress.end();
    let target = cx.opener.open(cx.global, &cx.config()?)?;
    let module = target.module.clone();
    let outcome = into::run(&archive, target, &args.treatment.wishes(), &mut progress)?;
    drop(progress);
    tell(&outcome, &name, &module, cx, out)
}

/// The file to be read, and how to call it. What comes from a pipe is read more than once, so it goes to a file without a name.
fn input(path: &Path) -> Result<(File, String), Failure> {
    let failed = |e: io::Error| {
        Failure::new(Exit::Usage, "no-source", format!("cannot read {}: {e}", path.display()))
            .help("correct the path, or the file's owner and mode")
    };
    if path.as_os_str() == "-" {
        let mut file = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut io::stdin().lock().take(u64::MAX), &mut file).map_err(failed)?;
        return Ok((file, "the input".to_owned()));
    }
    let file = files::open_regular(path).map_err(failed)?;
    Ok((file, path.display().to_string()))
}

/// A passphrase from a file, else from the environment.
fn passphrase(file: Option<&Path>, strict: bool) -> Result<Option<SecretString>, Failure> {
    let Some(path) = file else {
        let given = std::env::var(PASSPHRASE).ok().filter(|p| !p.is_empty());
        return Ok(given.map(SecretString::from));
    };
    modes::check_files(std::iter::once(path), strict)?;
    Ok(Some(SecretString::from(secrets::read(path, "--passphrase-file")?)))
}

fn seal(args: &ExportArgs, cx: &Context<'_>) -> Result<Seal, Failure> {
    let mut recipients = Vec::new();
    let mut add = |text: &str, whence: &str| -> Result<(), Failure> {
        let recipient = text.parse().map_err(|e| {
            Failure::usage(format!("{whence}: expected a public key that begins with age1, found something else: {e}"))
        })?;
        recipients.push(recipient);
        Ok(())
    };
    for text in &args.recipient {
        add(text, "--recipient")?;
    }
    for path in &args.recipients_file {
        let name = path.display().to_string();
        let text = files::read_text(path).map_err(|e| Failure::usage(format!("--recipients-file: {name}: {e}")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.into_iter().try_for_each(|line| add(line, &name))?;
    }
    if !recipients.is_empty() {
        return Ok(Seal::Recipients(recipients));
    }
    if !args.recipients_file.is_empty() {
        return Err(Failure::usage("--recipients-file: there is no key in it"));
    }
    match passphrase(args.passphrase_file.as_deref(), cx.global.strict)? {
        None if args.passphrase => Ok(Seal::Passphrase(new_passphrase(cx)?)),
        given => Ok(given.map_or(Seal::Open, Seal::Passphrase)),
    }
}

/// One that is typed twice, because nobody sees it.
fn new_passphrase(cx: &Context<'_>) -> Result<SecretString, Failure> {
    if !cx.console.is_interactive() {
        return Err(Failure::usage("there is no terminal to ask for a passphrase")
            .help(format!("give it in --passphrase-file or ${PASSPHRASE}")));
    }
    let no_answer = || Failure::usage("no passphrase was given; nothing was written");
    let first = cx.console.ask_secret("Passphrase: ")?.filter(|typed| !typed.is_empty()).ok_or_else(no_answer)?;
    let second = cx.console.ask_secret("The same again: ")?.ok_or_else(no_answer)?;
    if first == second { Ok(SecretString::from(first)) } else { Err(Failure::usage("the two differ; nothing was written")) }
}

/// Asks for the passphrase of a file that needs one, where nothing else was given to open it.
fn ask_for(keys: &mut Keys, file: &File, cx: &Context<'_>) -> Result<(), Failure> {
    let mut beginning = Vec::new();
    let mut reader = file;
    reader.take(64).read_to_end(&mut beginning)?;
    reader.rewind()?;
    if keys.is_empty() && cx.console.is_interactive() && sealed::wants_passphrase(&beginning) {
        let typed = cx.console.ask_secret("Passphrase: ")?;
        let typed = typed.ok_or_else(|| Failure::usage("no passphrase was given; nothing was changed"))?;
        keys.passphrase(SecretString::from(typed));
    }
    Ok(())
}

fn keys(args: &ImportArgs, strict: bool) -> Result<Keys, Failure> {
    let mut keys = Keys::default();
    modes::check_files(args.identity.iter().map(PathBuf::as_path), strict)?;
    for path in &args.identity {
        let wrong = |e: String| Failure::usage(format!("--identity: {}: {e}", path.display()));
        let text = files::read_text(path).map_err(|e| wrong(e.to_string()))?;
        keys.file(&text).map_err(wrong)?;
    }
    if let Some(passphrase) = passphrase(args.passphrase_file.as_deref(), strict)? {
        keys.passphrase(passphrase);
    }
    Ok(keys)
}
