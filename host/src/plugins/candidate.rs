//! What a file in a plugins folder is, found out without running it.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::ReadCache;

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
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    pub(super) bytes: Vec<u8>,
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

/// The file behind a path, opened after owner and mode of it and of all above it were found right.
fn open(path: &Path) -> Result<(PathBuf, File), Reason> {
    let real = path.canonicalize().map_err(|e| Reason::Unreadable(e.to_string()))?;
    if !real.is_file() {
        return Err(Reason::NotALibrary("no regular file".to_owned()));
    }
    trust::check(&real)?;
    let file = File::open(&real).map_err(|e| Reason::Unreadable(e.to_string()))?;
    Ok((real, file))
}

fn look(path: &Path) -> Result<Manifest, Reason> {
    let (_, file) = open(path)?;
    let text = object_file::manifest_text(&ReadCache::new(file))?;
    Manifest::parse(&text)
}

/// The names that a refused file claims. Nothing else of it is believed.
fn names_of_refused(path: &Path) -> Option<Names> {
    // Opening a pipe would wait for somebody to write into it.
    let file = path.metadata().ok()?.is_file().then(|| File::open(path).ok())??;
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
        use std::io::Read as _;
        let (path, mut file) = open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| Reason::Unreadable(e.to_string()))?;
        let manifest_text = object_file::manifest_text(bytes.as_slice())?;
        let manifest = Manifest::parse(&manifest_text)?;
        object_file::check_whole(&bytes)?;
        let sha256 = sha256(&bytes);
        lock.check(&manifest, &sha256)?;
        Ok(Self { path, manifest, manifest_text, sha256, bytes })
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
