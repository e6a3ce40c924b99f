//! Looking a client up by its access key, decoded into a typed client.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use crate::contest::{self, Contestant, Outcome};
use crate::ours::{self, Cache};
use crate::peer::{self, Python};
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, by_hand, clients};

/// So few clients that each is looked up again and again.
const HOT: u64 = 100;
/// How long Python may take to open a store.
const PATIENCE: Duration = Duration::from_secs(300);

/// Through the loaded library, and with the engine linked in.
pub(crate) fn memory(sizes: &[u64], rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    for &size in sizes {
        let scratch = Scratch::new()?;
        let linked = ours::linked(size)?;
        let loaded = ours::load("memory", &scratch.folder("memory")?)?;
        clients::add_all(loaded.as_ref(), size, 1000)?;
        let outcome = contest::run(
            rounds,
            &mut [
                Box::new(ours::LookUp::new("typed get, engine linked in", &linked, Cache::None, size)?),
                Box::new(ours::LookUp::new("typed get, loaded library", &loaded, Cache::None, size)?),
                Box::new(ours::LookUp::new("typed get, engine linked in, cached", &linked, Cache::All, size)?),
                Box::new(ours::LookUp::new("typed get, loaded library, cached", &loaded, Cache::All, size)?),
            ],
        )?;
        table::print(&format!("Memory, {size} clients: get by access key"), &outcome);
        bars.add(format!("memory, {size}: typed get loaded ÷ linked in"), Limit::AtMost(1.3), outcome.ratio(1, 0));
    }
    Ok(())
}

/// By hand, through the library, and Python's plugin; uniform and hot keys.
pub(crate) fn sqlite(sizes: &[u64], rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let mut shares = Vec::new();
    for &size in sizes {
        let scratch = Scratch::new()?;
        // By hand and ours are two SQLite images in one process: each has its own file. Python shares ours, as beside a node.
        let (copy, data) = (scratch.copy("sqlite", size, "by-hand")?, scratch.copy("sqlite", size, "ours")?);
        let backend = ours::load("sqlite", &data)?;
        let python = RefCell::new(Python::start("sqlite", &data, PATIENCE)?);
        for (keys, among) in [("uniform keys", size), ("hot keys", HOT.min(size))] {
            let outcome = contest::run(
                rounds,
                &mut [
                    Box::new(by_hand::LookUp::new("rusqlite by hand, prepared statement, same pragmas", &copy, among)?),
                    Box::new(ours::LookUp::new("typed get, loaded library", &backend, Cache::None, among)?),
                    Box::new(ours::LookUp::new("typed get, loaded library, cached", &backend, Cache::All, among)?),
                    Box::new(python_looks_up(&python, among, 400)),
                ],
            )?;
            table::print(&format!("SQLite, {size} clients, {keys}: get by access key"), &outcome);
            if among == size {
                sqlite_bars(size, &outcome, bars);
                shares.push((size, outcome.ratio(1, 0)));
            }
        }
    }
    if let (Some((small, few)), Some((large, many))) = (shares.iter().min_by_key(|s| s.0), shares.iter().max_by_key(|s| s.0))
        && small < large
    {
        let what = format!("SQLite: (ours {large} ÷ ours {small}) ÷ (by hand {large} ÷ by hand {small})");
        bars.add(what, Limit::AtMost(1.2), many.times(1.0 / few.median));
    }
    Ok(())
}

fn sqlite_bars(size: u64, outcome: &Outcome, bars: &mut Bars) {
    bars.add(format!("SQLite, {size}: uncached typed get ÷ by hand"), Limit::AtMost(1.25), outcome.ratio(1, 0));
    bars.add(format!("SQLite, {size}: Python ÷ uncached typed get"), Limit::AtLeast(4.0), outcome.ratio(3, 1));
    bars.add(format!("SQLite, {size}: Python ÷ cached typed get"), Limit::AtLeast(25.0), outcome.ratio(3, 2));
}

/// Through the library, and Python's plugin.
pub(crate) fn json(sizes: &[u64], rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    for &size in sizes {
        let scratch = Scratch::new()?;
        let data = scratch.copy("json", size, "ours")?;
        let python = json_peer(&data, size);
        let backend = ours::load("json", &data)?;
        let mut contestants: Vec<Box<dyn Contestant>> = vec![
            Box::new(ours::LookUp::new("typed get, loaded library", &backend, Cache::None, size)?),
            Box::new(ours::LookUp::new("typed get, loaded library, cached", &backend, Cache::All, size)?),
        ];
        if let Some(python) = &python {
            // A look-up there goes over every client, so that a batch is a few milliseconds.
            let batch = usize::try_from(200_000 / size).unwrap_or(1).clamp(1, 200);
            contestants.push(Box::new(python_looks_up(python, size, batch)));
        }
        let outcome = contest::run(rounds, &mut contestants)?;
        table::print(&format!("JSON, {size} clients: get by access key"), &outcome);
        if python.is_some() {
            bars.add(format!("JSON, {size}: Python ÷ cached typed get"), Limit::AtLeast(500.0), outcome.ratio(2, 1));
        }
    }
    Ok(())
}

/// Python on a JSON store; nothing, and a line that says why, if it does not get that far.
fn json_peer(data: &Path, size: u64) -> Option<RefCell<Python>> {
    match Python::start("json", data, PATIENCE) {
        Ok(python) => {
            let (seconds, mib) = (python.opened_in.as_secs_f64(), python.resident >> 20);
            println!("the Python plugin opened the JSON store of {size} clients in {seconds:.1} s and holds {mib} MiB for it\n");
            Some(RefCell::new(python))
        }
        Err(error) => {
            println!("the Python plugin did not open the JSON store of {size} clients: {error}\n");
            None
        }
    }
}

fn python_looks_up(python: &RefCell<Python>, among: u64, batch: usize) -> peer::LookUp<'_> {
    peer::LookUp { name: "the Python plugin".to_owned(), python, among, batch }
}
