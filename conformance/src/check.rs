//! Comparing what was found with what was expected.

use std::fmt::Debug;

use hivemind_model::{Code, Collection, Error, Row, Value, eval};

use crate::case::{Checked, Failure};

/// The longest value text in a message; a failure about 1 MiB of text must still be readable.
const LONGEST: usize = 600;

fn short(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let total = text.len();
        text.truncate(cut);
        text.push_str(&format!("… ({total} bytes)"));
    }
    text
}

/// Fails unless both are equal.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Checked {
    if expected == found {
        return Ok(());
    }
    Err(Failure::wrong(format!("{what}: expected {}, found {}", short(expected), short(found))))
}

/// Fails unless it holds.
pub(crate) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Failure::wrong(message())) }
}

/// Fails unless the call failed with this code, and hands its error on.
pub(crate) fn refused<T: Debug>(what: &str, code: Code, result: Result<T, Error>) -> Checked<Error> {
    match result {
        Err(error) if error.code() == code => {
            let expected = matches!(code, Code::Busy | Code::Deadline);
            let found = error.retryable();
            ensure(found == expected, || format!("{what}: expected a {code} error with retryable {expected}, found {found}"))?;
            Ok(error)
        }
        Err(error) => Err(Failure::wrong(format!("{what}: expected {code}, found {error}"))),
        Ok(value) => Err(Failure::wrong(format!("{what}: expected {code}, found success with {}", short(&value)))),
    }
}

/// The values of a row.
pub(crate) fn values(collection: &Collection, row: &Row) -> Checked<Vec<Value>> {
    let view = row.view(collection).map_err(|e| Failure::wrong(format!("expected a row of {}: {e}", collection.name)))?;
    Ok((0..collection.fields.len()).map(|at| view.at(at).to_value()).collect())
}

/// Fails unless both rows have the same canonical values: JSON by meaning, all else exactly.
pub(crate) fn same_row(what: &str, collection: &Collection, expected: &Row, found: &Row) -> Checked {
    let same = eval::same_rows(&expected.view(collection)?, &found.view(collection)?);
    ensure(same, || {
        let show = |row| values(collection, row).map(|v| short(&v)).unwrap_or_default();
        format!("{what}: expected {}, found {}", show(expected), show(found))
    })
}

/// The same for rows that may be absent.
pub(crate) fn same_lookup(what: &str, collection: &Collection, expected: Option<&Row>, found: Option<&Row>) -> Checked {
    match (expected, found) {
        (None, None) => Ok(()),
        (Some(expected), Some(found)) => same_row(what, collection, expected, found),
        (Some(_), None) => Err(Failure::wrong(format!("{what}: expected a record, found none"))),
        (None, Some(found)) => {
            Err(Failure::wrong(format!("{what}: expected no record, found {}", short(&values(collection, found)?))))
        }
    }
}
