//! Cutting a text into its records.
//!
//! The decision here: one record at a time. The tree of a whole file takes several times the memory of its text, and the time to fill
//! and to free that; nothing is asked of it that a record alone does not answer, but whether its name comes once more.

use std::collections::HashSet;

use hivemind_abi::model::json::{self, Json, Member, ParseError};
use hivemind_abi::model::{Error, Result};

use super::{Entry, deep};

/// The records of a text, and what `visit` made of what `new` gave; see [`super::Document::parse`].
///
/// # Errors
/// `corrupt`, naming line and column.
pub(super) fn cut<V>(
    text: &str,
    new: impl Fn() -> V,
    mut visit: impl FnMut(&mut V, usize, &Member<'_>),
) -> Result<(Vec<Entry>, V)> {
    let none = HashSet::new();
    let first = read((text, text), &none, new(), &mut visit);
    let covered = match &first {
        Err(e) if e.what == deep::NESTED_TOO_DEEP => deep::covered(text),
        _ => None,
    };
    let texts = (text, covered.as_deref().unwrap_or(text));
    let first = if covered.is_some() { read(texts, &none, new(), &mut visit) } else { first };
    let unreadable = |e: ParseError| Error::corrupt(e.to_string());
    let (document, entries, made) = first.map_err(unreadable)?;
    if !matches!(document, Json::Object(_)) {
        return Err(Error::corrupt(format!("expected an object of records at line 1, found {}", document.kind())));
    }
    let overridden = overridden(text, &entries);
    if overridden.is_empty() {
        return Ok((entries, made));
    }
    let (_, entries, made) = read(texts, &overridden, new(), &mut visit).map_err(unreadable)?;
    Ok((entries, made))
}

/// Reads all records but those at the positions in `without`. The second text is the first with what is nested too deep covered.
fn read<'a, V>(
    (text, parsed): (&str, &'a str),
    without: &HashSet<usize>,
    mut made: V,
    visit: &mut impl FnMut(&mut V, usize, &Member<'_>),
) -> Result<(Json<'a>, Vec<Entry>, V), ParseError> {
    let range = |part: &str| {
        let start = part.as_ptr() as usize - parsed.as_ptr() as usize;
        start..start + part.len()
    };
    let (mut entries, mut position) = (Vec::new(), 0);
    let document = json::members(parsed, |member| {
        position += 1;
        if without.contains(&(position - 1)) {
            return;
        }
        let entry = Entry { name: range(member.name.raw), value: range(member.raw) };
        match text.get(entry.value.clone()) {
            Some(raw) if raw != member.raw => visit(&mut made, entries.len(), &Member { raw, ..member }),
            _ => visit(&mut made, entries.len(), &member),
        }
        entries.push(entry);
    })?;
    entries.shrink_to_fit();
    Ok((document, entries, made))
}

/// The positions of the records whose name comes once more: the last one counts.
fn overridden(text: &str, entries: &[Entry]) -> HashSet<usize> {
    let mut names = HashSet::with_capacity(entries.len());
    let is_again = |(_, entry): &(usize, &Entry)| {
        let raw = text.get(entry.name.clone()).unwrap_or_default();
        !names.insert(json::Text { raw }.name())
    };
    entries.iter().enumerate().rev().filter(is_again).map(|(at, _)| at).collect()
}
