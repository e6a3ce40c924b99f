//! Redis as a subject of the conformance kit: the shipped library on real servers, each store a namespace of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use hivemind_conformance::{Instance, Plant, Subject};
use hivemind_model::{Backend, Collection, Key, Result};
use serde_json::Value;

use super::{Deployment, Kind};
use crate::subject::{Handles, failed};

/// Redis, run in one of the ways. Its servers are started for the first store and end with the subject.
pub struct Redis {
    kind: Kind,
    peer: PathBuf,
    deployment: OnceLock<Arc<Deployment>>,
    stores: AtomicU32,
}

impl Redis {
    /// `peer` is the program `backend-peer`.
    #[must_use]
    pub fn new(kind: Kind, peer: &Path) -> Self {
        Self { kind, peer: peer.to_owned(), deployment: OnceLock::new(), stores: AtomicU32::new(0) }
    }
}

impl Subject for Redis {
    fn name(&self) -> String {
        self.kind.name().to_owned()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        let deployment = Arc::clone(self.deployment.get_or_init(|| Arc::new(Deployment::start(self.kind, &[]))));
        // None is the beginning of another: a namespace is also what a handle is told changes of.
        let prefix = format!("store-{:05}", self.stores.fetch_add(1, Ordering::Relaxed));
        let handles = Handles::new("redis", deployment.settings(&prefix), self.peer.clone());
        Ok(Box::new(Store { deployment, prefix, handles }))
    }
}

struct Store {
    deployment: Arc<Deployment>,
    prefix: String,
    handles: Handles,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.deployment.clear(&self.prefix);
    }
}

impl Instance for Store {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        self.handles.open()
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        self.handles.beside()
    }

    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        self.handles.peer().map(Some)
    }

    fn plant(&self, collection: &Collection, plant: &Plant) -> Result<bool> {
        let base = self.deployment.base(&self.prefix);
        let key = match plant {
            Plant::Version(_) => version_key(&base, collection),
            Plant::Set { key, .. } => record_key(&base, collection, key),
        };
        let value = match plant {
            Plant::Version(version) => version.to_string(),
            Plant::Set { name, json, .. } => {
                let stored: String = self.deployment.ask(&["GET", &key]);
                let mut record: Value = serde_json::from_str(&stored).map_err(failed)?;
                record[name] = serde_json::from_str(json).map_err(failed)?;
                record.to_string()
            }
        };
        self.deployment.ask::<()>(&["SET", &key, &value]);
        Ok(true)
    }
}

/// Where a record is. Written out here, because what a store looks like to others is not to be asked of the plugin that is tested.
#[must_use]
pub fn record_key(base: &str, collection: &Collection, key: &Key) -> String {
    let key = match key {
        Key::Int(key) => key.to_string(),
        Key::Text(key) => key.clone(),
    };
    if collection.primary {
        format!("{base}:client:{key}")
    } else {
        format!("{base}:collections:{}:record:{key}", collection.name)
    }
}

fn version_key(base: &str, collection: &Collection) -> String {
    if collection.primary { format!("{base}:schema_version") } else { format!("{base}:collections:{}:version", collection.name) }
}
