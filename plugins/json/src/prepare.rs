//! Finding, creating and migrating the files of collections.

use std::path::PathBuf;
use std::sync::Arc;

use hivemind_abi::Host;
use hivemind_abi::model::json::{self, Json};
use hivemind_abi::model::table::Tables;
use hivemind_abi::model::{Catalog, Collection, Context, Error, Result};

use crate::document::{Document, Edits};
use crate::entry::{self, Reading};
use crate::journal;
use crate::loaded::{Loaded, unreadable};
use crate::place::{Files, Place};
use crate::replace::{self, replace};
use crate::seen::Seen;
use crate::sentinel::{self, Version};
use crate::state::State;

/// The files of new collections, checked against each other, against those known and against their versions. Touches nothing.
///
/// # Errors
/// `invalid` if two collections would share a file, `too new` if a stored version is newer.
pub(crate) fn check(place: &Place, state: &State, collections: &[Collection]) -> Result<()> {
    place.check_form()?;
    let mut taken: Vec<(Files, &str)> = Vec::new();
    for file in state.files.values() {
        taken.push((file.files.clone(), &file.collection.name));
    }
    for collection in collections {
        collection.validate()?;
        let files = place.files(collection)?;
        if let Some((_, other)) = taken.iter().find(|(f, name)| f.data == files.data && *name != collection.name) {
            let message = format!("collections {other} and {} would share {}", collection.name, files.data.display());
            return Err(Error::invalid(message).collection(&collection.name));
        }
        sentinel::check(&files.sentinel, collection)?;
        if place.coding.is_encrypted() && !state.files.values().any(|file| file.files == files) {
            check_password(place, &files)?;
        }
        taken.push((files, &collection.name));
    }
    Ok(())
}

/// Opens a file once before anything is written: with a wrong password nothing is to be touched, not even a lock.
fn check_password(place: &Place, files: &Files) -> Result<()> {
    let Some(content) = Seen::read(&files.data)?.0 else { return Ok(()) };
    place.coding.decode(content).map(drop).map_err(|e| unreadable(&files.data, &e))
}

/// Whether the files of these collections only have to be read: there is no journal to carry out, no version to write, and so no older
/// record. This needs no lock, as a file that is replaced is the old one or the new one.
///
/// # Errors
/// `too new`, `io`.
pub(crate) fn is_up_to_date(place: &Place, collections: &[Collection]) -> Result<bool> {
    for collection in collections {
        let stored = sentinel::check(&place.files(collection)?.sentinel, collection)?;
        if stored != Version::Is(i64::from(collection.version)) {
            return Ok(false);
        }
    }
    Ok(!place.journal.try_exists().unwrap_or(true))
}

/// Brings the files of these collections to their versions; only right under the lock.
///
/// # Errors
/// `too new`, `corrupt` for a file that cannot be read, `io`.
pub(crate) fn bring_up_to_date(cx: &Context<'_>, (host, place): (&Host, &Place), collections: &[Collection]) -> Result<()> {
    // Again, now that nobody can change it.
    for collection in collections {
        sentinel::check(&place.files(collection)?.sentinel, collection)?;
    }
    journal::replay(place, |warning| host.warn(warning))?;
    for path in leftovers(place, collections)? {
        let _ = std::fs::remove_file(path);
    }
    for collection in collections {
        cx.check()?;
        migrate(host, place, &place.files(collection)?, collection)?;
    }
    Ok(())
}

/// The temporary files that crashes left, or that others are writing: only under the lock one knows.
///
/// # Errors
/// `io` and `denied`.
pub(crate) fn leftovers(place: &Place, collections: &[Collection]) -> Result<Vec<PathBuf>> {
    let mut found = replace::leftovers(&place.journal)?;
    for collection in collections {
        let files = place.files(collection)?;
        for file in [&files.data, &files.sentinel] {
            found.extend(replace::leftovers(file)?);
        }
    }
    Ok(found)
}

