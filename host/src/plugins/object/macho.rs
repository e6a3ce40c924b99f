//! The load commands of a Mach-O library that name other libraries.

use object::ReadRef;
use object::read::macho::{LoadCommandVariant, MachHeader, MachOFile};

use super::links::Links;
use crate::plugins::refusal::Reason;

/// The libraries and run paths it names.
pub(super) fn links<'d, M: MachHeader, R: ReadRef<'d>>(file: &MachOFile<'d, M, R>) -> Result<Links, Reason> {
    let endian = file.endian();
    let mut links = Links { names_are_paths: true, ..Links::default() };
    let mut commands = file.macho_load_commands().map_err(super::broken)?;
    while let Some(command) = commands.next().map_err(super::broken)? {
        let string = |at| command.string(endian, at).map_err(super::broken);
        match command.variant().map_err(super::broken)? {
            LoadCommandVariant::Dylib(dylib) => links.add_library(string(dylib.dylib.name)?)?,
            LoadCommandVariant::PreboundDylib(dylib) => links.add_library(string(dylib.name)?)?,
            LoadCommandVariant::Rpath(rpath) => links.add_folder(string(rpath.path)?)?,
            _ => {}
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use object::Endianness;
    use object::macho::{MachHeader32, MachHeader64};

    use super::*;

    fn command(kind: u32, fields: &[u32], text: &str) -> Vec<u8> {
        let at = 12 + 4 * fields.len();
        let size = (at + text.len() + 1).next_multiple_of(8);
        let mut out: Vec<u8> = [kind, u32::try_from(size).expect("small"), u32::try_from(at).expect("small")]
            .iter()
            .chain(fields)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        out.extend(text.as_bytes());
        out.resize(size, 0);
        out
    }

    fn library(wide: bool, commands: &[Vec<u8>]) -> Vec<u8> {
        let size = u32::try_from(commands.concat().len()).expect("small");
        let count = u32::try_from(commands.len()).expect("few");
        let header = [if wide { 0xfeed_facf } else { 0xfeed_face }, 0x0100_000c_u32, 0, 6, count, size, 0, 0];
        let words = if wide { &header[..] } else { &header[..7] };
        words.iter().flat_map(|word| word.to_le_bytes()).chain(commands.concat()).collect()
    }

    fn verdict(wide: bool, commands: &[Vec<u8>]) -> Result<(), &'static str> {
        let bytes = library(wide, commands);
        let links = if wide {
            links(&MachOFile::<MachHeader64<Endianness>>::parse(bytes.as_slice()).expect("a library"))
        } else {
            links(&MachOFile::<MachHeader32<Endianness>>::parse(bytes.as_slice()).expect("a library"))
        };
        links.and_then(|links| links.check()).map_err(|reason| reason.code())
    }

    #[test]
    fn every_load_command_that_names_a_library_or_folder_is_looked_at() {
        for wide in [false, true] {
            let id = command(0xd, &[0, 0, 0], "libmine.dylib");
            assert_eq!(verdict(wide, &[id, command(0xc, &[0, 0, 0], "/usr/lib/libSystem.B.dylib")]), Ok(()));
            for kind in [0xc, 0x8000_0018, 0x8000_001f, 0x20, 0x8000_0023] {
                assert_eq!(verdict(wide, &[command(kind, &[0, 0, 0], "@loader_path/x.dylib")]), Err("run-path"), "{kind:#x}");
            }
            assert_eq!(verdict(wide, &[command(0x8000_001c, &[], "/usr/lib")]), Ok(()));
            assert_eq!(verdict(wide, &[command(0x8000_001c, &[], "@executable_path/lib")]), Err("run-path"));
        }
    }
}
