//! Another password for the files of a store, a first one, or none.
//!
//! The decision: **the new files are whole and read back before an old one goes.** A store that changes its form (`.json`, `.ejson`)
//! has both until then, of which its settings choose; the primary file goes first, so that a program with the old settings refuses
//! the rest instead of taking it for all. In the same form each file is replaced in one step, the primary one last; cut in between,
//! the same command finishes it, because a file that has the new password already is left. Nothing tells who reads these files: that
//! no other program has them open is for the operator to see to.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use hivemind_abi::model::json;
use hivemind_abi::model::{Code, Context, Error, Report, Result};

use crate::backup::{self, Stored};
use crate::cipher::Coding;
use crate::document::{Document, Edits};
use crate::loaded::unreadable;
use crate::place::Place;
use crate::replace::{self, failed, sync_folder};

/// The form that the files are to have.
pub(crate) struct NewForm {
    coding: Coding,
    extension: &'static str,
}

impl NewForm {
    /// The form with this password, or without one.
    ///
    /// # Errors
    /// `invalid` for a password that is no key, and for a store that is not there.
    pub(crate) fn new(place: &Place, password: Option<&str>) -> Result<Self> {
        let coding = Coding::new(password).map_err(|e| e.field("password"))?;
        place.check_form()?;
        if !backup::stored(place)?.iter().any(|stored| stored.files.data.exists()) {
            let shown = place.primary.display().to_string();
            let message = format!("{shown} is not there yet: set `password` in the settings to begin an encrypted store");
            return Err(Error::invalid(message).place(shown));
        }
        let extension = if coding.is_encrypted() { "ejson" } else { "json" };
        Ok(Self { coding, extension })
    }

    /// Gives all files this form; only right under the lock, after what was cut is finished.
    ///
    /// # Errors
    /// `denied` and `corrupt` for a file that cannot be read, `conflict` if a file has a name that is needed; nothing was changed.
    pub(crate) fn put_in_place(self, cx: &Context<'_>, place: &Place) -> Result<Report> {
        let other_form = self.extension != place.extension();
        let mut staged = Vec::new();
        let mut old: Vec<PathBuf> = Vec::new();
        for Stored { files, .. } in backup::stored(place)? {
            cx.check()?;
            let Some(content) = backup::content(&files.data)? else { continue };
            let text = match place.coding.decode(content.clone()) {
                Err(error) if error.code() == Code::Denied && !other_form && self.coding.sealed(&content) => continue,
                other => other.map_err(|e| unreadable(&files.data, &e))?,
            };
            // Sealed damage would be harder to mend.
            let (document, ()) = Document::parse(text, || (), |(), _, _| {}).map_err(|e| unreadable(&files.data, &e))?;
            // Without comments, over which the Python node cannot write.
            let document = document.edited(&Edits::default());
            let target = files.data.with_extension(self.extension);
            if other_form && target.symlink_metadata().is_ok() {
                let shown = target.display().to_string();
                let message = format!("{shown} is there already, and would be replaced; move it away first; nothing was changed");
                return Err(Error::conflict(message).place(shown));
            }
            let content = self.coding.encoded(document.source())?;
            let (back, ()) = Document::parse(self.coding.decode(content.to_vec())?, || (), |(), _, _| {})?;
            if !same_records(&document, &back) {
                return Err(Error::io(format!("{} did not come back as it was; nothing was changed", files.data.display())));
            }
            staged.push(replace::stage(&target, &[content])?);
            old.push(files.data);
        }
        // The primary file is the first that is found.
        for (done, one) in staged.into_iter().rev().enumerate() {
            one.commit().map_err(|e| if done == 0 { e } else { e.context("some files have the new form: run this again") })?;
        }
        sync_folder(&place.folder)?;
        if other_form {
            for path in old {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("remove", &path)(e)),
                    _ => {}
                }
            }
            sync_folder(&place.folder)?;
        }
        Ok(Report::new().with("encrypted", self.coding.is_encrypted()))
    }
}

/// Whether two texts hold the same records; an encrypted one has everything outside of ASCII escaped.
fn same_records(a: &Document, b: &Document) -> bool {
    let (here, there) = (a.positions(), b.positions());
    let same = |a: &str, b: &str| a == b || matches!((json::parse(a), json::parse(b)), (Ok(a), Ok(b)) if a.same(&b));
    here.len() == there.len()
        && here.iter().all(|(name, at)| there.get(name).is_some_and(|there| same(a.value(*at), b.value(*there))))
}
