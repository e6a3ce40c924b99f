//! The seed: a file in the layout of `clients.json` whose records the primary collection starts with.
//!
//! Unlike a store, a seed is all or nothing: it is written by hand for a purpose, so a mistake in it is said instead of carried along.

use std::path::Path;

use hivemind_abi::model::json::{self, Json, Member};
use hivemind_abi::model::table::{Record, Table};
use hivemind_abi::model::{Collection, Error, Key, Kind, Result, Row, record};

/// Puts the records of the file into the table.
///
/// # Errors
/// `io` or `denied` if the file cannot be read, `corrupt` if it is wrong; both name the file, the latter the place in it.
pub(crate) fn load(path: &Path, table: &mut Table) -> Result<()> {
    let about = |e: Error| e.context(format!("the seed {}", path.display())).place(path.display().to_string());
    let bytes = std::fs::read(path).map_err(|e| about(e.into()))?;
    let records = parse(&bytes, &table.collection().clone()).map_err(about)?;
    for (key, row) in records {
        table.replace(&key, Some(Record::Row(row)));
    }
    Ok(())
}

fn parse(bytes: &[u8], collection: &Collection) -> Result<Vec<(Key, Row)>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Error::corrupt(format!("expected UTF-8, found another byte at offset {}", e.valid_up_to())))?;
    let text = json::without_comments(text);
    let parsed = json::parse(&text).map_err(|e| Error::corrupt(e.to_string()))?;
    let Json::Object(members) = &parsed else {
        return Err(Error::corrupt(format!("expected an object of records, found {}", parsed.kind())));
    };
    members.iter().map(|member| read(&text, member, collection)).collect()
}

fn read(text: &str, member: &Member<'_>, collection: &Collection) -> Result<(Key, Row)> {
    let (name, exact) = (member.name.decode(), member.name.to_str());
    let at_line = |e: Error| {
        let before = text.get(..member.raw.as_ptr() as usize - text.as_ptr() as usize).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        Error::corrupt(format!("record {name:?} at line {line}: {}", e.message()))
    };
    let row = record::from_parsed(collection, &member.value).map_err(at_line)?;
    let key = row.view(collection).map_err(at_line)?.key().to_key();
    let named = match (collection.key_kind(), &key) {
        (Kind::Text, Key::Text(key)) => exact.is_some_and(|name| *key == name),
        (_, Key::Int(key)) => exact.is_some_and(|name| key.to_string() == name),
        _ => false,
    };
    if named {
        Ok((key, row))
    } else {
        Err(at_line(Error::corrupt(format!("it says that its {} is {key}", collection.key_name()))))
    }
}
