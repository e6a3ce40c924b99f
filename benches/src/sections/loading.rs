//! Finding, checking and loading a plugin, each time in a fresh process, since a library is loaded once.

use std::path::Path;
use std::time::{Duration, Instant};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use serde_json::{Map, json};

use super::in_a_process_of_its_own;
use crate::contest::{self, Doing};
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, machine};

const MIB: f64 = 1_048_576.0;

/// Each shipped plugin, alone in its folder and among all; `dlopen` by hand is the measure.
pub(crate) fn run(rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    for module in ["memory", "json", "sqlite"] {
        let scratch = Scratch::new()?;
        let all = machine::exe_folder()?.join("plugins");
        let name = format!("{}hivemind_{module}_plugin{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let (file, alone) = (all.join(&name), scratch.folder("plugins")?);
        std::fs::copy(&file, alone.join(&name))?;
        let mib = std::fs::metadata(&file)?.len() as f64 / MIB;
        let (file, alone, all) = (text(&file)?, text(&alone)?, text(&all)?);
        let outcome = contest::run(
            rounds,
            &mut [
                Box::new(Doing("dlopen by hand".to_owned(), 1, |_: &[u64]| measured(&["dlopen", file]))),
                Box::new(Doing("find, check, load and open, alone in its folder".to_owned(), 1, |_: &[u64]| {
                    measured(&["load", alone, module])
                })),
                Box::new(Doing("the same among all shipped plugins".to_owned(), 1, |_: &[u64]| measured(&["load", all, module]))),
            ],
        )?;
        table::print(&format!("Loading the {module} plugin, {mib:.2} MiB"), &outcome);
        // The bar is for a library of up to 1 MB; a larger one is read and hashed for as long as it is large.
        let larger = if mib > 1.0 { format!(" ({mib:.1} MiB, the bar is for 1)") } else { String::new() };
        let what = format!("{module}: find + check + load, ms, alone{larger}");
        bars.add(what, Limit::AtMost(2.0), outcome.micros(1).times(1e-3));
        bars.add(format!("{module}: the same among all"), Limit::AtMost(2.0), outcome.micros(2).times(1e-3));
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

fn measured(arguments: &[&str]) -> Result<Duration, Failure> {
    let answer = in_a_process_of_its_own(arguments)?;
    Ok(Duration::from_nanos(answer["ns"].as_u64().ok_or("no time")?))
}

fn print_since(start: Instant) -> Result<(), Failure> {
    println!("{}", json!({"ns": u64::try_from(start.elapsed().as_nanos())?}));
    Ok(())
}

/// Loads a plugin as the host does, in this process.
pub(crate) fn load(folder: &str, module: &str) -> Result<(), Failure> {
    let data = tempfile::tempdir()?;
    let start = Instant::now();
    let loader = Loader::new(SearchPath::only(&[folder.into()]), Lock::default(), data.path().to_owned());
    let opened = loader.open(module, &Map::new())?;
    print_since(start)?;
    drop(opened);
    Ok(())
}

/// Loads a library as `dlopen` does, in this process.
#[allow(unsafe_code, reason = "the measure is what the system itself does")]
pub(crate) fn dlopen(file: &str) -> Result<(), Failure> {
    let start = Instant::now();
    // SAFETY: it is one of the plugins of this build, whose initialisers do nothing but what Rust's runtime does.
    let library = unsafe { libloading::Library::new(file)? };
    print_since(start)?;
    std::mem::forget(library);
    Ok(())
}
