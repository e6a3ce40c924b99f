//! Being told by the kernel that a file may have changed: inotify, where every change passes this kernel.
//!
//! The decision here: **events only say when to look.** While the queue is empty nothing that could change the answer has happened, and
//! asking for its length (one cheap call, which consumes nothing, so that any number of readers ask at once) is all a look-up costs.
//! When it is not empty, one thread takes the events out and looks with `stat`, as it would without them. So an event too many costs
//! a look, and what must never happen is one too few. That is why not only the folder is watched, for the file's name, but also
//!
//! - the file itself, because it may be written in place, and through a link in another folder;
//! - every folder and link on the way to it, because they may be moved or made to lead elsewhere.
//!
//! There are none for changes that other machines make on a shared file system, and some systems have too few instances left: then
//! there is no watch, and each call looks.

#[cfg(target_os = "linux")]
pub(crate) use linux::Watch;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Watch;

/// What the events that were taken out say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// The file was written or its attributes were changed.
    pub(crate) file: bool,
    /// The way to it may have changed, or events were lost: nothing is known, and the watch is to be set up again.
    pub(crate) way: bool,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::path::{Component, Path, PathBuf};

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;

    use super::News;

    /// Links followed on one way, as many as the kernel follows.
    const LINKS: usize = 40;
    /// The magic numbers of file systems whose every change passes this kernel: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, ZFS,
    /// bcachefs. Others (NFS, FUSE, 9p, overlays, …) can be changed from elsewhere.
    const LOCAL: [u64; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

    const FOLDER: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF);
    const LINK: WatchFlags = FOLDER.union(WatchFlags::ATTRIB);
    const NAMES: WatchFlags =
        WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
    const FILE: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::ATTRIB);

    /// A watch on one file. Dropped, it ends.
    #[derive(Debug)]
    pub(crate) struct Watch {
        inotify: OwnedFd,
        // Watch descriptors: of the folders and links on the way, of the file.
        way: Vec<i32>,
        file: Option<i32>,
    }

    impl Watch {
        /// A watch on nothing yet; `None` if the system has none to give.
        pub(crate) fn new() -> Option<Self> {
            let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            Some(Self { inotify, way: Vec::new(), file: None })
        }

        /// Watches the way to a file, there or not, and takes out what events there are; false if it cannot be watched.
        ///
        /// The file itself has to be [followed](Self::follow), and looked at after this.
        pub(crate) fn arm(&mut self, path: &Path) -> bool {
            let mut way = Vec::new();
            let armed = self.walk(path, &mut way).is_ok();
            way.sort_unstable();
            way.dedup();
            for old in std::mem::replace(&mut self.way, way) {
                if self.way.binary_search(&old).is_err() && self.file != Some(old) {
                    // It may have ended by itself.
                    let _ = inotify::remove_watch(&self.inotify, old);
                }
            }
            armed && self.take().is_some()
        }

        /// Each step is watched before the next one is looked for, so that a change meanwhile is an event.
        fn walk(&self, path: &Path, way: &mut Vec<i32>) -> io::Result<()> {
            let add = |path: &Path, flags: WatchFlags, way: &mut Vec<i32>| {
                let flags = flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD;
                way.push(inotify::add_watch(&self.inotify, path, flags)?);
                io::Result::Ok(())
            };
            let path = std::path::absolute(path)?;
            let components = |path: &Path| path.components().rev().map(|c| c.as_os_str().to_owned()).collect::<Vec<OsString>>();
            let mut left = components(&path);
            let (mut folder, mut links) = (PathBuf::from("/"), 0);
            while let Some(name) = left.pop() {
                match Path::new(&name).components().next() {
                    Some(Component::Normal(name)) => {
                        let step = folder.join(name);
                        if left.is_empty() {
                            add(&folder, NAMES | WatchFlags::ONLYDIR, way)?;
                        }
                        match fs::symlink_metadata(&step) {
                            Ok(found) if found.is_symlink() => {
                                links += 1;
                                if links > LINKS {
                                    return Err(Errno::LOOP.into());
                                }
                                add(&step, LINK, way)?;
                                left.extend(components(&fs::read_link(&step)?));
                            }
                            _ if left.is_empty() => return is_local(&folder),
                            Ok(_) => {
                                add(&step, FOLDER, way)?;
                                folder = step;
                            }
                            Err(e) => return Err(e),
                        }
                    }
                    Some(Component::ParentDir) => drop(folder.pop()),
                    Some(Component::RootDir) => {
                        folder = PathBuf::from("/");
                        add(&folder, FOLDER, way)?;
                    }
                    _ => {}
                }
            }
            Err(Errno::ISDIR.into())
        }

        /// Watches this file, instead of the one before; false if it cannot be watched.
        pub(crate) fn follow(&mut self, file: &File) -> bool {
            // By the open file: the name may stand for another one by now.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let Ok(new) = inotify::add_watch(&self.inotify, path, FILE) else { return false };
            if let Some(old) = self.file.replace(new).filter(|old| *old != new) {
                let _ = inotify::remove_watch(&self.inotify, old);
            }
            fs_is_local(rustix::fs::fstatfs(file)).is_ok()
        }

        /// Whether nothing has happened since the events were last taken out.
        pub(crate) fn is_quiet(&self) -> bool {
            rustix::io::ioctl_fionread(&self.inotify).is_ok_and(|bytes| bytes == 0)
        }

        /// Takes the events out and says what they mean; `None` if that fails. What happened to other names in the folder is passed
        /// over: whoever asks looks at the file's own name in any case.
        pub(crate) fn take(&mut self) -> Option<News> {
            const LOST: ReadFlags =
                ReadFlags::QUEUE_OVERFLOW.union(ReadFlags::UNMOUNT).union(ReadFlags::MOVE_SELF).union(ReadFlags::DELETE_SELF);
            let mut news = News::default();
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => return Some(news),
                    Err(Errno::INTR) => continue,
                    Err(_) => return None,
                };
                let (wd, what) = (event.wd(), event.events());
                let is_way = self.way.binary_search(&wd).is_ok();
                // A link whose attributes change was removed or replaced.
                let of_way = LOST.union(ReadFlags::IGNORED).union(ReadFlags::ATTRIB);
                news.way |= what.contains(ReadFlags::QUEUE_OVERFLOW) || (is_way && what.intersects(of_way));
                news.file |= self.file == Some(wd);
            }
        }
    }

    fn is_local(folder: &Path) -> io::Result<()> {
        fs_is_local(rustix::fs::statfs(folder))
    }

    fn fs_is_local(found: rustix::io::Result<rustix::fs::StatFs>) -> io::Result<()> {
        // The type's sign and width differ between processors; the numbers have 32 bits.
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "see above")]
        let kind = found?.f_type as u64 & 0xffff_ffff;
        if LOCAL.contains(&kind) { Ok(()) } else { Err(Errno::OPNOTSUPP.into()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::fs::File;
    use std::path::Path;

    use super::News;

    /// There is none on this system.
    #[derive(Debug)]
    pub(crate) enum Watch {}

    impl Watch {
        pub(crate) fn new() -> Option<Self> {
            None
        }

        pub(crate) fn arm(&mut self, _path: &Path) -> bool {
            match *self {}
        }

        pub(crate) fn follow(&mut self, _file: &File) -> bool {
            match *self {}
        }

        pub(crate) fn is_quiet(&self) -> bool {
            match *self {}
        }

        pub(crate) fn take(&mut self) -> Option<News> {
            match *self {}
        }
    }
}
