//! What a file in a plugins folder is, found out without running it.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object::ReadCache;

use super::image::Image;
use super::lock::Lock;
use super::manifest::{Manifest, Names};
use super::refusal::{Reason, Refusal};
use super::{object as object_file, search, trust};

/// A file that could be a plugin, and what it turned out to be.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it was found.
    pub path: PathBuf,
    /// The names it claims, rightly or not; known of most refused ones too.
    pub names: Option<Names>,
    /// Its manifest, or why it is refused.
    pub manifest: Result<Manifest, Reason>,
}

/// A plugin whose every check before loading has passed, with the very bytes that were checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Where it lies, links resolved.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's text, which the loaded library must state too.
    pub manifest_text: String,
    pub(super) image: Arc<Image>,
}

impl Candidate {
    /// Looks at a file: owner and mode, object format, manifest. Reads only the headers and the manifest of it.
    #[must_use]
    pub fn look_at(path: PathBuf) -> Self {
        let manifest = look(&path);
        let names = match &manifest {
            Ok(Manifest { module, aliases, .. }) => Some(Names { module: module.clone(), aliases: aliases.clone() }),
            Err(_) => names_of_refused(&path),
        };
        Self { path, names, manifest }
    }

    /// Looks at every library of a folder.
    ///
    /// # Errors
    /// `Unreadable` for a folder that is there but cannot be listed.
    pub fn all_in(folder: &Path) -> Result<Vec<Self>, Refusal> {
        let files = search::libraries_in(folder).map_err(|e| Reason::Unreadable(e.to_string()).at(folder))?;
        Ok(files.into_iter().map(Self::look_at).collect())
    }
}

/// The most bytes of a file that are read: many times the largest library anybody ships with debug information.
const LARGEST: u64 = 512 << 20;

/// After so long a change shows in a file's times for certain: they tick as slowly as the kernel's clock.
const TICK: Duration = Duration::from_millis(50);

/// The file behind a path, opened after owner and mode of it and of all above it were found right.
fn open(path: &Path) -> Result<(PathBuf, File), Reason> {
    let unreadable = |e: std::io::Error| match std::fs::read_link(path) {
        Ok(target) => Reason::Unreadable(format!("it is a link to {}: {e}", target.display())),
        Err(_) => Reason::Unreadable(e.to_string()),
    };
    let real = path.canonicalize().map_err(unreadable)?;
    // Opening a device can have effects of its own.
    check_kind(&real.metadata().map_err(unreadable)?)?;
    // Links on the way too: who can write their folders chooses what they lead to.
    trust::check_named(path)?;
    trust::check(&real)?;
    let file = open_at_once(&real).map_err(|e| Reason::Unreadable(e.to_string()))?;
    // What lies there now may be another than a moment ago, though only somebody who is trusted can have put it there.
    let meta = file.metadata().map_err(|e| Reason::Unreadable(e.to_string()))?;
    check_kind(&meta)?;
    trust::check_file(&real, &meta)?;
    if meta.len() > LARGEST {
        return Err(Reason::TooLarge { expected: LARGEST, found: meta.len() });
    }
    Ok((real, file))
}

/// Opens a file for reading without ever waiting: a pipe would wait for somebody to write into it.
fn open_at_once(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed());
    }
    options.open(path)
}

fn check_kind(meta: &Metadata) -> Result<(), Reason> {
    if meta.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    let special = {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = meta.file_type();
        [
            (kind.is_fifo(), "a pipe"),
            (kind.is_socket(), "a socket"),
            (kind.is_char_device() || kind.is_block_device(), "a device"),
        ]
    };
    #[cfg(not(unix))]
    let special: [(bool, &str); 0] = [];
    let special = special.into_iter().chain([(meta.is_dir(), "a folder")]).find(|(is, _)| *is);
    Err(Reason::NotALibrary(special.map_or("no regular file", |(_, what)| what).to_owned()))
}

