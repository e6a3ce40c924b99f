//! Making another backend the configured one.

use std::ffi::OsString;
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

/// Writes a `server.json` that names this module, with the settings that it was opened with, and tells where the old one is kept. Comments
/// are lost; the kept file has them.
///
/// # Errors
/// A configuration failure; the file is as it was then.
pub fn to(config: &Config, opened_with: &Global, module: &str) -> Result<PathBuf, Failure> {
    let path = config.path();
    let failed = |e: std::io::Error| {
        Failure::config(format!("cannot change {}: {e}", path.display()))
            .help(format!("all records are moved; set database.module to {module:?} there"))
    };
    // Whatever was changed in it meanwhile stays.
    let text = files::read_text(path).map_err(failed)?;
    let mut stored = Config::parse(&text, path.to_owned(), &config.places())?.stored;
    let settings = config.settings(&config.database(&opened_with.overrides())?, module)?.settings;
    let database = stored.entry("database").or_insert_with(|| Value::Object(Map::new()));
    let Some(database) = database.as_object_mut() else {
        return Err(Failure::config(format!("{}: database: expected an object", path.display())));
    };
    database.insert("module".to_owned(), module.into());
    database.insert(module.to_owned(), Value::Object(settings));
    let kept = keep(path, text.as_bytes()).map_err(failed)?;
    files::replace(path, pretty(&Value::Object(stored), b"    ").as_bytes(), 0o600).map_err(failed)?;
    Ok(kept)
}

/// Copies the file to a name beside it that is free, for its owner alone: it may hold secrets.
pub(super) fn keep(path: &Path, content: &[u8]) -> std::io::Result<PathBuf> {
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
