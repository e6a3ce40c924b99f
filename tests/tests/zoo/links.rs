//! Symbolic links: a plugin is what they lead to, and the way there must be nobody else's.

use std::os::unix::fs::symlink;

use hivemind_tests::set_mode;

use super::*;

fn at(folder: &Folder, name: &str) -> std::path::PathBuf {
    folder.path().join(name)
}

#[test]
fn a_link_to_a_file_or_through_a_folder_leads_to_the_plugin() {
    let real = Folder::new().with("ledger", "real.so");
    let folder = Folder::new();
    symlink(at(&real, "real.so"), at(&folder, "link.so")).expect("a link");
    symlink(real.path(), at(&folder, "through")).expect("a link");
    let found = folder.loader().resolve("ledger").expect("found");
    assert_eq!(found.path, at(&real, "real.so").canonicalize().expect("a path"), "and is named by where it really is");
    Checked::read(&at(&folder, "through/real.so"), &Lock::default()).expect("through a folder");
    let through = hivemind_tests::loader(&[&at(&folder, "through")], folder.path());
    through.resolve("ledger").expect("a plugins folder may be a link");
}

#[test]
fn a_link_into_a_place_that_others_can_write_is_refused() {
    let open = Folder::new().with("ledger", "real.so");
    set_mode(open.path(), 0o777);
    let folder = Folder::new();
    symlink(at(&open, "real.so"), at(&folder, "specimen.so")).expect("a link");
    let fix = format!("chmod go-w {}", open.path().display());
    refused(&at(&folder, "specimen.so"), "untrusted", &["can be written by others (mode 0777)", &fix]);
    symlink(open.path(), at(&folder, "through")).expect("a link");
    refused(&at(&folder, "through/real.so"), "untrusted", &["mode 0777", &fix]);
}

/// Whoever can write the folder of a link chooses what it leads to.
#[test]
fn a_link_in_a_place_that_others_can_write_is_refused() {
    let real = Folder::new().with("ledger", "real.so");
    let open = Folder::new();
    symlink(at(&real, "real.so"), at(&open, "specimen.so")).expect("a link");
    set_mode(open.path(), 0o777);
    refused(&at(&open, "specimen.so"), "untrusted", &["mode 0777", &format!("chmod go-w {}", open.path().display())]);
    let mid = Folder::new();
    symlink(at(&open, "specimen.so"), at(&mid, "specimen.so")).expect("a link");
    refused(&at(&mid, "specimen.so"), "untrusted", &["mode 0777"]);
}

#[test]
fn a_link_that_dangles_or_goes_round_says_so() {
    let folder = Folder::new().with("ledger", "good.so");
    symlink("nowhere.so", at(&folder, "specimen.so")).expect("a link");
    refused(&at(&folder, "specimen.so"), "unreadable", &["a link to nowhere.so", "No such file", "check its path"]);
    std::fs::remove_file(at(&folder, "specimen.so")).expect("removed");
    symlink("specimen.so", at(&folder, "specimen.so")).expect("a link");
    refused(&at(&folder, "specimen.so"), "unreadable", &["a link to specimen.so", "symbolic links"]);
    folder.loader().resolve("ledger").expect("the good one is found all the same");
}
