//! A namespace as an old Python node left it: schema 1, which had no version and no `id_seq`.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use super::Deployment;
use crate::{python, root};

/// Writes the records of `tests/python/legacy.py` into a namespace, with the index sets, the search documents and the counter of that
/// time. `folder` is for its file.
///
/// # Errors
/// What Python or the system said.
///
/// # Panics
/// If the server does not answer.
pub fn write(deployment: &Deployment, prefix: &str, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let script = root().join("tests/python/legacy.py");
    let status = Command::new(python::venv().join("bin/python")).arg(script).arg("json").arg(folder).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("legacy.py: {status}")));
    }
    let mut records: Map<String, Value> = serde_json::from_slice(&std::fs::read(folder.join("clients.json"))?)?;
    let base = deployment.base(prefix);
    for (id, record) in &mut records {
        for field in ["name", "api_key"] {
            // The plugin could not store a client without a name: its search document takes no null.
            let value = record[field].as_str().unwrap_or_default().to_owned();
            record[field] = value.as_str().into();
            deployment.ask::<()>(&["SADD", &format!("{base}:{field}:{value}"), id]);
            deployment.ask::<()>(&["HSET", &format!("{base}:idx:{id}"), field, &value]);
        }
        deployment.ask::<()>(&["SET", &format!("{base}:client:{id}"), &record.to_string()]);
    }
    deployment.ask::<()>(&["SET", &format!("{base}:count"), &records.len().to_string()]);
    Ok(())
}
