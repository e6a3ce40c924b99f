//! What the system's loader takes from an ELF library without a check, checked: segments, the dynamic section, its tables.
//!
//! Everything is looked up by *address*, as that loader does, and an address means one place in the file only: segments are in order
//! and share no page. Else another dynamic section could be shown here than there. What is not understood is refused.

mod sections;

use object::elf::{self, DynamicTag};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _, Rel as _, Rela as _};
use object::{Endianness, ReadRef};

use super::links::{self, Links};
use crate::plugins::refusal::Reason;

fn malformed<T>(what: impl Into<String>) -> Result<T, Reason> {
    Err(Reason::Malformed(what.into()))
}

/// Checks a library whose entry symbol is at this address, and gives what it loads.
pub(super) fn check<H: FileHeader<Endian = Endianness>>(header: &H, bytes: &[u8], entry: u64) -> Result<Links, Reason> {
    let endian = header.endian().map_err(super::broken)?;
    let headers = header.program_headers(endian, bytes).map_err(super::broken)?;
    let image = Image::new::<H>(headers, endian, bytes)?;
    if !image.maps(entry, size_of::<hivemind_abi::abi_stable::library::LibHeader>() as u64) {
        return malformed("its entry symbol lies outside of it");
    }
    let dynamic = Dynamic::new::<H>(headers, endian, bytes)?;
    dynamic.check_tables(&image)?;
    sections::check(header, endian, bytes, &image, &dynamic)?;
    check_entries::<H>(&dynamic, &image, endian)?;
    dynamic.links(&image)
}

/// Where a file that starts as an ELF file does has the end of its headers, as far as they say.
pub(super) fn headers_end<'d, R: ReadRef<'d>>(data: R) -> Option<u64> {
    fn end<'d, H: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(data: R) -> Option<u64> {
        let Ok(header) = data.read_at::<H>(0) else { return Some(size_of::<H>() as u64) };
        let endian = header.endian().ok()?;
        let table = |start: u64, count: u16, size: u16| start.saturating_add(u64::from(count) * u64::from(size));
        let segments = table(header.e_phoff(endian).into(), header.e_phnum(endian), header.e_phentsize(endian));
        Some(segments.max(table(header.e_shoff(endian).into(), header.e_shnum(endian), header.e_shentsize(endian))))
    }
    const ORDER: u8 = if cfg!(target_endian = "little") { elf::ELFDATA2LSB.0 } else { elf::ELFDATA2MSB.0 };
    // Read in another byte order its numbers would be absurd.
    match data.read_bytes_at(4, 2).ok() {
        None => Some(6),
        Some([1, ORDER]) => end::<elf::FileHeader32<Endianness>, R>(data),
        Some([2, ORDER]) => end::<elf::FileHeader64<Endianness>, R>(data),
        Some(_) => None,
    }
}

/// A part of the file and where it is mapped.
struct Load {
    address: u64,
    memory: u64,
    offset: u64,
    stored: u64,
}

/// The library as it will lie in memory.
struct Image<'d> {
    bytes: &'d [u8],
    /// The end of all addresses.
    limit: u64,
    /// Whether it has thread-local data.
    threads: bool,
    loads: Vec<Load>,
}

