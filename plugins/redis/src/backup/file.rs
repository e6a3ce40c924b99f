//! A backup as a file: the commands that bring the records back.
//!
//! The decision: **what Redis itself can take.** It is the form of its append-only file, so `redis-cli --pipe < FILE` puts every record back
//! where it was, without this program (the sets follow with `sync`). An `ECHO` begins it and says what it is, and another one ends it with
//! the number of commands and a hash over every byte before: a file that was cut has none, and no changed byte goes unnoticed. It is a hash
//! and no signature: it tells damage, not somebody who means to deceive.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::Path;

use hivemind_abi::model::{Error, Result};
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::keys::Namespace;

/// What the first command says; the first part of every key follows.
const BEGINNING: &str = "hivemind-redis-backup 1 ";
/// What the last command says; count and hash follow.
const END: &str = "hivemind-redis-backup-end ";
/// The longest string that Redis takes.
const LONGEST: u64 = 512 << 20;

/// One command.
fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn end(entries: u64, hash: Sha256, out: &mut Vec<u8>) {
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    command(&[b"ECHO", format!("{END}{entries} {hash}").as_bytes()], out);
}

/// A backup that is being written.
pub(super) struct Writer<W> {
    out: W,
    base: Vec<u8>,
    hash: Sha256,
    entries: u64,
    bytes: u64,
    scratch: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, namespace: &Namespace) -> io::Result<Self> {
        let base = format!("{}:", namespace.base()).into_bytes();
        let mut writer = Self { out, base, hash: Sha256::new(), entries: 0, bytes: 0, scratch: Vec::new() };
        command(&[b"ECHO", format!("{BEGINNING}{}", namespace.base()).as_bytes()], &mut writer.scratch);
        writer.put()?;
        Ok(writer)
    }

    fn put(&mut self) -> io::Result<()> {
        self.hash.update(&self.scratch);
        self.bytes += self.scratch.len() as u64;
        self.out.write_all(&self.scratch)
    }

    /// Adds a string; its key is what follows the namespace's first part.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        command(&[b"SET", &[&self.base, key].concat(), value], &mut self.scratch);
        self.entries += 1;
        self.put()
    }

    /// Ends it, and gives back what it was written to and how many bytes it has.
    pub(super) fn finish(mut self) -> io::Result<(W, u64)> {
        end(self.entries, self.hash, &mut self.scratch);
        self.out.write_all(&self.scratch)?;
        self.out.flush()?;
        Ok((self.out, self.bytes + self.scratch.len() as u64))
    }
}

/// A backup that is being read. Nothing of it is to be used before it was read to its end once.
pub(super) struct Reader {
    input: BufReader<File>,
    shown: String,
    base: Vec<u8>,
    hash: Sha256,
    entries: u64,
}

