//! `server.json`: the Python node's configuration, read and never rewritten.
//!
//! A file that cannot be parsed stops the program: the Python node overwrites such a file with defaults and loses everything in it,
//! this one names the line. What is not known here is kept, as it is somebody else's.

pub(crate) mod database;
pub mod defaults;
mod places;
pub mod redact;
pub mod secrets;
pub mod switch;

pub use database::{Database, DatabaseSettings, Overrides};
pub use places::Places;

use std::fmt;
use std::path::{Path, PathBuf};

use hivemind_model::json::without_comments;
use serde_json::{Map, Value};

use crate::failure::{Exit, Failure};
use crate::files;

/// What to do about a setting, where nothing better is known.
const WRONG_SETTING: &str = "correct this setting; the file was left as it is";

/// What is configured.
#[derive(Clone)]
pub struct Config {
    path: PathBuf,
    data: PathBuf,
    stored: Map<String, Value>,
    created: bool,
}

impl fmt::Debug for Config {
    /// Where it is and what is set there; any value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("path", &self.path)
            .field("data", &self.data)
            .field("stored", &Names(&self.stored))
            .field("created", &self.created)
            .finish()
    }
}

/// The names of settings without their values.
struct Names<'a>(&'a Map<String, Value>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Config {
    /// Reads the file that `--config` names, or the standard one, which is created with the defaults if it is not there.
    ///
    /// # Errors
    /// A configuration failure naming the file and, if it cannot be parsed, the line.
    pub fn load(named: Option<&Path>, places: &Places) -> Result<Self, Failure> {
        let path = named.map_or_else(|| places.server_json(), Path::to_owned);
        match files::read_text(&path) {
            Ok(text) => Self::parse(&text, path, places),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Self::create(path, places),
            Err(error) => {
                let failure = Failure::config(format!("cannot read {}: {error}", path.display()));
                Err(failure.help(if named.is_some() {
                    "correct the file or --config, or leave it out to use the standard file"
                } else {
                    "correct the file, its owner and mode; it was left as it is"
                }))
            }
        }
    }

    /// Reads a file's text, which stands at `path`.
    ///
    /// # Errors
    /// A configuration failure naming the file and the line.
    pub fn parse(text: &str, path: PathBuf, places: &Places) -> Result<Self, Failure> {
        let broken =
            |what: String| Failure::config(format!("{}: {what}", path.display())).help("correct the file; it was left as it is");
        // The parser's own message says where, and quotes nothing of the file.
        let value: Value = serde_json::from_str(&without_comments(text)).map_err(|e| broken(e.to_string()))?;
        let Value::Object(stored) = value else { return Err(broken("expected an object of settings".to_owned())) };
        Ok(Self { path, data: places.data.clone(), stored, created: false })
    }

    /// Writes the first file, complete or not at all, and never over one that another program wrote meanwhile.
    fn create(path: PathBuf, places: &Places) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| {
            Failure::config(format!("cannot create {}: {e}", path.display())).help("or name another file with --config")
        };
        let stored = defaults::first_run(&places.data);
        let folder = path.parent().unwrap_or(Path::new("/"));
        files::make_folder(folder).map_err(failed)?;
        let content = pretty(&Value::Object(stored.clone()), b"    ");
        if files::create(&path, content.as_bytes()).map_err(failed)? {
            return Ok(Self { path, data: places.data.clone(), stored, created: true });
        }
        let text = files::read_text(&path).map_err(failed)?;
        Self::parse(&text, path, places)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folders by which the same file is read again.
    fn places(&self) -> Places {
        Places { config: PathBuf::new(), data: self.data.clone() }
    }

    /// The settings that the file names.
    #[must_use]
    pub(crate) const fn stored(&self) -> &Map<String, Value> {
        &self.stored
    }

    /// The operator's data folder, which plugins are given.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Whether this run created the file.
    #[must_use]
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// Which backend to use.
    ///
    /// # Errors
    /// A configuration failure naming the setting.
    pub fn database(&self, overrides: &Overrides) -> Result<Database, Failure> {
        Database::read(&self.stored, &self.data, overrides).map_err(|failure| self.named(failure))
    }

    /// The settings of the module that was found, by its full name.
    ///
    /// # Errors
    /// See [`Database::settings`].
    pub fn settings(&self, database: &Database, module: &str) -> Result<DatabaseSettings, Failure> {
        database.settings(module).map_err(|failure| self.named(failure))
    }

    /// A failure that says which file is wrong, if one is.
    pub(crate) fn named(&self, mut failure: Failure) -> Failure {
        if failure.exit == Exit::Config {
            failure.message = format!("{}: {}", self.path.display(), failure.message);
            failure.help.get_or_insert_with(|| WRONG_SETTING.to_owned());
        }
        failure
    }

    /// Folders that `plugins_dir` names: a path or a list of them, relative ones from the file's own folder.
    ///
    /// # Errors
    /// A configuration failure if it is anything else.
    pub fn plugins_dirs(&self) -> Result<Vec<PathBuf>, Failure> {
        let wrong = || {
            Failure::config(format!("{}: plugins_dir: expected a path or a list of paths", self.path.display()))
                .help(WRONG_SETTING)
        };
        let texts: Vec<&str> = match self.stored.get("plugins_dir") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().map(|v| v.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?,
            Some(_) => return Err(wrong()),
        };
        let base = std::path::absolute(&self.path).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
        Ok(texts.into_iter().filter(|t| !t.is_empty()).map(|t| base.join(t)).collect())
    }

    /// How many bits of resistance a password must have; zero or less: any.
    #[must_use]
    pub fn min_password_bits(&self) -> f64 {
        let bits = match self.stored.get("min_password_bits") {
            Some(Value::Number(n)) => n.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
            _ => None,
        };
        bits.filter(|b| !b.is_nan()).unwrap_or(40.0)
    }

    /// Whether a secret stands in the file.
    #[must_use]
    pub fn holds_secrets(&self) -> bool {
        let stored = Value::Object(self.stored.clone());
        redact::redact(&stored) != stored
    }

    /// Everything that is in force: the file's settings, then what is assumed for those it does not name.
    #[must_use]
    pub fn effective(&self) -> Value {
        Value::Object(defaults::effective(&self.stored, &self.data))
    }
}

/// A document over several lines.
#[must_use]
pub fn pretty(value: &Value, indent: &[u8]) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, serde_json::ser::PrettyFormatter::with_indent(indent));
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        // A document of strings, numbers and lists has no way to fail.
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
