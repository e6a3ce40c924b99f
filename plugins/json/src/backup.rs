//! Backups of all files of a store in one, and the way back.
//!
//! Two decisions. **All files are read under the lock**, so that they are of one moment, and written to the backup without it. And
//! **a restore is a commit**: each file is replaced as a whole beside a journal that says what becomes of each record, so that a cut
//! leaves the old content, the new one, or a journal that whoever comes next carries out; and every program notices it as it notices
//! any other commit.

use std::fs;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_abi::model::table::Table;
use hivemind_abi::model::{Code, Collection, CollectionId, Context, Error, Problem, Report, Result};

use crate::archive::{self, Member};
use crate::document::{Document, Edits};
use crate::journal::{self, Change, Changes};
use crate::loaded::Loaded;
use crate::place::{Files, Place};
use crate::prepare::brought_up;
use crate::replace::{self, failed, sync_folder};
use crate::sentinel::Version;

/// What stands for a file that is not there.
const EMPTY: &[u8] = b"{}";

/// A collection's files in the store, and what they are called in a backup.
pub(crate) struct Stored {
    pub(crate) files: Files,
    data: String,
    sentinel: String,
}

/// The files of every collection, the primary one first. A file of records is known by the version beside it.
pub(crate) fn stored(place: &Place) -> Result<Vec<Stored>> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let primary = place.primary_files();
    let extension = format!(".{}", place.extension());
    let stem = name(&primary.data).strip_suffix(&extension).map(str::to_owned).unwrap_or_default();
    let mut all = vec![Stored { data: name(&primary.data), sentinel: format!("{stem}.schema_version"), files: primary }];
    let mut others: Vec<Stored> = Vec::new();
    let cannot_list = failed("list", &place.folder);
    for entry in fs::read_dir(&place.folder).map_err(&cannot_list)? {
        let data = entry.map_err(&cannot_list)?.file_name().to_string_lossy().into_owned();
        let Some(other) = data.strip_suffix(&extension).filter(|other| *other != stem) else { continue };
        let sentinel = format!("{other}.schema_version");
        let files = Files { data: place.folder.join(&data), sentinel: place.folder.join(&sentinel) };
        if files.sentinel.is_file() {
            others.push(Stored { files, data, sentinel });
        }
    }
    others.sort_by(|a, b| a.data.cmp(&b.data));
    all.extend(others);
    Ok(all)
}

pub(crate) fn content(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path)(e)),
    }
}

/// The temporary files that were left beside the files of every collection, in either form; only right under the lock.
///
/// # Errors
/// `io` and `denied`.
pub(crate) fn leftovers(place: &Place) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for Stored { files, .. } in stored(place)? {
        for path in [files.data.with_extension("json"), files.data.with_extension("ejson"), files.data, files.sentinel] {
            found.extend(replace::leftovers(&path)?);
        }
    }
    Ok(found)
}

/// The store's files as they are; only right under the lock.
///
/// # Errors
/// `io` and `denied`.
pub(crate) fn snapshot(place: &Place) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for Stored { files, data, sentinel } in stored(place)? {
        members.push(Member { name: data, content: content(&files.data)?.unwrap_or_else(|| EMPTY.to_vec()) });
        if let Some(version) = content(&files.sentinel)? {
            members.push(Member { name: sentinel, content: version });
        }
    }
    Ok(members)
}

/// Writes a backup with these files in it.
///
/// # Errors
/// `conflict` if something has that name, `io` if it cannot be written; then nothing is left of it.
pub(crate) fn write(place: &Place, members: &[Member], to: &Path) -> Result<Report> {
    check_free(to)?;
    let cannot_write = failed("write", to);
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{}.", to.file_name().unwrap_or_default().to_string_lossy());
    let file =
        tempfile::Builder::new().prefix(&prefix).suffix(".tmp").rand_bytes(16).tempfile_in(folder).map_err(&cannot_write)?;
    // So that nobody takes it for one that was cut.
    let _ = file.as_file().try_lock();
    let mut out = BufWriter::new(file);
    archive::write(&mut out, members).map_err(&cannot_write)?;
    out.flush().map_err(&cannot_write)?;
    let file = out.into_inner().map_err(|e| cannot_write(e.into_error()))?;
    file.as_file().sync_all().map_err(&cannot_write)?;
    let bytes = file.as_file().metadata().map_or(0, |m| m.len());
    file.persist_noclobber(to).map_err(|e| match e.error.kind() {
        ErrorKind::AlreadyExists => taken(to),
        _ => cannot_write(e.error),
    })?;
    sync_folder(folder)?;
    let problems = members.iter().filter_map(|member| unreadable(place, member)).collect();
    Ok(Report { problems, ..Report::new().with("bytes", i64::try_from(bytes).unwrap_or(i64::MAX)) })
}

