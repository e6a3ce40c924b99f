//! The object file, read as bytes: format, processor, completeness, manifest section, entry symbol, run path.
//!
//! A truncated library is not refused by the system's loader but kills the process at the first missing page, and one for another
//! processor gets a misleading "no such file". So both are found out here first.

use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Architecture, BinaryFormat, Object as _, ObjectSection as _, ObjectSegment as _, ReadRef};

use super::refusal::Reason;

/// What this host can load.
const FORMAT: BinaryFormat = if cfg!(target_vendor = "apple") {
    BinaryFormat::MachO
} else if cfg!(windows) {
    BinaryFormat::Pe
} else {
    BinaryFormat::Elf
};

const fn architecture() -> Architecture {
    if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Architecture::Aarch64
    } else if cfg!(target_arch = "arm") {
        Architecture::Arm
    } else if cfg!(target_arch = "riscv64") {
        Architecture::Riscv64
    } else if cfg!(target_arch = "x86") {
        Architecture::I386
    } else {
        Architecture::Unknown
    }
}

/// Checks that `data` is a whole library for this system and gives the text of its manifest section. Reads headers and that section
/// only, so `data` can be a file read on demand.
///
/// # Errors
/// `NotALibrary`, `WrongTarget`, `Truncated`, `NoManifest`, `BadManifest`.
pub fn manifest_text<'d, R: ReadRef<'d>>(data: R) -> Result<String, Reason> {
    let length = data.len().map_err(|()| Reason::Unreadable("its length cannot be told".to_owned()))?;
    let file = parse(data, length)?;
    let end = file.segments().map(|s| s.file_range()).map(|(start, size)| start.saturating_add(size)).max().unwrap_or(0);
    if end > length {
        return Err(Reason::Truncated { expected: end, found: length });
    }
    let name = hivemind_abi::manifest::SECTION;
    let section = file.section_by_name(name).ok_or(Reason::NoManifest)?;
    let bytes = section.data().map_err(|e| Reason::BadManifest(e.to_string()))?;
    // PE rounds sections up with zeros.
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::BadManifest("it is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches('\0').to_owned())
}

fn parse<'d, R: ReadRef<'d>>(data: R, length: u64) -> Result<object::File<'d, R>, Reason> {
    let magic = data.read_bytes_at(0, length.min(4)).unwrap_or_default();
    let truncated = || Reason::Truncated { expected: length + 1, found: length };
    let file = match object::File::parse(data) {
        Ok(file) => file,
        // It starts as a library does, but its headers are not all there.
        Err(_) if magic == b"\x7fELF" || magic.starts_with(b"MZ") || magic == b"\xcf\xfa\xed\xfe" => return Err(truncated()),
        Err(_) => return Err(Reason::NotALibrary(describe(magic, length))),
    };
    if file.format() != FORMAT || file.architecture() != architecture() {
        let expected = format!("{:?} {:?}", FORMAT, architecture());
        return Err(Reason::WrongTarget { expected, found: format!("{:?} {:?}", file.format(), file.architecture()) });
    }
    if file.kind() != object::ObjectKind::Dynamic {
        return Err(Reason::NotALibrary(format!("a {:?} object", file.kind()).to_lowercase()));
    }
    Ok(file)
}

fn describe(magic: &[u8], length: u64) -> String {
    match magic {
        [] => "an empty file".to_owned(),
        [b'#', b'!', ..] => "a script".to_owned(),
        text if text.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "a text file".to_owned(),
        _ => format!("{length} bytes of another format"),
    }
}

/// The checks of a library's whole content beyond its manifest.
///
/// # Errors
/// `NoEntry`, `RunPath`, and those of [`manifest_text`].
pub fn check_whole(bytes: &[u8]) -> Result<(), Reason> {
    let file = parse(bytes, bytes.len() as u64)?;
    let entry = hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    let mut exports = file.exports().map_err(|e| Reason::NotALibrary(format!("a library with a broken symbol table ({e})")))?;
    // Mach-O puts an underscore before every symbol.
    let is_entry = |name: &[u8]| name == entry.as_bytes() || name.strip_prefix(b"_") == Some(entry.as_bytes());
    if !exports.any(|e| e.is_ok_and(|e| matches!(e.name(), object::NameOrOrdinal::Name(name) if is_entry(name)))) {
        return Err(Reason::NoEntry(entry.to_owned()));
    }
    match run_path(bytes) {
        Some(path) => Err(Reason::RunPath(path)),
        None => Ok(()),
    }
}

/// The first entry of an ELF library's run path that is relative or starts with a dynamic token such as `$ORIGIN`.
fn run_path(bytes: &[u8]) -> Option<String> {
    use object::elf::{DT_RPATH, DT_RUNPATH, DT_STRTAB, FileHeader64};
    type Header = FileHeader64<object::Endianness>;
    let header = Header::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, bytes).ok()?;
    let dynamic = headers.iter().find_map(|h| h.dynamic(endian, bytes).ok().flatten())?;
    let value = |tag| dynamic.iter().find(|d| d.tag(endian) == tag).map(|d| d.d_val(endian));
    let strings = value(DT_STRTAB)?;
    // The string table is given by address; the segment that covers it says where it lies in the file.
    let offset = headers.iter().find_map(|h| {
        let start: u64 = h.p_vaddr(endian);
        (strings >= start && strings < start.saturating_add(h.p_filesz(endian)))
            .then(|| (strings - start).saturating_add(h.p_offset(endian)))
    })?;
    [DT_RPATH, DT_RUNPATH].into_iter().filter_map(value).find_map(|at| {
        let start = usize::try_from(offset.checked_add(at)?).ok()?;
        let text = bytes.get(start..)?.split(|b| *b == 0).next()?;
        let text = String::from_utf8_lossy(text);
        text.split(':').find(|entry| !entry.starts_with('/')).map(str::to_owned)
    })
}
