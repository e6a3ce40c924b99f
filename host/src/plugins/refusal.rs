//! Every reason to refuse a plugin, each with what was expected, what was found and what to do next.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::plain::plain;

/// Why a file is not used, or a module not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The file it is about, if it is about one.
    pub path: Option<PathBuf>,
    /// Why. Boxed, because refusals are rare and travel in every result.
    pub reason: Box<Reason>,
}

/// The reasons. [`Reason::code`] names each for scripts and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The file cannot be read.
    Unreadable(String),
    /// Not a shared library of any known format.
    NotALibrary(String),
    /// Larger than any library that is looked at.
    TooLarge {
        /// The most bytes that are read.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// Somebody wrote it while it was read.
    Changing,
    /// Shorter than its own headers say.
    Truncated {
        /// Bytes that the headers speak of.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// Headers and tables that do not fit together, on which the system's loader would trip.
    Malformed(String),
    /// For another processor or system.
    WrongTarget {
        /// What this host runs.
        expected: String,
        /// What the file is for.
        found: String,
    },
    /// No manifest section.
    NoManifest,
    /// A manifest that cannot be understood.
    BadManifest(String),
    /// No entry symbol.
    NoEntry(String),
    /// Another major version of the ABI.
    AbiMajor {
        /// The host's version.
        expected: String,
        /// The plugin's version.
        found: String,
    },
    /// Built with `panic = "abort"`.
    PanicAbort,
    /// A run path or the name of a library it needs that is relative or depends on where the file lies.
    RunPath(String),
    /// Owner or mode of the file or of a folder above it.
    Untrusted {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// The command that mends it.
        fix: String,
    },
    /// Not the pinned file.
    NotPinned {
        /// The module.
        module: String,
        /// The pinned hash; `None` if the pin has none for this host's target.
        expected: Option<String>,
        /// The file's hash.
        found: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The lock file itself cannot be used.
    BadLock(String),
    /// Two files of one folder claim one name.
    Ambiguous {
        /// The name.
        name: String,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// No file claims the name.
    NotFound {
        /// The name.
        name: String,
        /// The closest known name, if one is close.
        nearest: Option<String>,
        /// The folders searched, with whether they are there.
        searched: Vec<(PathBuf, bool)>,
        /// Files that were refused, and why, in a line each.
        refused: Vec<String>,
    },
    /// The system's loader refused it.
    Load(String),
    /// The layout of the ABI's types differs.
    Layout(String),
    /// After loading, it states another manifest than its section holds.
    ManifestDiffers,
    /// A handle promises capabilities that the manifest does not declare.
    Overpromises(Vec<String>),
    /// The settings block does not fit the plugin's schema.
    Settings(Vec<String>),
    /// Another open backend has the same file or address.
    InUse {
        /// What both want.
        resource: String,
        /// The module that has it.
        holder: String,
    },
}

impl Reason {
    /// A stable short name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::NotALibrary(_) => "not-a-library",
            Self::TooLarge { .. } => "too-large",
            Self::Changing => "changing",
            Self::Truncated { .. } => "truncated",
            Self::Malformed(_) => "malformed",
            Self::WrongTarget { .. } => "wrong-target",
            Self::NoManifest => "no-manifest",
            Self::BadManifest(_) => "bad-manifest",
            Self::NoEntry(_) => "no-entry",
            Self::AbiMajor { .. } => "abi-major",
            Self::PanicAbort => "panic-abort",
            Self::RunPath(_) => "run-path",
            Self::Untrusted { .. } => "untrusted",
            Self::NotPinned { .. } => "not-pinned",
            Self::BadLock(_) => "bad-lock",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NotFound { .. } => "not-found",
            Self::Load(_) => "load",
            Self::Layout(_) => "layout",
            Self::ManifestDiffers => "manifest-differs",
            Self::Overpromises(_) => "overpromises",
            Self::Settings(_) => "settings",
            Self::InUse { .. } => "in-use",
        }
    }

    /// This reason for a file.
    pub fn at(self, path: impl Into<PathBuf>) -> Refusal {
        Refusal { path: Some(path.into()), reason: Box::new(self) }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { path: None, reason: Box::new(reason) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {}", shown(path), self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// A path as it can be printed: a file's name may hold anything.
fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy()).into_owned()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "cannot be read: {}; check its path and mode", plain(why)),
            Self::NotALibrary(found) => {
                write!(f, "expected a shared library, found {found}; a plugin is the .so, .dylib or .dll its vendor ships")
            }
            Self::TooLarge { expected, found } => {
                write!(f, "expected a library of at most {expected} bytes, found {found}; get the right file from its vendor")
            }
            Self::Changing => f.write_str(
                "expected a file at rest, found one that changed while it was read; try again when it is copied as a whole, and \
                 replace plugins by renaming a new file over the old one",
            ),
            Self::Truncated { expected, found } => write!(
                f,
                "expected at least {expected} bytes as its headers say, found {found}: the file was cut short; copy it again"
            ),
            Self::Malformed(what) => {
                write!(f, "expected a whole library, found that {what}; copy it again, or ask its vendor for a mended build")
            }
            Self::WrongTarget { expected, found } => {
                write!(
                    f,
                    "expected a library for {expected}, found one for {}; ask its vendor for the build for this system",
                    plain(found)
                )
            }
            Self::NoManifest => write!(
                f,
                "expected a manifest section `{}`, found none: this is a library but no hivemind storage plugin; remove it from the folder",
                hivemind_abi::manifest::SECTION
            ),
            Self::BadManifest(why) => write!(f, "its manifest cannot be used: {}; ask its vendor for a mended build", plain(why)),
            Self::NoEntry(symbol) => {
                write!(f, "expected the entry symbol {symbol}, found none; its vendor must export it with `export_backend!`")
            }
            Self::AbiMajor { expected, found } => {
                let (host, plugin) = (major(expected), major(found));
                let next = if plugin > host { "update hivemind-host" } else { "ask its vendor for a newer build" };
                write!(f, "expected ABI {host}.x (this host has {expected}), found {}; {next}", plain(found))
            }
            Self::PanicAbort => write!(
                f,
                "expected panic strategy \"unwind\", found \"abort\", under which one bug in it would end the node; its vendor must build it with unwind"
            ),
            Self::RunPath(found) => write!(
                f,
                "it would load other libraries by {found:?}, which is relative or depends on where the file lies, so others could slip it theirs; its vendor must link it without"
            ),
            Self::Untrusted { path, found, fix } => {
                write!(
                    f,
                    "{} {found}, so somebody else could exchange the plugin or a library it loads; mend it with `{}`",
                    shown(path),
                    plain(fix)
                )
            }
            Self::NotPinned { module, expected: None, found, lock } => write!(
                f,
                "{module} is pinned in {}, with no hash for this target ({}); found SHA-256 {found}; if you trust this file, run `hivemind-host plugins pin {module}`",
                lock.display(),
                super::manifest::host_target()
            ),
            Self::NotPinned { module, expected: Some(expected), found, lock } => write!(
                f,
                "expected SHA-256 {expected} as pinned in {}, found {found}; if you replaced the plugin on purpose, run `hivemind-host plugins pin {module}`, else put the pinned file back",
                lock.display()
            ),
            Self::BadLock(why) => write!(
                f,
                "the lock file cannot be used: {why}; mend it, or remove it and pin again with `hivemind-host plugins pin`"
            ),
            Self::Ambiguous { name, files } => {
                let files: Vec<_> = files.iter().map(|p| shown(p)).collect();
                write!(f, "expected one plugin named {name}, found {}: {}; remove all but one", files.len(), files.join(" and "))
            }
            Self::NotFound { name, nearest, searched, refused } => not_found(f, name, nearest.as_deref(), searched, refused),
            Self::Load(why) => write!(
                f,
                "it could not be loaded: {}; install what it lacks, or ask its vendor for a build for this system",
                plain(why)
            ),
            Self::Layout(why) => write!(
                f,
                "its ABI types have another layout than this host's: {}; its vendor must build it against the published hivemind-abi",
                plain(why)
            ),
            Self::ManifestDiffers => {
                write!(
                    f,
                    "once loaded it states another manifest than its section holds; do not use this file, and tell its vendor"
                )
            }
            Self::Overpromises(what) => {
                write!(
                    f,
                    "it promises more than its manifest declares: {}; do not rely on it, and tell its vendor",
                    what.join(", ")
                )
            }
            Self::Settings(problems) => write!(f, "its settings are wrong: {}", plain(&problems.join("; "))),
            Self::InUse { resource, holder } => {
                write!(
                    f,
                    "{} is already open through {holder} in this process; give each backend a store of its own",
                    plain(resource)
                )
            }
        }
    }
}

fn major(version: &str) -> u64 {
    version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn not_found(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    nearest: Option<&str>,
    searched: &[(PathBuf, bool)],
    refused: &[String],
) -> fmt::Result {
    write!(f, "no plugin answers to the module name {name:?}")?;
    if let Some(nearest) = nearest {
        write!(f, "; did you mean {nearest:?}?")?;
    }
    write!(f, "\n  searched:")?;
    for (path, exists) in searched {
        write!(f, "\n    {}{}", shown(path), if *exists { "" } else { " (not there)" })?;
    }
    if !refused.is_empty() {
        write!(f, "\n  refused on the way:")?;
        for line in refused {
            write!(f, "\n    {line}")?;
        }
    }
    write!(
        f,
        "\n  next: put the plugin's file into one of these folders, or name a folder with --plugins-dir; `hivemind-host plugins list` shows what is there"
    )
}
