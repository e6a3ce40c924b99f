//! A small library of each word size, and each way to break it.

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::FileHeader as _;

use super::*;

const DYNAMIC: u64 = 0x200;
const STRINGS: u64 = 0x400;
const RELOCATIONS: u64 = 0x600;
const LENGTH: u64 = 0x1000;

#[derive(Clone)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    stored: u64,
    memory: u64,
    align: u64,
}

#[derive(Clone)]
struct Library {
    wide: bool,
    segments: Vec<Segment>,
    dynamic: Vec<(DynamicTag, u64)>,
    end: bool,
    strings: Vec<u8>,
    relocation: u64,
    entry: u64,
}

impl Library {
    /// One segment with everything in it.
    fn new(wide: bool) -> Self {
        let strings = b"\0libc.so.6\0libx.so\0/usr/lib\0".to_vec();
        let entry = if wide { 24 } else { 12 };
        let dynamic = vec![
            (elf::DT_STRTAB, STRINGS),
            (elf::DT_STRSZ, strings.len() as u64),
            (elf::DT_NEEDED, 1),
            (elf::DT_SONAME, 11),
            (elf::DT_RUNPATH, 19),
            (elf::DT_SYMTAB, STRINGS),
            (elf::DT_SYMENT, if wide { 24 } else { 16 }),
            (elf::DT_RELA, RELOCATIONS),
            (elf::DT_RELASZ, entry),
            (elf::DT_RELAENT, entry),
        ];
        let segment = |kind: object::elf::ProgramType, at, size| Segment {
            kind: kind.0,
            offset: at,
            address: at,
            stored: size,
            memory: size,
            align: 0x1000,
        };
        let segments = vec![segment(elf::PT_LOAD, 0, LENGTH), segment(elf::PT_DYNAMIC, DYNAMIC, 0x180)];
        Self { wide, segments, dynamic, end: true, strings, relocation: 0x800, entry: 0x700 }
    }

    fn tag(&mut self, tag: DynamicTag) -> &mut u64 {
        &mut self.dynamic.iter_mut().find(|(t, _)| *t == tag).expect("the tag").1
    }

