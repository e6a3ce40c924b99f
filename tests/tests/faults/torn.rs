//! What a crash of the machine or a bad disk leaves: files cut short, flipped bits, pieces of other files beside.
//!
//! Either the store opens and what it holds is a state that it had, or it says which file is damaged and leaves it as it is. Values
//! are not protected by checksums in plain stores, so a flipped bit may change one; it never makes a record vanish in silence.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use hivemind_model::{Backend, Code, Context, Error};
use hivemind_tests::faults::process::{Content, Process, content, open, prepare, problems};
use hivemind_tests::faults::site::{Age, Backend as _, Files, Site};

use super::{assert_helpful, client, increment, note, peer};

/// A store's files and every state that it had.
struct Specimen {
    backend: Files,
    files: Vec<(String, Vec<u8>)>,
    states: Vec<Content>,
}

impl Specimen {
    /// `closed`: as a process leaves it that ends well; else as it is between two writes.
    fn new(backend: Files, closed: bool) -> Self {
        let site = backend.fresh(Age::New).expect("a store");
        let cx = Context::unbounded();
        let handle = open(&*site).expect("opened");
        let ids = prepare(&*handle).expect("prepared");
        let mut states = vec![content(&*handle, ids).expect("read")];
        for n in 0..6 {
            let slug = format!("note-{n}");
            handle.apply(&cx, &[client(ids, &format!("key-{n}")), note(ids, &slug, 900)]).expect("applied");
            states.push(content(&*handle, ids).expect("read"));
            handle.apply(&cx, &[increment(ids, &slug)]).expect("applied");
            states.push(content(&*handle, ids).expect("read"));
        }
        if closed {
            handle.close(&cx).expect("closed");
        }
        let read = |path: PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            std::fs::read(path).ok().map(|bytes| (name, bytes))
        };
        Self { backend, files: site.files().into_iter().filter_map(read).collect(), states }
    }

    fn last(&self) -> &Content {
        &self.states[self.states.len() - 1]
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.files.iter().find(|(n, _)| n == name).map_or(&[], |(_, bytes)| bytes)
    }

    /// A copy in which one file is another, or one more is there.
    fn with(&self, name: &str, bytes: Option<&[u8]>) -> Box<dyn Site> {
        let site = self.backend.fresh(Age::New).expect("a store");
        let folder = folder(&*site);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, bytes) in &self.files {
            std::fs::write(folder.join(name), bytes).expect("written");
        }
        match bytes {
            Some(bytes) => std::fs::write(folder.join(name), bytes).expect("written"),
            None => drop(std::fs::remove_file(folder.join(name))),
        }
        site
    }
}

fn folder(site: &dyn Site) -> PathBuf {
    site.files()[0].parent().map(Path::to_owned).expect("a folder")
}

type Found = Result<(Content, Vec<String>), Error>;

/// What a handle finds, and what `verify` says about it.
fn look(site: &dyn Site) -> Found {
    let handle = open(site)?;
    let found = prepare(&*handle).and_then(|ids| Ok((content(&*handle, ids)?, problems(&*handle)?)));
    let _ = handle.close(&Context::unbounded());
    found
}

/// The damaged file is named, and is as it was.
fn assert_refused(site: &dyn Site, name: &str, damaged: &[u8], found: Found, what: &str) {
    let error = found.map(|(found, _)| found.0.len()).expect_err(what);
    assert_helpful(&error, site, what);
    assert!(error.message().contains(name), "{what}: {name} is not named: {error}");
    assert!(std::fs::read(folder(site).join(name)).expect("there") == damaged, "{what}: the file was changed");
}

/// Refused, or opened with every record there, or with a word about those that are not.
fn assert_no_silent_loss(specimen: &Specimen, name: &str, damaged: &[u8], what: &str) {
    let site = specimen.with(name, Some(damaged));
    match look(&*site) {
        Err(error) if error.code() == Code::TooNew => {}
        Err(error) => assert_refused(&*site, name, damaged, Err(error), what),
        Ok(((rows, unreadable), problems)) => {
            let lost: Vec<_> = specimen.last().0.keys().filter(|key| !rows.contains_key(*key)).collect();
            let told = !unreadable.is_empty() || !problems.is_empty();
            assert!(lost.is_empty() || told, "{what}: lost without a word: {lost:?}");
        }
    }
}

