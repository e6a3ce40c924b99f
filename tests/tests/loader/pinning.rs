//! What `plugins.lock.toml` holds a loader to.

use hivemind_host::plugins::SearchPath;
use hivemind_host::plugins::lock::Lock;

use super::*;

#[test]
fn a_pinned_module_loads_only_from_the_pinned_file() {
    let folder = Folder::new().with("ledger", "x.so");
    let file = folder.path().join("plugins.lock.toml");
    let mut lock = Lock::read(&file).expect("no lock file pins nothing");
    lock.pin(&folder.loader().resolve("ledger").expect("found"));
    lock.write().expect("written");

    let search = || SearchPath::only(&[folder.path().to_owned()]);
    let lock = Lock::read(&file).expect("read");
    assert_eq!(lock.pin_of("ledger-db-plugin").expect("pinned").version, "0.3.1");
    let pinned = Loader::new(search(), lock.clone(), folder.path().to_owned());
    pinned.resolve("ledger").expect("the pinned file");

    place(&build::fixture("abi-newer"), folder.path(), "x.so");
    let refusal = pinned.resolve("ledger").expect_err("a refusal");
    assert_eq!(refusal.reason.code(), "not-pinned");
    assert_says(&refusal, &["plugins.lock.toml", "SHA-256", "plugins pin"]);

    for text in ["version = 2", "versoin = 1", "[[plugin]]\nmodule = 1", "\u{0}"] {
        fs::write(&file, text).expect("written");
        assert_eq!(Lock::read(&file).expect_err(text).reason.code(), "bad-lock", "{text}");
    }
}

/// A lock file in which the ledger of this folder is pinned.
fn pinned(folder: &Folder) -> Lock {
    let mut lock = Lock::read(&folder.path().join("plugins.lock.toml")).expect("no lock file pins nothing");
    lock.pin(&folder.loader().resolve("ledger").expect("found"));
    lock.write().expect("written");
    Lock::read(lock.path()).expect("read")
}

fn loader_with(lock: Lock, folders: &[&Folder]) -> Loader {
    let paths: Vec<_> = folders.iter().map(|f| f.path().to_owned()).collect();
    Loader::new(SearchPath::only(&paths), lock, paths[0].clone())
}

#[test]
fn a_name_that_a_pinned_module_answered_to_means_that_module_whatever_else_claims_it() {
    let (first, second) = (Folder::new(), Folder::new().with("ledger", "b.so"));
    let lock = pinned(&second);
    first.write("a.so", &patched("ledger", r#""module":"ledger-db-plugin""#, r#""module":"harmless-plugin""#));
    let unpinned = loader(&[first.path(), second.path()], first.path());
    assert_eq!(unpinned.resolve("ledger").expect("an alias").manifest.module, "harmless-plugin");
    let loader = loader_with(lock, &[&first, &second]);
    for name in ["ledger", "ledger-db-plugin"] {
        assert_eq!(loader.resolve(name).expect("found").manifest.module, "ledger-db-plugin");
    }
    fs::remove_file(second.path().join("b.so")).expect("removed");
    assert_eq!(loader.resolve("ledger").expect_err("nobody else").reason.code(), "not-found");
}

#[test]
fn a_pin_without_a_hash_for_this_target_lets_nothing_load() {
    let folder = Folder::new().with("ledger", "x.so");
    let file = pinned(&folder).path().to_owned();
    let text = fs::read_to_string(&file).expect("read");
    let target = hivemind_host::plugins::manifest::host_target();
    fs::write(&file, text.replace(target, "x86_64-unknown-linux-gnuu")).expect("written");
    let refusal = loader_with(Lock::read(&file).expect("read"), &[&folder]).resolve("ledger").expect_err("a refusal");
    assert_eq!(refusal.reason.code(), "not-pinned");
    assert_says(&refusal, &["no hash for this target", target, "plugins pin ledger-db-plugin"]);
}

#[test]
fn a_lock_file_that_pins_a_module_twice_or_by_no_hash_is_refused() {
    let folder = Folder::new().with("ledger", "x.so");
    let lock = pinned(&folder);
    let file = lock.path();
    let text = fs::read_to_string(file).expect("read");
    let entry = &text[text.find("[[plugin]]").expect("an entry")..];
    let target = hivemind_host::plugins::manifest::host_target();
    for (wrong, part) in [
        (format!("{text}\n{entry}"), "listed twice"),
        (format!("{text}\n{}", entry.replace("ledger-db-plugin", "other-db-plugin")), "both answer to"),
        (text.replace(target, "linux"), "expected a target"),
        (text.replace(&lock.pin_of("ledger-db-plugin").expect("pinned").sha256[target], "9f86d081"), "64 hexadecimal digits"),
    ] {
        fs::write(file, wrong).expect("written");
        let refusal = Lock::read(file).expect_err(part);
        assert_eq!(refusal.reason.code(), "bad-lock");
        assert_says(&refusal, &[part]);
    }
}

#[test]
fn two_modules_that_answer_to_one_name_are_not_both_pinned() {
    let folder = Folder::new().with("ledger", "x.so");
    let mut lock = pinned(&folder);
    let before = fs::read(lock.path()).expect("read");
    let other = Folder::new();
    other.write("a.so", &patched("ledger", r#""module":"ledger-db-plugin""#, r#""module":"harmless-plugin""#));
    lock.pin(&other.loader().resolve("ledger").expect("found"));
    assert_says(&lock.write().expect_err("a refusal"), &["harmless-plugin", "ledger-db-plugin", "both answer to \"ledger\""]);
    assert_eq!(fs::read(lock.path()).expect("read"), before);
}
