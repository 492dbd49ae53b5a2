//! Owners of a volume: the container's users and its `fsGroup` in, files that they can use out.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, openat};
use rustix::io::Errno;

use crate::limits::VOLUME_DEPTH;

/// Bits that a group gets on files and directories of a volume that may be written.
const WRITABLE: (u32, u32) = (0o660, 0o2770);
/// The same for one that may not.
const READABLE: (u32, u32) = (0o440, 0o550);

/// Gives a volume to `owner` (user and group as the holder counts them). With an `fs_group` (that group, outside) its
/// files belong to the group and are open to it; without, only what still is the holder's changes hands.
///
/// Another container of the pod may change the volume while this runs, and this process has every right: so a file is
/// opened once, without following links, and everything is done to what was opened.
pub(super) fn give(
    volume: BorrowedFd<'_>,
    owner: (u32, u32),
    fs_group: Option<u32>,
    read_only: bool,
) -> io::Result<()> {
    if owner == (0, 0) && fs_group.is_none_or(|group| group == 0) {
        return Ok(());
    }
    let given = Given { owner, fs_group, bits: if read_only { READABLE } else { WRITABLE } };
    let explain =
        |error: io::Error| io::Error::new(error.kind(), format!("give the files of the volume to its pod: {error}"));
    given.below(volume, 0).map_err(explain)
}

struct Given {
    owner: (u32, u32),
    fs_group: Option<u32>,
    bits: (u32, u32),
}

impl Given {
    fn below(&self, file: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        let found = rustix::fs::fstat(file)?;
        // What a pod's own user made stays that user's.
        let user = (found.st_uid == 0).then_some(self.owner.0).map(Uid::from_raw);
        let group = self.fs_group.or((found.st_gid == 0).then_some(self.owner.1));
        let group = group.filter(|group| *group != found.st_gid).map(Gid::from_raw);
        if user.is_some() || group.is_some() {
            rustix::fs::chownat(file, c"", user, group, AtFlags::EMPTY_PATH)?;
        }
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Symlink {
            return Ok(());
        }
        if self.fs_group.is_some() {
            let more = if kind == FileType::Directory { self.bits.1 } else { self.bits.0 };
            if found.st_mode & more != more {
                // A link of our own to the very file that was opened; a descriptor of a mere place has no other way.
                let link = format!("/proc/self/fd/{}", file.as_raw_fd());
                fs::set_permissions(link, fs::Permissions::from_mode(found.st_mode & 0o7777 | more))?;
            }
        }
        if kind != FileType::Directory {
            return Ok(());
        }
        if depth == VOLUME_DEPTH {
            return Err(io::Error::other(format!("its directories are deeper than {VOLUME_DEPTH}")));
        }
        for name in names(file)? {
            match openat(file, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(entry) => self.below(entry.as_fd(), depth + 1)?,
                // Another container of the pod may use the volume already.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing: OwnedFd = openat(directory, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(listing)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use kernel::beneath;
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;

    /// Files that nobody outside this test has, and what is done as whoever runs it.
    fn given() -> Given {
        Given { owner: (0, 0), fs_group: Some(rustix::process::getegid().as_raw()), bits: WRITABLE }
    }

    fn mode(path: &std::path::Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_link_swapped_in_leads_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let (volume, victim, spare) = (home.path().join("v"), home.path().join("victim"), home.path().join("spare"));
        fs::create_dir(&volume).unwrap();
        fs::write(&victim, "").unwrap();
        fs::write(volume.join("file"), "").unwrap();
        symlink(&victim, &spare).unwrap();
        for path in [&victim, &volume.join("file")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed)
                    && renameat_with(CWD, volume.join("file"), CWD, &spare, RenameFlags::EXCHANGE).is_ok()
                {
                    std::hint::spin_loop();
                }
            });
            let place = beneath::place(&volume).unwrap();
            for _ in 0..20_000 {
                // Set before the assertion, so that a failure ends the other thread, too.
                let done = given().below(place.as_fd(), 0);
                over.store(done.is_err(), Ordering::Relaxed);
                done.unwrap();
                for path in [volume.join("file"), spare.clone()] {
                    // Made narrow again where it is the file, so that there is something to do in every round.
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
                    if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
                        rustix::fs::fchmod(file, Mode::from_raw_mode(0o600)).unwrap();
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(mode(&victim), 0o600);
    }

    #[test]
    fn every_kind_of_file_is_opened_to_the_group() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink("/nowhere", at("link")).unwrap();
        for name in ["a/b/file", "socket"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        given().below(beneath::place(home.path()).unwrap().as_fd(), 0).unwrap();
        for (name, expected) in
            [("a", 0o2775), ("a/b", 0o2775), ("a/b/file", 0o660), ("fifo", 0o660), ("socket", 0o660)]
        {
            assert_eq!(mode(&at(name)) | 0o005, expected | 0o005, "{name}");
        }
    }

    #[test]
    fn a_bottomless_volume_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let mut at = beneath::place(home.path()).unwrap();
        for _ in 0..=VOLUME_DEPTH {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = beneath::open(at.as_fd(), std::path::Path::new("d"), beneath::Within::Tree).unwrap();
        }
        let error = given().below(beneath::place(home.path()).unwrap().as_fd(), 0).unwrap_err();
        assert!(error.to_string().contains("deeper than"), "{error}");
    }
}
