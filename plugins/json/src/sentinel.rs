//! The version of a file's records, in a file of its own beside it: `2`, without a line end.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use hivemind_abi::model::{Collection, Error, Result};

use crate::replace::{create_folder, failed, replace};

/// How much of a sentinel is looked at, in bytes.
const LARGEST: u64 = 4096;

/// What a sentinel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// There is none.
    Missing,
    /// There is no number in it.
    Malformed,
    /// This.
    Is(i64),
}

impl Version {
    /// Reads a sentinel.
    ///
    /// # Errors
    /// `io` and `denied`: unlike Python we do not take a sentinel that we may not read for an old one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || {
            // Reading a pipe would wait for ever, and a number needs no more than this.
            if !fs::metadata(path)?.is_file() {
                return Err(io::Error::other("it is no regular file; move it away"));
            }
            let mut content = Vec::new();
            File::open(path)?.take(LARGEST).read_to_end(&mut content)?;
            Ok(content)
        };
        match read() {
            Ok(content) => Ok(Self::parse(&content)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::Missing),
            Err(e) => Err(failed("read", path)(e)),
        }
    }

    /// What a sentinel's content says.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(content) else { return Self::Malformed };
        let text = text.trim();
        match text.parse() {
            Ok(version) => Self::Is(version),
            // More digits than a number has is certainly newer than anything known.
            Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Self::Is(i64::MAX),
            Err(_) => Self::Malformed,
        }
    }

    /// The version it stands for; without a sentinel there is one to start with.
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Is(version) => version,
            Self::Missing | Self::Malformed => 1,
        }
    }
}

/// The stored version.
///
/// # Errors
/// `too new` if it is newer than the collection's.
pub(crate) fn check(path: &Path, collection: &Collection) -> Result<Version> {
    let stored = Version::read(path)?;
    if stored.number() <= i64::from(collection.version) {
        return Ok(stored);
    }
    let message = format!(
        "{} says that {} are stored in version {}, this program knows version {}; update it; nothing was touched",
        path.display(),
        collection.name,
        stored.number(),
        collection.version
    );
    Err(Error::too_new(message).collection(&collection.name).place(path.display().to_string()))
}

/// Writes a sentinel.
///
/// # Errors
/// `io` and `denied`.
pub(crate) fn write(path: &Path, version: u32) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    replace(path, version.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_is_read_as_python_reads_it() {
        for (content, version) in [
            (&b"2"[..], Version::Is(2)),
            (b" 3\n", Version::Is(3)),
            (b"+2", Version::Is(2)),
            (b"", Version::Malformed),
            (b"two", Version::Malformed),
            (b"\xff", Version::Malformed),
            (b"99999999999999999999999", Version::Is(i64::MAX)),
        ] {
            assert_eq!(Version::parse(content), version);
        }
        assert_eq!((Version::Missing.number(), Version::Malformed.number()), (1, 1));
    }
}
