//! The last line of a backup: a hash of everything before it.
//!
//! The decision: **behind the last page of the database**, where SQLite, whoever brings it, does not look. So a backup is one file that
//! any program opens as what it is, and a flipped bit in a stored text, which is a sound database to SQLite, is found all the same. It
//! is a hash and no signature: it tells damage, not somebody who means to deceive.

use std::fs::File;
use std::io::{Read, Result, Seek as _, SeekFrom, Write};
use std::path::Path;

use openssl::sha::Sha256;

const MARK: &[u8] = b"\nhivemind-backup 1 sha256 ";
/// Bytes of the line, with the hash in hexadecimal and the line's end.
const LENGTH: usize = MARK.len() + 2 * 32 + 1;
const BUFFER: usize = 1 << 16;

/// What stands at a file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// No seal: the file was not made as a backup of ours, or its end was lost or damaged.
    None,
    /// A seal that fits all the rest.
    Holds,
    /// One that does not.
    Broken,
}

/// Seals a file, and makes it last.
pub(crate) fn seal(path: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut hash = Sha256::new();
    let length = file.metadata()?.len();
    pass_on(&mut file, length, |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    file.write_all(&line(hash))?;
    file.sync_all()
}

/// Reads a file to its end, handing on what the seal is about, and tells what the seal says of it, and how many bytes that were.
pub(crate) fn check(path: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<(Seal, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut end = Vec::new();
    let before = length.saturating_sub(LENGTH as u64);
    file.seek(SeekFrom::Start(before))?;
    Read::by_ref(&mut file).take(LENGTH as u64).read_to_end(&mut end)?;
    file.rewind()?;
    let sealed = end.len() == LENGTH && end.starts_with(MARK);
    let content = if sealed { before } else { length };
    let mut hash = Sha256::new();
    pass_on(&mut file, content, |bytes| {
        hash.update(bytes);
        take(bytes)
    })?;
    let seal = match sealed {
        false => Seal::None,
        true if line(hash) == end => Seal::Holds,
        true => Seal::Broken,
    };
    Ok((seal, content))
}

fn pass_on(file: &mut File, length: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut rest = file.take(length);
    loop {
        match rest.read(&mut buffer)? {
            0 if rest.limit() == 0 => return Ok(()),
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => take(&buffer[..read])?,
        }
    }
}

fn line(hash: Sha256) -> Vec<u8> {
    let mut line = MARK.to_vec();
    for byte in hash.finish() {
        let _ = write!(line, "{byte:02x}");
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let content = b"what is kept".repeat(9);
        std::fs::write(&path, &content).expect("written");
        assert_eq!(check(&path, |_| Ok(())).expect("read"), (Seal::None, content.len() as u64));
        seal(&path).expect("sealed");
        let mut taken = Vec::new();
        let checked = check(&path, |bytes| {
            taken.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!((checked.expect("read"), taken == content), ((Seal::Holds, content.len() as u64), true));
        let whole = std::fs::read(&path).expect("read");
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).expect("written");
            let (seal, length) = check(&path, |_| Ok(())).expect("read");
            assert!(seal == Seal::Broken || length != content.len() as u64, "bit {bit}");
        }
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let (seal, length) = check(&path, |_| Ok(())).expect("read");
            // Without the whole of its line it is what it was before it was sealed, and nothing less is.
            assert!(seal == Seal::None && (length != content.len() as u64 || cut == content.len()), "cut at {cut}");
        }
    }
}