impl<'d> Image<'d> {
    fn new<H: FileHeader<Endian = Endianness>>(
        headers: &[H::ProgramHeader],
        endian: Endianness,
        bytes: &'d [u8],
    ) -> Result<Self, Reason> {
        let limit = if size_of::<H::Word>() == 4 { u32::MAX.into() } else { u64::MAX };
        let threads = headers.iter().any(|h| h.p_type(endian) == elf::PT_TLS);
        let mut image = Self { bytes, limit, threads, loads: Vec::new() };
        let segment = |h: &H::ProgramHeader| Load {
            address: h.p_vaddr(endian).into(),
            memory: h.p_memsz(endian).into(),
            offset: h.p_offset(endian).into(),
            stored: h.p_filesz(endian).into(),
        };
        for load in headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD).map(segment) {
            image.add(load)?;
        }
        if image.loads.is_empty() {
            return malformed("it has no segment to map");
        }
        for (header, part) in headers.iter().map(|h| (h, segment(h))) {
            let fits = match header.p_type(endian) {
                // Thread-local data that starts as zeros is in no segment.
                elf::PT_DYNAMIC | elf::PT_PHDR | elf::PT_TLS | elf::PT_NOTE | elf::PT_GNU_PROPERTY | elf::PT_GNU_EH_FRAME => {
                    part.stored == 0 || image.holds(&part)
                }
                elf::PT_GNU_RELRO => image.spans(&part),
                _ => true,
            };
            let align: u64 = header.p_align(endian).into();
            if align & align.wrapping_sub(1) != 0 {
                return malformed(format!("its part at {:#x} is aligned to {align}, which is no power of two", part.address));
            }
            if !fits {
                return malformed(format!("its part at {:#x} lies outside of its segments", part.address));
            }
        }
        Ok(image)
    }

    fn add(&mut self, load: Load) -> Result<(), Reason> {
        let Load { address, memory, offset, stored } = load;
        if stored > memory {
            return malformed(format!("its segment at {address:#x} has more bytes in the file than in memory"));
        }
        let (Some(end), Some(stored_end)) = (address.checked_add(memory), offset.checked_add(stored)) else {
            return malformed(format!("its segment at {address:#x} has no end"));
        };
        if stored_end > self.bytes.len() as u64 {
            return Err(Reason::Truncated { expected: stored_end, found: self.bytes.len() as u64 });
        }
        let page = page();
        let Some(end) = end.checked_next_multiple_of(page).filter(|end| *end <= self.limit) else {
            return malformed(format!("its segment at {address:#x} has no end"));
        };
        if address % page != offset % page {
            return malformed(format!("its segment at {address:#x} does not begin where its page does"));
        }
        if self.loads.last().is_some_and(|before| before.address + before.memory > address - address % page) {
            return malformed(format!("its segment at {address:#x} lies over another"));
        }
        // A page is never shared, not even in part.
        self.loads.push(Load { address, memory: if memory == stored { memory } else { end - address }, offset, stored });
        Ok(())
    }

    /// The segment that this address would be in; they are in order, and there may be many.
    fn load(&self, address: u64) -> Option<&Load> {
        let behind = self.loads.partition_point(|l| l.address <= address);
        self.loads.get(behind.checked_sub(1)?)
    }

    /// Whether these addresses are mapped.
    fn maps(&self, address: u64, size: u64) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        self.load(address).is_some_and(|l| end <= l.address + l.memory)
    }

    /// Whether a part is mapped from where its header says it is stored.
    fn holds(&self, part: &Load) -> bool {
        let at = self.load(part.address).filter(|l| part.address - l.address < l.stored);
        part.stored <= part.memory
            && at.is_some_and(|l| {
                let skipped = part.address - l.address;
                part.stored <= l.stored - skipped && l.offset + skipped == part.offset
            })
    }

    /// Whether a part begins and ends within the library.
    fn spans(&self, part: &Load) -> bool {
        let (Some(first), Some(last)) = (self.loads.first(), self.loads.last()) else { return false };
        let end = (last.address + last.memory).next_multiple_of(page());
        part.address >= first.address && part.address.checked_add(part.memory).is_some_and(|e| e <= end)
    }

    /// The bytes of the file that these addresses are mapped from.
    fn stored(&self, address: u64, size: u64) -> Option<&'d [u8]> {
        let load = self.load(address).filter(|l| address - l.address < l.stored)?;
        let skipped = address - load.address;
        if size > load.stored - skipped {
            return None;
        }
        let start = usize::try_from(load.offset + skipped).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }
}

fn page() -> u64 {
    #[cfg(unix)]
    return rustix::param::page_size() as u64;
    #[cfg(not(unix))]
    return 4096;
}

/// Tables that are given by an address and a size of their own.
const SIZED: [(DynamicTag, DynamicTag); 7] = [
    (elf::DT_RELA, elf::DT_RELASZ),
    (elf::DT_REL, elf::DT_RELSZ),
    (elf::DT_RELR, elf::DT_RELRSZ),
    (elf::DT_JMPREL, elf::DT_PLTRELSZ),
    (elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ),
    (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ),
    (elf::DT_STRTAB, elf::DT_STRSZ),
];

/// Places that must at least be there.
const PLACES: [DynamicTag; 8] =
    [elf::DT_SYMTAB, elf::DT_HASH, elf::DT_GNU_HASH, elf::DT_VERSYM, elf::DT_VERNEED, elf::DT_VERDEF, elf::DT_INIT, elf::DT_FINI];

/// Libraries that are loaded along, in whatever role.
const LIBRARIES: [DynamicTag; 5] = [elf::DT_NEEDED, elf::DT_AUXILIARY, elf::DT_FILTER, elf::DT_AUDIT, elf::DT_DEPAUDIT];

const FOLDERS: [DynamicTag; 2] = [elf::DT_RPATH, elf::DT_RUNPATH];

/// The entries of the dynamic section up to its end mark.
struct Dynamic(Vec<(DynamicTag, u64)>);

impl Dynamic {
    fn new<H: FileHeader<Endian = Endianness>>(
        headers: &[H::ProgramHeader],
        endian: Endianness,
        bytes: &[u8],
    ) -> Result<Self, Reason> {
        let mut sections = headers.iter().filter(|h| h.p_type(endian) == elf::PT_DYNAMIC);
        let (Some(header), None) = (sections.next(), sections.next()) else {
            return malformed("it has not one dynamic section");
        };
        let all = header.dynamic(endian, bytes).map_err(super::broken)?.unwrap_or_default();
        let Some(end) = all.iter().position(|d| d.tag(endian) == elf::DT_NULL) else {
            return malformed("its dynamic section has no end");
        };
        Ok(Self(all.iter().take(end).map(|d| (d.tag(endian), d.val(endian))).collect()))
    }