#[test]
fn a_torn_wal_gives_a_state_that_was() {
    let specimen = Specimen::new(Files::Sqlite, false);
    let wal = specimen.bytes("clients.db-wal");
    let page = u32::from_be_bytes(wal[8..12].try_into().expect("four bytes")) as usize;
    let frames = (wal.len() - 32) / (page + 24);
    assert!(frames > specimen.states.len(), "each state has a frame of its own at least");
    let ends = (0..=frames).flat_map(|frame| {
        let start = 32 + frame * (page + 24);
        [start, start + 11, start + 24 + page / 2]
    });
    let mut reached = 0;
    for end in [0, 1, 31].into_iter().chain(ends).filter(|end| *end <= wal.len()) {
        let site = specimen.with("clients.db-wal", Some(&wal[..end]));
        let (found, problems) = look(&*site).unwrap_or_else(|e| panic!("a log of {end} bytes: {e}"));
        let at = specimen.states.iter().position(|state| *state == found);
        let at = at.unwrap_or_else(|| panic!("a log of {end} bytes gives a state that never was"));
        assert!(at >= reached, "a log of {end} bytes gives less than a shorter one");
        assert_eq!(problems, Vec::<String>::new(), "a log of {end} bytes");
        reached = at;
    }
    assert_eq!(reached, specimen.states.len() - 1, "the whole log gives the last state");
}

#[test]
fn a_damaged_wal_gives_a_state_that_was() {
    let specimen = Specimen::new(Files::Sqlite, false);
    let wal = specimen.bytes("clients.db-wal");
    let mut dice = Rng::with_seed(7);
    for _ in 0..40 {
        let mut damaged = wal.to_vec();
        let (at, bit) = (dice.usize(..wal.len()), dice.u32(..8));
        damaged[at] ^= 1 << bit;
        let site = specimen.with("clients.db-wal", Some(&damaged));
        match look(&*site) {
            Ok((found, _)) => assert!(specimen.states.contains(&found), "bit {bit} of byte {at}: a state that never was"),
            Err(error) => assert_helpful(&error, &*site, &format!("bit {bit} of byte {at}")),
        }
    }
}

