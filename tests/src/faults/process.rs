//! A handle in another process, with or without something wrong around it, and what a store holds as handles see it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use hivemind_conformance::pipe::Remote;
use hivemind_host::plugins::Loader;
use hivemind_model::{Backend, Collection, CollectionId, Context, Query, Result, Row, Task};

use super::op::notes;
use super::site::Site;
use crate::waiting::EndOnDrop;
use crate::{build, loader, python};

/// A process that has the store open. It ends with this: its input is closed, and it is waited for.
pub struct Process {
    /// Its handle. It goes first, and with it the process's input.
    pub handle: Remote,
    _process: EndOnDrop,
}

impl Process {
    /// Starts `program` (`backend-peer`) on a store; `wrap` may put another program in front and set its environment.
    ///
    /// # Errors
    /// Why it did not start, or did not open the store.
    pub fn start(site: &dyn Site, program: &Path, wrap: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let opening = site.opening();
        let mut command = wrap(program);
        command
            .arg(opening.plugins.first().map_or(Path::new(""), |p| p))
            .arg(&opening.module)
            .arg(serde_json::Value::Object(settings(site)).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        python::isolate(&mut command, site.home());
        let mut process = EndOnDrop(command.spawn()?);
        let (Some(from), Some(to)) = (process.0.stdout.take(), process.0.stdin.take()) else {
            return Err(hivemind_model::Error::io("no pipes"));
        };
        Ok(Self { handle: Remote::new(from, to)?, _process: process })
    }
}

/// The settings that name the store wherever a process believes its data directory to be.
fn settings(site: &dyn Site) -> serde_json::Map<String, serde_json::Value> {
    let opening = site.opening();
    let mut settings = opening.settings;
    if !settings.contains_key("file") {
        settings.insert("subfolder".to_owned(), opening.data_dir.join("hivemind-core").display().to_string().into());
    }
    settings
}

/// Opens the store in this process, by the real loader.
///
/// Not beside a [`Process`] that writes: a JSON store's lock lies in the temporary folder of the process that has it open, and this
/// process's is another one, so that the two would not exclude each other.
///
/// # Errors
/// The backend's.
///
/// # Panics
/// If the plugin is refused.
pub fn open(site: &dyn Site) -> Result<Arc<dyn Backend>> {
    // One loader for all stores: each maps a library once.
    static LOADER: OnceLock<Loader> = OnceLock::new();
    let loader = LOADER.get_or_init(|| loader(&[&build::shipped_plugins(), &build::vendor_plugins()], &std::env::temp_dir()));
    match loader.open(&site.opening().module, &settings(site)) {
        Ok(opened) => Ok(opened.backend),
        Err(hivemind_host::plugins::OpenError::Backend { error, .. }) => Err(error),
        Err(refused) => panic!("{refused}"),
    }
}

/// The collections of these tests.
#[must_use]
pub fn collections() -> [Collection; 2] {
    [hivemind_store::clients::collection(), notes()]
}

/// Creates, migrates or finds them.
///
/// # Errors
/// The backend's.
pub fn prepare(backend: &dyn Backend) -> Result<[CollectionId; 2]> {
    let ids = backend.prepare(&Context::unbounded(), &collections())?;
    Ok([ids[0], ids[1]])
}

/// Every record of both collections, by collection and key; those that cannot be read are listed apart.
pub type Content = (BTreeMap<(u32, String), Row>, Vec<String>);

/// What a handle sees.
///
/// # Errors
/// The backend's.
pub fn content(backend: &dyn Backend, ids: [CollectionId; 2]) -> Result<Content> {
    let (mut rows, mut unreadable) = (BTreeMap::new(), Vec::new());
    for (collection, id) in collections().iter().zip(ids) {
        let page = backend.find(&Context::unbounded(), &Query::all(id), usize::MAX)?;
        for row in page.rows {
            let key = row.view(collection)?.key().to_key().to_string();
            rows.insert((id.0, key), row);
        }
        unreadable.extend(page.unreadable.into_iter().map(|u| format!("{} {}", collection.name, u.key)));
    }
    Ok((rows, unreadable))
}

/// What `verify` finds wrong.
///
/// # Errors
/// The backend's.
pub fn problems(backend: &dyn Backend) -> Result<Vec<String>> {
    let report = backend.maintain(&Context::unbounded(), &Task::Verify)?;
    Ok(report.problems.into_iter().map(|p| format!("{} {:?}: {}", p.collection, p.key, p.message)).collect())
}