    fn all(&self, tag: DynamicTag) -> impl Iterator<Item = u64> {
        self.0.iter().filter(move |(t, _)| *t == tag).map(|(_, value)| *value)
    }

    /// The value of a tag that makes sense once only: of two, loaders differ in which they take.
    fn one(&self, tag: DynamicTag) -> Result<Option<u64>, Reason> {
        let mut values = self.all(tag);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => malformed(format!("its dynamic section gives {tag:?} twice")),
        }
    }

    /// The bytes of a table; none if it has no size.
    fn table<'d>(&self, image: &Image<'d>, (place, size): (DynamicTag, DynamicTag)) -> Result<&'d [u8], Reason> {
        match (self.one(place)?, self.one(size)?) {
            (_, None | Some(0)) => Ok(&[]),
            (None, Some(_)) => malformed(format!("its dynamic section gives {size:?} without {place:?}")),
            (Some(address), Some(size)) => match image.stored(address, size) {
                Some(bytes) => Ok(bytes),
                None => malformed(format!("its table {place:?} lies outside of it")),
            },
        }
    }

    fn check_tables(&self, image: &Image<'_>) -> Result<(), Reason> {
        SIZED.into_iter().try_for_each(|table| self.table(image, table).map(drop))?;
        for tag in PLACES {
            if self.one(tag)?.is_some_and(|address| !image.maps(address, 1)) {
                return malformed(format!("its {tag:?} lies outside of it"));
            }
        }
        Ok(())
    }

    fn links(&self, image: &Image<'_>) -> Result<Links, Reason> {
        let strings = self.table(image, (elf::DT_STRTAB, elf::DT_STRSZ))?;
        if strings.last() != Some(&0) {
            return malformed("its names have no end");
        }
        let string = |at: u64| {
            let rest = usize::try_from(at).ok().and_then(|at| strings.get(at..)).unwrap_or_default();
            match rest.iter().take(links::LONGEST + 1).position(|b| *b == 0) {
                Some(end) => Ok(&rest[..end]),
                None if rest.len() > links::LONGEST => malformed(format!("a name of more than {} bytes", links::LONGEST)),
                None => malformed("a name lies outside of its names"),
            }
        };
        self.all(elf::DT_SONAME).try_for_each(|at| string(at).map(drop))?;
        let strings_of = |tags: &'static [DynamicTag]| tags.iter().flat_map(|tag| self.all(*tag)).map(string);
        Links::new(strings_of(&LIBRARIES), strings_of(&FOLDERS))
    }
}

/// The loader takes entries to be of the size it is told, and writes wherever a relocation says.
fn check_entries<H: FileHeader<Endian = Endianness>>(
    dynamic: &Dynamic,
    image: &Image<'_>,
    endian: Endianness,
) -> Result<(), Reason> {
    let sizes = [
        (elf::DT_RELASZ, elf::DT_RELAENT, size_of::<H::Rela>()),
        (elf::DT_RELSZ, elf::DT_RELENT, size_of::<H::Rel>()),
        (elf::DT_SYMTAB, elf::DT_SYMENT, size_of::<H::Sym>()),
    ];
    for (table, tag, size) in sizes {
        if dynamic.one(table)?.is_some() && dynamic.one(tag)? != Some(size as u64) {
            return malformed(format!("its {tag:?} is another than {size}"));
        }
    }
    let with_addends = dynamic.one(elf::DT_PLTREL)? == Some(elf::DT_RELA.0 as u64);
    let plt = dynamic.table(image, (elf::DT_JMPREL, elf::DT_PLTRELSZ))?;
    let mut places = Vec::new();
    for bytes in [dynamic.table(image, (elf::DT_RELA, elf::DT_RELASZ))?, if with_addends { plt } else { &[] }] {
        places.extend(entries::<H::Rela>(bytes)?.iter().map(|r| r.r_offset(endian).into()));
    }
    for bytes in [dynamic.table(image, (elf::DT_REL, elf::DT_RELSZ))?, if with_addends { &[] } else { plt }] {
        places.extend(entries::<H::Rel>(bytes)?.iter().map(|r| r.r_offset(endian).into()));
    }
    match places.into_iter().find(|place| !image.maps(*place, 4)) {
        Some(place) => malformed(format!("it has a relocation at {place:#x}, outside of it")),
        None => Ok(()),
    }
}

fn entries<T: object::pod::Pod>(bytes: &[u8]) -> Result<&[T], Reason> {
    object::pod::slice_from_all_bytes(bytes).or_else(|_| malformed("it has half a relocation"))
}

#[cfg(test)]
mod tests;
