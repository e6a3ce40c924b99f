//! `backup`: a consistent copy of the store while it is in use.
//!
//! The plugin writes the copy, because only it knows how to copy what others are writing; here is what it is called, and that nothing
//! is lost under that name.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hivemind_model::{Report, Task, Value};
use time::OffsetDateTime;

use super::{Context, Session, maintain, show};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::open::Opened;

/// The arguments of `backup`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The file to write, or a folder to write one in; left out, one with the time in its name in `backups` beside the store
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// Backs the store up.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let file = match &args.file {
        Some(folder) if folder.is_dir() => new_name(folder, &session.opened, ""),
        Some(file) => file.clone(),
        None => new_name(&folder(&session)?, &session.opened, ""),
    };
    let report = if args.force { replace(&session, &file)? } else { create(&session.opened, &file)? };
    tell(&report, cx);
    let bytes = report.get("bytes").and_then(|v| if let Value::Int(bytes) = v { Some(*bytes) } else { None });
    let size = bytes.map_or_else(String::new, |bytes| format!(" ({bytes} bytes)"));
    writeln!(out, "Backed up to {}{size}", show::text(&file.to_string_lossy()))?;
    if report.problems.is_empty() {
        return Ok(());
    }
    let message = "the store is damaged, and so is its backup, which was made all the same";
    Err(Failure::new(Exit::Data, "problems", message).help("keep the backups you have, and look with `db verify`"))
}

/// Writes a backup where nothing is.
pub(super) fn create(opened: &Opened, file: &Path) -> Result<Report, Failure> {
    let found = fs::symlink_metadata(file);
    if found.is_ok() {
        return Err(Failure::new(Exit::Conflict, "exists", format!("{} exists already and was left as it is", file.display()))
            .help("choose another name, or add --force to replace it"));
    }
    maintain(opened, &Task::Backup { to: text(file)? })
}

/// Writes a backup in the place of another file, which stays until the new one is whole.
fn replace(session: &Session, file: &Path) -> Result<Report, Failure> {
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            return Err(Failure::usage(format!("{} is no regular file", file.display())).help("choose another name"));
        }
        Ok(_) if is_among_the_stores(file, &session.opened) => {
            let message = format!("{} lies among the files of the store, which a backup must not replace", file.display());
            return Err(Failure::usage(message).help("choose another folder"));
        }
        _ => {}
    }
    let failed = |e: io::Error| {
        Failure::new(Exit::Failed, "output", format!("cannot write {}: {e}", file.display()))
            .help("what was there before is still there")
    };
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder of its own, for the owner alone: the plugin writes where nothing is.
    let folder = tempfile::Builder::new().prefix(".backup_").tempdir_in(parent).map_err(failed)?;
    let whole = folder.path().join("whole");
    let report = create(&session.opened, &whole)?;
    fs::rename(&whole, file).map_err(failed)?;
    fs::File::open(parent).and_then(|f| f.sync_all()).map_err(failed)?;
    Ok(report)
}

/// Tells what the plugin found wrong.
pub(super) fn tell(report: &Report, cx: &Context<'_>) {
    for problem in &report.problems {
        cx.console.note(&format!("warning: {}", show::text(&problem.message)));
    }
}

/// The path as plugins are handed it.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{} is not UTF-8", path.display())).help("choose another name"))
}

/// The folder of backups without a name of their own, made if it is not there.
pub(super) fn folder(session: &Session) -> Result<PathBuf, Failure> {
    let beside = store_file(&session.opened).and_then(|file| file.parent().map(Path::to_owned));
    let folder = beside.unwrap_or_else(|| session.config.data_dir().join("hivemind-core")).join("backups");
    files::make_folder(&folder)
        .map_err(|e| Failure::new(Exit::Failed, "output", format!("cannot create {}: {e}", folder.display())))?;
    clear_cut(&folder);
    Ok(folder)
}

/// Removes what is left in the folder of backups of some that were cut: `.….backup.….tmp`, and what lies beside it. A lock tells
/// those that are being made.
fn clear_cut(folder: &Path) {
    let copy_of = |name: &str| {
        let copy = ["-journal", "-wal", "-shm"].iter().find_map(|beside| name.strip_suffix(beside)).unwrap_or(name);
        let is_cut = copy.starts_with('.') && copy.contains(".backup.") && copy.ends_with(".tmp");
        is_cut.then(|| folder.join(copy))
    };
    let is_being_made = |copy: &Path| fs::File::open(copy).is_ok_and(|file| file.try_lock().is_err());
    let entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    for entry in entries {
        if entry.file_name().to_str().and_then(copy_of).is_some_and(|copy| !is_being_made(&copy)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A name in this folder that nothing has: `clients-20260102T030405Z.backup`.
pub(super) fn new_name(folder: &Path, opened: &Opened, what: &str) -> PathBuf {
    let stem = store_file(opened).and_then(|file| file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    let stem = stem.unwrap_or_else(|| opened.module.clone());
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = now.to_hms();
    let name = format!("{stem}-{what}{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    let numbered = (2..1000).map(|n| format!("{name}-{n}.backup"));
    let mut names = std::iter::once(format!("{name}.backup")).chain(numbered).map(|name| folder.join(name));
    let free = names.find(|path| path.symlink_metadata().is_err());
    free.unwrap_or_else(|| folder.join(format!("{name}.backup")))
}

/// The store's own file, if it is in one.
fn store_file(opened: &Opened) -> Option<PathBuf> {
    let resources = opened.storage.backend().resources();
    resources.into_iter().find(|r| r.kind == "file").map(|r| PathBuf::from(r.name))
}

fn is_among_the_stores(file: &Path, opened: &Opened) -> bool {
    let folder = |path: &Path| path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
    let own = store_file(opened).and_then(|own| folder(&own));
    own.is_some() && folder(file) == own
}