/// What keeps a file of records that is backed up as it is from being read.
fn unreadable(place: &Place, member: &Member) -> Option<Problem> {
    if !member.name.ends_with(&format!(".{}", place.extension())) {
        return None;
    }
    let text = place.coding.decode(member.content.clone());
    let error = text.and_then(|text| Document::parse(text, || (), |(), _, _| {})).err()?;
    let message = format!("{} cannot be read: {}", member.name, error.message());
    Some(Problem { collection: String::new(), key: None, message })
}

/// Refuses a name that something has.
pub(crate) fn check_free(to: &Path) -> Result<()> {
    if to.symlink_metadata().is_ok() { Err(taken(to)) } else { Ok(()) }
}

fn taken(to: &Path) -> Error {
    let place = to.display().to_string();
    Error::conflict(format!("{place} exists already and is left as it is; choose another name")).place(place)
}

/// What a backup holds of one collection.
struct Kept {
    data: String,
    content: Vec<u8>,
    version: Option<Vec<u8>>,
}

/// What a backup holds, the primary collection first.
fn read(place: &Place, from: &Path) -> Result<Vec<Kept>> {
    let members = archive::read(from)?;
    let wrong = |what: &str| {
        let shown = from.display().to_string();
        Error::denied(format!("{shown} {what}; nothing was changed")).field("password").place(shown)
    };
    let extension = format!(".{}", place.extension());
    match members.first().map(|first| (first.name.ends_with(".ejson"), place.coding.is_encrypted())) {
        Some((true, false)) => return Err(wrong("is of an encrypted store, but no password is set")),
        Some((false, true)) => return Err(wrong("is of a store that is not encrypted, but a password is set")),
        _ => {}
    }
    let mut kept: Vec<Kept> = Vec::new();
    for Member { name, content } in members {
        let of = |kept: &Kept| kept.data.strip_suffix(&extension).map(|stem| format!("{stem}.schema_version"));
        if name.ends_with(&extension) {
            kept.push(Kept { data: name, content, version: None });
        } else if let Some(last) = kept.last_mut().filter(|last| of(last).as_ref() == Some(&name)) {
            last.version = Some(content);
        } else {
            let shown = from.display().to_string();
            return Err(Error::corrupt(format!("{shown} holds {name:?}, which is no file of a JSON store")).place(shown));
        }
    }
    Ok(kept)
}

/// The collection whose file this is, the first one being the primary collection's.
fn collection_of<'c>(place: &Place, at: usize, data: &str, collections: &'c [Collection]) -> Option<&'c Collection> {
    let stem = data.strip_suffix(&format!(".{}", place.extension()))?;
    collections.iter().find(|c| if at == 0 { c.primary } else { !c.primary && c.name == stem })
}

fn check_version(kept: &Kept, collection: &Collection, from: &Path) -> Result<()> {
    let version = kept.version.as_deref().map_or(Version::Missing, Version::parse).number();
    if version <= i64::from(collection.version) {
        return Ok(());
    }
    let (shown, name, known) = (from.display().to_string(), &collection.name, collection.version);
    let message =
        format!("{shown} holds {name} in version {version}, this program knows version {known}; update it; nothing was changed");
    Err(Error::too_new(message).collection(name).place(shown))
}

