//! Secrets of a backend's settings that are not in `server.json`: in a file of their own, the environment or a systemd credential.
//!
//! It is done here for every setting that a plugin's schema marks as secret (`writeOnly`), so that no plugin has to, and none sees more
//! than the secret itself.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::files;
use crate::plugins::Manifest;

/// What is added to a secret setting's name for the path of a file that holds it: `password_file`.
pub const FILE: &str = "_file";
/// The largest file that is taken for a secret, in bytes.
const LARGEST: usize = 64 << 10;

/// Where a secret setting was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// The setting.
    pub setting: String,
    /// Where.
    pub place: Place,
}

/// A place for a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This file, named in server.json or on the command line.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This systemd credential.
    Credential(PathBuf),
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.setting, self.place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Credential(path) => write!(f, "the credential {}", path.display()),
        }
    }
}

impl Place {
    /// The file it is in, if it is in one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Credential(path) => Some(path),
            Self::Environment(_) => None,
        }
    }
}

/// Puts the secrets of a module into its settings and tells where each was found that was elsewhere. What was `given` on the command
/// line goes before the environment, that before credentials, and these before server.json, whose relative paths are from `folder`.
///
/// # Errors
/// A configuration failure if a secret is there twice in one place, or its file cannot be used.
pub fn settle(
    manifest: &Manifest,
    settings: &mut Map<String, Value>,
    given: &BTreeSet<String>,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<Origin>, Failure> {
    let mut origins = Vec::new();
    for setting in secret_settings(manifest) {
        let beside = format!("{setting}{FILE}");
        let file = settings.shift_remove(&beside);
        let is_given = given.contains(setting) || given.contains(&beside);
        let outside = if is_given { None } else { outside(manifest, setting, environment)? };
        let (place, secret) = match (outside, file) {
            (Some(found), _) => found,
            (None, None | Some(Value::Null)) => continue,
            (None, Some(Value::String(path))) if !path.is_empty() => {
                if settings.get(setting).is_some_and(|v| !matches!(v, Value::Null) && v.as_str() != Some("")) {
                    let message = format!("{setting} and {beside} are both set");
                    return Err(Failure::config(message).help(format!("remove {setting}, whose secret the file is to hold")));
                }
                let path = folder.join(path);
                let secret = read(&path, &beside)?;
                (Place::File(path), secret)
            }
            (None, Some(_)) => {
                return Err(Failure::config(format!("{beside}: expected the path of a file, found something else")));
            }
        };
        settings.insert(setting.to_owned(), secret.into());
        origins.push(Origin { setting: setting.to_owned(), place });
    }
    Ok(origins)
}

/// Settings that the schema marks as secret and that have no file of their own there.
fn secret_settings(manifest: &Manifest) -> Vec<&str> {
    let Some(properties) = manifest.config.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let secret = properties.iter().filter(|(_, p)| p.get("writeOnly") == Some(&Value::Bool(true)));
    secret.map(|(name, _)| name.as_str()).filter(|name| !properties.contains_key(&format!("{name}{FILE}"))).collect()
}

/// The names of files beside a schema's secret settings, to say what was meant by a misspelt one.
#[must_use]
pub fn file_settings(manifest: &Manifest) -> Vec<String> {
    secret_settings(manifest).into_iter().map(|name| format!("{name}{FILE}")).collect()
}

fn outside(
    manifest: &Manifest,
    setting: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<(Place, String)>, Failure> {
    let short = manifest.aliases.first().unwrap_or(&manifest.module);
    let variable: String = format!("HIVEMIND_{short}_{setting}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    if let Some(value) = environment(&variable).filter(|value| !value.is_empty()) {
        let value =
            value.into_string().map_err(|_| Failure::config(format!("${variable}: expected UTF-8, found other bytes")))?;
        return Ok(Some((Place::Environment(variable), value)));
    }
    let Some(folder) = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|f| f.is_absolute()) else {
        return Ok(None);
    };
    let path = folder.join(format!("hivemind-{short}-{setting}"));
    if !path.exists() {
        return Ok(None);
    }
    let secret = read(&path, "$CREDENTIALS_DIRECTORY")?;
    Ok(Some((Place::Credential(path), secret)))
}

/// The secret in a file: its text without the line break at its end.
///
/// # Errors
/// A configuration failure that says which file, and nothing of what is in it.
pub fn read(path: &Path, what: &str) -> Result<String, Failure> {
    let wrong = |how: String| {
        Failure::config(format!("{what}: {}: {how}", path.display()))
            .help("correct the file, its owner and mode, or the path to it")
    };
    let mut text = files::read_text(path).map_err(|e| wrong(e.to_string()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    match text.len() {
        0 => Err(wrong("expected a secret, found nothing".to_owned())),
        long if long > LARGEST => Err(wrong(format!("expected a secret of at most {LARGEST} bytes, found more"))),
        _ if text.contains(['\n', '\0']) => Err(wrong("expected a secret on one line, found several lines or a NUL".to_owned())),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        let text = json!({
            "manifest": 1, "module": "x-db-plugin", "aliases": ["x-y"], "version": "1.0.0", "vendor": "v", "licence": "l",
            "abi": "1.0.0", "target": "t", "rustc": "r", "panic": "unwind", "capabilities": [],
            "config": {"properties": {
                "password": {"type": "string", "writeOnly": true}, "pin": {"writeOnly": true}, "pin_file": {}, "name": {},
            }},
        });
        serde_json::from_value(text).expect("a manifest")
    }

    fn settle_with(
        block: Value,
        given: &[&str],
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Result<(Value, String), Failure> {
        let Value::Object(mut block) = block else { panic!("an object") };
        let given = given.iter().map(|g| (*g).to_owned()).collect();
        let look = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        let origins = settle(&manifest(), &mut block, &given, folder, &look)?;
        Ok((block.into(), format!("{origins:?}")))
    }

    #[test]
    fn each_place_goes_before_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join("secret"), "of the file\r\n").expect("written");
        std::fs::write(folder.join("hivemind-x-y-password"), "of systemd").expect("written");
        let credentials = ("CREDENTIALS_DIRECTORY", folder.to_str().expect("UTF-8"));
        let all = [("HIVEMIND_X_Y_PASSWORD", "of the environment"), credentials];
        let block = json!({"name": "n", "password_file": "secret", "pin_file": "kept"});
        for (given, environment, expected) in [
            (&[][..], &all[..], "of the environment"),
            (&[], &all[1..], "of systemd"),
            (&[], &[("HIVEMIND_X_Y_PASSWORD", "")], "of the file"),
            (&["password_file"], &all, "of the file"),
        ] {
            let (settled, origins) = settle_with(block.clone(), given, folder, environment).expect("settled");
            assert_eq!(settled, json!({"name": "n", "pin_file": "kept", "password": expected}));
            assert!(origins.starts_with("[password from ") && !origins.contains(expected), "{origins}");
        }
        let (settled, origins) = settle_with(json!({"password": "typed"}), &["password"], folder, &all).expect("settled");
        assert_eq!((settled, origins.as_str()), (json!({"password": "typed"}), "[]"));
    }

    #[test]
    fn a_file_that_holds_no_secret_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join("empty"), "\n").expect("written");
        std::fs::write(folder.join("lines"), "MARK\nMARK\n").expect("written");
        std::fs::write(folder.join("bytes"), b"MARK\xff").expect("written");
        std::fs::write(folder.join("long"), "MARK".repeat(LARGEST)).expect("written");
        for name in ["empty", "lines", "bytes", "long", "missing", "."] {
            let failure = settle_with(json!({"password_file": name}), &[], folder, &[]).expect_err(name);
            assert!(failure.message.starts_with("password_file: ") && !failure.to_string().contains("MARK"), "{failure}");
        }
        let both = settle_with(json!({"password": "MARK", "password_file": "x"}), &[], folder, &[]).expect_err("both");
        assert!(both.message.contains("both set") && !both.to_string().contains("MARK"), "{both}");
        assert!(settle_with(json!({"password_file": 5}), &[], folder, &[]).is_err());
        assert!(settle_with(json!({"password_file": null, "password": "p"}), &[], folder, &[]).is_ok());
    }
}
