//! Exports: all records of a store as JSON Lines.
//!
//! The first line says what the file is, one line follows for each record, and the last one says how many there were and what their hash
//! is; a file without it was cut. Lines are in the order of collections and keys. A file is checked as a whole before anything of it is
//! used, and then read again as often as a move needs it, so that it is never in memory as a whole.
//!
//! ```text
//! {"hivemind_export": 1, "program": "hivemind-host 0.1.0", "collections": [{"name": "clients", "version": 2, "records": 1}]}
//! {"clients": {"allowed_types": ["speak"], "api_key": "…", "client_id": 1, …}}
//! {"end": {"records": 1, "hash": "…"}}
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use hivemind_model::json::{self, Json};
use hivemind_model::{Collection, Key, Problem, Unreadable, record};

use super::digest::Digest;
use super::progress::Progress;
use super::rows::{Item, Rows};
use super::sealed::{self, Keys, Seal};
use super::source::{Changed, Moment, Source};
use super::store::Store;
use super::survey::Survey;
use crate::failure::{Exit, Failure};
use crate::plain::plain;

/// The version of the form.
pub const FORMAT: u64 = 1;
/// What the names of files begin with that are not whole yet.
const UNFINISHED: &str = ".tmp_export_";
/// The longest line that is read, in bytes: far beyond any record.
const LONGEST: u64 = 64 << 20;

/// Writes an export of the records that were surveyed.
///
/// # Errors
/// `source-changing` if the store was changed meanwhile, the store's, the output's.
pub fn write(
    source: &Store,
    survey: &Survey,
    seal: &Seal,
    out: &mut dyn Write,
    progress: &mut dyn Progress,
) -> Result<Digest, Failure> {
    let mut sum = Digest::default();
    let moment = source.moment()?;
    sealed::seal(seal, out, |out| -> Result<(), Failure> {
        let mut out = BufWriter::new(out);
        let collections: Vec<_> = (0..source.len())
            .map(|at| {
                let collection = source.collection(at).1;
                let (name, version, records) = (json::quote(&collection.name), collection.version, survey.carried[at]);
                format!("{{\"name\": {name}, \"version\": {version}, \"records\": {records}}}")
            })
            .collect();
        let program = concat!("hivemind-host ", env!("CARGO_PKG_VERSION"));
        let collections = collections.join(", ");
        writeln!(out, "{{\"hivemind_export\": {FORMAT}, \"program\": \"{program}\", \"collections\": [{collections}]}}")?;
        let mut scratch = Vec::new();
        for at in 0..source.len() {
            let (_, collection) = source.collection(at);
            let name = json::quote(&collection.name);
            let mut rows = source.rows(at)?;
            while let Some((key, row)) = rows.next()? {
                if survey.left.contains(&(at, key)) {
                    continue;
                }
                let view = row.view(collection)?;
                sum.add(Digest::of(&collection.name, &view, &mut scratch));
                let text = record::to_json(&view);
                // A document in a record may stand on several lines.
                let line = json::parse(&text).map(|document| document.to_text()).unwrap_or(text);
                writeln!(out, "{{{name}: {line}}}")?;
                progress.step(1);
            }
        }
        if sum.records != survey.carried.iter().sum::<u64>() || Source::changed_since(source, &moment)? == Changed::Yes {
            return Err(changed(source));
        }
        writeln!(out, "{{\"end\": {{\"records\": {}, \"hash\": \"{sum}\"}}}}", sum.records)?;
        Ok(out.flush()?)
    })?;
    Ok(sum)
}

fn changed(source: &Store) -> Failure {
    Failure::new(Exit::Unavailable, "source-changing", format!("{} was changed while it was written out", source.place()))
        .help("run the command again; if it goes on, stop what writes there")
}

/// A checked export.
pub struct Archive {
    file: File,
    keys: Keys,
    name: String,
    collections: Vec<Collection>,
    sum: Digest,
}

