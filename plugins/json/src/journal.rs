//! The redo journal: what makes a batch over several files one.
//!
//! Renaming is atomic for one file. A batch over several first writes here, and syncs, what each touched record was and becomes;
//! then it replaces the files; then it removes the journal. Whoever finds a whole journal under the lock finishes the job; a torn one
//! means that no file was replaced yet. Records, not files, are written, so that finishing late keeps what others changed since.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hivemind_abi::model::json::{self, Json};
use hivemind_abi::model::{Code, Error, Result};

use crate::document::{Document, Edits};
use crate::loaded::unreadable;
use crate::place::Place;
use crate::replace::{failed, replace, resolve, sync_folder};
use crate::seen::Seen;

const NAME: &str = "hivemind-journal ";
const MAGIC: &str = "hivemind-journal 1";

/// The changes of a batch to one file.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) struct Changes {
    /// The file's name inside the store's folder.
    pub(crate) file: String,
    /// Its records.
    pub(crate) records: Vec<Change>,
}

/// What becomes of a record.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) struct Change {
    /// Its name, quoted.
    pub(crate) name: String,
    /// Its text before; `None`: it is new.
    pub(crate) before: Option<String>,
    /// Its text then; `None`: it is removed.
    pub(crate) after: Option<String>,
}

/// Writes the journal, to last.
pub(crate) fn write(place: &Place, changes: &[Changes]) -> Result<()> {
    replace(&place.journal, &place.coding.encoded(&encode(changes))?)
}

/// Removes the journal, to last.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("."))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed("remove", path)(e)),
    }
}

/// Finishes what a journal says, if there is one; only right under the lock. Tells `warn` what could not be done.
///
/// # Errors
/// `io`, `denied` and `corrupt` for a file it concerns, `too new` for a journal of a later program; the journal stays then.
pub(crate) fn replay(place: &Place, warn: impl FnMut(&str)) -> Result<()> {
    replay_with(place, warn, sync_folder)
}

fn replay_with(place: &Place, mut warn: impl FnMut(&str), sync: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let path = &place.journal;
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("read", path)(e)),
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    if content.is_empty() {
        return remove(path);
    }
    let content = match place.coding.decode(content) {
        Ok(content) => content,
        Err(error) if error.code() == Code::Corrupt => return set_aside(path, warn),
        // It is not the password then, that opens the store.
        Err(error) if error.code() == Code::Denied && opens(place) => return set_aside(path, warn),
        Err(error) if error.code() == Code::Denied => {
            let shown = path.display();
            let message = format!(
                "{shown}, which holds the rest of a batch that was cut, cannot be read: {}; set `password` to the one it was written \
                 with, or move it away to go on without it: a batch over several files may be there in part then",
                error.message()
            );
            return Err(Error::denied(message).with_detail(error.detail().clone()).place(shown.to_string()));
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    let Some(journal) = decode(&content) else {
        return match newer(&content) {
            Some(header) => {
                let message = format!(
                    "{} is a journal of a newer program ({header}); start that one to finish its batch; nothing was touched",
                    path.display()
                );
                Err(Error::too_new(message).place(path.display().to_string()))
            }
            None => set_aside(path, warn),
        };
    };
    for changes in journal {
        redo(place, &folder.join(&changes.file), &changes.records, &mut warn, &sync)?;
    }
    remove(path)
}

/// Whether the primary file opens with the password of these settings.
fn opens(place: &Place) -> bool {
    fs::read(&place.primary).is_ok_and(|content| place.coding.sealed(&content))
}

/// The header of a journal in another version than ours.
fn newer(content: &[u8]) -> Option<String> {
    let head = content.split(|b| *b == b'\n').next().filter(|head| head.len() < content.len())?;
    let head = std::str::from_utf8(head).ok()?;
    let version = head.strip_prefix(NAME)?.split(' ').next()?;
    let is_number = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    (is_number && version != "1").then(|| format!("{NAME}{version}"))
}

/// Keeps a damaged journal under another name, because it may be all that is left of a part of its batch.
fn set_aside(path: &Path, mut warn: impl FnMut(&str)) -> Result<()> {
    let name = |n: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 1 { ".damaged".to_owned() } else { format!(".damaged.{n}") });
        PathBuf::from(name)
    };
    // Nobody else makes such a name: this happens under the lock.
    let free = (1..).map(name).find(|name| matches!(fs::symlink_metadata(name), Err(e) if e.kind() == ErrorKind::NotFound));
    let Some(aside) = free else { return Err(Error::io(format!("no name is free to set {} aside", path.display()))) };
    fs::rename(path, &aside).map_err(failed("set aside", path))?;
    warn(&format!(
        "{} is damaged and was not carried out; it is kept as {}; a batch over several files may be there in part",
        path.display(),
        aside.display()
    ));
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn redo(
    place: &Place,
    path: &Path,
    records: &[Change],
    warn: &mut impl FnMut(&str),
    sync: &impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let content = Seen::read(path)?.0;
    let exists = content.is_some();
    let document = match content {
        Some(content) => {
            let content = place.coding.decode(content);
            let read = content.and_then(|content| Document::parse(content, || (), |(), _, _| {}));
            read.map_err(|e| unreadable(path, &e))?.0
        }
        None => Document::default(),
    };
    let mut edits = Edits::default();
    let positions = document.positions();
    for change in records {
        let Ok(Json::String(name)) = json::parse(&change.name) else { continue };
        let at = positions.get(&name.name()).copied();
        let found = at.map(|at| document.value(at));
        if same(found, change.after.as_deref()) {
            continue;
        }
        if !same(found, change.before.as_deref()) {
            // It was changed since, by a program that does not know this journal: the later change stands.
            warn(&format!(
                "{}: record {:?} was changed after a batch that was cut; it is left as it is",
                path.display(),
                name.decode()
            ));
            continue;
        }
        match (at, &change.after) {
            (Some(at), after) => drop(edits.changed.insert(at, after.clone())),
            (None, Some(after)) => edits.added.push((change.name.clone(), after.clone())),
            (None, None) => {}
        }
    }
    drop(positions);
    if !edits.is_empty() {
        return replace(path, &place.coding.encoded(document.edited(&edits).source())?);
    }
    // It says so already: it was renamed before the cut, which need not last yet. Its folder may be another one than the journal's.
    match resolve(path).map_err(failed("look at", path))?.parent() {
        Some(folder) if exists => sync(folder),
        _ => Ok(()),
    }
}

