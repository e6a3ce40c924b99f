//! What the store tells about itself.

use hivemind_abi::model::{Problem, Report, Result};

use crate::place::Place;
use crate::sentinel::Version;
use crate::state::State;

const ACKNOWLEDGED: &str = "the whole file was written and synced to the disk, renamed into place, and its folder synced; it survives the \
                            loss of power as far as the disk keeps what it has synced";

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How many records there are.
pub(crate) fn counted(state: &State) -> Report {
    let total = state.tables.iter().map(|(_, table)| table.len()).sum();
    Report::new().with("records", number(total))
}

/// Facts for the operator.
///
/// # Errors
/// `io` if a sentinel cannot be read, and those of reading the primary file.
pub(crate) fn stats(place: &Place, state: &mut State) -> Result<Report> {
    let mut report = Report::new().with("engine", "json").with("location", place.primary.display().to_string());
    if let Some(id) = state.files.values().find(|file| file.collection.primary).map(|file| file.id) {
        state.refresh(id)?;
        let file = state.file(id)?;
        report = report
            .with("schema_version", Version::read(&file.files.sentinel)?.number())
            .with("records", number(state.tables.get(id)?.len()))
            .with("change_detection", file.means())
            .with("file_bytes", number(file.stored().len()));
    }
    Ok(report
        .with("encrypted", place.coding.is_encrypted())
        .with("lock", place.lock.display().to_string())
        .with("acknowledged_write", ACKNOWLEDGED))
}

/// Everything that is wrong with what is stored.
pub(crate) fn verify(place: &Place, state: &mut State) -> Report {
    let mut problems = Vec::new();
    for id in state.files.keys().copied().collect::<Vec<_>>() {
        let unreadable = state.refresh(id).err();
        let (Ok(file), Ok(table)) = (state.file(id), state.tables.get(id)) else { continue };
        let of_file = |message: String| Problem { collection: file.collection.name.clone(), key: None, message };
        match unreadable {
            Some(error) => problems.push(of_file(error.message().to_owned())),
            None => {
                problems.extend(table.problems());
                problems.extend(file.strays().iter().cloned().map(of_file));
            }
        }
        let sentinel = file.files.sentinel.display();
        let expected = file.collection.version;
        problems.extend(match Version::read(&file.files.sentinel) {
            Ok(Version::Is(version)) if version == i64::from(expected) => None,
            Ok(Version::Is(version)) => Some(of_file(format!("{sentinel} says version {version}, expected {expected}"))),
            Ok(Version::Missing) => Some(of_file(format!("{sentinel} is missing: programs take the records for version 1"))),
            Ok(Version::Malformed) => {
                Some(of_file(format!("{sentinel} holds no number: programs take the records for version 1")))
            }
            Err(error) => Some(of_file(error.message().to_owned())),
        });
    }
    if let Some(other) = place.other_form() {
        let message = format!("{} is there too; what is in it is not looked at with these settings", other.display());
        problems.push(Problem { collection: String::new(), key: None, message });
    }
    if place.journal.exists() {
        let message = format!("{} is left of a batch that was cut; the next write finishes it", place.journal.display());
        problems.push(Problem { collection: String::new(), key: None, message });
    }
    Report { problems, ..counted(state) }
}
