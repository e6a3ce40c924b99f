//! A backup as a file: a tar archive of the store's files as they are, and their hashes.
//!
//! The decision: **what any system can take apart.** `tar xf` gives the files that both programs work on, `sha256sum -c SHA256SUMS`
//! checks them. The hashes come last, so an archive that was cut has none, and no changed byte of a file goes unnoticed. They are
//! hashes and no signature: they tell damage, not somebody who means to deceive.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use hivemind_abi::model::{Error, Result};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use crate::replace::failed;

/// The name of the list of hashes.
const SUMS: &str = "SHA256SUMS";
/// More files than any store has.
const MOST: usize = 10_000;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name, without a folder.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) content: Vec<u8>,
}

/// Writes an archive of these files.
pub(crate) fn write(out: impl Write, members: &[Member]) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let mut sums = String::new();
    for Member { name, content } in members {
        append(&mut archive, name, content)?;
        sums += &format!("{}  {name}\n", hash(content));
    }
    append(&mut archive, SUMS, sums.as_bytes())?;
    archive.into_inner()?.flush()
}

fn append(archive: &mut Builder<impl Write>, name: &str, content: &[u8]) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(now);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}

/// Reads an archive whole, and makes sure that it is.
///
/// # Errors
/// `corrupt` for one that is damaged or none, `io` and `denied` if it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<Member>> {
    let cannot_read = failed("read", path);
    let found = std::fs::metadata(path).map_err(&cannot_read)?;
    if !found.is_file() {
        let place = path.display().to_string();
        return Err(Error::invalid(format!("{place} is no regular file; name a backup")).place(place));
    }
    let file = std::fs::File::open(path).map_err(&cannot_read)?;
    read_from(io::BufReader::new(file), found.len(), path)
}

/// Reads an archive of so many bytes, which stands at `path`.
fn read_from(file: impl Read, length: u64, path: &Path) -> Result<Vec<Member>> {
    let damaged = |what: String| {
        let place = path.display().to_string();
        Error::corrupt(format!("{place} is damaged, or no backup of a JSON store: {what}")).place(place)
    };
    let mut members: Vec<Member> = Vec::new();
    let mut archive = Archive::new(file);
    for entry in archive.entries().map_err(|e| damaged(e.to_string()))? {
        let mut entry = entry.map_err(|e| damaged(e.to_string()))?;
        let name = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned).unwrap_or_default();
        let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
        if entry.header().entry_type() != EntryType::Regular || !is_name {
            return Err(damaged(format!("{name:?} is no file of a store")));
        }
        // A size that was made up must not cost memory.
        if entry.size() > length {
            return Err(damaged("it was cut short".to_owned()));
        }
        let mut content = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or_default());
        entry.read_to_end(&mut content).map_err(|e| damaged(e.to_string()))?;
        if content.len() as u64 != entry.size() {
            return Err(damaged("it was cut short".to_owned()));
        }
        members.push(Member { name, content });
        if members.len() > MOST {
            return Err(damaged(format!("it has more than {MOST} files")));
        }
    }
    let Some(sums) = members.pop().filter(|last| last.name == SUMS) else {
        return Err(damaged(format!("it does not end with {SUMS}: it was cut short")));
    };
    let expected: String = members.iter().map(|member| format!("{}  {}\n", hash(&member.content), member.name)).collect();
    if members.is_empty() || sums.content != expected.as_bytes() {
        let lines = String::from_utf8_lossy(&sums.content);
        let known = |member: &&Member| !lines.lines().any(|line| line == format!("{}  {}", hash(&member.content), member.name));
        let which = members.iter().find(known).map_or("the list of files", |member| member.name.as_str());
        return Err(damaged(format!("{which} in it is not what {SUMS} says")));
    }
    Ok(members)
}

fn hash(content: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        let member = |name: &str, content: &str| Member { name: name.to_owned(), content: content.as_bytes().to_vec() };
        let long = "a name that is longer than the hundred characters which the oldest form of these archives has room for, and so in two headers.json";
        vec![member("clients.json", "{\"1\": {}}"), member("clients.schema_version", "2"), member(long, "{}")]
    }

    #[test]
    fn an_archive_gives_back_what_was_put_in_and_nothing_of_a_damaged_one() {
        let read = |bytes: &[u8]| read_from(bytes, bytes.len() as u64, Path::new("x.backup"));
        let mut whole = Vec::new();
        write(&mut whole, &members()).expect("written");
        assert_eq!(read(&whole).expect("whole"), members());
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            match read(&flipped) {
                // What fills a file up to a whole block is nobody's.
                Ok(found) => assert_eq!(found, members(), "byte {at}"),
                Err(error) => {
                    refused += 1;
                    assert!(error.message().contains("x.backup"), "{error}");
                }
            }
            if let Ok(found) = read(&whole[..at]) {
                assert!(found == members(), "cut at {at}");
            }
        }
        assert!(refused > 1000, "{refused}");
    }

    #[test]
    fn no_name_leads_out_of_the_archive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let mut archive = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "clients.json", "/etc/passwd").expect("a link");
        std::fs::write(&path, archive.into_inner().expect("bytes")).expect("written");
        assert!(read(&path).is_err_and(|e| e.message().contains("no file of a store")));
    }
}
