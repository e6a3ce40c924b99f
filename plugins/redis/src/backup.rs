//! Backups of one moment, taken while others write; and the way back ([`restore`]).
//!
//! The decision behind it: **copy first, then read at one blow only what changed meanwhile.** Redis has no snapshot of a namespace, and a
//! script that reads all of it holds up everybody for a microsecond for each record, which is nothing for a thousand clients and more than a second
//! for a million. So all records are copied by pages to a file without a name, while the server tells which are written ([`Tracking`]). Then
//! one script reads those that were, together with counters and versions. That is the moment of the backup, if nothing else was written before
//! it. To know that, a key is written *after* the script: the server tells of writes in the order of its turns, so when it tells of that one
//! it has told of all before the script. If one of those was not read by the script, it is read by the next one, with all the others. Where others
//! are written all the time and again others each time, everything is read at one blow, up to a size; beyond it the backup is refused.
//!
//! What is kept beside the records is not in a backup: it follows from them. Versions and counters are.

pub(crate) mod file;
mod parts;
pub(crate) mod restore;
mod staged;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek as _, Write};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Problem, Report, Result};
use redis::{Value, cmd};

use crate::keys::{CREATING, Namespace, pattern};
use crate::link::{Changed, Link, Repeat, Script};
use crate::read;
use crate::recent::random;
use crate::record::Raw;
use parts::Seen;

static TOGETHER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/together.lua")));

/// Records that are read at one blow, at most: some 100 ms in which the server answers nobody else.
const MOST_TOGETHER: usize = 100_000;
/// How often what changed is read again before all records are read at one blow, and how often that is tried.
const TRIES: usize = 12;
/// How often everything is begun anew because the server no longer told what changed.
const ATTEMPTS: usize = 3;
/// How long the server may take to tell of a write.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a key stays that only this program looks for, in seconds, if nobody removes it.
const FENCE_KEPT: u32 = 60;

/// What a backup needs.
pub(crate) struct Backing<'b> {
    pub(crate) cx: &'b Context<'b>,
    pub(crate) link: &'b Link,
    pub(crate) namespace: &'b Namespace,
}

/// Records as they were read one after another, and which of them are void.
struct Copied {
    spool: BufReader<File>,
    /// Those that were written meanwhile, counters and versions, as they were at the moment of the backup.
    together: Together,
    /// The first of those, which count in the place of what was read before.
    written: BTreeSet<Vec<u8>>,
}

/// Keys and what stood under them at one moment.
type Together = Vec<(Vec<u8>, Raw)>;

/// What the server has told so far.
struct News {
    heard: u64,
}

impl News {
    /// The keys that were written since this was last asked; `None` if nobody can tell.
    fn told(&mut self, link: &Link) -> Option<Vec<Vec<u8>>> {
        let (heard, changed) = link.tracking().told(self.heard);
        self.heard = heard;
        match changed {
            Changed::Nothing => Some(Vec::new()),
            Changed::Keys(keys) => Some(keys),
            Changed::Everything => None,
        }
    }
}

