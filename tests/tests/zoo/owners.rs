//! Files and folders that somebody else could change.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use hivemind_tests::set_mode;

use super::*;

#[test]
fn a_file_a_folder_or_a_folder_above_that_others_can_write_is_refused() {
    for (at, mode) in
        [("a/b/specimen.so", 0o757), ("a/b/specimen.so", 0o766), ("a/b", 0o777), ("a/b", 0o757), ("a", 0o777), ("", 0o777)]
    {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path().join("a/b")).expect("folders");
        for above in ["a", "a/b"] {
            set_mode(&folder.path().join(above), 0o755);
        }
        let path = place(&build::fixture("ledger"), &folder.path().join("a/b"), "specimen.so");
        Checked::read(&path, &Lock::default()).expect("nothing is wrong yet");
        // Of the temporary folder itself, which ends in a slash otherwise.
        let culprit = if at.is_empty() { folder.path().to_owned() } else { folder.path().join(at) };
        set_mode(&culprit, mode);
        let fix = format!("chmod go-w {}", culprit.display());
        refused(
            &path,
            "untrusted",
            &[&format!("can be written by others (mode 0{mode:o})"), "somebody else could exchange", &fix],
        );
        let words: Vec<&str> = fix.split(' ').collect();
        assert!(Command::new(words[0]).args(&words[1..]).status().expect("it runs").success());
        Checked::read(&path, &Lock::default()).expect("mended by the command told");
    }
}

/// Only root can give files away; others cannot have such a file either.
#[test]
fn a_file_or_folder_of_another_user_is_refused() {
    for above in [false, true] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        let path = place(&build::fixture("ledger"), &folder.path().join("a"), "specimen.so");
        let culprit = if above { folder.path().join("a") } else { path.clone() };
        let user = culprit.metadata().expect("there").uid();
        if chown(&culprit, Some(12_345), None).is_err() {
            return;
        }
        let fix = format!("chown {user} {}", culprit.display());
        refused(&path, "untrusted", &["belongs to user 12345", &fix]);
    }
}

/// In a sticky folder others can make files, but not move or remove what is not theirs.
#[test]
fn a_sticky_folder_above_is_fine_and_a_sticky_bit_on_the_file_excuses_nothing() {
    let folder = Folder::new();
    let path = place(&build::fixture("ledger"), folder.path(), "specimen.so");
    set_mode(folder.path(), 0o1777);
    Checked::read(&path, &Lock::default()).expect("as in /tmp");
    set_mode(&path, 0o1757);
    refused(&path, "untrusted", &["mode 1757", "chmod go-w"]);
}

/// The group of the user's own number is theirs alone; but an access list shows as the group's rights.
#[test]
fn an_access_list_that_lets_others_write_is_refused() {
    let folder = Folder::new();
    let path = place(&build::fixture("ledger"), folder.path(), "specimen.so");
    let meta = path.metadata().expect("there");
    set_mode(&path, 0o775);
    if meta.uid() != meta.gid() {
        return;
    }
    Checked::read(&path, &Lock::default()).expect("a private group may write");
    // user::rwx, then for each of some users rw-, group::r-x, mask::rwx, other::r-x, as the kernel stores them. A list may be long.
    for users in [1, 1000] {
        let named = (0..users).map(|n| (2, 6, 12_345 + n));
        let others = [(4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 5, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, who) in [(1_u16, 7_u16, u32::MAX)].into_iter().chain(named).chain(others) {
            list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &who.to_le_bytes()].concat());
        }
        match rustix::fs::setxattr(&path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()) {
            Ok(()) => {
                let fix = format!("setfacl -b {}", path.display());
                refused(&path, "untrusted", &["through its access list", &fix]);
            }
            // Where the file system has none, or none so long, nobody can be let in by one.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSPC) => {
                eprintln!("skipped: {} is on a file system without access lists of {users} users", path.display());
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}
