//! One resource, one handle.
//!
//! Each plugin image has an SQLite of its own, and two of those on one file in one process break its POSIX locks: closing either drops
//! the locks of both. So the host asks every handle what it needs for itself, before it touches anything, and refuses a second one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hivemind_abi::model::Resource;

use super::refusal::Reason;

static CLAIMED: Mutex<BTreeMap<(String, String), String>> = Mutex::new(BTreeMap::new());

/// A claim on resources; they are free again when it is dropped.
#[derive(Debug, Default)]
pub struct Claim {
    ids: Vec<(String, String)>,
}

impl Claim {
    /// Claims all of these for a module, or none.
    ///
    /// # Errors
    /// `InUse`, naming the resource and who has it.
    pub fn take(resources: &[Resource], module: &str) -> Result<Self, Reason> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in resources {
            if let Some(holder) = claimed.get(&(resource.kind.clone(), resource.id.clone())) {
                return Err(Reason::InUse { resource: resource.name.clone(), holder: holder.clone() });
            }
        }
        let ids: Vec<_> = resources.iter().map(|r| (r.kind.clone(), r.id.clone())).collect();
        claimed.extend(ids.iter().map(|id| (id.clone(), module.to_owned())));
        Ok(Self { ids })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            claimed.remove(id);
        }
    }
}