/// Reads a backup and says what is wrong with it.
///
/// # Errors
/// `io` and `denied` if it cannot be read, `too new`. What is damaged is in the report.
pub(crate) fn verify(cx: &Context<'_>, place: &Place, from: &Path, collections: &[Collection]) -> Result<Report> {
    let mut report = Report::new();
    let kept = match read(place, from) {
        Err(error) if error.code() == Code::Corrupt => {
            report.problems.push(Problem { collection: String::new(), key: None, message: error.message().to_owned() });
            return Ok(report);
        }
        other => other?,
    };
    let mut records = 0;
    for (at, kept) in kept.iter().enumerate() {
        cx.check()?;
        let Some(collection) = collection_of(place, at, &kept.data, collections) else { continue };
        check_version(kept, collection, from)?;
        let collection = Arc::new(collection.clone());
        let files = Files { data: from.join(&kept.data), sentinel: PathBuf::new() };
        let mut file = Loaded::new(CollectionId(0), Arc::clone(&collection), files, place.coding.clone());
        let mut table = Table::new(Arc::clone(&collection));
        let problem = |message: String| Problem { collection: collection.name.clone(), key: None, message };
        match file.take_over(Some(kept.content.clone()), &mut table) {
            Err(error) if error.code() == Code::Denied => return Err(error),
            Err(error) => report.problems.push(problem(error.message().to_owned())),
            Ok(_) => {
                report.problems.extend(table.problems());
                report.problems.extend(file.strays().iter().cloned().map(problem));
                records += table.len();
            }
        }
    }
    Ok(report.with("records", i64::try_from(records).unwrap_or(i64::MAX)).with("sealed", true))
}

/// A file that is to get another content.
struct Target {
    files: Files,
    new: Document,
    /// The version to write, where it is another: before the records if it is lower, or whoever comes in between takes old records for
    /// present ones; else after them.
    version: Option<(Vec<u8>, bool)>,
}

/// What a restore is to do, checked before anything is done.
pub(crate) struct Plan {
    targets: Vec<(Kept, Document)>,
    records: usize,
}

/// Reads a backup, checks it, and brings its records to their present form.
///
/// # Errors
/// `corrupt`, `too new`, and `denied` for one of another password.
pub(crate) fn plan(cx: &Context<'_>, place: &Place, from: &Path, collections: &[Collection]) -> Result<Plan> {
    let mut plan = Plan { targets: Vec::new(), records: 0 };
    for (at, mut kept) in read(place, from)?.into_iter().enumerate() {
        cx.check()?;
        let shown = from.join(&kept.data);
        let unreadable = |e: Error| {
            let (code, place) = (e.code(), shown.display().to_string());
            let message = format!("{place} cannot be read: {}; nothing was changed", e.message());
            Error::new(code, false, message).with_detail(e.detail().clone()).place(place)
        };
        let text = place.coding.decode(std::mem::take(&mut kept.content)).map_err(unreadable)?;
        let new = match collection_of(place, at, &kept.data, collections) {
            Some(collection) => {
                check_version(&kept, collection, from)?;
                let (document, edits) = brought_up(collection, text).map_err(unreadable)?;
                kept.version = Some(collection.version.to_string().into_bytes());
                if edits.is_empty() { document } else { document.edited(&edits) }
            }
            None => Document::parse(text, || (), |(), _, _| {}).map_err(unreadable)?.0,
        };
        plan.records += new.len();
        plan.targets.push((kept, new));
    }
    Ok(plan)
}

