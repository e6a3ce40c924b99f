//! Files that an operator writes, read as what they are; files of ours are written as the node writes its own.

pub use hivemind_node::files::{create, make_folder, replace};

use std::fs::File;
use std::io::{Error, Read as _, Result};
use std::path::Path;

/// The largest file of settings that is read, in bytes: a thousand times what anybody has.
const LARGEST: u64 = 16 << 20;

/// Reads a file of text. Only a regular file of a sensible size is read: a pipe or a device would keep the program waiting, or fill
/// the memory.
///
/// # Errors
/// What the system said, or what is wrong with the file, and where.
pub fn read_text(path: &Path) -> Result<String> {
    let file = open_regular(path)?;
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(Error::other(format!("expected at most {} MiB, found more", LARGEST >> 20)));
    }
    let text = String::from_utf8(content).map_err(|e| {
        let (valid, _) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        let column = valid.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        Error::other(format!("expected UTF-8, found another byte at line {line} column {column}"))
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Error::other("it begins with a byte order mark at line 1 column 1; save it without one"));
    }
    Ok(text)
}

/// Opens a regular file for reading; nothing else is waited for.
///
/// # Errors
/// What the system said, or what is there instead.
pub fn open_regular(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    // Opening a pipe would wait for somebody to write into it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    let kind = file.metadata()?;
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(Error::other(format!("expected a regular file, found {found}")));
    }
    Ok(file)
}
