//! The object file, read as bytes: format, processor, completeness, manifest section, entry symbol, what it loads.
//!
//! A truncated library is not refused by the system's loader but kills the process at the first missing page, and one for another
//! processor gets a misleading "no such file". So both are found out here first. [`elf`] looks at what else that loader believes
//! without a check; [`links`] at the libraries that come along.

mod elf;
mod links;
mod macho;

use links::Links;
use object::{Architecture, BinaryFormat, Object as _, ObjectSection as _, ObjectSegment as _, ReadRef};

use super::refusal::Reason;

/// What a library is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    format: BinaryFormat,
    architecture: Architecture,
}

impl System {
    /// The system of this host.
    pub const HOST: Self = Self {
        format: if cfg!(target_vendor = "apple") {
            BinaryFormat::MachO
        } else if cfg!(windows) {
            BinaryFormat::Pe
        } else {
            BinaryFormat::Elf
        },
        architecture: architecture(),
    };

    /// The system that a file says it is for; `None` if it is no object file.
    pub fn of<'d, R: ReadRef<'d>>(data: R) -> Option<Self> {
        object::File::parse(data).ok().map(|file| Self::of_file(&file))
    }

    fn of_file<'d, R: ReadRef<'d>>(file: &object::File<'d, R>) -> Self {
        Self { format: file.format(), architecture: file.architecture() }
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.format, self.architecture)
    }
}

/// The manifest's section as each object format names it.
const SECTIONS: [&str; 3] = [".hivemind", "__hivemind", ".hvmind"];

/// The most bytes of a manifest: a schema with a paragraph on each of a thousand settings has fewer.
const LARGEST_MANIFEST: u64 = 1 << 20;

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
    let file = parse(data, length, System::HOST)?;
    let end = file.segments().map(|s| s.file_range()).map(|(start, size)| start.saturating_add(size)).max().unwrap_or(0);
    if end > length {
        return Err(Reason::Truncated { expected: end, found: length });
    }
    let name = hivemind_abi::manifest::SECTION;
    let mut sections = file.sections().filter(|section| section.name_bytes().is_ok_and(|found| found == name.as_bytes()));
    let section = sections.next().ok_or(Reason::NoManifest)?;
    if sections.next().is_some() {
        return Err(Reason::BadManifest(format!("expected one section `{name}`, found several")));
    }
    if section.size() > LARGEST_MANIFEST {
        let found = section.size();
        return Err(Reason::BadManifest(format!("expected at most {LARGEST_MANIFEST} bytes, found {found}")));
    }
    let bytes = section.data().map_err(|e| Reason::BadManifest(e.to_string()))?;
    // PE rounds sections up with zeros.
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::BadManifest("it is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches('\0').to_owned())
}

fn parse<'d, R: ReadRef<'d>>(data: R, length: u64, expected: System) -> Result<object::File<'d, R>, Reason> {
    let magic = data.read_bytes_at(0, length.min(4)).unwrap_or_default();
    let truncated = || Reason::Truncated { expected: length + 1, found: length };
    let file = match object::File::parse(data) {
        Ok(file) => file,
        Err(error) if magic == b"\x7fELF" => {
            let end = elf::headers_end(data).unwrap_or(0);
            let cut = end > length;
            return Err(if cut { Reason::Truncated { expected: end, found: length } } else { broken(error) });
        }
        // It starts as a library does, but its headers are not all there.
        Err(_) if magic.starts_with(b"MZ") || magic == b"\xcf\xfa\xed\xfe" => return Err(truncated()),
        Err(_) => {
            let start = data.read_bytes_at(0, length.min(64)).unwrap_or_default();
            return Err(Reason::NotALibrary(describe(start, length)));
        }
    };
    let found = System::of_file(&file);
    if found != expected {
        return Err(Reason::WrongTarget { expected: expected.to_string(), found: found.to_string() });
    }
    if file.kind() != object::ObjectKind::Dynamic {
        return Err(Reason::NotALibrary(format!("a {:?} object", file.kind()).to_lowercase()));
    }
    Ok(file)
}

fn describe(start: &[u8], length: u64) -> String {
    match start {
        [] => "an empty file".to_owned(),
        archive if archive.starts_with(b"!<arch>") => "an archive".to_owned(),
        [b'#', b'!', ..] => "a script".to_owned(),
        text if text.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "a text file".to_owned(),
        _ => format!("{length} bytes of another format"),
    }
}

/// The manifest's text of a file that another check refused, if it can be read at all, whatever system the library is for: who it
/// claims to be.
pub fn manifest_text_of_refused<'d, R: ReadRef<'d>>(data: R) -> Option<String> {
    let file = object::File::parse(data).ok()?;
    let section = SECTIONS.iter().find_map(|name| file.section_by_name(name)).filter(|s| s.size() <= LARGEST_MANIFEST)?;
    let text = std::str::from_utf8(section.data().ok()?).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

/// The checks of a library's whole content beyond its manifest.
///
/// # Errors
/// `NoEntry`, `Malformed`, `RunPath`, `Untrusted` for a folder it loads other libraries from, and those of [`manifest_text`].
pub fn check_whole(bytes: &[u8]) -> Result<(), Reason> {
    check_whole_for(bytes, System::HOST)
}

/// The same for a library of any system.
///
/// # Errors
/// See [`check_whole`].
pub fn check_whole_for(bytes: &[u8], system: System) -> Result<(), Reason> {
    let file = parse(bytes, bytes.len() as u64, system)?;
    let entry = entry(&file)?;
    let links = match &file {
        object::File::Elf32(elf) => elf::check(elf.elf_header(), bytes, entry)?,
        object::File::Elf64(elf) => elf::check(elf.elf_header(), bytes, entry)?,
        object::File::MachO32(macho) => macho::links(macho)?,
        object::File::MachO64(macho) => macho::links(macho)?,
        // It names libraries only, no folders. One that cannot be read is a reason to refuse, not to leave it out.
        other => {
            let libraries = other.import_libraries().map_err(broken)?;
            Links::new(libraries.map(|library| library.map(|l| l.name()).map_err(broken)), std::iter::empty())?
        }
    };
    links.check()
}

/// Where the entry symbol is once the library is mapped.
fn entry(file: &object::File<'_>) -> Result<u64, Reason> {
    let entry = hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    // Mach-O puts an underscore before every symbol.
    let is_entry = |name: &[u8]| name == entry.as_bytes() || name.strip_prefix(b"_") == Some(entry.as_bytes());
    let exports = file.exports().map_err(broken)?;
    let named = |e: &object::Export<'_>| matches!(e.name(), object::NameOrOrdinal::Name(name) if is_entry(name));
    match exports.filter_map(Result::ok).find(named).map(|export| match export.target() {
        object::ExportTarget::Address { address } => Ok(address),
        _ => Err(Reason::Malformed("its entry symbol is no data of its own".to_owned())),
    }) {
        Some(address) => address,
        None => Err(Reason::NoEntry(entry.to_owned())),
    }
}

fn broken(error: object::Error) -> Reason {
    Reason::Malformed(error.to_string())
}
