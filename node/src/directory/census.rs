//! Whether the storage still holds what it held.
//!
//! Neither this node nor the Python one ever removes a client's record: who is revoked leaves an empty one. So a storage with fewer
//! records than this node has seen in it is not the one it was: its disk was not mounted, its server lost its data, its file was
//! replaced. Whom such a storage does not know may well be known. The rule: *nobody is unknown while there is no record at all, or fewer
//! than half of those that were there, or fewer than there were for less than two seconds*. A storage that was put back to a state of some
//! days ago so passes, and is what counts from then on; while it is put back record by record, it does not.
//!
//! The number is kept in a file beside the node's identity. With `--allow-empty` it is whatever is found at the start, and none at all is
//! fine until there is one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Unknowable;
use crate::files;

/// The file's name beside the identity.
pub(crate) const FILE: &str = "_hivemind-host.json";

/// So long a smaller number has to stand.
const STANDS: Duration = Duration::from_secs(2);

/// An operator is told of it at most this often.
const LOUD_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Census {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many records count as all of them; `None`: as many as are found next.
    seen: Option<u64>,
    allow_empty: bool,
    loud: Option<Instant>,
    /// A smaller number than that, though enough, and since when.
    fewer: Option<(u64, Instant)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    records: u64,
}

impl Census {
    pub(crate) fn new(path: Option<PathBuf>, allow_empty: bool) -> Self {
        let seen = (!allow_empty).then(|| path.as_deref().map_or(0, kept));
        Self { path, state: Mutex::new(State { seen, allow_empty, loud: None, fewer: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how many records there are.
    ///
    /// # Errors
    /// If those are too few to be all.
    pub(super) async fn compare(&self, records: u64) -> Result<(), Unknowable> {
        let before = self.judge(records)?;
        if before == Some(records) {
            return Ok(());
        }
        if let Some(before) = before
            && records < before
        {
            tracing::warn!(records, before, "the database holds fewer records than before; has it been put back?");
        }
        if let Some(path) = self.path.clone() {
            let written = tokio::task::spawn_blocking(move || keep(&path, records)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the number of client records could not be kept; a lost database may not be noticed");
            }
        }
        Ok(())
    }

    /// What was seen before, if what is seen now may stand.
    fn judge(&self, records: u64) -> Result<Option<u64>, Unknowable> {
        let mut state = self.state();
        if let Some(seen) = state.seen
            && (records < seen.div_ceil(2) || (records == 0 && !state.allow_empty))
        {
            let lost = Unknowable::Lost { records, seen };
            let is_due = state.loud.is_none_or(|at| at.elapsed() >= LOUD_INTERVAL);
            if is_due {
                let told_before = state.loud.replace(Instant::now()).is_some();
                let what = "until then satellites that it does not know are told to try again, and what those that are connected \
                            send is denied";
                // A node that has never seen a record most likely is a new one, and its operator was told once.
                match seen {
                    0 if told_before => {}
                    0 => tracing::warn!("{lost}; {what}"),
                    _ => tracing::error!("{lost}; {what}"),
                }
            }
            state.fewer = None;
            return Err(lost);
        }
        if let Some(seen) = state.seen.filter(|seen| records < *seen) {
            let since = state.fewer.filter(|(before, _)| *before == records).map_or_else(Instant::now, |(_, since)| since);
            state.fewer = Some((records, since));
            if since.elapsed() < STANDS {
                return Err(Unknowable::Fewer { records, seen });
            }
        }
        (state.loud, state.fewer) = (None, None);
        Ok(state.seen.replace(records))
    }
}

fn kept(path: &Path) -> u64 {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Kept>(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "not understood, and taken for absent");
            Kept::default()
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "not readable, and taken for absent");
            Kept::default()
        }
    }
    .records
}

fn keep(path: &Path, records: u64) -> std::io::Result<()> {
    let text = serde_json::to_string(&Kept { records }).map_err(std::io::Error::other)?;
    files::replace(path, text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(records: u64, seen: u64) -> Result<(), Unknowable> {
        Err(Unknowable::Lost { records, seen })
    }

    #[tokio::test]
    async fn an_empty_or_much_smaller_store_is_noticed_after_a_restart_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let census = Census::new(Some(path.clone()), false);
        assert_eq!(census.compare(0).await, lost(0, 0));
        for records in [1, 9, 10] {
            assert_eq!(census.compare(records).await, Ok(()), "{records}");
        }
        for records in [9, 5] {
            assert_eq!(believed(&census, records).await, Ok(()), "{records}");
        }
        assert_eq!(census.compare(2).await, lost(2, 5));
        let again = Census::new(Some(path.clone()), false);
        assert_eq!(again.compare(0).await, lost(0, 5));
        assert_eq!(believed(&again, 3).await, Ok(()));
        let allowed = Census::new(Some(path.clone()), true);
        assert_eq!(allowed.compare(0).await, Ok(()));
        assert_eq!(allowed.compare(0).await, Ok(()));
        assert_eq!(allowed.compare(1).await, Ok(()));
        assert_eq!(allowed.compare(0).await, lost(0, 1), "what was there once may not get lost");
    }

    /// Compares, and again when a smaller number has stood for long enough.
    async fn believed(census: &Census, records: u64) -> Result<(), Unknowable> {
        let first = census.compare(records).await;
        assert!(matches!(first, Err(Unknowable::Fewer { .. })), "{first:?}");
        tokio::time::sleep(STANDS).await;
        census.compare(records).await
    }

    /// A restore that comes record by record has passed the half of them long before it is done.
    #[tokio::test]
    async fn a_number_that_grows_is_not_believed_before_it_stands_or_all_are_back() {
        let census = Census::new(None, false);
        assert_eq!(census.compare(10).await, Ok(()));
        assert_eq!(census.compare(0).await, lost(0, 10));
        let end = Instant::now() + STANDS + Duration::from_millis(100);
        let mut records = 5;
        while Instant::now() < end {
            assert_eq!(census.compare(records).await, Err(Unknowable::Fewer { records, seen: 10 }));
            records = 5 + (records - 4) % 5;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(census.compare(10).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_kept_may_be_unreadable() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        std::fs::write(&path, "{").expect("written");
        assert_eq!(Census::new(Some(path.clone()), false).compare(3).await, Ok(()));
        assert_eq!(kept(&path), 3);
    }
}
