//! A library's bytes, read once to where nothing changes them: what is checked is what the system's loader maps.
//!
//! On Linux a sealed memory file: nothing can change it any more, and no path leads to it. The file's content goes there without a stop
//! in this process's own memory, which would cost more than all checks. Once mapped it stays open for ever, because
//! glibc recognises a library by its *path string*: were the descriptor number used again, `/proc/self/fd/N` would give the old
//! library. A plugin may close what is not its own, so no number is given to the loader twice in any case. Where such files do not exist
//! (other systems) the bytes are kept in memory; where they cannot be mapped (no `/proc`, `vm.memfd_noexec=2`, a security module) the loader
//! gets a file of a fresh private folder, which is removed again as soon as it is mapped.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write as _};
use std::ops::Deref;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::sync::{Mutex, PoisonError};

/// What a file held when it was read.
pub struct Image {
    content: Content,
}

enum Content {
    /// A view of a sealed memory file, and the file until the loader has it.
    #[cfg(target_os = "linux")]
    Sealed(memmap2::Mmap, Mutex<Option<File>>),
    Owned(Vec<u8>),
}

impl Image {
    /// Reads a file from where it stands to its end, or `most` bytes. By its name people know a mapping again.
    ///
    /// # Errors
    /// The system's.
    pub fn read(file: &mut File, name: &str, most: u64) -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(content) = sealed(file, name, most)? {
            return Ok(Self { content });
        }
        let expected = file.metadata()?.len().min(most);
        let mut bytes = Vec::new();
        bytes.reserve_exact(usize::try_from(expected).unwrap_or_default());
        Read::take(&mut *file, most).read_to_end(&mut bytes)?;
        Ok(Self { content: Content::Owned(bytes) })
    }
}

impl Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.content {
            #[cfg(target_os = "linux")]
            Content::Sealed(view, _) => view,
            Content::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

/// Lets the system map an image with `map`, which gets a path; tries the next way where one fails.
///
/// # Errors
/// What the system said, without the path.
pub fn load<T, E: fmt::Display>(image: &Image, module: &str, map: impl Fn(&Path) -> Result<T, E>) -> Result<T, String> {
    let mut said: Vec<String> = Vec::new();
    let mapped_at = |path: &Path| map(path).map_err(|e| e.to_string().replace(&*path.to_string_lossy(), module));
    #[cfg(target_os = "linux")]
    if let Content::Sealed(_, file) = &image.content {
        match from_memory(file, &mapped_at) {
            Ok(mapped) => return Ok(mapped),
            Err(error) => {
                tracing::debug!(module, error, "the sealed copy could not be mapped");
                said.push(error);
            }
        }
    }
    match from_folder(image, module, &mapped_at) {
        Ok(mapped) => return Ok(mapped),
        Err(error) => said.push(error),
    }
    said.dedup();
    Err(said.join("; from another copy: "))
}

/// How often sealing is tried: the system itself waits some 0.1 s each time.
#[cfg(target_os = "linux")]
const SEAL_TRIES: usize = 20;
#[cfg(target_os = "linux")]
const SEAL_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// The rest of a file in a memory file that is sealed; nothing, and nothing read, where there is no such thing.
#[cfg(target_os = "linux")]
fn sealed(file: &mut File, name: &str, most: u64) -> std::io::Result<Option<Content>> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag and allow execution anyway.
    let created = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags));
    let Ok(mut memory) = created.map(File::from) else { return Ok(None) };
    let length = std::io::copy(&mut Read::take(&mut *file, most), &mut memory)?;
    let mut tries = 0;
    while let Err(error) = fcntl_add_seals(&memory, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
        // The system looks at a page just then, as it does when it moves memory about: soon it is done.
        tries += 1;
        if error != rustix::io::Errno::BUSY || tries == SEAL_TRIES {
            return Err(error.into());
        }
        std::thread::sleep(SEAL_PAUSE);
    }
    if length == 0 {
        return Ok(Some(Content::Owned(Vec::new())));
    }
    // SAFETY: the file is sealed: nobody can write to it, shorten it or take the seals off, so the bytes stay what they are for as long
    // as the view lives.
    let view = unsafe { memmap2::MmapOptions::new().populate().map_copy_read_only(&memory) }?;
    Ok(Some(Content::Sealed(view, Mutex::new(Some(memory)))))
}

