//! The second opinion: a library says twice where everything is, in section headers for tools and in segments and the dynamic section
//! for the system's loader. A file damaged in one of them shows by the other.

use object::Endianness;
use object::elf::{self, DynamicTag, SectionType};
use object::read::elf::{FileHeader, SectionHeader as _};

use super::{Dynamic, Image, Load, malformed};
use crate::plugins::refusal::Reason;

/// Sections that the dynamic section names, with their sizes if it tells them.
const NAMED: [(SectionType, DynamicTag, Option<DynamicTag>); 8] = [
    (elf::SHT_DYNSYM, elf::DT_SYMTAB, None),
    (elf::SHT_HASH, elf::DT_HASH, None),
    (elf::SHT_GNU_HASH, elf::DT_GNU_HASH, None),
    (elf::SHT_GNU_VERSYM, elf::DT_VERSYM, None),
    (elf::SHT_GNU_VERNEED, elf::DT_VERNEED, None),
    (elf::SHT_GNU_VERDEF, elf::DT_VERDEF, None),
    (elf::SHT_INIT_ARRAY, elf::DT_INIT_ARRAY, Some(elf::DT_INIT_ARRAYSZ)),
    (elf::SHT_FINI_ARRAY, elf::DT_FINI_ARRAY, Some(elf::DT_FINI_ARRAYSZ)),
];

/// A section that is mapped.
struct Section {
    kind: SectionType,
    address: u64,
    size: u64,
}

pub(super) fn check<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    bytes: &[u8],
    image: &Image<'_>,
    dynamic: &Dynamic,
) -> Result<(), Reason> {
    let headers = header.section_headers(endian, bytes).map_err(super::super::broken)?;
    let mut sections = Vec::new();
    for header in headers {
        let flags = header.sh_flags(endian);
        let (address, size): (u64, u64) = (header.sh_addr(endian).into(), header.sh_size(endian).into());
        let kind = header.sh_type(endian);
        if !flags.contains(elf::SHF_ALLOC) || size == 0 {
            continue;
        }
        let fits = match kind {
            elf::SHT_NOBITS => flags.contains(elf::SHF_TLS) || image.maps(address, size),
            _ => image.holds(&Load { address, memory: size, offset: header.sh_offset(endian).into(), stored: size }),
        };
        if !fits || flags.contains(elf::SHF_TLS) && !image.threads {
            return malformed(format!("its section at {address:#x} lies outside of its segments"));
        }
        sections.push(Section { kind, address, size });
    }
    // Without sections there is no manifest either; there is nothing to compare.
    if sections.is_empty() {
        return Ok(());
    }
    named(&sections, dynamic)?;
    relocations(&sections, dynamic)
}

fn named(sections: &[Section], dynamic: &Dynamic) -> Result<(), Reason> {
    for (kind, tag, size) in NAMED {
        let section = sections.iter().find(|s| s.kind == kind);
        let same = match (section, dynamic.one(tag)?) {
            (None, None) => true,
            (Some(section), Some(address)) => {
                let size = size.map(|tag| dynamic.one(tag)).transpose()?;
                section.address == address && size.is_none_or(|size| size == Some(section.size))
            }
            _ => false,
        };
        if !same {
            return malformed(format!("its sections and its dynamic section differ in {tag:?}"));
        }
    }
    let (address, size) = (dynamic.one(elf::DT_STRTAB)?, dynamic.one(elf::DT_STRSZ)?);
    if !sections.iter().any(|s| s.kind == elf::SHT_STRTAB && Some(s.address) == address && Some(s.size) == size) {
        return malformed("its sections and its dynamic section differ in its names");
    }
    Ok(())
}

/// Every section of relocations is applied, and nothing else is taken for one.
fn relocations(sections: &[Section], dynamic: &Dynamic) -> Result<(), Reason> {
    let kinds = [elf::SHT_RELA, elf::SHT_REL];
    let sections: Vec<_> = sections.iter().filter(|s| kinds.contains(&s.kind)).collect();
    let mut tables = Vec::new();
    for (place, size) in [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_REL, elf::DT_RELSZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)] {
        if let (Some(address), Some(size)) = (dynamic.one(place)?, dynamic.one(size)?)
            && size > 0
        {
            tables.push((address, address.saturating_add(size)));
        }
    }
    let applied = |s: &&Section| tables.iter().any(|(start, end)| s.address >= *start && s.address + s.size <= *end);
    let bounded = |(start, end): &(u64, u64)| {
        sections.iter().any(|s| s.address == *start) && sections.iter().any(|s| s.address + s.size == *end)
    };
    if sections.iter().all(applied) && tables.iter().all(bounded) {
        return Ok(());
    }
    malformed("its sections and its dynamic section differ in its relocations")
}