impl Archive {
    /// Checks an export from its first to its last line. `name` is for messages.
    ///
    /// # Errors
    /// `bad-export`, naming the line; the system's.
    pub fn check(
        file: File,
        name: &str,
        keys: Keys,
        collections: Vec<Collection>,
        progress: &mut dyn Progress,
    ) -> Result<Self, Failure> {
        let mut archive = Self { file, keys, name: name.to_owned(), collections, sum: Digest::default() };
        let mut lines = archive.lines()?;
        archive.check_header(lines.next()?)?;
        let (mut sum, mut scratch, mut last) = (Digest::default(), Vec::new(), None);
        let end = loop {
            let Some(line) = lines.next()? else {
                return Err(archive.wrong(lines.number, "the last line is missing: the file was cut"));
            };
            let (at, key, row) = match archive.read(&line, lines.number)? {
                Line::Record(at, key, row) => (at, key, row),
                Line::End(records, hash) => break (records, hash),
            };
            if last.as_ref().is_some_and(|last| *last >= (at, key.clone())) {
                return Err(archive.wrong(lines.number, "records must stand in the order of their keys, each once"));
            }
            last = Some((at, key));
            let collection = &archive.collections[at];
            let row = record::as_stored(collection, &row)?.into_owned();
            sum.add(Digest::of(&collection.name, &row.view(collection)?, &mut scratch));
            progress.step(1);
        };
        if lines.next()?.is_some() {
            return Err(archive.wrong(lines.number, "something follows the last line"));
        }
        if end != (sum.records, sum.to_string()) {
            let what = format!(
                "{} records with the hash {} were expected, {} with {sum} are there: the file was changed",
                end.0,
                plain(&end.1),
                sum.records
            );
            return Err(archive.wrong(lines.number, &what));
        }
        drop(lines);
        archive.sum = sum;
        Ok(archive)
    }

    /// How many records it has.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.sum.records
    }

    fn wrong(&self, line: u64, what: &str) -> Failure {
        let place = if line == 0 { String::new() } else { format!(", line {line}") };
        Failure::new(Exit::Data, "bad-export", format!("{}{place}: {what}", self.name))
            .help("nothing was changed; use a whole file that `hivemind-host export` wrote")
    }

    fn lines(&self) -> Result<Lines<'_>, Failure> {
        let input = BufReader::with_capacity(1 << 16, At { file: &self.file, offset: 0 });
        let input = sealed::open(input, &self.keys).map_err(|e| self.wrong(0, &e.to_string()))?;
        Ok(Lines { archive: self, input: BufReader::with_capacity(1 << 16, input), number: 0 })
    }

    fn check_header(&self, line: Option<String>) -> Result<(), Failure> {
        let text = line.unwrap_or_default();
        let header = json::parse(&text).ok();
        let number = |of: Option<&Json<'_>>| match of {
            Some(Json::Number(raw)) => raw.parse::<u64>().ok(),
            _ => None,
        };
        fn member<'j>(of: &Json<'j>, name: &str) -> Option<Json<'j>> {
            of.member(name).map(|m| m.value.clone())
        }
        let format = header.as_ref().and_then(|h| number(member(h, "hivemind_export").as_ref()));
        match (format, &header) {
            (Some(FORMAT), Some(header)) => {
                let Some(Json::Array(listed)) = member(header, "collections") else {
                    return Err(self.wrong(1, "the first line names no collections"));
                };
                for one in &listed {
                    let name = match member(one, "name") {
                        Some(Json::String(name)) => name.decode().into_owned(),
                        _ => String::new(),
                    };
                    let version = number(member(one, "version").as_ref()).unwrap_or(u64::MAX);
                    let known = self.collections.iter().find(|c| c.name == name);
                    if known.is_none_or(|known| u64::from(known.version) < version) {
                        let what = format!("its {} of version {version} are newer than this program knows", plain(&name));
                        return Err(self.wrong(1, &what));
                    }
                }
                Ok(())
            }
            (Some(newer), _) if newer > FORMAT => {
                Err(self.wrong(1, &format!("it has form {newer}, and this program knows {FORMAT}; use a later one")))
            }
            _ => Err(self.wrong(1, "it does not begin as an export does")),
        }
    }

    fn read(&self, line: &str, number: u64) -> Result<Line, Failure> {
        let parsed =
            json::parse(line).map_err(|e| self.wrong(number, &format!("expected JSON: {} in column {}", e.what, e.column)))?;
        let Json::Object(members) = &parsed else { return Err(self.wrong(number, "expected an object")) };
        let [member] = &members[..] else { return Err(self.wrong(number, "expected an object with one member")) };
        let name = member.name.decode();
        if name == "end" {
            let records = match member.value.member("records").map(|m| &m.value) {
                Some(Json::Number(raw)) => raw.parse().ok(),
                _ => None,
            };
            let hash = match member.value.member("hash").map(|m| &m.value) {
                Some(Json::String(text)) => Some(text.decode().into_owned()),
                _ => None,
            };
            let whole = records.zip(hash).ok_or_else(|| self.wrong(number, "the last line has no count or no hash"))?;
            return Ok(Line::End(whole.0, whole.1));
        }
        let Some(at) = self.collections.iter().position(|c| c.name == name) else {
            return Err(self.wrong(number, &format!("there is no collection {}", plain(&name))));
        };
        let collection = &self.collections[at];
        let row = record::from_parsed(collection, &member.value).map_err(|e| self.wrong(number, e.message()))?;
        let key = row.view(collection).map_err(|e| self.wrong(number, e.message()))?.key().to_key();
        Ok(Line::Record(at, key, row))
    }
}

