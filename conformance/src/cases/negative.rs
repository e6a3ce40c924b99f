//! What is not declared is refused, and what is declared is there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hivemind_model::{Capability, Changes, Code, Collection, Index, Kind, Query, Resource, Token, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused};
use crate::fixture::{Store, cx};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("negative::no_batches", "Without atomic batches a batch of two is unsupported and leaves no effect.", no_batches)
        .forbids(&[Capability::AtomicBatch]),
    Case::new("negative::no_unique", "Without unique fields a collection that has one is unsupported.", no_unique)
        .forbids(&[Capability::Unique]),
    Case::new("negative::no_tracking", "Without change tracking everything may have changed, always.", no_tracking)
        .forbids(&[Capability::ChangeTracking]),
    Case::new("negative::no_durability", "A store that is not durable opens again, empty.", no_durability)
        .forbids(&[Capability::Durable]),
    Case::new("declared::staleness", "A staleness bound is declared for change tracking only, and is bearable.", staleness),
    Case::new("declared::encryption", "What is stored encrypted cannot be read in its files.", encryption)
        .requires(&[Capability::Encryption]),
    Case::new("declared::inline_reads", "Lookups that run in place do not block.", inline_reads)
        .requires(&[Capability::InlineReads]),
    Case::new("declared::multi_process", "A store for several processes can be opened by another one meanwhile.", multi_process)
        .requires(&[Capability::MultiProcess]),
];

fn no_batches(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let batch = [store.insert(1, &[])?, store.insert(2, &[])?];
    refused("a batch of two", Code::Unsupported, store.apply(&batch))?;
    equal("how many records", &0, &store.count(&Query::all(store.things))?)?;
    store.apply(&batch[..1])?;
    equal("the keys", &vec![1], &store.every_id()?)
}

fn no_unique(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let unique = Index::Unique { except: Vec::new() };
    let collection = Collection::new("unique", 1, "id", Kind::Int).field_with("code", Kind::Text, Value::Nil, unique);
    refused("prepare", Code::Unsupported, store.backend.prepare(&cx(), &[collection]))?;
    Ok(())
}

fn no_tracking(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let mut token = Token::default();
    for _ in 0..3 {
        let (next, changes) = store.backend.changes_since(&cx(), store.things, token)?;
        ensure(changes == Changes::Everything, || format!("expected Everything, found {changes:?}"))?;
        token = next;
    }
    Ok(())
}

fn no_durability(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=3)?;
    let store = store.reopen()?;
    equal("the keys", &Vec::<i64>::new(), &store.every_id()?)?;
    store.fill([1])
}

fn staleness(subject: &dyn Subject) -> Checked {
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let (capabilities, bound) = (backend.capabilities(), backend.capabilities().staleness());
    backend.close(&cx())?;
    if !capabilities.has(Capability::ChangeTracking) {
        return equal("the staleness without change tracking", &Duration::ZERO, &bound);
    }
    ensure(bound <= Duration::from_secs(10), || format!("the staleness: expected 10 s at most, found {bound:?}"))
}

fn encryption(subject: &dyn Subject) -> Checked {
    const MARK: &str = "a text that is found nowhere else by chance: 7f3e9c";
    let store = Store::fresh(subject)?;
    if !store.instance.is_encrypted() {
        return Err(Failure::Skipped("the subject does not say that its stores are encrypted".to_owned()));
    }
    let resources = store.backend.resources();
    let before = contents(&resources)?;
    store.one(store.insert(1, &[("t", MARK.into()), ("code", MARK.into())])?)?;
    store.close()?;
    let after = contents(&resources)?;
    let mut written = after.iter().filter(|file| !before.contains(file)).peekable();
    ensure(written.peek().is_some(), || {
        "the folders of an encrypted store's resources: expected a file that a write changes, found none".to_owned()
    })?;
    for (file, bytes) in written {
        let is_clear = bytes.windows(MARK.len()).any(|w| w == MARK.as_bytes());
        ensure(!is_clear, || format!("an encrypted store: what is stored can be read in {}", file.display()))?;
    }
    Ok(())
}

/// What lies in the folders of a store's files: a backend may have one for each collection, and others beside them.
fn contents(resources: &[Resource]) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let named = resources.iter().filter(|r| r.kind == "file").map(|r| PathBuf::from(&r.name));
    let folders = named.filter_map(|file| file.parent().and_then(|folder| std::fs::read_dir(folder).ok()));
    let files = folders.flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let read = |file: PathBuf| match std::fs::read(&file) {
        Ok(bytes) => Ok((file, bytes)),
        Err(e) => Err(Failure::wrong(format!("{}: {e}", file.display()))),
    };
    files.map(read).collect()
}

fn inline_reads(subject: &dyn Subject) -> Checked {
    // Far more than any lookup takes, on however slow a machine; and of many the fastest, which no other program held up.
    const BLOCKED: Duration = Duration::from_millis(100);
    let store = Store::fresh(subject)?;
    store.fill(1..=20)?;
    let mut fastest = Duration::MAX;
    for id in 1..=20 {
        let started = Instant::now();
        store.get(id)?;
        fastest = fastest.min(started.elapsed());
    }
    ensure(fastest < BLOCKED, || format!("expected lookups that do not block, found that the fastest of 20 took {fastest:?}"))
}

fn multi_process(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let peer = store.instance.peer()?;
    let Some(peer) = peer else { return Err(Failure::Skipped("the subject gives no handle in another process".to_owned())) };
    let peer = crate::fixture::Handle::over(peer)?;
    equal("the keys there", &vec![1], &peer.every_id()?)?;
    peer.fill([2])?;
    equal("the keys here", &vec![1, 2], &store.every_id()?)
}