    fn word(&self, value: u64) -> Vec<u8> {
        if self.wide { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let (header, entry) = if self.wide { (64_u16, 56_u16) } else { (52, 32) };
        let mut out = b"\x7fELF".to_vec();
        out.extend([if self.wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0, 1, 0, 0, 0]);
        [0, u64::from(header), 0].iter().for_each(|v| out.extend(self.word(*v)));
        out.extend([0; 4]);
        [header, entry, u16::try_from(self.segments.len()).expect("few"), 0, 0, 0]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        for Segment { kind, offset, address, stored, memory, align } in &self.segments {
            out.extend(kind.to_le_bytes());
            if self.wide {
                out.extend([6, 0, 0, 0]);
            }
            [*offset, *address, *address, *stored, *memory].iter().for_each(|v| out.extend(self.word(*v)));
            if !self.wide {
                out.extend([6, 0, 0, 0]);
            }
            out.extend(self.word(*align));
        }
        out.resize(usize::try_from(LENGTH).expect("small"), 0);
        let mut put = |at: u64, bytes: &[u8]| out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        let mut entries: Vec<u8> =
            self.dynamic.iter().flat_map(|(tag, value)| [self.word(tag.0 as u64), self.word(*value)].concat()).collect();
        if !self.end {
            entries = [self.word(1), self.word(1)].concat().repeat(0x180 / self.word(0).len() / 2);
        }
        put(DYNAMIC, &entries);
        put(STRINGS, &self.strings);
        put(RELOCATIONS, &self.word(self.relocation));
        out
    }

    fn verdict(&self) -> Result<Links, Reason> {
        let bytes = self.bytes();
        if self.wide {
            check(FileHeader64::<Endianness>::parse(bytes.as_slice()).expect("a header"), &bytes, self.entry)
        } else {
            check(FileHeader32::<Endianness>::parse(bytes.as_slice()).expect("a header"), &bytes, self.entry)
        }
    }
}

#[test]
fn what_a_library_loads_is_read_from_every_tag_of_its_dynamic_section() {
    for wide in [false, true] {
        let mut library = Library::new(wide);
        let strings = |all: &[&str]| all.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>();
        let expected = Links { libraries: strings(&["libc.so.6"]), folders: strings(&["/usr/lib"]), names_are_paths: false };
        assert_eq!(library.verdict(), Ok(expected));
        for tag in
            [elf::DT_NEEDED, elf::DT_AUXILIARY, elf::DT_FILTER, elf::DT_AUDIT, elf::DT_DEPAUDIT, elf::DT_RPATH, elf::DT_RUNPATH]
        {
            library.dynamic.push((tag, 11));
        }
        let links = library.verdict().expect("whole");
        assert_eq!((links.libraries.len(), links.folders), (6, strings(&["libx.so", "/usr/lib", "libx.so"])));
    }
}

#[test]
fn what_the_systems_loader_would_trip_over_is_refused() {
    type Break = fn(&mut Library);
    let ways: [(&str, Break); 32] = [
        ("no segment", |l| l.segments.retain(|s| s.kind != elf::PT_LOAD.0)),
        ("more in the file than in memory", |l| l.segments[0].memory = 0x800),
        ("beyond the end of the file", |l| {
            l.segments[0].stored += 1;
            l.segments[0].memory += 1;
        }),
        ("the end of the file overflows", |l| l.segments[0].offset = u64::MAX - 0xfff),
        ("the end of memory overflows", |l| {
            l.segments[0].address = u64::MAX - 0xfff;
            l.segments[0].memory = 0x1000;
        }),
        ("the last page of memory", |l| l.segments[0].memory = u64::MAX - 1),
        ("another place in the page", |l| l.segments[0].address = 0x10),
        ("two segments on one page", |l| {
            l.segments.insert(1, Segment { offset: 0x800, address: 0x800, stored: 0x10, memory: 0x10, ..l.segments[0].clone() });
        }),
        ("segments out of order", |l| {
            l.segments.insert(0, Segment { offset: 0, address: 0x10_0000, stored: 0x10, memory: 0x10, ..l.segments[0].clone() });
        }),
        ("no dynamic section", |l| l.segments.retain(|s| s.kind != elf::PT_DYNAMIC.0)),
        ("two dynamic sections", |l| l.segments.push(l.segments[1].clone())),
        ("a dynamic section out of the segments", |l| l.segments[1].address = 0x10_0000),
        ("another dynamic section in memory", |l| l.segments[1].address += 0x10),
        ("a dynamic section without end", |l| l.end = false),
        ("thread-local data out of the segments", |l| {
            l.segments.push(Segment { kind: elf::PT_TLS.0, address: 0xff0, ..l.segments[1].clone() });
        }),
        ("a read-only part beyond all", |l| {
            l.segments.push(Segment { kind: elf::PT_GNU_RELRO.0, address: 0x20_0000, ..l.segments[1].clone() });
        }),
        ("an entry outside", |l| l.entry = 0x10_0000),
        ("an entry half outside", |l| l.entry = LENGTH - 8),
        ("an entry that overflows", |l| l.entry = u64::MAX),
        ("no names", |l| l.dynamic.retain(|(tag, _)| *tag != elf::DT_STRTAB)),
        ("names of no length", |l| *l.tag(elf::DT_STRSZ) = 0),
        ("names outside", |l| *l.tag(elf::DT_STRTAB) = 0x10_0000),
        ("names half outside", |l| *l.tag(elf::DT_STRSZ) = LENGTH),
        ("names without an end", |l| *l.tag(elf::DT_STRSZ) -= 1),
        ("two tables of names", |l| l.dynamic.push((elf::DT_STRTAB, STRINGS))),
        ("a name outside", |l| *l.tag(elf::DT_NEEDED) = 0x1000),
        ("symbols outside", |l| *l.tag(elf::DT_SYMTAB) = 0x10_0000),
        ("relocations of another size", |l| *l.tag(elf::DT_RELAENT) += 8),
        ("symbols of another size", |l| *l.tag(elf::DT_SYMENT) += 8),
        ("a part aligned to no power of two", |l| {
            l.segments.push(Segment { kind: elf::PT_TLS.0, align: 0x89, ..l.segments[1].clone() });
        }),
        ("half a relocation", |l| *l.tag(elf::DT_RELASZ) -= 1),
        ("a relocation outside", |l| l.relocation = 0x10_0000),
    ];
    for wide in [false, true] {
        for (what, damage) in ways {
            let mut library = Library::new(wide);
            damage(&mut library);
            let code = library.verdict().map_err(|reason| reason.code());
            assert!(matches!(code, Err("malformed" | "truncated")), "{what} (wide: {wide}): {code:?}");
        }
    }
}

#[test]
fn zeroed_memory_and_segments_on_pages_of_their_own_are_fine() {
    for wide in [false, true] {
        let mut library = Library::new(wide);
        library.segments.insert(
            1,
            Segment { offset: 0x800, address: 0x10_0800, stored: 0x100, memory: 0x9000, ..library.segments[0].clone() },
        );
        library.segments.push(Segment { kind: elf::PT_TLS.0, offset: 0, address: 0x20_0000, stored: 0, memory: 0x100, align: 8 });
        library.relocation = 0x10_9000;
        assert!(library.verdict().is_ok(), "{:?}", library.verdict());
    }
}