enum Line {
    Record(usize, Key, hivemind_model::Row),
    End(u64, String),
}

/// The lines of an export, counted.
struct Lines<'a> {
    archive: &'a Archive,
    input: BufReader<Box<dyn Read + 'a>>,
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let wrong = |what: &str| self.archive.wrong(self.number + 1, what);
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut line);
        match read.map_err(|e| wrong(&e.to_string()))? {
            0 => return Ok(None),
            _ if line.last() != Some(&b'\n') => {
                return Err(wrong("the line does not end: the file was cut, or the line is too long"));
            }
            _ => {}
        }
        line.pop();
        let line = String::from_utf8(line).map_err(|_| wrong("expected UTF-8, found other bytes"))?;
        self.number += 1;
        Ok(Some(line))
    }
}

/// The records of one collection of an export.
struct ArchiveRows<'a> {
    lines: Lines<'a>,
    at: usize,
}

impl Rows for ArchiveRows<'_> {
    fn next(&mut self) -> Result<Option<Item>, Failure> {
        while let Some(line) = self.lines.next()? {
            // The first line is of no collection.
            if self.lines.number == 1 {
                continue;
            }
            let archive = self.lines.archive;
            match archive.read(&line, self.lines.number)? {
                Line::Record(at, key, row) if at == self.at => {
                    return Ok(Some((key, record::as_stored(&archive.collections[at], &row)?.into_owned())));
                }
                Line::Record(..) => {}
                Line::End(..) => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl Source for Archive {
    /// By its content, so that a move goes on from a copy of the file too.
    fn place(&self) -> String {
        format!("an export of {} records (hash {})", self.sum.records, self.sum)
    }

    fn collection(&self, at: usize) -> &Collection {
        &self.collections[at]
    }

    fn rows(&self, at: usize) -> Result<Box<dyn Rows + '_>, Failure> {
        Ok(Box::new(ArchiveRows { lines: self.lines()?, at }))
    }

    fn unreadable(&self, _: usize) -> Result<Vec<Unreadable>, Failure> {
        Ok(Vec::new())
    }

    fn strays(&self) -> Result<Vec<Problem>, Failure> {
        Ok(Vec::new())
    }

    fn moment(&self) -> Result<Moment, Failure> {
        Ok(Moment::Fixed)
    }

    fn changed_since(&self, _: &Moment) -> Result<Changed, Failure> {
        Ok(Changed::No)
    }
}

/// A file read from a place of its own, however many read it.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(self.file, buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Removes what killed exports left in a folder: they hold secrets, maybe in clear.
fn clear_cut(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let is_being_written = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_err());
        if !is_being_written {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Writes a file as a whole under its name or not at all, for its owner alone. What others that were killed left in its folder is removed.
///
/// # Errors
/// `exists` if something is there and is not to be replaced; those of `write`, and the system's.
pub fn create<T>(path: &Path, force: bool, write: impl FnOnce(&mut File) -> Result<T, Failure>) -> Result<T, Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, "output", format!("cannot write {}: {e}", path.display()))
            .help("check the folder and the disk; what was there is still there")
    };
    let exists = || {
        Failure::new(Exit::Conflict, "exists", format!("{} is there already", path.display()))
            .help("choose another name, or add --force to replace it")
    };
    match std::fs::symlink_metadata(path) {
        Ok(_) if !force => return Err(exists()),
        Ok(old) if !old.is_file() => return Err(failed(&"what is there is not a regular file")),
        _ => {}
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    clear_cut(folder);
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).map_err(|e| failed(&e))?;
    // Where it can be had: it tells one that is being written from one that was cut.
    let _ = file.as_file().try_lock();
    let value = write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    if force {
        file.persist(path).map_err(|e| failed(&e.error))?;
    } else {
        file.persist_noclobber(path).map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed(&e.error),
        })?;
    }
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))?;
    Ok(value)
}
