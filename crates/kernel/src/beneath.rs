//! Paths below a directory that others may change meanwhile: its descriptor and a path in, a descriptor of what is there out.
//!
//! Every look-up is one `openat2`, which the kernel keeps within the directory whatever links are put in its way.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A rename or mount elsewhere makes the kernel give up a look-up with `..` in it; so often it is begun again.
const ATTEMPTS: usize = 1000;
/// Permissions of a new file that is only mounted over.
const FILE: Mode = Mode::from_raw_mode(0o644);

/// What becomes of a link or a `..` that leads out of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// It is refused.
    Tree,
    /// The directory counts as the root: it ends there.
    Root,
}

/// A descriptor of a place (`O_PATH`); links are followed.
pub fn place(path: &Path) -> io::Result<OwnedFd> {
    let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|errno| explain(path, errno))
}

/// A descriptor of the place `path` below `base`. Links of `/proc` that lead to an open file are refused.
pub fn open(base: BorrowedFd<'_>, path: &Path, within: Within) -> io::Result<OwnedFd> {
    let limit = match within {
        Within::Tree => ResolveFlags::BENEATH,
        Within::Root => ResolveFlags::IN_ROOT,
    };
    let asked = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut tried = 0;
    loop {
        match rustix::fs::openat2(base, asked, flags, Mode::empty(), limit | ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::AGAIN | Errno::INTR) if tried < ATTEMPTS => tried += 1,
            done => return done.map_err(|errno| explain(path, errno)),
        }
    }
}

/// The same; directories that are missing on the way are made with `mode`, the last part included.
pub fn make_directories(base: BorrowedFd<'_>, path: &Path, within: Within, mode: Mode) -> io::Result<OwnedFd> {
    let mut at = open(base, Path::new(""), within)?;
    let mut so_far = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(_) | Component::ParentDir => so_far.push(part),
            Component::CurDir => continue,
            Component::RootDir | Component::Prefix(_) if within == Within::Root => continue,
            Component::RootDir | Component::Prefix(_) => return Err(explain(path, Errno::XDEV)),
        }
        at = match open(base, &so_far, within) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&at, part.as_os_str(), mode) {
                    // Made by somebody else meanwhile, or a link that leads nowhere: the second look tells.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(explain(path, errno)),
                }
                open(base, &so_far, within)?
            }
            done => done?,
        };
    }
    Ok(at)
}

/// A descriptor of the file `path` below `base`, made empty if it is missing, with the directories on the way.
pub fn make_file(base: BorrowedFd<'_>, path: &Path, within: Within, mode: Mode) -> io::Result<OwnedFd> {
    match open(base, path, within) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    let Some(Component::Normal(name)) = path.components().next_back() else { return Err(explain(path, Errno::ISDIR)) };
    let parent = make_directories(base, path.parent().unwrap_or(Path::new("")), within, mode)?;
    create(parent.as_fd(), name).map_err(|errno| explain(path, errno))?;
    open(base, path, within)
}

fn create(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, FILE) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a descriptor is one of a directory.
pub fn is_directory(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Directory)
}

fn explain(path: &Path, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let why = match errno {
        Errno::XDEV => format!("{} leads out of its directory", path.display()),
        Errno::LOOP => format!("{}: a link of /proc, or too many links", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    io::Error::new(error.kind(), why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const MODE: Mode = Mode::from_raw_mode(0o755);

    struct Lab(PathBuf);

    impl Lab {
        /// `out/` beside `in/`, which has good and bad links.
        fn new(name: &str) -> Self {
            let lab = Self(std::env::temp_dir().join(format!("mainstay-beneath-{name}-{}", std::process::id())));
            fs::create_dir_all(lab.0.join("in/real")).unwrap();
            fs::create_dir_all(lab.0.join("out")).unwrap();
            symlink("real", lab.0.join("in/good")).unwrap();
            symlink("../out", lab.0.join("in/up")).unwrap();
            symlink(lab.0.join("out"), lab.0.join("in/absolute")).unwrap();
            symlink("/proc/self/cwd", lab.0.join("in/magic")).unwrap();
            symlink("nowhere", lab.0.join("in/dangling")).unwrap();
            lab
        }

        fn base(&self) -> OwnedFd {
            place(&self.0.join("in")).unwrap()
        }

        fn inode(&self, path: &str) -> u64 {
            fs::metadata(self.0.join(path)).unwrap().ino()
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn inode(file: OwnedFd) -> u64 {
        fs::File::from(file).metadata().unwrap().ino()
    }

    #[test]
    fn nothing_leads_out_of_a_tree() {
        let lab = Lab::new("tree");
        let base = lab.base();
        for bad in
            ["..", "../out", "up", "up/new", "absolute", "absolute/new", "magic", "dangling", "dangling/x", "/tmp"]
        {
            let made = make_directories(base.as_fd(), Path::new(bad), Within::Tree, MODE);
            assert!(made.is_err(), "{bad}");
            assert!(make_file(base.as_fd(), Path::new(bad), Within::Tree, MODE).is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(lab.0.join("out")).unwrap().count(), 0);
        let made = make_directories(base.as_fd(), Path::new("good/a/./b"), Within::Tree, MODE).unwrap();
        assert_eq!(inode(made), lab.inode("in/real/a/b"));
        let made = make_file(base.as_fd(), Path::new("good/c/file"), Within::Tree, MODE).unwrap();
        assert!(!is_directory(made.as_fd()).unwrap());
        assert_eq!(inode(made), lab.inode("in/real/c/file"));
        assert_eq!(inode(make_directories(base.as_fd(), Path::new(""), Within::Tree, MODE).unwrap()), lab.inode("in"));
    }

    #[test]
    fn within_a_root_every_link_ends_there() {
        let lab = Lab::new("root");
        let base = lab.base();
        for (path, there) in [("/../../real/x", "in/real/x"), ("up/new", "in/out/new"), ("/good/y/../z", "in/real/z")] {
            if path == "up/new" {
                fs::create_dir(lab.0.join("in/out")).unwrap();
            }
            let made = make_directories(base.as_fd(), Path::new(path), Within::Root, MODE).unwrap();
            assert_eq!(inode(made), lab.inode(there), "{path}");
        }
        assert!(make_directories(base.as_fd(), Path::new("/absolute/x"), Within::Root, MODE).is_err());
        assert_eq!(fs::read_dir(lab.0.join("out")).unwrap().count(), 0);
    }
}
