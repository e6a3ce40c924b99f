//! Commits to a JSON file, which is written whole: after one change of ours, and right after somebody else has rewritten it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::contest::{self, Doing};
use crate::ours::{self, Cache};
use crate::peer::Python;
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, clients};

/// Commits in a round.
const COMMITS: usize = 3;

/// Ours and Python's.
pub(crate) fn run(size: u64, rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    let (ours, pythons) = (scratch.copy("json", size, "ours")?, scratch.copy("json", size, "python")?);
    let store = ours::typed(&ours::load("json", &ours)?, Cache::None)?;
    let python = RefCell::new(Python::start("json", &pythons, Duration::from_secs(120))?);
    let (ours_outside, pythons_outside) = (Outside::new(&ours), Outside::new(&pythons));
    let touch = |pick: u64| -> Result<Duration, Failure> {
        let client = pollster::block_on(store.by_access_key(&clients::key(pick % size)))?.ok_or("a client is missing")?;
        let start = Instant::now();
        pollster::block_on(store.touch(&client, clients::seen(pick)))?;
        Ok(start.elapsed())
    };
    // The client is at hand already, so that an outside change is met by the commit itself.
    let client = pollster::block_on(store.by_access_key(&clients::key(1)))?.ok_or("a client is missing")?;
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing("ours".to_owned(), COMMITS, |picks: &[u64]| picks.iter().map(|pick| touch(*pick)).sum())),
            Box::new(Doing("the Python plugin".to_owned(), COMMITS, |picks: &[u64]| {
                python.borrow_mut().ask("touch", &clients::keys(picks, size))
            })),
            Box::new(Doing("ours, right after an outside change".to_owned(), COMMITS, |picks: &[u64]| {
                let commits = picks.iter().map(|pick| {
                    ours_outside.change(*pick)?;
                    let start = Instant::now();
                    pollster::block_on(store.touch(&client, clients::seen(*pick)))?;
                    Ok(start.elapsed())
                });
                commits.sum()
            })),
            Box::new(Doing("the Python plugin, right after an outside change".to_owned(), COMMITS, |picks: &[u64]| {
                let commits = picks.iter().map(|pick| {
                    pythons_outside.change(*pick)?;
                    python.borrow_mut().ask("touch", &[clients::key(1)])
                });
                commits.sum()
            })),
        ],
    )?;
    table::print(&format!("JSON, {size} clients: change last_seen of one client and commit"), &outcome);
    bars.add(format!("JSON, {size}: Python's commit ÷ ours"), Limit::AtLeast(10.0), outcome.ratio(1, 0));
    bars.add(format!("JSON, {size}: the same, right after an outside change"), Limit::AtLeast(4.0), outcome.ratio(3, 2));
    Ok(())
}

/// Somebody else, who changes one client and puts a new file in place of the old one.
struct Outside {
    file: PathBuf,
}

impl Outside {
    fn new(data: &Path) -> Self {
        Self { file: data.join("hivemind-core/clients.json") }
    }

    fn change(&self, pick: u64) -> Result<(), Failure> {
        const NAME: &str = "\"name\": \"satellite ";
        let mut text = std::fs::read_to_string(&self.file)?;
        let found: Vec<usize> = text.match_indices(NAME).map(|(at, _)| at + NAME.len()).collect();
        let at = found.get(usize::try_from(pick)? % found.len().max(1)).ok_or("no client has a name")?;
        let digit = ((pick >> 32) % 10).to_string();
        text.replace_range(*at..at + 1, &digit);
        let new = self.file.with_extension("outside");
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, &self.file)?)
    }
}