/// Reads all of a file, or refuses one that somebody writes meanwhile: of a half of the old and a half of the new library nobody has
/// said that it can be trusted, and it need not show.
fn read_at_rest(path: &Path, file: &mut File) -> Result<Image, Reason> {
    let unreadable = |e: std::io::Error| Reason::Unreadable(e.to_string());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let before = file.metadata().map_err(unreadable)?;
    let image = Image::read(file, &name, LARGEST + 1).map_err(unreadable)?;
    // A change within one tick of the clock shows in no time; so then the content is compared.
    if is_recent(&before) && !holds(file, &image).map_err(unreadable)? {
        return Err(Reason::Changing);
    }
    let after = file.metadata().map_err(unreadable)?;
    if image.len() as u64 != before.len() || stamp(&before) != stamp(&after) {
        return Err(Reason::Changing);
    }
    Ok(image)
}

fn is_recent(meta: &Metadata) -> bool {
    // A time in the future says nothing either.
    let is_recent = |at: SystemTime| at.elapsed().map_or(true, |age| age < TICK);
    meta.modified().is_ok_and(is_recent) || changed(meta).is_some_and(is_recent)
}

/// When anything of a file last changed. Unlike the time of its content, nobody can set it.
#[cfg(unix)]
fn changed(meta: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt as _;
    let (seconds, nanos) = (u64::try_from(meta.ctime()).ok()?, u64::try_from(meta.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

#[cfg(not(unix))]
fn changed(_meta: &Metadata) -> Option<SystemTime> {
    None
}

/// What changes with a file's content.
fn stamp(meta: &Metadata) -> impl PartialEq {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    }
    #[cfg(not(unix))]
    (meta.len(), meta.modified().ok())
}

/// Whether the file holds these bytes and no more.
fn holds(file: &mut File, bytes: &[u8]) -> std::io::Result<bool> {
    file.rewind()?;
    let mut chunk = vec![0; 64 << 10];
    let mut rest = bytes;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(rest.is_empty()),
            length => match rest.split_at_checked(length) {
                Some((expected, others)) if expected == &chunk[..length] => rest = others,
                _ => return Ok(false),
            },
        }
    }
}

fn look(path: &Path) -> Result<Manifest, Reason> {
    let (_, file) = open(path)?;
    let text = object_file::manifest_text(&ReadCache::new(file))?;
    Manifest::parse(&text)
}

/// The names that a refused file claims. Nothing else of it is believed.
fn names_of_refused(path: &Path) -> Option<Names> {
    let real = path.canonicalize().ok()?;
    let file = real.metadata().ok()?.is_file().then(|| open_at_once(&real).ok())??;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    Names::in_text(&object_file::manifest_text_of_refused(&ReadCache::new(file))?)
}

impl Checked {
    /// Reads a file once and checks all of it.
    ///
    /// # Errors
    /// Every refusal that is possible before loading.
    pub fn read(path: &Path, lock: &Lock) -> Result<Self, Refusal> {
        Self::read_whole(path, lock).map_err(|reason| reason.at(path))
    }

    fn read_whole(path: &Path, lock: &Lock) -> Result<Self, Reason> {
        let (path, mut file) = open(path)?;
        let image = read_at_rest(&path, &mut file)?;
        let manifest_text = object_file::manifest_text(&*image)?;
        let manifest = Manifest::parse(&manifest_text)?;
        object_file::check_whole(&image)?;
        lock.check(&manifest, || sha256(&image))?;
        Ok(Self { path, manifest, manifest_text, image: Arc::new(image) })
    }

    /// SHA-256 of the file, in hex. It is reckoned when asked for: it takes longer than all else about loading.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(&self.image)
    }
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_just_written_is_recent_whatever_time_it_was_given() {
        let file = tempfile::tempfile().expect("a file");
        // The test may be held up for longer than a tick; hardly each time.
        let was_recent = (0..100).any(|_| {
            file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
            is_recent(&file.metadata().expect("there"))
        });
        assert_eq!(was_recent, cfg!(unix));
        std::thread::sleep(TICK * 2);
        assert!(!is_recent(&file.metadata().expect("there")));
    }
}