impl Reader {
    /// Opens a file that begins as a backup.
    ///
    /// # Errors
    /// `corrupt` if it is none, `invalid` if it is no regular file, `io` and `denied` if it cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let cannot_read = failed("read", path);
        if !std::fs::metadata(path).map_err(&cannot_read)?.is_file() {
            return Err(Error::invalid(format!("{shown} is no regular file; name a backup")).place(shown));
        }
        let file = File::open(path).map_err(&cannot_read)?;
        let input = BufReader::with_capacity(1 << 16, file);
        let mut reader = Self { input, shown, base: Vec::new(), hash: Sha256::new(), entries: 0 };
        let mut raw = Vec::new();
        let first = reader.command(&mut raw)?;
        let base = match &first[..] {
            [echo, text] if echo == b"ECHO" => text.strip_prefix(BEGINNING.as_bytes()).map(<[u8]>::to_vec),
            _ => None,
        };
        reader.base = [base.ok_or_else(|| reader.damaged("it does not begin as one"))?, b":".to_vec()].concat();
        reader.hash.update(&raw);
        Ok(reader)
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("{} is damaged, or no backup of a Redis store: {what}", self.shown)).place(self.shown.clone())
    }

    /// The next string with the rest of its key; `None` behind the last, when everything was found to be as it was written.
    ///
    /// # Errors
    /// `corrupt`, and the system's.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut raw = Vec::new();
        let words = self.command(&mut raw)?;
        match <[Vec<u8>; 3]>::try_from(words) {
            Ok([set, key, value]) if set == b"SET" => {
                self.hash.update(&raw);
                self.entries += 1;
                let Some(key) = key.strip_prefix(&self.base[..]) else {
                    return Err(self.damaged("a key is of another namespace"));
                };
                Ok(Some((key.to_vec(), value)))
            }
            _ => {
                let mut expected = Vec::new();
                end(self.entries, self.hash.clone(), &mut expected);
                if raw != expected {
                    return Err(self.damaged("its count or hash at the end is another one"));
                }
                match self.input.fill_buf() {
                    Ok([]) => Ok(None),
                    Ok(_) => Err(self.damaged("something follows its end")),
                    Err(e) => Err(failed("read", Path::new(&self.shown))(e)),
                }
            }
        }
    }

    /// The words of the next command; its bytes go to `raw`.
    fn command(&mut self, raw: &mut Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let count = self.number(b'*', raw)?;
        if count > 3 {
            return Err(self.damaged("it holds a command that none has"));
        }
        (0..count).map(|_| self.word(raw)).collect()
    }

    fn word(&mut self, raw: &mut Vec<u8>) -> Result<Vec<u8>> {
        let length = self.number(b'$', raw)?;
        if length > LONGEST {
            return Err(self.damaged("it holds a string that is too long"));
        }
        let mut word = Vec::new();
        // What a damaged length promises is not made room for before it is there.
        let read = (&mut self.input).take(length + 2).read_to_end(&mut word);
        read.map_err(failed("read", Path::new(&self.shown)))?;
        raw.extend_from_slice(&word);
        if word.len() as u64 != length + 2 {
            return Err(self.damaged("it was cut"));
        }
        if !word.ends_with(b"\r\n") {
            return Err(self.damaged("a string does not end where it should"));
        }
        word.truncate(word.len() - 2);
        Ok(word)
    }

    fn number(&mut self, mark: u8, raw: &mut Vec<u8>) -> Result<u64> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(16).read_until(b'\n', &mut line);
        read.map_err(failed("read", Path::new(&self.shown)))?;
        raw.extend_from_slice(&line);
        if line.is_empty() {
            return Err(self.damaged("it was cut"));
        }
        let number = line.strip_prefix(&[mark]).and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or_else(|| self.damaged("a length is missing, or it was cut"))
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;

    use super::*;

    fn written(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &Namespace::new("hub", Some("t"))).expect("begun");
        entries.iter().for_each(|(key, value)| writer.add(key, value).expect("added"));
        let (bytes, length) = writer.finish().expect("finished");
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let mut reader = Reader::open(file.path())?;
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn what_was_written_is_read_and_is_what_redis_takes() {
        let entries: [(&[u8], &[u8]); 3] = [(b"client:1", b"{}"), (b"client:2", b"\xff\r\n*1\r\n"), (b"count", b"")];
        let bytes = written(&entries);
        assert!(bytes.starts_with(b"*2\r\n$4\r\nECHO\r\n$31\r\nhivemind-redis-backup 1 hub:{t}\r\n*3\r\n$3\r\nSET\r\n$16\r\nhub:{t}:client:1\r\n$2\r\n{}\r\n"));
        let found = read(&bytes).expect("sound");
        assert!(found.iter().map(|(key, value)| (&key[..], &value[..])).eq(entries));
        assert!(read(&written(&[])).expect("sound").is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let whole = written(&[(b"client:1", b"{\"a\": 1}"), (b"count", b"1")]);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let error = read(&bytes).expect_err("damaged");
                assert_eq!(error.code(), Code::Corrupt, "{at} {bit}: {error}");
            }
            assert_eq!(read(&whole[..at]).expect_err("cut").code(), Code::Corrupt, "{at}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }
}
