//! Where the audit log is, and how much of it is kept.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Config, Places};
use crate::failure::Failure;
use crate::node::block::Block;
use crate::node::settings::OWN;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that is written; `None`: none.
    pub file: Option<PathBuf>,
    /// How large it grows before the next one is begun, in bytes.
    pub max_bytes: u64,
    /// How many older files are kept.
    pub keep: u32,
}

impl Settings {
    /// What `server.json` says, and `--audit` before it.
    ///
    /// # Errors
    /// A configuration failure naming the setting.
    pub fn read(config: &Config, places: &Places, given: Option<&Path>) -> Result<Self, Failure> {
        Self::of(config, places, given).map_err(|failure| config.named(failure))
    }

    fn of(config: &Config, places: &Places, given: Option<&Path>) -> Result<Self, Failure> {
        let standard = places.data.join("hivemind-core").join("audit.jsonl");
        let own = Block::root(config.stored()).block(OWN)?;
        let mut settings = Self { file: Some(standard), max_bytes: 16 << 20, keep: 7 };
        match own.get("audit") {
            Some(Value::Bool(false)) => settings.file = None,
            None | Some(Value::Bool(true)) => {}
            _ => {
                let block = own.block("audit")?;
                block.only(&["file", "max_bytes", "keep"])?;
                if let Some(file) = block.text("file")? {
                    let folder = std::path::absolute(config.path()).ok().and_then(|p| p.parent().map(Path::to_owned));
                    settings.file = Some(folder.unwrap_or_default().join(file));
                }
                settings.max_bytes = block.whole("max_bytes", 65_536..=1 << 40)?.unwrap_or(settings.max_bytes);
                settings.keep = block.whole("keep", 0..=1000)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(settings.keep);
            }
        }
        if let Some(given) = given {
            settings.file = Some(std::path::absolute(given).unwrap_or_else(|_| given.to_owned()));
        }
        Ok(settings)
    }
}
