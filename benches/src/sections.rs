//! What is measured, one noun a file.

pub(crate) mod commits;
pub(crate) mod footprint;
pub(crate) mod loading;
pub(crate) mod lookups;
pub(crate) mod moving;
pub(crate) mod node;
pub(crate) mod redis;
pub(crate) mod writes;

use crate::Failure;

/// One measurement that needs a process for itself.
pub(crate) fn child(arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["load", folder, module] => loading::load(folder, module),
        ["dlopen", file] => loading::dlopen(file),
        ["move", data, from, to] => moving::child(data, from, to),
        ["hold", module, clients, data] => footprint::hold(module, clients.parse()?, data),
        ["write", data] => node::write(data),
        _ => Err(format!("no such measurement: {arguments:?}").into()),
    }
}

/// This program again, for one measurement, and what it printed.
fn in_a_process_of_its_own(arguments: &[&str]) -> Result<serde_json::Value, Failure> {
    let output = std::process::Command::new(std::env::current_exe()?).arg("--child").args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
