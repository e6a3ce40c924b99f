//! The other libraries that come along when a library is mapped.
//!
//! They run with the plugin's rights, so nobody else may choose them. A plain name is looked for where the system's administrator
//! says. Anything with a folder in it must be absolute, for the system's loader takes a relative one from the current folder, and
//! must lead through folders that nobody else can write. Whatever the loader would replace (`$ORIGIN`, `@loader_path`) is refused:
//! what is mapped is a copy that lies elsewhere.

use std::path::Path;

use super::super::refusal::Reason;
use super::super::trust;

/// The libraries and folders that a library names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// Names and paths of libraries.
    pub libraries: Vec<Vec<u8>>,
    /// Folders in which to look for those given by name.
    pub folders: Vec<Vec<u8>>,
    /// Names without a folder are looked for in the current folder too, as Mach-O does.
    pub names_are_paths: bool,
}

/// The longest name or path, in bytes: the longest that a system opens.
pub(super) const LONGEST: usize = 4096;

/// The most libraries and folders. Names may lie over one another in a file, so what it lists is bounded by nothing else.
const MOST: usize = 1024;

impl Links {
    /// Libraries by name and folders.
    ///
    /// # Errors
    /// `Malformed` for more of them, or longer ones, than there is a reason for; and the first error among them.
    pub(super) fn new<'n>(
        libraries: impl Iterator<Item = Result<&'n [u8], Reason>>,
        folders: impl Iterator<Item = Result<&'n [u8], Reason>>,
    ) -> Result<Self, Reason> {
        let mut links = Self::default();
        libraries.into_iter().try_for_each(|name| links.add_library(name?))?;
        folders.into_iter().try_for_each(|name| links.add_folder(name?))?;
        Ok(links)
    }

    /// Adds a library.
    ///
    /// # Errors
    /// See [`Links::new`].
    pub(super) fn add_library(&mut self, name: &[u8]) -> Result<(), Reason> {
        add(&mut self.libraries, name)
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// See [`Links::new`].
    pub(super) fn add_folder(&mut self, name: &[u8]) -> Result<(), Reason> {
        add(&mut self.folders, name)
    }

    /// Checks everything named.
    pub(super) fn check(&self) -> Result<(), Reason> {
        for library in &self.libraries {
            let name = text(library)?;
            let is_name = !self.names_are_paths && !name.is_empty() && !name.contains(['/', '\\', '$']);
            // `@rpath` stands for the folders below, which are checked.
            let in_folders = self.names_are_paths && name.starts_with("@rpath/") && !name.contains("/../");
            if !is_name && !in_folders {
                absolute(name)?;
            }
        }
        for list in &self.folders {
            text(list)?.split([':', '\n']).try_for_each(absolute)?;
        }
        Ok(())
    }
}

fn add(all: &mut Vec<Vec<u8>>, name: &[u8]) -> Result<(), Reason> {
    if name.len() > LONGEST {
        return Err(Reason::Malformed(format!("a name of more than {LONGEST} bytes")));
    }
    if all.len() == MOST {
        return Err(Reason::Malformed(format!("it names more than {MOST} libraries or folders")));
    }
    all.push(name.to_vec());
    Ok(())
}

/// Another encoding would be checked as one path and loaded as another.
fn text(name: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(name).map_err(|_| Reason::RunPath(String::from_utf8_lossy(name).into_owned()))
}