#[cfg(target_os = "linux")]
fn from_memory<T>(file: &Mutex<Option<File>>, map: &impl Fn(&Path) -> Result<T, String>) -> Result<T, String> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(taken) = file.take() else { return Err("it is mapped from memory already".to_owned()) };
    let fd = at_a_fresh_number(taken.into()).map_err(|e| e.to_string())?;
    let mapped = map(&PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())))?;
    std::mem::forget(fd);
    Ok(mapped)
}

/// The same file under a descriptor number that was never given to the loader before.
#[cfg(target_os = "linux")]
fn at_a_fresh_number(fd: OwnedFd) -> std::io::Result<OwnedFd> {
    static HIGHEST: Mutex<RawFd> = Mutex::new(-1);
    let mut highest = HIGHEST.lock().unwrap_or_else(PoisonError::into_inner);
    let fd = if fd.as_raw_fd() > *highest { fd } else { rustix::io::fcntl_dupfd_cloexec(&fd, *highest + 1)? };
    *highest = fd.as_raw_fd();
    Ok(fd)
}

fn from_folder<T>(bytes: &[u8], module: &str, map: &impl Fn(&Path) -> Result<T, String>) -> Result<T, String> {
    // `tempdir` makes the folder with mode 0700 and a name nobody can guess.
    let folder = tempfile::Builder::new().prefix("hivemind-plugin-").tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join(format!("{module}{}", std::env::consts::DLL_SUFFIX));
    let write = || {
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e: std::io::Error| e.to_string())?;
    let mapped = map(&path)?;
    // On Unix the mapping lives on without its file. Elsewhere a mapped file cannot be removed; the system clears its temporary
    // folder some time.
    if cfg!(unix) {
        drop(folder)
    } else {
        drop(folder.keep())
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Seek as _;

    use super::*;

    fn image(bytes: &[u8]) -> Image {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file.rewind().expect("at its beginning");
        Image::read(&mut file, "some.so", 1 << 20).expect("read")
    }

    #[test]
    fn an_image_holds_what_the_file_held() {
        for bytes in [b"".as_slice(), b"bytes", &[7; 1 << 20]] {
            assert_eq!(*image(bytes), *bytes);
        }
        assert_eq!(image(&[7; (1 << 20) + 1]).len(), 1 << 20);
    }

    #[test]
    fn where_memory_cannot_be_mapped_a_private_copy_is_and_leaves_nothing_behind() {
        let seen = RefCell::new(Vec::new());
        let mapped = load(&image(b"bytes"), "some-db-plugin", |path| {
            seen.borrow_mut().push(path.to_owned());
            assert_eq!(std::fs::read(path).expect("readable"), b"bytes");
            if path.starts_with("/proc") { Err("not permitted") } else { Ok(path.to_owned()) }
        });
        let copy = mapped.expect("mapped");
        assert_eq!(seen.borrow().len(), if cfg!(target_os = "linux") { 2 } else { 1 });
        assert!(cfg!(not(unix)) || !copy.parent().expect("a folder").exists(), "{} is still there", copy.display());
    }

    #[test]
    fn what_no_copy_could_do_is_told_once_and_without_the_paths_of_copies() {
        let missing = |path: &Path| Err::<(), _>(format!("{}: libx.so is missing", path.display()));
        let error = load(&image(b"bytes"), "some-db-plugin", missing);
        assert_eq!(error, Err("some-db-plugin: libx.so is missing".to_owned()));
    }
}