impl Backing<'_> {
    /// Writes a backup.
    ///
    /// # Errors
    /// `conflict` if something has that name, `busy` if it cannot be had while so much is written, the link's, and the system's.
    pub(crate) fn run(&self, to: &Path) -> Result<Report> {
        check_free(to)?;
        for _ in 0..ATTEMPTS {
            if let Some(copied) = self.copy(to)? {
                return self.write(copied, to);
            }
        }
        Err(Error::unavailable("the connection that tells of changes was lost again and again; nothing was written, try again"))
    }

    /// Copies everything; `None` if what changed meanwhile is not known.
    fn copy(&self, to: &Path) -> Result<Option<Copied>> {
        let cannot_write = failed("write beside", to);
        let mut news = News { heard: self.link.tracking().heard() };
        // It has no name, so nothing is left of it however this ends.
        let mut spool = BufWriter::new(tempfile::tempfile_in(folder(to)).map_err(&cannot_write)?);
        let (mut seen, mut written) = (Seen::default(), BTreeSet::new());
        let mut is_known = true;
        for prefix in self.namespace.records() {
            let prefix = String::from_utf8(prefix).map_err(|_| Error::invalid("the index_prefix is no text"))?;
            self.link.scan(self.cx, &pattern(&prefix), |mut keys| {
                keys.retain(|key| self.is_kept(key) && seen.insert(self.own(key)));
                let commands = keys.iter().map(|key| read::get_command(key));
                for (key, answer) in keys.iter().zip(read::trips(self.cx, self.link, commands)?) {
                    match read::raw(self.link, answer)? {
                        Raw::Text(value) => put(&mut spool, key, &value).map_err(&cannot_write)?,
                        // They are looked at once more, at the moment that counts.
                        Raw::OtherType => drop(written.insert(key.clone())),
                        Raw::Absent => {}
                    }
                }
                match news.told(self.link) {
                    Some(keys) => written.extend(keys),
                    None => is_known = false,
                }
                Ok(())
            })?;
        }
        let Some(together) = (if is_known { self.settle(&mut news, &mut written, &seen)? } else { None }) else {
            return Ok(None);
        };
        let mut spool = spool.into_inner().map_err(|e| cannot_write(e.into_error()))?;
        spool.rewind().map_err(&cannot_write)?;
        Ok(Some(Copied { spool: BufReader::new(spool), together, written }))
    }

    /// Whether this is the key of a record or of a version, and not one that only this program looks for.
    fn is_kept(&self, key: &[u8]) -> bool {
        parts::of(&self.own(key)).is_some()
    }

    /// A key without the namespace's first part.
    fn own(&self, key: &[u8]) -> Vec<u8> {
        key.get(self.namespace.base().len() + 1..).unwrap_or_default().to_vec()
    }

    fn whole(&self, own: &[u8]) -> Vec<u8> {
        [self.namespace.base().as_bytes(), b":", own].concat()
    }

    /// Finds a moment at which nothing was written but what was read at it; `None` if what changed is not known.
    fn settle(&self, news: &mut News, written: &mut BTreeSet<Vec<u8>>, seen: &Seen) -> Result<Option<Together>> {
        let fence = self.whole(format!("collections::backup:{:016x}", random()?).as_bytes());
        let found = self.settle_at(news, written, seen, &fence);
        // It would expire by itself.
        let _ = self.link.query(self.cx, redis::cmd("DEL").arg(&fence), Repeat::Idempotent);
        found
    }

    fn settle_at(&self, news: &mut News, written: &mut BTreeSet<Vec<u8>>, seen: &Seen, fence: &[u8]) -> Result<Option<Together>> {
        for round in 0..2 * TRIES {
            self.cx.check()?;
            let Some(told) = news.told(self.link) else { return Ok(None) };
            written.extend(told);
            if round == TRIES {
                written.extend(seen.iter().map(|own| self.whole(&own)));
            }
            written.retain(|key| self.is_kept(key));
            if written.len() > MOST_TOGETHER {
                return Err(Error::busy(format!(
                    "so much is written meanwhile that more than {MOST_TOGETHER} records had to be read at one moment, which would hold up \
                     the server; take the backup while less is written"
                )));
            }
            let mut keys: Vec<Vec<u8>> = written.iter().cloned().collect();
            let mut names = seen.collections().clone();
            names.extend(keys.iter().filter_map(|key| parts::of(&self.own(key))?.collection().map(str::to_owned)));
            keys.extend(parts::beside(&names).iter().map(|own| self.whole(own)));
            let found = self.together(&keys)?;
            let Some(mut late) = self.told_up_to_now(news, fence)? else { return Ok(None) };
            late.retain(|key| self.is_kept(key) && !written.contains(key));
            if late.is_empty() {
                return Ok(Some(keys.into_iter().zip(found).collect()));
            }
            written.extend(late);
        }
        Err(Error::busy("others write again and again what was not written before; take the backup while less is written"))
    }

    /// What stands under these keys at one moment.
    fn together(&self, keys: &[Vec<u8>]) -> Result<Vec<Raw>> {
        let answers = if self.link.scripts_allowed() {
            match self.link.script(self.cx, &TOGETHER, keys, &[] as &[&str], Repeat::Safe)? {
                Value::Array(answers) => answers,
                other => return Err(read::unexpected(self.link, "EVAL", &other)),
            }
        } else {
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            for key in keys {
                pipeline.add_command(read::get_command(key));
            }
            self.link.pipeline(self.cx, &pipeline, Repeat::Safe)?
        };
        let raw = |answer| match answer {
            Value::Int(_) => Ok(Raw::OtherType),
            answer => read::raw(self.link, answer),
        };
        answers.into_iter().map(raw).collect()
    }

    /// What the server tells up to here: everything that was written before this was called, and maybe more.
    fn told_up_to_now(&self, news: &mut News, fence: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let mut set = cmd("SET");
        set.arg(fence).arg(news.heard).arg("EX").arg(FENCE_KEPT);
        self.link.query(self.cx, &set, Repeat::Idempotent)?;
        let end = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        loop {
            self.cx.check()?;
            let Some(told) = news.told(self.link) else { return Ok(None) };
            let is_over = told.iter().any(|key| key == fence);
            all.extend(told);
            if is_over {
                return Ok(Some(all));
            }
            if Instant::now() > end {
                return Err(Error::unavailable(
                    "the server does not tell of a write that it has acknowledged; nothing was written, try again",
                ));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn write(&self, mut copied: Copied, to: &Path) -> Result<Report> {
        let cannot_write = failed("write", to);
        let prefix = format!(".{}.", to.file_name().unwrap_or_default().to_string_lossy());
        let file = tempfile::Builder::new().prefix(&prefix).suffix(".tmp").rand_bytes(16).tempfile_in(folder(to));
        let file = file.map_err(&cannot_write)?;
        // So that nobody takes it for one that was cut.
        let _ = file.as_file().try_lock();
        let mut out = file::Writer::begin(BufWriter::new(file), self.namespace).map_err(&cannot_write)?;
        let (mut records, mut problems) = (0, Vec::new());
        let mut add = |key: &[u8], value: &[u8]| {
            let own = self.own(key);
            if value == CREATING {
                return Ok(());
            }
            records += i64::from(parts::of(&own).is_some_and(|part| part.is_record()));
            out.add(&own, value).map_err(&cannot_write)
        };
        while let Some((key, value)) = take(&mut copied.spool).map_err(&cannot_write)? {
            if !copied.written.contains(&key) {
                add(&key, &value)?;
            }
        }
        for (key, raw) in &copied.together {
            match raw {
                Raw::Text(value) => add(key, value)?,
                Raw::Absent => {}
                Raw::OtherType => {
                    let message = format!("{} is no string in Redis, and not in the backup", crate::keys::shown(key));
                    problems.push(Problem { collection: String::new(), key: None, message });
                }
            }
        }
        let (out, bytes) = out.finish().map_err(&cannot_write)?;
        let file = out.into_inner().map_err(|e| cannot_write(e.into_error()))?;
        file.as_file().sync_all().map_err(&cannot_write)?;
        file.persist_noclobber(to).map_err(|e| match e.error.kind() {
            ErrorKind::AlreadyExists => taken(to),
            _ => cannot_write(e.error),
        })?;
        #[cfg(unix)]
        File::open(folder(to)).and_then(|folder| folder.sync_all()).map_err(&cannot_write)?;
        let report = Report::new().with("bytes", i64::try_from(bytes).unwrap_or(i64::MAX)).with("records", records);
        Ok(Report { problems, ..report })
    }
}

/// A key and what stood under it, each behind its length.
fn put(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    for part in [key, value] {
        out.write_all(&(part.len() as u64).to_le_bytes())?;
        out.write_all(part)?;
    }
    Ok(())
}

fn take(input: &mut impl Read) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut part = || -> io::Result<Vec<u8>> {
        let mut length = [0; 8];
        input.read_exact(&mut length)?;
        let mut part = vec![0; usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?];
        input.read_exact(&mut part)?;
        Ok(part)
    };
    match part() {
        Ok(key) => Ok(Some((key, part()?))),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

fn folder(of: &Path) -> &Path {
    of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_free(to: &Path) -> Result<()> {
    if to.symlink_metadata().is_ok() { Err(taken(to)) } else { Ok(()) }
}

fn taken(to: &Path) -> Error {
    let place = to.display().to_string();
    Error::conflict(format!("{place} exists already and is left as it is; choose another name")).place(place)
}

/// What the system said about a file.
fn failed(doing: &str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |e| {
        let next = match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space and try again",
            ErrorKind::PermissionDenied => "check the owner and mode of the file and its folder",
            ErrorKind::ReadOnlyFilesystem => "check how its file system is mounted",
            _ => "check the disk and its file system",
        };
        let shown = path.display().to_string();
        let message = format!("cannot {doing} {shown}: {e}; {next}");
        Error::new(Error::from(e).code(), false, message).place(shown)
    }
}
