//! Memory that a client takes: what a fresh process holds after opening a store, less what it held before, by the number of clients.

use std::time::Duration;

use serde_json::json;

use super::in_a_process_of_its_own;
use crate::ours::{self, Cache};
use crate::peer::Python;
use crate::stores::Scratch;
use crate::{Failure, clients, machine};

/// A table for each size.
pub(crate) fn run(sizes: &[u64]) -> Result<(), Failure> {
    for &size in sizes {
        println!("Memory, {size} clients: bytes a client (MiB in all)");
        println!("  {:<12}{:>24}{:>32}{:>24}", "", "backend", "decoded and cached, on top", "the Python plugin");
        for module in ["memory", "json", "sqlite"] {
            let scratch = Scratch::new()?;
            let data = if module == "memory" { scratch.folder("data")? } else { scratch.copy(module, size, "data")? };
            let path = data.to_str().ok_or("the build folder's name is not UTF-8")?;
            let held = in_a_process_of_its_own(&["hold", module, &size.to_string(), path])?;
            let shown = |name: &str| held[name].as_u64().map_or_else(|| "–".to_owned(), |bytes| share(bytes, size));
            let python = match module {
                "memory" => "–".to_owned(),
                _ => Python::start(module, &data, Duration::from_secs(300))
                    .map_or_else(|_| "not open after 300 s".to_owned(), |python| share(python.resident, size)),
            };
            println!("  {module:<12}{:>24}{:>32}{python:>24}", shown("backend"), shown("cached"));
        }
        println!();
    }
    Ok(())
}

fn share(bytes: u64, size: u64) -> String {
    format!("{} ({:.1})", bytes / size.max(1), bytes as f64 / 1_048_576.0)
}

/// Opens a store in this process, looks each client up, then each once more for the cache, and prints what each took.
pub(crate) fn hold(module: &str, size: u64, data: &str) -> Result<(), Failure> {
    let loader = ours::loader(data.as_ref())?;
    let opened = loader.open(module, &serde_json::Map::new())?;
    let before = machine::resident()?;
    if module == "memory" {
        clients::add_all(opened.backend.as_ref(), size, 100)?;
    }
    let plain = ours::typed(&opened.backend, Cache::None)?;
    ours::fill_cache(&plain, size)?;
    let backend = machine::resident()?;
    let cached = ours::typed(&opened.backend, Cache::All)?;
    ours::fill_cache(&cached, size)?;
    let all = machine::resident()?;
    println!("{}", json!({"backend": backend.saturating_sub(before), "cached": all.saturating_sub(backend)}));
    Ok(())
}