fn absolute(path: &str) -> Result<(), Reason> {
    if !path.starts_with('/') || path.contains(['$', '@']) {
        return Err(Reason::RunPath(path.to_owned()));
    }
    trust::check_named(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(libraries: &[&str], folders: &[&str], names_are_paths: bool) -> &'static str {
        let bytes = |all: &[&str]| all.iter().map(|text| text.as_bytes().to_vec()).collect();
        let links = Links { libraries: bytes(libraries), folders: bytes(folders), names_are_paths };
        links.check().map_or_else(|reason| reason.code(), |()| "fine")
    }

    #[test]
    fn a_library_is_named_plainly_or_absolutely() {
        for name in ["libc.so.6", "/usr/lib/libc.so.6", "lib@2.so"] {
            assert_eq!(code(&[name], &[], false), "fine", "{name}");
        }
        for name in
            ["./libengine.so", "x/libgcc.so", "../a.so", "$LIB/x.so", "$ORIGIN", "/opt/$LIB/x.so", "", "x\\y.dll", "@rpath/x"]
        {
            assert_eq!(code(&["libc.so.6", name], &[], false), "run-path", "{name}");
        }
        let not_utf_8 = Links { libraries: vec![vec![0xff]], ..Links::default() };
        assert_eq!(not_utf_8.check().map_err(|r| r.code()), Err("run-path"));
    }

    #[test]
    fn names_that_lie_over_one_another_are_not_copied_without_end() {
        let long = vec![b'x'; LONGEST + 1];
        let named = |name: &[u8], count: usize| {
            let links = Links::new(std::iter::repeat_n(Ok(name), count), std::iter::empty());
            links.map(|links| links.libraries.len()).map_err(|reason| reason.code())
        };
        assert_eq!(named(&long[..LONGEST], MOST), Ok(MOST));
        assert_eq!(named(&long, 1), Err("malformed"));
        assert_eq!(named(b"x", MOST + 1), Err("malformed"));
    }

    #[test]
    fn on_a_mac_a_plain_name_means_the_current_folder_too() {
        for name in ["@rpath/libengine.dylib", "/usr/lib/libSystem.B.dylib"] {
            assert_eq!(code(&[name], &["/usr/lib"], true), "fine", "{name}");
        }
        for name in ["libengine.dylib", "./x.dylib", "@loader_path/x.dylib", "@executable_path/x", "@rpath/../x.dylib"] {
            assert_eq!(code(&[name], &[], true), "run-path", "{name}");
        }
        assert_eq!(code(&[], &["@loader_path/../lib"], true), "run-path");
    }

    #[test]
    fn every_folder_of_a_run_path_is_absolute() {
        assert_eq!(code(&[], &["/usr/lib:/lib", "/nowhere/at/all"], false), "fine");
        for folder in ["", "lib", "/usr/lib:", ":/usr/lib", "/usr/lib:./x", "$ORIGIN", "/usr/$LIB", "/usr/lib:/opt/${ORIGIN}/x"] {
            assert_eq!(code(&[], &["/usr/lib", folder], false), "run-path", "{folder:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_or_make_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let home = tempfile::tempdir().expect("a folder");
        let at = |name: &str| home.path().join(name).to_str().expect("UTF-8").to_owned();
        let mode = |path: &str, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let verdict = |path: &str| code(&[], &[path], false);
        for (name, bits) in [("mine", 0o755), ("open", 0o777), ("sticky", 0o1777)] {
            std::fs::create_dir(at(name)).expect("a folder");
            mode(&at(name), bits);
        }
        symlink(at("mine"), at("open/link")).expect("a link");
        symlink(at("open/link"), at("mine/through")).expect("a link");
        symlink(at("mine"), at("mine/back")).expect("a link");
        symlink("loop", at("mine/loop")).expect("a link");
        assert_eq!(verdict(&at("mine")), "fine");
        assert_eq!(verdict(&at("mine/not-there")), "fine");
        assert_eq!(verdict(&at("mine/back/./back")), "fine");
        for name in ["open", "open/not-there", "open/link", "mine/through", "mine/../open", "sticky", "sticky/not-there/lib"] {
            assert_eq!(verdict(&at(name)), "untrusted", "{name}");
        }
        assert_eq!(verdict(&at("mine/loop")), "unreadable");
        assert_eq!(code(&[&at("open/libx.so")], &[], false), "untrusted");
    }
}
