//! The preflight of a plugin's file: what it lets pass lies within the file, by the bytes themselves, for any system.

use std::io::Cursor;

use hivemind_host::plugins::object::{System, check_whole, check_whole_for, manifest_text, manifest_text_of_refused};
use hivemind_host::plugins::{Manifest, Reason, manifest::Names};
use object::ReadCache;

/// The input is the file.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let text = manifest_text(data);
    // As the host looks at a candidate: reading on demand.
    let on_demand = manifest_text(&ReadCache::new(Cursor::new(data)));
    assert_eq!(text.as_ref().ok(), on_demand.as_ref().ok(), "{text:?} and {on_demand:?}");
    let claimed = manifest_text_of_refused(data);
    if let Some(text) = &claimed {
        contains(data, text);
        let _ = Names::in_text(text);
    }
    if let Ok(text) = &text {
        assert_eq!(claimed.as_ref(), Some(text));
        let _ = Manifest::parse(text);
    }
    let whole = check_whole(data);
    refused(&whole);
    if let Some(system) = System::of(data) {
        let for_its_own = check_whole_for(data, system);
        refused(&for_its_own);
        if system == System::HOST {
            assert_eq!(whole, for_its_own);
        } else {
            assert!(matches!(whole, Err(Reason::WrongTarget { .. })));
        }
        if for_its_own.is_ok() && data.get(..6) == Some(b"\x7fELF\x02\x01") {
            let problem = Elf(data).problem();
            assert_eq!(problem, None, "the preflight let it pass");
        }
    } else {
        assert!(text.is_err() && whole.is_err() && claimed.is_none());
    }
}

/// A refusal can be told to an operator.
fn refused(verdict: &Result<(), Reason>) {
    if let Err(reason) = verdict {
        assert!(!reason.code().is_empty() && !reason.clone().at("/plugins/x.so").to_string().is_empty());
    }
}

fn contains(data: &[u8], text: &str) {
    let found = text.is_empty() || data.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(found, "a manifest that is not in the file");
}

/// A 64-bit little-endian library, read by hand from its bytes, with nothing of the preflight.
struct Elf<'d>(&'d [u8]);

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    stored: u64,
    memory: u64,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;

impl Elf<'_> {
    fn number<const N: usize>(&self, at: u64) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.0.get(at..at.checked_add(N)?)?);
        Some(u64::from_le_bytes(bytes))
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        let (start, size, count) = (self.number::<8>(32)?, self.number::<2>(54)?, self.number::<2>(56)?);
        (0..count)
            .map(|n| {
                let at = start.checked_add(n * size)?;
                Some(Segment {
                    kind: u32::try_from(self.number::<4>(at)?).ok()?,
                    offset: self.number::<8>(at + 8)?,
                    address: self.number::<8>(at + 16)?,
                    stored: self.number::<8>(at + 32)?,
                    memory: self.number::<8>(at + 40)?,
                })
            })
            .collect()
    }

    /// What is wrong with it, on which the system's loader would trip.
    fn problem(&self) -> Option<&'static str> {
        // More headers than fit the field are told elsewhere; the loader does not look there.
        if self.number::<2>(56) == Some(0xffff) {
            return None;
        }
        let Some(segments) = self.segments() else { return Some("program headers outside of the file") };
        let loads: Vec<_> = segments.iter().filter(|s| s.kind == LOAD).collect();
        let length = self.0.len() as u64;
        if loads.iter().any(|l| l.offset.checked_add(l.stored).is_none_or(|end| end > length)) {
            return Some("a segment beyond the end of the file");
        }
        if loads.iter().any(|l| l.stored > l.memory || l.address.checked_add(l.memory).is_none()) {
            return Some("a segment whose memory is too small");
        }
        if loads.windows(2).any(|pair| pair[0].address + pair[0].memory > pair[1].address) {
            return Some("segments over one another");
        }
        let Some(dynamic) = segments.iter().find(|s| s.kind == DYNAMIC) else { return Some("no dynamic section") };
        let entries = (0..dynamic.stored / 16).map_while(|n| {
            let at = self.place(&loads, dynamic.address.checked_add(n * 16)?, 16)?;
            Some((self.number::<8>(at)?, self.number::<8>(at + 8)?)).filter(|(tag, _)| *tag != 0)
        });
        let entries: Vec<_> = entries.collect();
        let one = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
        let (strings, size) = (one(5).unwrap_or(u64::MAX), one(10).unwrap_or(0));
        let Some(start) = self.place(&loads, strings, size) else { return Some("names outside of the file") };
        let end = start + size;
        let named = entries.iter().filter(|(tag, _)| matches!(tag, 1 | 14 | 15 | 29));
        let ends = |at: u64| (start.saturating_add(at)..end).any(|at| self.number::<1>(at) == Some(0));
        if named.into_iter().any(|(_, at)| !ends(*at)) {
            return Some("a name without an end");
        }
        for (table, bytes) in [(7, 8), (17, 18), (23, 2), (36, 35), (25, 27), (26, 28)] {
            if let (Some(address), Some(bytes @ 1..)) = (one(table), one(bytes))
                && self.place(&loads, address, bytes).is_none()
            {
                return Some("a table outside of the file");
            }
        }
        None
    }

    /// Where in the file an address is mapped from, with so many bytes behind it.
    fn place(&self, loads: &[&Segment], address: u64, size: u64) -> Option<u64> {
        let load = loads.iter().find(|l| address >= l.address && address - l.address < l.stored)?;
        let skipped = address - load.address;
        (size <= load.stored - skipped).then_some(load.offset + skipped)
    }
}