#[test]
fn a_damaged_shared_memory_file_is_made_anew() {
    let specimen = Specimen::new(Files::Sqlite, false);
    let shm = specimen.bytes("clients.db-shm").to_vec();
    assert!(!shm.is_empty());
    let mut odd = shm.clone();
    odd.iter_mut().step_by(3).for_each(|byte| *byte ^= 0x5a);
    for damaged in [None, Some(&[][..]), Some(&shm[..100]), Some(&shm[..shm.len() / 2]), Some(&odd), Some(&[0xff; 70_000])] {
        let (found, problems) = look(&*specimen.with("clients.db-shm", damaged)).expect("opened");
        assert!(found == *specimen.last() && problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn a_database_cut_short_or_with_flipped_bits_loses_nothing_in_silence() {
    let specimen = Specimen::new(Files::Sqlite, true);
    let whole = specimen.bytes("clients.db");
    for length in [1, 15, 16, 99, 100, 512, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        assert_no_silent_loss(&specimen, "clients.db", &whole[..length], &format!("{length} of {} bytes", whole.len()));
    }
    let mut dice = Rng::with_seed(11);
    for _ in 0..60 {
        let mut damaged = whole.to_vec();
        let (at, bit) = (dice.usize(..whole.len()), dice.u32(..8));
        damaged[at] ^= 1 << bit;
        assert_no_silent_loss(&specimen, "clients.db", &damaged, &format!("bit {bit} of byte {at}"));
    }
}

#[test]
fn json_files_cut_short_are_refused_and_left_as_they_are() {
    let specimen = Specimen::new(Files::Json, true);
    for name in ["clients.json", "notes.json"] {
        let whole = specimen.bytes(name);
        for length in [0, 1, 2, whole.len() / 4, whole.len() / 2, whole.len() - 2, whole.len() - 1] {
            let site = specimen.with(name, Some(&whole[..length]));
            assert_refused(&*site, name, &whole[..length], look(&*site), &format!("{length} bytes of {name}"));
        }
        let mut dice = Rng::with_seed(13);
        for _ in 0..40 {
            let mut damaged = whole.to_vec();
            let (at, bit) = (dice.usize(..whole.len()), dice.u32(..8));
            damaged[at] ^= 1 << bit;
            assert_no_silent_loss(&specimen, name, &damaged, &format!("{name}, bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn a_damaged_version_never_costs_data() {
    let specimen = Specimen::new(Files::Json, true);
    for name in ["clients.schema_version", "notes.schema_version"] {
        for damaged in [&b""[..], b"\0\0", b"2\0\0\0", b"\n", b"x", b"-1", b"3", b"99999999999999999999", b"\xff\xfe"] {
            let site = specimen.with(name, Some(damaged));
            match look(&*site) {
                Ok((found, _)) => assert!(found == *specimen.last(), "{name} {damaged:?}: other records"),
                Err(error) if error.code() == Code::TooNew => {}
                Err(error) => assert_refused(&*site, name, damaged, Err(error), &format!("{name} {damaged:?}")),
            }
            for data in ["clients.json", "notes.json"] {
                let now = std::fs::read(folder(&*site).join(data)).expect("there");
                assert!(now == specimen.bytes(data), "{name} {damaged:?}: {data} was changed");
            }
        }
    }
}

#[test]
fn what_crashes_leave_beside_a_store_does_no_harm() {
    let cases: [(Files, &str, &[u8]); 8] = [
        (Files::Json, "clients.journal", b""),
        (Files::Json, "clients.journal", b"hivemind-journal 1 99 0123456789abcdef\n[{\"file\": \"cli"),
        (Files::Json, "clients.journal", b"\0\0\0\0\0\0\0\0"),
        (Files::Json, ".clients.json.0123456789abcdef.tmp", b"{\"1\": {\"client_"),
        (Files::Json, ".clients.journal.0123456789abcdef.tmp", b"hivemind-jou"),
        (Files::Json, ".clients.schema_version.0123456789abcdef.tmp", b""),
        (Files::Sqlite, "clients.db-journal", b""),
        (Files::Sqlite, "clients.db-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and nothing else that fits"),
    ];
    for (backend, name, bytes) in cases {
        let specimen = Specimen::new(backend, true);
        let site = specimen.with(name, Some(bytes));
        let (found, _) = look(&*site).unwrap_or_else(|e| panic!("{name} {bytes:?}: {e}"));
        assert!(found == *specimen.last(), "{name} {bytes:?}: other records");
        let (found, problems) = look(&*site).unwrap_or_else(|e| panic!("{name} {bytes:?}, again: {e}"));
        assert!(found == *specimen.last() && problems.is_empty(), "{name} {bytes:?}, again: {problems:?}");
    }
}

#[test]
fn a_lock_file_that_nobody_holds_stops_nobody() {
    let specimen = Specimen::new(Files::Json, true);
    for content_of_lock in [&b""[..], b"4711\n", b"\0\0\0"] {
        let site = specimen.with("unrelated", Some(b""));
        let lock = site.home().join("tmp/clients.json.lock");
        std::fs::write(&lock, content_of_lock).expect("written");
        let process = Process::start(&*site, peer(), |program| std::process::Command::new(program)).expect("opened");
        let ids = prepare(&process.handle).expect("prepared");
        process.handle.apply(&Context::unbounded(), &[increment(ids, "note-0")]).expect("applied");
        assert_eq!(content(&process.handle, ids).expect("read").0.len(), specimen.last().0.len());
    }
}