/// Whether two texts say the same, however another program laid them out.
fn same(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || matches!((json::parse(a), json::parse(b)), (Ok(a), Ok(b)) if a.same(&b)),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn encode(changes: &[Changes]) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or("null".to_owned(), json::quote);
    let record =
        |c: &Change| format!("\n    {{\"name\": {}, \"before\": {}, \"after\": {}}}", c.name, text(&c.before), text(&c.after));
    let file = |c: &Changes| {
        let records: Vec<_> = c.records.iter().map(record).collect();
        format!("\n  {{\"file\": {}, \"records\": [{}]}}", json::quote(&c.file), records.join(","))
    };
    let body = format!("[{}\n]", changes.iter().map(file).collect::<Vec<_>>().join(","));
    format!("{MAGIC} {} {:016x}\n{body}", body.len(), checksum(body.as_bytes()))
}

/// What a journal says; `None` if it is torn.
fn decode(content: &[u8]) -> Option<Vec<Changes>> {
    let content = std::str::from_utf8(content).ok()?;
    let (head, body) = content.split_once('\n')?;
    if head != format!("{MAGIC} {} {:016x}", body.len(), checksum(body.as_bytes())) {
        return None;
    }
    let string = |json: &Json<'_>| if let Json::String(text) = json { Some(text.decode().into_owned()) } else { None };
    let optional = |json: &Json<'_>| if *json == Json::Null { Some(None) } else { string(json).map(Some) };
    let parsed = json::parse(body).ok()?;
    let files = items(&parsed)?.iter().map(|file| {
        let records = items(&file.member("records")?.value)?.iter().map(|record| {
            let name = record.member("name")?.raw.to_owned();
            let (before, after) = (optional(&record.member("before")?.value)?, optional(&record.member("after")?.value)?);
            Some(Change { name, before, after })
        });
        let file = string(&file.member("file")?.value)
            .filter(|name| !name.contains('/') && (name.ends_with(".json") || name.ends_with(".ejson")))?;
        Some(Changes { file, records: records.collect::<Option<_>>()? })
    });
    files.collect()
}

fn items<'j, 'a>(json: &'j Json<'a>) -> Option<&'j [Json<'a>]> {
    if let Json::Array(items) = json { Some(items) } else { None }
}

/// FNV-1a: it tells a torn file from a whole one, nothing else is asked of it.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The error of a batch that was begun and not finished.
pub(crate) fn unfinished(error: &Error, path: &Path) -> Error {
    let message = format!(
        "the batch was begun and could not be finished ({}); its journal {} is carried out before the next write",
        error.message(),
        path.display()
    );
    Error::outcome_unknown(message).place(path.display().to_string())
}

#[cfg(test)]
mod tests;
