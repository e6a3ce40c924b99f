//! Writing `server.json` anew, when a command was told to: another backend, or another password of the one that is there. The old file
//! is always kept beside it.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Config, pretty};
use crate::cli::Global;
use crate::failure::Failure;
use crate::files;

/// Names of kept files that are tried.
const MOST_KEPT: u32 = 1000;

/// A file that is to take the place of the one that is there.
pub struct Rewritten {
    path: PathBuf,
    before: String,
    after: String,
}

impl fmt::Debug for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewritten").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Rewritten {
    fn new(config: &Config, before: String, stored: Map<String, Value>) -> Self {
        Self { path: config.path().to_owned(), before, after: pretty(&Value::Object(stored), b"    ") }
    }

    /// Puts it in place as a whole, if the file still is what it was made of, and tells where the old one is kept.
    ///
    /// # Errors
    /// A configuration failure naming the file, which is as it was then.
    pub fn write(&self) -> Result<PathBuf, Failure> {
        let failed = |e: std::io::Error| Failure::config(format!("cannot write {}: {e}", self.path.display()));
        if files::read_text(&self.path).map_err(failed)? != self.before {
            return Err(failed(std::io::Error::other("another program changed it meanwhile")));
        }
        let kept = keep(&self.path, self.before.as_bytes()).map_err(failed)?;
        files::replace(&self.path, self.after.as_bytes(), 0o600).map_err(failed)?;
        Ok(kept)
    }
}

/// The file as it is now, which may have been changed since it was read into `config`.
fn text(config: &Config) -> Result<String, Failure> {
    files::read_text(config.path()).map_err(|e| Failure::config(format!("cannot read {}: {e}", config.path().display())))
}

/// The file with this module as the configured one, with the settings that it was opened with. Comments are lost; the kept file has
/// them.
///
/// # Errors
/// A configuration failure.
pub fn to_module(config: &Config, opened_with: &Global, module: &str) -> Result<Rewritten, Failure> {
    let before = text(config)?;
    let mut stored = Config::parse(&before, config.path().to_owned(), &config.places())?.stored;
    let settings = config.settings(&config.database(&opened_with.overrides())?, module)?.settings;
    let database = stored.entry("database").or_insert_with(|| Value::Object(Map::new()));
    let Some(database) = database.as_object_mut() else {
        return Err(Failure::config(format!("{}: database: expected an object", config.path().display())));
    };
    database.insert("module".to_owned(), module.into());
    database.insert(module.to_owned(), Value::Object(settings));
    Ok(Rewritten::new(config, before, stored))
}

/// The file as it is to be when the store has this password: nothing else of it changes but its layout.
///
/// # Errors
/// A configuration failure for a file that is not to be rewritten: one with comments, which would be lost.
pub fn to_password(config: &Config, module: &str, password: Option<&str>) -> Result<Rewritten, Failure> {
    let before = text(config)?;
    let by_hand = |what: &str| {
        let message = format!("{}: {what}, so it is not rewritten; nothing was changed", config.path().display());
        Failure::config(message).help(format!("leave out --switch, and set `password` of {module} by hand"))
    };
    let Ok(Value::Object(mut stored)) = serde_json::from_str(&before) else { return Err(by_hand("it has comments")) };
    let database = stored.entry("database").or_insert_with(|| Map::new().into());
    let blocks = database.as_object_mut().ok_or_else(|| by_hand("`database` is no object"))?;
    let used = blocks.get("module").and_then(Value::as_str).map(str::to_owned);
    let name = match used {
        Some(used) if !blocks.contains_key(module) && blocks.contains_key(&used) => used,
        _ => module.to_owned(),
    };
    let block = blocks.entry(name).or_insert_with(|| Map::new().into());
    let block = block.as_object_mut().ok_or_else(|| by_hand("the block of the module is no object"))?;
    block.insert("password".to_owned(), password.map_or(Value::Null, Value::from));
    Ok(Rewritten::new(config, before, stored))
}

/// Copies the file to a name beside it that is free, for its owner alone: it may hold secrets.
fn keep(path: &Path, content: &[u8]) -> std::io::Result<PathBuf> {
    for number in 0..MOST_KEPT {
        let mut name = OsString::from(path);
        name.push(if number == 0 { ".old".to_owned() } else { format!(".old{number}") });
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&name) {
            Ok(mut file) => {
                file.write_all(content)?;
                file.sync_all()?;
                return Ok(name.into());
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(format!("there are {MOST_KEPT} old ones beside it; remove some")))
}