impl Plan {
    /// Puts everything in place; only right under the lock, after what was cut is finished.
    ///
    /// # Errors
    /// `io` and `denied`: nothing was changed. `outcome unknown` if the journal has to finish it.
    pub(crate) fn carry_out(self, place: &Place) -> Result<Report> {
        let report = Report::new().with("records", i64::try_from(self.records).unwrap_or(i64::MAX));
        let mut targets = self.targets(place)?;
        let mut changes = Vec::new();
        // Files that cannot be read are replaced before: no journal can say what becomes of their records.
        let (mut staged, mut damaged) = (Vec::new(), Vec::new());
        for target in &targets {
            let stored = content(&target.files.data)?;
            if stored.is_none() && target.new.len() == 0 {
                continue;
            }
            let existed = stored.is_some();
            let text = stored.and_then(|stored| place.coding.decode(stored).ok());
            if text.as_deref() == Some(target.new.source().as_bytes()) {
                continue;
            }
            let old = text.and_then(|text| Document::parse(text, || (), |(), _, _| {}).ok()).map(|(document, ())| document);
            let new = replace::stage(&target.files.data, &[place.coding.encoded(target.new.source())?])?;
            if existed && old.is_none() {
                damaged.push(new);
            } else {
                changes.push(difference(&target.files.data, old.as_ref(), &target.new));
                staged.push(new);
            }
        }
        for target in &mut targets {
            if let Some((version, true)) = &target.version {
                replace::replace(&target.files.sentinel, version)?;
            }
        }
        let folders: Vec<PathBuf> = damaged.iter().chain(&staged).map(replace::Staged::folder).collect();
        for one in damaged {
            one.commit()?;
        }
        let several = staged.len() > 1;
        if several && let Err(error) = journal::write(place, &changes) {
            journal::remove(&place.journal).map_err(|e| journal::unfinished(&e, &place.journal))?;
            return Err(error);
        }
        for (done, one) in staged.into_iter().enumerate() {
            match one.commit() {
                Ok(_) => {}
                Err(error) if done == 0 && several => {
                    journal::remove(&place.journal).map_err(|e| journal::unfinished(&e, &place.journal))?;
                    return Err(error);
                }
                Err(error) if done == 0 => return Err(error),
                Err(error) => return Err(journal::unfinished(&error, &place.journal)),
            }
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        for target in &targets {
            if let Some((version, false)) = &target.version {
                replace::replace(&target.files.sentinel, version)?;
            }
        }
        if several {
            journal::remove(&place.journal)?;
        }
        Ok(report)
    }

    /// What each file of the store becomes; one that the backup does not have becomes empty.
    fn targets(self, place: &Place) -> Result<Vec<Target>> {
        let mut known = stored(place)?;
        let mut targets = Vec::new();
        for (at, (kept, new)) in self.targets.into_iter().enumerate() {
            let found = if at == 0 { Some(0) } else { known.iter().position(|stored| stored.data == kept.data) };
            let files = match found {
                Some(found) => known.get(found).map(|stored| stored.files.clone()),
                None => None,
            };
            let stem = kept.data.strip_suffix(place.extension()).unwrap_or_default().to_owned();
            let files = files.unwrap_or_else(|| Files {
                data: place.folder.join(&kept.data),
                sentinel: place.folder.join(format!("{stem}schema_version")),
            });
            known.retain(|stored| at == 0 || stored.files != files);
            let present = Version::read(&files.sentinel)?;
            let version = kept.version.map(|content| {
                let is_lower = Version::parse(&content).number() < present.number();
                (content, is_lower)
            });
            let version = version.filter(|(content, _)| present != Version::parse(content));
            targets.push(Target { files, new, version });
        }
        let emptied = known.into_iter().skip(1).map(|stored| Target {
            files: stored.files,
            new: Document::default().edited(&Edits::default()),
            version: None,
        });
        targets.extend(emptied);
        Ok(targets)
    }
}

/// What becomes of each record of a file.
fn difference(path: &Path, old: Option<&Document>, new: &Document) -> Changes {
    let quoted = |name: &str| format!("\"{name}\"");
    let none = Document::default();
    let old = old.unwrap_or(&none);
    let (before, after) = (old.positions(), new.positions());
    let mut records = Vec::new();
    for (name, at) in &before {
        let (text, then) = (old.value(*at), after.get(name).map(|at| new.value(*at)));
        if then != Some(text) {
            let (before, after) = (Some(text.to_owned()), then.map(str::to_owned));
            records.push(Change { name: quoted(old.name(*at)), before, after });
        }
    }
    for at in 0..new.len() {
        let name = hivemind_abi::model::json::Text { raw: new.name(at) }.name();
        if !before.contains_key(&name) {
            records.push(Change { name: quoted(new.name(at)), before: None, after: Some(new.value(at).to_owned()) });
        }
    }
    Changes { file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), records }
}
