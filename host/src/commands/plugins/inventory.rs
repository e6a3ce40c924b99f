//! Every plugin file there is, and what becomes of it when its module is asked for.
//!
//! The states follow the loader's own rules, so that the list never calls a file ready that the loader would not take: within one
//! folder two files with one module are both refused, and a later folder's copy is never reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::is_pinned;
use crate::plugins::{Candidate, Checked, Loader, Manifest, Reason};

/// One entry for each library of each folder, in the order of the search. `configured` is what the configuration names.
pub(super) fn inventory(loader: &Loader, configured: Option<&str>) -> Vec<Value> {
    let in_use = configured.and_then(|name| loader.resolve(name).ok()).map(|checked| checked.path);
    let mut entries = Vec::new();
    let mut listed_in_use = false;
    // The first file of each module that an earlier folder has.
    let mut earlier: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (folder, candidates) in loader.candidates() {
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(refusal) => {
                entries.push(json!({"file": folder.to_string_lossy(), "state": "refused", "why": refusal.to_string()}));
                continue;
            }
        };
        let here = by_module(&candidates);
        for candidate in candidates {
            let is_in_use = in_use.as_ref().is_some_and(|file| is_same(file, &candidate.path));
            listed_in_use |= is_in_use;
            entries.push(match &candidate.manifest {
                Ok(manifest) if !is_in_use => match (earlier.get(&manifest.module), here.get(&manifest.module)) {
                    (Some(first), _) => shadowed(&candidate.path, manifest, first),
                    (None, Some(files)) if files.len() > 1 => {
                        let why = Reason::Ambiguous { name: manifest.module.clone(), files: files.clone() };
                        refused(&candidate.path, why.at(&candidate.path).to_string(), Some(manifest))
                    }
                    _ => checked(&candidate, loader, "ready"),
                },
                _ => checked(&candidate, loader, if is_in_use { "in use" } else { "ready" }),
            });
        }
        for (module, files) in here {
            if let Some(first) = files.into_iter().next() {
                earlier.entry(module).or_insert(first);
            }
        }
    }
    // One that is configured by its path may lie in none of the folders.
    if let (Some(file), false) = (in_use, listed_in_use) {
        entries.insert(0, checked(&Candidate::look_at(file), loader, "in use"));
    }
    entries
}

fn by_module(candidates: &[Candidate]) -> BTreeMap<String, Vec<PathBuf>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for candidate in candidates {
        if let Ok(manifest) = &candidate.manifest {
            files.entry(manifest.module.clone()).or_default().push(candidate.path.clone());
        }
    }
    files
}

/// Whether a path leads to this file, whose links are resolved.
fn is_same(file: &Path, path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path == file)
}

fn shadowed(path: &Path, manifest: &Manifest, first: &Path) -> Value {
    let Manifest { module, version, .. } = manifest;
    let first = first.to_string_lossy();
    let state = format!("shadowed by {first}");
    json!({"module": module, "version": version, "state": state, "file": path.to_string_lossy(), "shadowed_by": first})
}

fn refused(path: &Path, why: String, manifest: Option<&Manifest>) -> Value {
    let mut entry = json!({"file": path.to_string_lossy(), "state": "refused", "why": why});
    if let (Some(manifest), Some(members)) = (manifest, entry.as_object_mut()) {
        members.insert("module".to_owned(), json!(manifest.module));
        members.insert("version".to_owned(), json!(manifest.version));
    }
    entry
}

/// A file with everything that is checked before loading, its hash included.
fn checked(candidate: &Candidate, loader: &Loader, state: &str) -> Value {
    let manifest = match &candidate.manifest {
        Ok(manifest) => manifest,
        Err(reason) => return refused(&candidate.path, reason.clone().at(&candidate.path).to_string(), None),
    };
    match Checked::read(&candidate.path, loader.lock()) {
        Ok(checked) => {
            let state = if is_pinned(&checked, loader) { format!("{state}, pinned") } else { state.to_owned() };
            let Manifest { module, version, .. } = &checked.manifest;
            let file = candidate.path.to_string_lossy();
            json!({"module": module, "version": version, "state": state, "file": file, "sha256": checked.sha256()})
        }
        Err(refusal) => refused(&candidate.path, refusal.to_string(), Some(manifest)),
    }
}
