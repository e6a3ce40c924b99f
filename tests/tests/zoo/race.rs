//! A file that is exchanged while the host looks at it: what is loaded is what was checked, or nothing is.

use std::sync::atomic::AtomicBool;

use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_tests::specimen::{library, replace};

use super::*;

const TRIES: u32 = 1_000;

/// Of those found good one in so many is mapped, because it stays in memory.
const MAPPED: u32 = 8;

/// Two libraries that differ only in the name of a variable: the one's constructor would leave a trace. Every mixture of the two is a
/// library too, so that only what was really read decides. The good one is pinned; a writer exchanges them all the time, by renaming
/// and by overwriting.
#[test]
fn a_file_exchanged_between_check_and_load_is_never_run() {
    let evil = library("constructor");
    let mut good = evil.clone();
    replace(&mut good, b"HIVEMIND_TEST_CONSTRUCTOR", b"HIVEMIND_TEST_CONSTRUCT0R");
    let folder = Folder::new();
    let path = folder.write("x.so", &good);
    let pinned = Checked::read(&path, &Lock::default()).expect("the good one").sha256();
    let trace = folder.path().join("trace");
    // The variable must be set before the process starts.
    let program = std::env::current_exe().expect("this program");
    let ended = std::process::Command::new(program)
        .args(["--exact", "race::child", "--ignored", "--nocapture"])
        .env("HIVEMIND_TEST_CONSTRUCTOR", &trace)
        .env("HIVEMIND_TEST_RACE", folder.path())
        .env("HIVEMIND_TEST_PINNED", &pinned)
        .output()
        .expect("it runs");
    assert!(ended.status.success(), "{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(!trace.exists(), "the evil one ran");
}

/// The race itself, in a process whose environment arms the evil library.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn child() {
    let Some(folder) = std::env::var_os("HIVEMIND_TEST_RACE").map(std::path::PathBuf::from) else { return };
    let pinned = std::env::var("HIVEMIND_TEST_PINNED").expect("a hash");
    let path = folder.join("x.so");
    let good = std::fs::read(&path).expect("the good one");
    let mut evil = good.clone();
    replace(&mut evil, b"HIVEMIND_TEST_CONSTRUCT0R", b"HIVEMIND_TEST_CONSTRUCTOR");
    let mut lock = Lock::default();
    let loader = Loader::new(SearchPath::only(std::slice::from_ref(&folder)), lock.clone(), folder.clone());
    lock.pin(&loader.resolve("ledger").expect("the good one"));
    let done = AtomicBool::new(false);
    let (mut loaded, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let staged = folder.join("staged");
            for turn in 0_u64.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let bytes = if turn % 2 == 0 { &evil } else { &good };
                if turn % 4 < 2 {
                    place_bytes(&staged, bytes);
                    std::fs::rename(&staged, &path).expect("renamed");
                } else {
                    place_bytes(&path, bytes);
                }
                std::thread::sleep(std::time::Duration::from_micros(turn * 37 % 3_000));
            }
        });
        for _ in 0..TRIES {
            // A loader of its own maps anew each time.
            let loader = Loader::new(SearchPath::only(std::slice::from_ref(&folder)), lock.clone(), folder.clone());
            match loader.resolve("ledger") {
                Ok(checked) => {
                    assert_eq!(checked.sha256(), pinned);
                    if loaded % MAPPED == 0 {
                        loader.load(checked).expect("what was checked is what is loaded");
                    }
                    loaded += 1;
                }
                Err(refusal) => {
                    let code = refusal.reason.code();
                    assert!(["not-pinned", "changing", "truncated", "malformed"].contains(&code), "{refusal}");
                    refused += 1;
                }
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    println!("{loaded} loaded, {refused} refused");
    assert!(loaded > 0 && refused > 0, "{loaded} loaded, {refused} refused: the race did not take place");
}

/// As `cp` does: an existing file is overwritten in place.
fn place_bytes(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create(true).truncate(false).mode(0o755).open(path).expect("opened");
    bytes.chunks(128 << 10).for_each(|chunk| file.write_all(chunk).expect("written"));
}