/// Loads the files of the collections from `first` on, into tables of their own.
///
/// # Errors
/// `corrupt` for a file that cannot be read, `io`.
pub(crate) fn load(cx: &Context<'_>, place: &Place, catalog: &Catalog, first: usize) -> Result<(Vec<Loaded>, Tables)> {
    let (mut loaded, mut tables) = (Vec::new(), Tables::default());
    tables.extend(catalog);
    for (id, collection) in catalog.iter().skip(first) {
        cx.check()?;
        let mut file = Loaded::new(id, Arc::clone(collection), place.files(collection)?, place.coding.clone());
        file.reload(tables.get_mut(id)?)?;
        loaded.push(file);
    }
    Ok((loaded, tables))
}

/// Rewrites older records in their folded form, then the version, in this order: cut in between, it is all done again, to the same
/// end.
fn migrate(host: &Host, place: &Place, files: &Files, collection: &Collection) -> Result<()> {
    let stored = sentinel::check(&files.sentinel, collection)?;
    let version = i64::from(collection.version);
    if matches!(stored, Version::Is(stored) if stored >= version) {
        return Ok(());
    }
    if let (Some(content), true) = (Seen::read(&files.data)?.0, stored.number() < version) {
        // Whoever loads it next says what is wrong with it.
        let Ok(content) = place.coding.decode(content) else { return Ok(()) };
        let Ok((document, edits)) = brought_up(collection, content) else { return Ok(()) };
        if !edits.is_empty() {
            let (count, path) = (edits.changed.len(), files.data.display());
            host.info(&format!("{path}: {count} records are rewritten for version {version}"));
            replace(&files.data, &place.coding.encoded(document.edited(&edits).source())?)?;
        }
    }
    sentinel::write(&files.sentinel, collection.version)
}

/// A file's content, and what is to be changed in it so that all its records are in their present form.
///
/// # Errors
/// `corrupt`, naming line and column.
pub(crate) fn brought_up(collection: &Collection, content: Vec<u8>) -> Result<(Document, Edits)> {
    Document::parse(content, Edits::default, |edits, at, member| {
        if let Some(text) = folded(collection, member) {
            edits.changed.insert(at, Some(text));
        }
    })
}

/// The folded form of a readable record that is stored in another.
fn folded(collection: &Collection, member: &json::Member<'_>) -> Option<String> {
    let Reading::Row(_, row) = entry::read(collection, member) else { return None };
    let Json::Object(members) = &member.value else { return None };
    let view = row.view(collection).ok()?;
    let known = members.iter().all(|m| m.name.to_str().is_some_and(|name| collection.position(&name).is_some()));
    let extras = collection.extras.and_then(|at| collection.at(at).ok().map(|field| (at, field)));
    let extras_are_folded = extras.is_none_or(|(at, field)| match member.value.member(&field.name) {
        Some(stored) => json::parse(view.at(at).as_str().unwrap_or("null")).is_ok_and(|folded| folded.same(&stored.value)),
        None => true,
    });
    if known && extras_are_folded {
        return None;
    }
    entry::render(collection, &row, Some((&row, member.raw))).ok().map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::{Kind, Legacy, LegacyRule};

    use super::*;

    #[test]
    fn only_what_is_not_folded_is_rewritten() {
        let mut c = Collection::new("c", 2, "id", Kind::Int).field("meta", Kind::Json);
        c.extras = Some(1);
        c.legacy = vec![Legacy { name: "gone".to_owned(), rule: LegacyRule::Drop }];
        for (text, rewritten) in [
            (r#"{"id": 1, "meta": {"a": 1.0}}"#, false),
            (r#"{"id": 1}"#, false),
            (r#"{"id": 1, "meta": {"gone": 1}}"#, true),
            (r#"{"id": 1, "meta": [1]}"#, true),
            (r#"{"id": 1, "meta": {}, "gone": null}"#, true),
            (r#"{"id": 1, "other": 1, "meta": {}}"#, true),
            (r#"{"id": 2, "other": 1, "meta": {}}"#, false),
            ("5", false),
        ] {
            let source = format!("{{\"1\": {text}}}");
            let parsed = json::parse(&source).expect(text);
            let Json::Object(members) = &parsed else { panic!("an object") };
            assert_eq!(folded(&c, &members[0]).is_some(), rewritten, "{text}");
        }
    }
}
