//! Reading a log: its files from the oldest, line by line. A line that cannot be read is counted, and hides no other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::file::Log;
use crate::files;

/// Longer than any line that is written; what is longer is damaged, and not kept in memory.
const LONGEST: u64 = 64 << 10;

/// The most files that are looked for.
const MOST_FILES: u32 = 1001;

/// The entries of a log.
pub struct Reader {
    files: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    damaged: u64,
    line: Vec<u8>,
}

impl Reader {
    /// Opens a log with its older files.
    ///
    /// # Errors
    /// What the system said; a log that is not there yet is empty.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut files: Vec<PathBuf> = (0..MOST_FILES).map(|age| Log::older(path, age)).take_while(|file| file.exists()).collect();
        // Between two renames the first name is missing.
        if files.is_empty() && Log::older(path, 1).exists() {
            files = (1..MOST_FILES).map(|age| Log::older(path, age)).take_while(|file| file.exists()).collect();
        }
        // The file of this name is the last one taken.
        Ok(Self { files, current: None, damaged: 0, line: Vec::new() })
    }

    /// How many lines could not be read.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(path) = self.files.pop() else { return Ok(None) };
                match files::open_regular(&path) {
                    Ok(file) => self.current = Some(BufReader::new(file)),
                    // It was rotated away meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
                }
                continue;
            };
            match next_line(current, &mut self.line)? {
                Line::End => self.current = None,
                Line::TooLong => self.damaged += 1,
                Line::Read => match parse(&self.line) {
                    Parsed::Entry(entry) => return Ok(Some(*entry)),
                    Parsed::Nothing => {}
                    Parsed::Damaged => self.damaged += 1,
                },
            }
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

enum Line {
    Read,
    TooLong,
    End,
}

/// Reads a line, and of one that is too long no more than that.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    if reader.by_ref().take(LONGEST).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.ends_with(b"\n") || (line.len() as u64) < LONGEST {
        return Ok(Line::Read);
    }
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST).read_until(b'\n', line)? == 0 || line.ends_with(b"\n") {
            return Ok(Line::TooLong);
        }
    }
}

enum Parsed {
    Entry(Box<Entry>),
    Nothing,
    Damaged,
}

fn parse(line: &[u8]) -> Parsed {
    if line.trim_ascii().is_empty() {
        return Parsed::Nothing;
    }
    match serde_json::from_slice::<Entry>(line) {
        Ok(entry) if !entry.event.is_empty() => Parsed::Entry(Box::new(entry)),
        _ => Parsed::Damaged,
    }
}

/// Reads what is appended from now on, also to the files that come after.
pub struct Follower {
    path: PathBuf,
    current: Option<File>,
    rest: Vec<u8>,
    damaged: u64,
}

impl Follower {
    /// Begins at the present end.
    ///
    /// # Errors
    /// What the system said.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let mut follower = Self { path: path.to_owned(), current: None, rest: Vec::new(), damaged: 0 };
        if let Some(mut file) = follower.open()? {
            file.seek(SeekFrom::End(0))?;
            follower.current = Some(file);
        }
        Ok(follower)
    }

    /// How many lines could not be read.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What was appended since the last call.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        // Asked before the old one is read to its end: what is written then is written to the next one.
        let next = self.next_file()?;
        if let Some(mut file) = self.current.take() {
            self.take_lines(&mut file, &mut entries)?;
            self.current = Some(file);
        }
        if let Some(mut file) = next {
            self.rest.clear();
            self.take_lines(&mut file, &mut entries)?;
            self.current = Some(file);
        }
        Ok(entries)
    }

    fn open(&self) -> io::Result<Option<File>> {
        match files::open_regular(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file of this name, if it is another one than before.
    #[cfg(unix)]
    fn next_file(&self) -> io::Result<Option<File>> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(file) = self.open()? else { return Ok(None) };
        let (there, mine) = (file.metadata()?, self.current.as_ref().map(File::metadata).transpose()?);
        Ok(mine.is_none_or(|mine| (mine.dev(), mine.ino()) != (there.dev(), there.ino())).then_some(file))
    }

    #[cfg(not(unix))]
    fn next_file(&self) -> io::Result<Option<File>> {
        if self.current.is_some() { Ok(None) } else { self.open() }
    }

    fn take_lines(&mut self, file: &mut File, entries: &mut Vec<Entry>) -> io::Result<()> {
        file.take(LONGEST * 64).read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else {
            if self.rest.len() as u64 > LONGEST {
                self.rest.clear();
                self.damaged += 1;
            }
            return Ok(());
        };
        let rest = self.rest.split_off(end + 1);
        for line in self.rest.split(|b| *b == b'\n') {
            match parse(line) {
                Parsed::Entry(entry) => entries.push(*entry),
                Parsed::Nothing => {}
                Parsed::Damaged => self.damaged += 1,
            }
        }
        self.rest = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &'static str) -> String {
        String::from_utf8(Entry::now(event).line()).expect("UTF-8")
    }

    #[test]
    fn damaged_lines_are_counted_and_hide_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        std::fs::write(Log::older(&path, 1), line("started") + "{\"time\": 5}\n{\n\n\n\u{0}\n").expect("written");
        let long = "x".repeat(200_000);
        std::fs::write(&path, line("admitted") + &long + "\n" + &line("left") + "{\"time\":\"2026").expect("written");
        let mut reader = Reader::open(&path).expect("read");
        let events: Vec<_> = reader.by_ref().map(|e| e.expect("read").event).collect();
        assert_eq!(events, ["started", "admitted", "left"]);
        assert_eq!(reader.damaged(), 5);
        assert_eq!(Reader::open(&folder.path().join("none")).expect("empty").count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_follower_goes_on_with_the_next_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let mut follower = Follower::at_end(&path).expect("nothing there yet");
        assert!(follower.read().expect("read").is_empty());
        let mut log = Log::new(path, 200, 3);
        let mut seen = Vec::new();
        for n in 0..30_u16 {
            log.append(&Entry { code: Some(n), ..Entry::now("left") }.line()).expect("written");
            if n % 2 == 0 {
                seen.extend(follower.read().expect("read").into_iter().filter_map(|e| e.code));
            }
        }
        seen.extend(follower.read().expect("read").into_iter().filter_map(|e| e.code));
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    }
}
