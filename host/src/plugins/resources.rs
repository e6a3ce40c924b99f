//! One resource, one handle.
//!
//! Each plugin image has an SQLite of its own, and two of those on one file in one process break its POSIX locks: closing either drops
//! the locks of both. So the host asks every handle what it needs for itself, before it touches anything, and refuses a second one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hivemind_abi::model::Resource;

use super::refusal::Reason;

static CLAIMED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// A claim on resources; they are free again when it is dropped.
#[derive(Debug, Default)]
pub struct Claim {
    ids: Vec<String>,
}

impl Claim {
    /// Claims all of these for a module, or none.
    ///
    /// # Errors
    /// `InUse`, naming the resource and who has it.
    pub fn take(resources: &[Resource], module: &str) -> Result<Self, Reason> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids = Vec::new();
        for resource in resources {
            let of_this = identities(resource);
            if let Some(holder) = of_this.iter().find_map(|id| claimed.get(id)) {
                return Err(Reason::InUse { resource: resource.name.clone(), holder: holder.clone() });
            }
            ids.extend(of_this);
        }
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

/// Everything by which another module may know the same resource. A file is known by what its plugin calls it, by its path, links
/// resolved as far as they lead somewhere, and, once it is there, by its number on the device: two vendors need not agree on an id.
fn identities(resource: &Resource) -> Vec<String> {
    let mut ids = vec![format!("{}\0{}", resource.kind, resource.id)];
    if resource.kind == "file" {
        let path = Path::new(&resource.name);
        ids.push(format!("path\0{}", real(path).display()));
        #[cfg(unix)]
        if let Ok(meta) = std::fs::metadata(path) {
            use std::os::unix::fs::MetadataExt as _;
            ids.push(format!("inode\0{}:{}", meta.dev(), meta.ino()));
        }
    }
    ids
}

/// The path with every link resolved that is there, and the rest as it is named.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for known in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (known.canonicalize(), absolute.strip_prefix(known)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, name: &Path) -> Resource {
        Resource { kind: "file".to_owned(), id: id.to_owned(), name: name.display().to_string() }
    }

    #[test]
    fn one_file_is_one_resource_whatever_its_plugins_call_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, link) = (folder.path().join("new/data.db"), folder.path().join("link"));
        std::fs::create_dir(folder.path().join("new")).expect("a folder");
        std::os::unix::fs::symlink(folder.path().join("new"), &link).expect("a link");
        let first = Claim::take(&[file("a", &data)], "one").expect("free");
        for other in [data.clone(), link.join("data.db")] {
            let refused = Claim::take(&[file("b", &other)], "two").expect_err("taken");
            assert!(matches!(refused, Reason::InUse { holder, .. } if holder == "one"));
        }
        drop(first);
        std::fs::write(&data, "").expect("a file");
        std::fs::hard_link(&data, folder.path().join("hard")).expect("a link");
        let _second = Claim::take(&[file("b", &data)], "two").expect("free again");
        Claim::take(&[file("c", &folder.path().join("hard"))], "three").expect_err("the same file by another name");
    }
}
